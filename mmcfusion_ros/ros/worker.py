"""One thread that computes: it takes the newest pair and never lets a queue grow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from mmcfusion_ros.ros.pair_filter import PairFilter
from mmcfusion_ros.ros.pairing import Pair


class NewestPairWorker:
    """Calls ``process(pair)`` with the newest pair of a filter, whose waits it also ends when they are due.

    A pair that a newer one replaces before it was taken goes to ``superseded(pair)``. ``process`` must not raise.
    """

    def __init__(
        self,
        pairs: PairFilter,
        process: Callable[[Pair[Any]], None],
        superseded: Callable[[Pair[Any]], None],
    ) -> None:
        self._pairs = pairs
        self._process = process
        self._superseded = superseded
        self._condition = threading.Condition()
        self._newest: Pair[Any] | None = None
        self._awake = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="fusion", daemon=True)
        pairs.registerPairCallback(self._put)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Ends after the pair at work; False if that takes longer than the timeout."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def wake(self) -> None:
        """A message came: the next deadline of the filter may have changed."""
        with self._condition:
            self._awake = True
            self._condition.notify()

    def _put(self, pair: Pair[Any]) -> None:
        with self._condition:
            replaced, self._newest = self._newest, pair
            self._condition.notify()
        if replaced:
            self._superseded(replaced)

    def _run(self) -> None:
        while not self._stopping:
            deadline_ns = self._pairs.next_deadline_ns()
            timeout_s = None if deadline_ns is None else max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9)
            with self._condition:
                self._condition.wait_for(lambda: self._newest or self._awake or self._stopping, timeout_s)
                pair, self._newest, self._awake = self._newest, None, False
            if pair and not self._stopping:
                self._process(pair)
            else:
                self._pairs.poll()
