"""The frames of one camera that wait for a partner, and what is known of when its frames come. All times in int ns."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median, median_low
from typing import Any, Generic, Literal, TypeVar

Item = TypeVar("Item")
Stream = Literal["thermal", "rgb"]

CAMERAS: dict[Stream, str] = {"thermal": "thermal", "rgb": "RGB"}  # in texts
INTERVALS_KEPT, LEAST_INTERVALS = 8, 3
ARRIVALS_KEPT = 32


def stamp_ns(message: Any) -> int:
    """The stamp in a message's header, in ns."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def set_stamp(message: Any, time_ns: int) -> None:
    """Another stamp for a message, in ns."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, 1_000_000_000)


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
    next_ns: float = -math.inf  # the earliest time of the next frame: half the shortest of the last intervals on
    intervals_ns: deque[float] = field(default_factory=lambda: deque(maxlen=INTERVALS_KEPT))
    lateness_ns: deque[int] = field(default_factory=lambda: deque(maxlen=ARRIVALS_KEPT))  # steady arrival minus time
    behind_ns: deque[int] = field(default_factory=lambda: deque(maxlen=ARRIVALS_KEPT))  # clock on arrival minus stamp

    def shift(self, by_ns: int) -> None:
        """Moves all its times, as after a change of its offset."""
        for frame in self.queue:
            frame.time_ns += by_ns
        for name in ("newest_ns", "decided_ns", "backward_ns", "ceiling_ns", "next_ns"):
            setattr(self, name, getattr(self, name) + by_ns)
        self.lateness_ns = deque((late - by_ns for late in self.lateness_ns), maxlen=ARRIVALS_KEPT)

    def due_ns(self, time_ns: int) -> float:
        """When, by the steady clock, all frames up to this time have come: later than any of the last ones by as much
        as those differ. Infinite while too few are known."""
        if len(self.lateness_ns) < INTERVALS_KEPT:
            return math.inf
        latest = max(self.lateness_ns)
        return time_ns + 2 * latest - min(self.lateness_ns)

    def period_ns(self) -> float:
        """Median interval; 0 while too few are known."""
        return median_low(self.intervals_ns) if len(self.intervals_ns) >= LEAST_INTERVALS else 0.0

    def behind_s(self) -> float | None:
        """By how much its stamps lie behind the clock on arrival, in s: latency, and what the camera's clock is wrong
        by. The median of the last; None while too few are known."""
        return median(self.behind_ns) / 1e9 if len(self.behind_ns) >= INTERVALS_KEPT else None
