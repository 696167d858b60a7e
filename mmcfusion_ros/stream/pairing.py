"""Pairing of two camera streams by stamp: a pair is two frames that are each other's nearest.

All stamps, times and durations are int nanoseconds. The same ``Pairer`` serves bags and the live node; it needs no ROS.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

Item = TypeVar("Item")
Stream = Literal["thermal", "rgb"]

# Every dropped frame is counted once, under "REASON_STREAM", such as "unpaired_rgb".
DROP_REASONS = {
    "unpaired": "no partner: its nearest frame is nearer to another one, or beyond the slop, or did not come in time",
    "overflow": "its queue was full before a partner came",
    "stale": "older than max_age on arrival",
    "duplicate": "same stamp as the frame before it",
    "out_of_order": "stamped before the frame before it",
    "clock_jump": "from the time before a stamp or the clock went back (a bag that loops)",
}
MAX_BACKWARD_NS = 1_000_000_000  # one frame further back than this is a clock jump, not a frame out of order
INTERVALS_KEPT = 8


def stamp_ns(message: Any) -> int:
    """The stamp in a message's header, in ns."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


@dataclass(frozen=True)
class PairingOptions:
    """Limits of the pairing, in ns. ``ValueError`` names a limit that makes no sense.

    slop_ns: largest skew of a pair, inclusive.
    max_wait_ns: how long two frames, both there, wait for the proof that no nearer one follows.
    max_age_ns: how old a frame may be on arrival, and how long it waits for a partner; 0 is no limit.
    queue_size: frames of one stream that wait at most.
    thermal_offset_ns: added to thermal stamps before they are compared with RGB stamps or with the clock.
    """

    slop_ns: int
    max_wait_ns: int
    max_age_ns: int
    queue_size: int
    thermal_offset_ns: int = 0

    def __post_init__(self) -> None:
        for name in ("slop_ns", "max_wait_ns", "max_age_ns"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if self.queue_size < 1:
            raise ValueError(f"queue_size is {self.queue_size}; it must be 1 or more")


@dataclass(frozen=True)
class Pair(Generic[Item]):
    """Two frames, their own stamps, and ``skew_ns``: RGB stamp minus thermal stamp with its offset."""

    thermal: Item
    rgb: Item
    thermal_stamp_ns: int
    rgb_stamp_ns: int
    skew_ns: int


@dataclass(frozen=True)
class LoneFrame(Generic[Item]):
    """A frame that goes on without a partner; ``time_ns`` is its stamp by the RGB camera's clock."""

    stream: Stream
    item: Item
    stamp_ns: int
    time_ns: int


@dataclass(frozen=True)
class _Frame(Generic[Item]):
    item: Item
    stamp_ns: int
    time_ns: int  # the stamp with its stream's offset
    arrival_ns: int


@dataclass
class _Stream(Generic[Item]):
    """One camera. The infinities (the only floats) stand for "none yet"."""

    name: Stream
    queue: deque[_Frame[Item]] = field(default_factory=deque)  # undecided frames, oldest first
    newest_ns: float = -math.inf  # time of the newest frame accepted
    decided_ns: float = -math.inf  # time of the newest frame that left the queue
    backward_ns: float = math.inf  # time of a frame out of order, until the next good one
    ceiling_ns: float = math.inf  # the other stream has jumped back: frames above are of the time before
    next_ns: float = -math.inf  # the earliest time of the next frame: half the shortest of the last intervals on
    intervals_ns: deque[float] = field(default_factory=lambda: deque(maxlen=INTERVALS_KEPT))


class Pairer(Generic[Item]):
    """Pairs the frames of two streams, each of which arrives in the order of its stamps.

    A thermal and an RGB frame are a pair if each is the nearest to the other and their skew is within the slop. Of two
    equally near pairs, the one whose RGB frame is first counts as nearer (with "the earlier frame", two cameras exactly
    half a period apart would never pair). So stamps of pairs increase, no frame is used twice, and neither the latency
    of a stream nor the interleaving of the two changes the pairs, as long as waits and queues suffice.

    ``arrival_ns`` and ``now_ns`` are of one steady clock, ``clock_ns`` is of the clock that stamps the frames; a bag
    gives its receive times as both. ``drops`` counts dropped frames by name (``DROP_REASONS``); ``on_drop(name, item)``
    is called with each. ``last_arrival_ns`` tells when each stream last delivered anything, for the report of a stall;
    ``newest`` is the last frame of each stream that was accepted. ``deadline_ns`` is when ``poll`` has something to do
    if no frame comes before; None if nothing waits or waits have no end.
    """

    def __init__(self, options: PairingOptions, on_drop: Callable[[str, Item], None] | None = None) -> None:
        self.options = options
        self.drops: Counter[str] = Counter()
        self.last_arrival_ns: dict[Stream, int] = {}
        self.newest: dict[Stream, Item] = {}
        self.deadline_ns: int | None = None
        self._on_drop = on_drop
        self._thermal: _Stream[Item] = _Stream("thermal")
        self._rgb: _Stream[Item] = _Stream("rgb")
        self._clock_ns: float = -math.inf

    def add(
        self, stream: Stream, stamp_ns: int, item: Item, arrival_ns: int, clock_ns: int | None = None
    ) -> list[Pair[Item]]:
        """Takes a frame; returns the pairs it settles. Without ``clock_ns`` no frame is stale on arrival."""
        this, other = (self._thermal, self._rgb) if stream == "thermal" else (self._rgb, self._thermal)
        time_ns = stamp_ns + (self.options.thermal_offset_ns if stream == "thermal" else 0)
        self.last_arrival_ns[stream] = arrival_ns
        if clock_ns is not None:
            if clock_ns < self._clock_ns:
                self._clock_went_back(clock_ns)
            self._clock_ns = clock_ns
        in_order = time_ns > this.newest_ns and this.ceiling_ns == math.inf
        if clock_ns is not None and 0 < self.options.max_age_ns < clock_ns - time_ns:
            self._drop(this, item, "stale")
        elif fault := None if in_order else self._fault(this, other, time_ns):
            self._drop(this, item, fault)
        else:
            if this.newest_ns > -math.inf:
                this.intervals_ns.append(time_ns - this.newest_ns)
            known = len(this.intervals_ns) == INTERVALS_KEPT
            this.next_ns = time_ns + (max(1, min(this.intervals_ns) // 2) if known else 1)
            this.newest_ns, this.backward_ns = time_ns, math.inf
            this.queue.append(_Frame(item, stamp_ns, time_ns, arrival_ns))
            self.newest[stream] = item
        return self.poll(arrival_ns)

    def poll(self, now_ns: int) -> list[Pair[Item]]:
        """Returns the pairs that have waited long enough by now; drops frames that have waited too long."""
        pairs: list[Pair[Item]] = []
        options, streams = self.options, (self._thermal, self._rgb)
        while self._thermal.queue and self._rgb.queue:
            # The earlier of the two oldest frames pairs with the later one or not at all: what comes after that one is
            # further away, what came before it is decided.
            thermal, rgb = self._thermal.queue[0], self._rgb.queue[0]
            thermal_first = thermal.time_ns < rgb.time_ns
            early, late = streams if thermal_first else streams[::-1]
            first, second = early.queue[0].time_ns, late.queue[0].time_ns
            gap = second - first
            nearer = gap + 1 if thermal_first else gap  # what is less than this away is nearer
            passed_over = first - late.decided_ns < nearer or (
                len(early.queue) > 1 and early.queue[1].time_ns - second < nearer
            )
            wait_end_ns = max(thermal.arrival_ns, rgb.arrival_ns) + options.max_wait_ns
            if gap > options.slop_ns or passed_over:
                self._drop_oldest(early, "unpaired")
            elif early.next_ns - second >= nearer or now_ns >= wait_end_ns or len(late.queue) > options.queue_size:
                for stream in streams:
                    stream.decided_ns = stream.queue.popleft().time_ns
                skew_ns = rgb.time_ns - thermal.time_ns
                pairs.append(Pair(thermal.item, rgb.item, thermal.stamp_ns, rgb.stamp_ns, skew_ns))
            else:
                self.deadline_ns = wait_end_ns
                return pairs
        for stream in streams:
            while stream.queue and 0 < options.max_age_ns <= now_ns - stream.queue[0].arrival_ns:
                self._drop_oldest(stream, "unpaired")
            while len(stream.queue) > options.queue_size:
                self._drop_oldest(stream, "overflow")
        waiting = [stream.queue[0].arrival_ns for stream in streams if stream.queue and options.max_age_ns]
        self.deadline_ns = min(waiting) + options.max_age_ns if waiting else None
        return pairs

    def reset(self, reason: str) -> None:
        """Drops every waiting frame for this reason. A stamp that then goes back is still noticed."""
        for stream in (self._thermal, self._rgb):
            self._flush(stream, reason)
        self.deadline_ns = None

    def _drop(self, stream: _Stream[Item], item: Item, reason: str) -> None:
        name = f"{reason}_{stream.name}"
        self.drops[name] += 1
        if self._on_drop:
            self._on_drop(name, item)

    def _drop_oldest(self, stream: _Stream[Item], reason: str) -> None:
        frame = stream.queue.popleft()
        stream.decided_ns = frame.time_ns
        self._drop(stream, frame.item, reason)

    def _flush(self, stream: _Stream[Item], reason: str) -> None:
        while stream.queue:
            self._drop_oldest(stream, reason)

    def _clock_went_back(self, clock_ns: int) -> None:
        """Drops what waits of a stream that has not gone back too."""
        for stream in (self._thermal, self._rgb):
            if stream.newest_ns > (self._clock_ns + clock_ns) // 2:
                self._flush(stream, "clock_jump")

    def _fault(self, this: _Stream[Item], other: _Stream[Item], time_ns: int) -> str | None:
        """Why a frame of ``this`` stream must not be used, if so. A jump back in time begins both streams anew."""
        if other.newest_ns <= this.ceiling_ns < time_ns:
            return "clock_jump"
        this.ceiling_ns = math.inf
        if time_ns > this.newest_ns:
            return None
        if time_ns == this.newest_ns:
            return "duplicate"
        if this.newest_ns - time_ns <= MAX_BACKWARD_NS and time_ns <= this.backward_ns:
            this.backward_ns = time_ns
            return "out_of_order"
        self._jump_back(this, other, time_ns)
        return None

    def _jump_back(self, this: _Stream[Item], other: _Stream[Item], time_ns: int) -> None:
        """``this`` stream has gone back to ``time_ns``.

        What lies nearer to where it was belongs to the time before: frames that wait there are dropped, and so will be
        those that the other stream still delivers from there, until it has jumped too or this one has come up to it.
        """
        split_ns = (this.newest_ns + time_ns) // 2
        for stream in (this, other):
            if stream.newest_ns > split_ns:
                self._flush(stream, "clock_jump")
                stream.newest_ns = stream.decided_ns = stream.next_ns = -math.inf
                if stream is other:
                    stream.ceiling_ns = split_ns
