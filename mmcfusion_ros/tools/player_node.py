"""A node that runs in the main thread until its work is done or a signal ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

PATIENCE_S = 60.0  # with subscribers that are asked for


@contextmanager
def player_node(name: str, ros_args: Sequence[str]) -> Iterator[tuple[Node, Context, threading.Event]]:
    """The node, its context, and an event that SIGINT and SIGTERM set; the handlers of before are put back at the end.

    Called in the main thread. Whoever takes the node destroys it.
    """
    stop = threading.Event()
    handlers = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    context = Context()
    try:
        rclpy.init(args=list(ros_args), context=context, signal_handler_options=SignalHandlerOptions.NO)
        yield Node(name, context=context), context, stop
    finally:
        context.try_shutdown()
        for number, handler in handlers.items():
            signal.signal(number, handler)
