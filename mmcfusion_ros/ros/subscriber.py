"""``message_filters.Subscriber``, or the little of it that pairing needs where that package is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

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


__all__ = ["Subscriber"]
