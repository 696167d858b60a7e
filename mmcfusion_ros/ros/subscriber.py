"""What a camera's image topic is subscribed to with: its type, and ``message_filters.Subscriber`` or the little of it
that pairing needs where that package is not installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

try:
    from message_filters import Subscriber
except ImportError:

    class Subscriber:  # type: ignore[no-redef]
        """A subscription whose messages go to the one callback that is registered."""

        def __init__(self, node: Node, message_type: type, topic: str, *, qos_profile: QoSProfile) -> None:
            self._create = partial(node.create_subscription, message_type, topic, qos_profile=qos_profile)

        def registerCallback(self, callback: Callable[[Any], None]) -> None:
            """Has it called with every message from now on."""
            self.sub = self._create(callback=callback)


TYPES = {  # by the last part of the topic's name
    "compressed": ("sensor_msgs", "CompressedImage"),
    "ffmpeg": ("ffmpeg_image_transport_msgs", "FFMPEGPacket"),
    "foxglove": ("foxglove_msgs", "CompressedVideo"),
}


def message_type(topic: str) -> type:
    """That of the images on a topic, by its name. ``ValueError`` where the package that defines it is not installed."""
    package, name = TYPES.get(topic.rpartition("/")[2], ("sensor_msgs", "Image"))
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except ImportError as error:
        apt = f"ros-$ROS_DISTRO-{package.replace('_', '-')}"
        raise ValueError(f"{topic} needs {package}/msg/{name}: sudo apt install {apt}") from error


def with_header(message: Any) -> Any:
    """A message of such a topic; ``foxglove_msgs/CompressedVideo``, which has but the parts of a header, gets one."""
    if hasattr(message, "header"):
        return message
    header = Header(stamp=message.timestamp, frame_id=message.frame_id)
    return SimpleNamespace(header=header, format=message.format, data=message.data)


__all__ = ["Subscriber", "message_type", "with_header"]
