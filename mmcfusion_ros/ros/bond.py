"""The node's end of a bond: the heartbeat by which nav2's lifecycle manager sees that it lives."""

from __future__ import annotations

import uuid

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher

from mmcfusion_ros.ros.subscriptions import message_type

TOPIC = "bond"
PATIENCE_S = 0.2
TIMEOUT_S = 4.0  # nav2's own servers tell this one; a manager goes by its own


class Bond:
    """Sends ``bond/msg/Status`` every ``period_s`` until ``close``, in the thread that spins the node.

    As with nav2's own servers (``nav2_ros_common/lifecycle_node.hpp``), the id is the node's name, and a manager that
    dies does not matter.
    """

    def __init__(self, node: Node, period_s: float) -> None:
        self._node, status = node, message_type(TOPIC)
        self._heartbeat = status(
            id=node.get_name(),
            instance_id=str(uuid.uuid4()),
            active=True,
            heartbeat_timeout=TIMEOUT_S,
            heartbeat_period=period_s,
        )
        self._publisher: Publisher = node.create_publisher(status, TOPIC, 1)
        self._timer = node.create_timer(period_s, self._beat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Says so to the manager, and ends."""
        self._node.destroy_timer(self._timer)
        self._heartbeat.active = False
        self._beat()
        self._publisher.wait_for_all_acked(Duration(seconds=PATIENCE_S))
        self._node.destroy_publisher(self._publisher)

    def _beat(self) -> None:
        self._heartbeat.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(self._heartbeat)
