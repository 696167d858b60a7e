"""A process that plays two cameras: ``python cameras.py RATE HEIGHT WIDTH``, until it is killed."""

from __future__ import annotations

import sys
import time

import rclpy
from camera_messages import header, rgb_image, thermal_image
from rclpy.node import Node
from sensor_msgs.msg import Image


def main(rate: float, height: int, width: int) -> None:
    rclpy.init(args=sys.argv)
    node = Node("cameras")
    cameras = [
        (node.create_publisher(Image, f"{name}/image_raw", 5), message, f"{name}_frame")
        for name, message in (("thermal", thermal_image(height, width)), ("rgb", rgb_image(height, width)))
    ]
    due, count = time.monotonic(), 0
    while rclpy.ok():
        now = node.get_clock().now().nanoseconds
        count += 1
        for publisher, message, frame in cameras:
            message.header = header(now, frame)
            message.data[0] = count % 256
            publisher.publish(message)
        due = max(due + 1 / rate, time.monotonic() - 0.1)
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
