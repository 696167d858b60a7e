"""The frames of one camera that wait for a partner, and what is known of when its frames come. All times in int ns."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, Literal, TypeVar

Item = TypeVar("Item")
Stream = Literal["thermal", "rgb"]

CAMERAS: dict[Stream, str] = {"thermal": "thermal", "rgb": "RGB"}  # in texts
INTERVALS_KEPT = 8
ARRIVALS_KEPT = 32


@dataclass
class Frame(Generic[Item]):
    """A message, its stamp, ``time_ns`` (the stamp with its stream's offset), and when it came by a steady clock."""

    item: Item
    stamp_ns: int
    time_ns: int
    arrival_ns: int
    used: bool = False  # in a pair already


@dataclass
class CameraQueue(Generic[Item]):
    """One camera. The infinities (the only floats) stand for "none yet"."""

    name: Stream
    queue: deque[Frame[Item]] = field(default_factory=deque)  # undecided frames, oldest first
    newest_ns: float = -math.inf  # time of the newest frame accepted
    decided_ns: float = -math.inf  # time of the newest frame that left the queue
    backward_ns: float = math.inf  # time of a frame out of order, until the next good one
    ceiling_ns: float = math.inf  # the other stream has jumped back: frames above are of the time before
    intervals_ns: deque[int] = field(default_factory=lambda: deque(maxlen=INTERVALS_KEPT))
    lateness_ns: deque[int] = field(default_factory=lambda: deque(maxlen=ARRIVALS_KEPT))  # steady arrival minus time
    behind_ns: deque[int] = field(default_factory=lambda: deque(maxlen=ARRIVALS_KEPT))  # clock on arrival minus stamp

    def accept(self, frame: Frame[Item]) -> None:
        """Takes a frame that is newer than all before."""
        if self.newest_ns > -math.inf:
            self.intervals_ns.append(frame.time_ns - int(self.newest_ns))
        self.lateness_ns.append(frame.arrival_ns - frame.time_ns)
        self.newest_ns, self.backward_ns = frame.time_ns, math.inf
        self.queue.append(frame)

    def oldest_ns(self) -> int:
        """Time of the oldest undecided frame."""
        return self.queue[0].time_ns

    def take(self) -> Frame[Item]:
        """The oldest undecided frame, which is decided now."""
        frame = self.queue.popleft()
        self.decided_ns = frame.time_ns
        return frame

    def restart(self) -> None:
        """Its clock has jumped: what was learnt is void."""
        self.newest_ns = self.decided_ns = -math.inf
        self.lateness_ns.clear()

    def next_ns(self) -> float:
        """The earliest time that the next frame may have: half the shortest of the last intervals on."""
        known = len(self.intervals_ns) == INTERVALS_KEPT
        return self.newest_ns + (max(1, min(self.intervals_ns) // 2) if known else 1)

    def due_ns(self, time_ns: int) -> float:
        """When, by the steady clock, all frames up to this time have come: later than any of the last ones by as much
        as those differ. Infinite while too few are known."""
        if len(self.lateness_ns) < INTERVALS_KEPT:
            return math.inf
        latest = max(self.lateness_ns)
        return time_ns + 2 * latest - min(self.lateness_ns)

    def period_ns(self) -> float:
        """Median interval; 0 while too few are known."""
        return median(self.intervals_ns) if len(self.intervals_ns) == INTERVALS_KEPT else 0.0

    def behind_s(self) -> float | None:
        """By how much its stamps lie behind the clock on arrival, in s: latency, and what the camera's clock is wrong
        by. The median of the last; None while too few are known."""
        return median(self.behind_ns) / 1e9 if len(self.behind_ns) >= INTERVALS_KEPT else None
