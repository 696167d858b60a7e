"""One thread that computes: it takes the newest work and never lets a queue grow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmcfusion_ros.stream.mode import Source
from mmcfusion_ros.stream.pair_filter import PairFilter
from mmcfusion_ros.stream.pairing import Pair, Stream


@dataclass(frozen=True)
class LoneFrame:
    """A message that goes out without a partner; ``time_ns`` is its stamp by the RGB camera's clock."""

    stream: Stream
    message: Any
    time_ns: int


Job = Pair[Any] | LoneFrame


def source_of(job: Job) -> Source:
    """The camera of a lone frame, or ``pair``."""
    return job.stream if isinstance(job, LoneFrame) else "pair"


class NewestPairWorker:
    """Calls ``process`` with the newest pair of a filter, whose waits it also ends when they are due, and the newest
    lone frame of each camera: in turns, if they come faster than they are processed.

    What a newer pair or frame replaces before it was taken goes to ``superseded``. ``process`` must not raise.
    """

    def __init__(self, pairs: PairFilter, process: Callable[[Job], None], superseded: Callable[[Job], object]) -> None:
        self._pairs = pairs
        self._process = process
        self._superseded = superseded
        self._condition = threading.Condition()
        self._newest: dict[Source, Job] = {}
        self._awake = False
        self._stopping = False
        self._busy_since_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="fusion", daemon=True)
        pairs.registerPairCallback(self.put)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Ends after the work at hand; False if that takes longer than the timeout."""
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

    def put(self, job: Job) -> None:
        """Takes the place of what waits from the same source."""
        source = source_of(job)
        with self._condition:
            replaced = self._newest.get(source)
            self._newest[source] = job
            self._condition.notify()
        if replaced:
            self._superseded(replaced)

    def busy_s(self) -> float:
        """For how long it has been at the work at hand; 0 if there is none."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def _run(self) -> None:
        while not self._stopping:
            deadline_ns = self._pairs.next_deadline_ns()
            timeout_s = None if deadline_ns is None else max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9)
            with self._condition:
                self._condition.wait_for(lambda: self._newest or self._awake or self._stopping, timeout_s)
                job = self._newest.pop(next(iter(self._newest))) if self._newest else None
                self._awake = False
            if job and not self._stopping:
                self._busy_since_s = time.monotonic()
                self._process(job)
                self._busy_since_s = None
            else:
                self._pairs.poll()
