"""The publishers of a configured node."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from mmcfusion_ros.fusion.pipeline import StageClock
from mmcfusion_ros.ros.image_messages import compressed_message, image_message
from mmcfusion_ros.ros.log_throttle import LogThrottle, where
from mmcfusion_ros.ros.node_parameters import qos_profile
from mmcfusion_ros.stream.camera_info import CameraInfos
from mmcfusion_ros.stream.pair_filter import stamp_ns
from mmcfusion_ros.stream.settings import Settings


class Outputs:
    """Publishes images as the settings ask for, each with its ``camera_info`` by ``camera_infos``; holds the trace
    of the frames, if one is asked for."""

    def __init__(self, node: LifecycleNode, settings: Settings) -> None:
        self._node, self._settings = node, settings
        self._throttle = LogThrottle()
        self.camera_infos = CameraInfos()
        self.trace = settings.trace(node.get_logger().warning)
        topics = {
            "image": (Image, "fused/image_raw"),
            "camera_info": (CameraInfo, "fused/camera_info"),
            "valid_mask": (Image, "~/debug/valid_mask"),
        }
        if settings.text("output.purpose") == "detection":
            topics["display"] = (Image, "display/image_raw")
        if settings.values["publish_compressed"]:
            topics["compressed"] = (CompressedImage, "fused/image_raw/compressed")
        self.fused_topic = node.resolve_topic_name(topics["image"][1])
        self._publishers: dict[str, Any] = {}
        qos = qos_profile(settings, "output")
        for name, (message_type, topic) in topics.items():
            self._publishers[name] = node.create_lifecycle_publisher(message_type, topic, qos)

    def close(self) -> None:
        """Takes the topics back. What a frame that was given up still publishes is lost."""
        publishers, self._publishers = self._publishers, {}
        for publisher in publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        if self.trace:
            self.trace.close()

    def publish(self, image: np.ndarray, weight: np.ndarray | None, header: Header, clock: StageClock) -> None:
        """``H x W`` or ``H x W x 3`` (red first) uint8 in the encoding asked for, with its camera_info.

        ``weight`` is the share of thermal in it, ``H x W`` uint8, None: all. Whoever listens gets it as the valid mask.
        """
        message = image_message(image, self._settings.text("output_encoding"), header)
        clock.lap("encode")
        publishers = self._publishers
        if publishers:
            publishers["image"].publish(message)
            self._publish_camera_info(message)
            if publishers["valid_mask"].get_subscription_count():
                mask = np.full(image.shape[:2], 255, np.uint8)
                if weight is not None:
                    mask[weight == 0] = 0
                publishers["valid_mask"].publish(image_message(mask, "mono8", header))
        if "compressed" in publishers:
            quality = self._settings.whole("jpeg_quality")
            publishers["compressed"].publish(compressed_message(image, header, quality=quality))
        clock.lap("publish")

    def subscribers(self) -> int:
        """How many listen to any of the topics; where nobody does, nothing needs to be fused."""
        return sum(publisher.get_subscription_count() for publisher in self._publishers.values())

    def display_subscribers(self) -> int:
        """How many listen to display/image_raw; 0 where it is not published."""
        display = self._publishers.get("display")
        return display.get_subscription_count() if display else 0

    def publish_display(self, image: np.ndarray, header: Header) -> None:
        """``H x W`` or ``H x W x 3`` (red first) uint8 as rgb8."""
        if display := self._publishers.get("display"):
            display.publish(image_message(image, "rgb8", header))

    def _publish_camera_info(self, image: Image) -> None:
        info, problem = self.camera_infos.outgoing(image)
        if info:
            self._publishers["camera_info"].publish(info)
        if not problem:
            return
        place = where(self._node.resolve_topic_name("rgb/camera_info"), stamp_ns(image))
        text = f"camera_info {problem}: fused/camera_info is not published {place}"
        if line := self._throttle(problem[:3], text):
            self._node.get_logger().warning(line)
