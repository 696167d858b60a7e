"""What a camera's image topic is subscribed to with: its type, and ``message_filters.Subscriber`` or the little of it
that pairing needs where that package is not installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

try:
    from message_filters import Subscriber
except ImportError:

    class Subscriber:  # type: ignore[no-redef]
        """A subscription whose messages go to registered callbacks."""

        def __init__(self, node: Node, message_type: type, topic: str, *, qos_profile: QoSProfile) -> None:
            self._callbacks: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
            self.sub = node.create_subscription(message_type, topic, self._receive, qos_profile)

        def registerCallback(self, callback: Callable[..., object], *args: Any) -> None:
            """Has ``callback(message, *args)`` called with every message."""
            self._callbacks.append((callback, args))

        def _receive(self, message: Any) -> None:
            for callback, args in self._callbacks:
                callback(message, *args)


STATIC = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)  # of /tf_static

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


def static_frames_type() -> type | None:
    """``tf2_msgs/msg/TFMessage``; None where that package is not installed, as on plain Python."""
    try:
        return getattr(import_module("tf2_msgs.msg"), "TFMessage")  # noqa: B009  # it has no types here
    except ImportError:
        return None


def with_header(message: Any) -> Any:
    """A message of such a topic; ``foxglove_msgs/CompressedVideo``, which has but the parts of a header, gets one."""
    if hasattr(message, "header"):
        return message
    header = Header(stamp=message.timestamp, frame_id=message.frame_id)
    return SimpleNamespace(header=header, format=message.format, data=message.data)


__all__ = ["STATIC", "Subscriber", "message_type", "static_frames_type", "with_header"]
