"""A node that runs in the main thread until its work is done or a signal ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions

from mmcfusion_ros.resources import transport_environment

PATIENCE_S, SETTLE_S = 60.0, 0.1


@contextmanager
def player_node(name: str, ros_args: Sequence[str]) -> Iterator[tuple[Node, Context, threading.Event]]:
    """The node, its context, and an event that SIGINT and SIGTERM set; the handlers of before are put back at the end.
    Fast DDS gets the profile for large images, unless the environment names another.

    Called in the main thread. Whoever takes the node destroys it.
    """
    stop = threading.Event()
    handlers = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    context = Context()
    os.environ.update(transport_environment())
    try:
        rclpy.init(args=list(ros_args), context=context, signal_handler_options=SignalHandlerOptions.NO)
        yield Node(name, context=context), context, stop
    finally:
        context.try_shutdown()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def wait_for_subscribers(node: Node, images: Collection[Publisher], number: int, stop: threading.Event) -> None:
    """Until each of the node's publishers has that many, or for ``PATIENCE_S``, with a warning; and then until the
    subscribers know of the publisher too."""
    deadline = time.monotonic() + PATIENCE_S
    while any(publisher.get_subscription_count() < number for publisher in images):
        if time.monotonic() > deadline:
            node.get_logger().warning(f"an image topic still has fewer than {number} subscribers")
            return
        if stop.wait(0.05):
            return
    if number:
        stop.wait(SETTLE_S)
