"""How a camera's topics are subscribed to: its images by ``message_filters.Subscriber``, or the little of it that
pairing needs where that package is not installed; its ``camera_info``, which may have been sent long ago."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
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


STATIC = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)  # of /tf_static
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PERIOD_S = 0.5
TYPES = {  # by the last part of the topic's name
    "compressed": ("sensor_msgs", "CompressedImage"),
    "ffmpeg": ("ffmpeg_image_transport_msgs", "FFMPEGPacket"),
    "foxglove": ("foxglove_msgs", "CompressedVideo"),
    "bond": ("bond", "Status"),
    "tf_static": ("tf2_msgs", "TFMessage"),
}


def message_type(topic: str) -> type:
    """That of a topic of ``TYPES`` or of images. ``ValueError`` where the package that defines it is not installed."""
    package, name = TYPES.get(topic.rpartition("/")[2], ("sensor_msgs", "Image"))
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except ImportError as error:
        apt = f"ros-$ROS_DISTRO-{package.replace('_', '-')}"
        raise ValueError(f"{topic} needs {package}/msg/{name}: sudo apt install {apt}") from error


def static_frames_type(required: bool) -> type | None:
    """``tf2_msgs/msg/TFMessage``; where that package is not installed, as on plain Python, None, or ``ValueError`` if
    it is required."""
    try:
        return message_type("/tf_static")
    except ValueError:
        if required:
            raise
        return None


def with_header(message: Any) -> Any:
    """A message of such a topic; ``foxglove_msgs/CompressedVideo``, which has but the parts of a header, gets one."""
    if hasattr(message, "header"):
        return message
    header = Header(stamp=message.timestamp, frame_id=message.frame_id)
    return SimpleNamespace(header=header, format=message.format, data=message.data)


class CameraInfoSubscription:
    """Calls ``take(message)`` from its creation until ``close``, with a message that came twice only once.

    A volatile subscription, of ``qos``, hears all that is sent from now on. While there is a publisher that keeps its
    last message, a transient-local one hears that too. It is not there all the time, since the publishers that it
    cannot hear would each log a warning.
    """

    def __init__(self, node: Node, topic: str, take: Callable[[CameraInfo], object], qos: QoSProfile) -> None:
        self._node, self._take = node, take
        self._last: CameraInfo | None = None
        self._live = node.create_subscription(CameraInfo, topic, self._take_live, qos)
        self._kept: Subscription | None = None
        self.topic = self._live.topic_name
        self._timer = node.create_timer(PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._look()

    def close(self) -> None:
        """Unsubscribes."""
        self._node.destroy_timer(self._timer)
        for subscription in filter(None, (self._live, self._kept)):
            self._node.destroy_subscription(subscription)

    def _look(self) -> None:
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        kept = any(info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for info in publishers)
        if kept and not self._kept:
            self._kept = self._node.create_subscription(CameraInfo, self.topic, self._take_kept, LATCHED)
        elif not kept and self._kept:
            self._node.destroy_subscription(self._kept)
            self._kept = None

    def _take_live(self, message: CameraInfo) -> None:
        self._last = message
        self._take(message)

    def _take_kept(self, message: CameraInfo) -> None:
        if message != self._last:
            self._take_live(message)


__all__ = [
    "LATCHED",
    "STATIC",
    "CameraInfoSubscription",
    "Subscriber",
    "message_type",
    "static_frames_type",
    "with_header",
]
