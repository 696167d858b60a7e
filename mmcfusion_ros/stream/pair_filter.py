"""The pairing behind the interface of ``message_filters``, for messages that arrive in several threads."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from mmcfusion_ros.stream.pairing import Pair, Pairer, PairingOptions, Stream


def stamp_ns(message: Any) -> int:
    """The stamp in a message's header, in ns."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


class PairFilter:
    """A ``Pairer`` with the interface of a ``message_filters`` synchronizer, for ROS messages with a header.

    Thread-safe. Frames are selected under a lock, callbacks run outside of it, one pair at a time and in order; they
    may add frames themselves. An exception in a callback reaches the caller whose frame was at work; pairs that are
    left come with the next call. ``clock_ns`` is the clock of the stamps, ``steady_ns`` one that never goes back.
    """

    def __init__(
        self, options: PairingOptions, clock_ns: Callable[[], int], steady_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._pairer: Pairer[Any] = Pairer(options)
        self._read_clock_ns, self._read_steady_ns = clock_ns, steady_ns
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Pair[Any]], object]] = []
        self._outbox: deque[Pair[Any]] = deque()
        self._delivering = False

    def connectInput(self, thermal_filter: Any, rgb_filter: Any) -> None:
        """Takes the messages of two filters, each of which has ``registerCallback(callback, *args)``."""
        thermal_filter.registerCallback(self.add, "thermal")
        rgb_filter.registerCallback(self.add, "rgb")

    def registerCallback(self, callback: Callable[..., object], *args: Any) -> int:
        """Has ``callback(thermal_message, rgb_message, *args)`` called with every pair; returns its number."""
        return self.registerPairCallback(lambda pair: callback(pair.thermal, pair.rgb, *args))

    def registerPairCallback(self, callback: Callable[[Pair[Any]], object]) -> int:
        """Has ``callback(pair)`` called with every ``Pair`` of messages; returns its number."""
        self._callbacks.append(callback)
        return len(self._callbacks) - 1

    def add(self, message: Any, stream: Stream) -> bool:
        """Takes a message with ``header.stamp``; calls back with the pairs it settles. False if it was dropped."""
        with self._lock:
            self._send(
                self._pairer.add(stream, stamp_ns(message), message, self._read_steady_ns(), self._read_clock_ns())
            )
            accepted = self._pairer.newest.get(stream) is message
        self._deliver()
        return accepted

    def poll(self) -> None:
        """Calls back with the pairs that have waited long enough; due at ``next_deadline_ns``."""
        with self._lock:
            self._send(self._pairer.poll(self._read_steady_ns()))
        self._deliver()

    def next_deadline_ns(self) -> int | None:
        """When, by the steady clock, ``poll`` must be called if no message comes before; None if it need not be."""
        with self._lock:
            return self._pairer.next_deadline_ns()

    @property
    def drops(self) -> Counter[str]:
        """Dropped frames by name, as of now."""
        with self._lock:
            return self._pairer.drops.copy()

    @property
    def last_arrival_ns(self) -> dict[Stream, int]:
        """By the steady clock, when each stream last delivered a message; a stream that never did is missing."""
        with self._lock:
            return self._pairer.last_arrival_ns.copy()

    def _send(self, pairs: list[Pair[Any]]) -> None:
        """Puts pairs into the outbox, which like every queue has an end. Needs the lock."""
        self._outbox.extend(pairs)
        while len(self._outbox) > self._pairer.options.queue_size:
            self._outbox.popleft()
            self._pairer.drops.update(("overflow_thermal", "overflow_rgb"))

    def _deliver(self) -> None:
        """Calls back with the pairs in the outbox, unless a call further up or in another thread is about it."""
        while True:
            with self._lock:
                if self._delivering or not self._outbox:
                    return
                self._delivering = True
                pair = self._outbox.popleft()
            try:
                for callback in self._callbacks:
                    callback(pair)
            finally:
                self._delivering = False
