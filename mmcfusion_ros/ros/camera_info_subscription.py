"""Camera_info of any publisher, also of one that has sent it once, before the node was there."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PERIOD_S = 0.5


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
