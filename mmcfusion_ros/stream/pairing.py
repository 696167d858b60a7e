"""Pairing of two camera streams by stamp: a pair is two frames that are each other's nearest.

All stamps, times and durations are int nanoseconds. The same ``Pairer`` serves bags and the live node; it needs no ROS.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median, median_low
from typing import Any, Generic, Literal, TypeVar

Item = TypeVar("Item")
Stream = Literal["thermal", "rgb"]

CAMERAS: dict[Stream, str] = {"thermal": "thermal", "rgb": "RGB"}  # in texts
INTERVALS_KEPT, LEAST_INTERVALS = 8, 3
ARRIVALS_KEPT = 32
AHEAD_S, BEHIND_S = 0.02, 0.5  # beyond which it is the clock, not latency
TOGETHER_S = 0.2  # two cameras that differ by less share a clock

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
OUTPUT_RATES, STAMPS = ("pairs", "rgb"), ("header", "arrival")


@dataclass(frozen=True)
class PairingOptions:
    """Limits of the pairing, in ns. ``ValueError`` names a limit that makes no sense.

    slop_ns: largest skew of a pair, inclusive.
    max_wait_ns: how long two frames, both there, wait at most for the proof that no nearer one follows.
    max_age_ns: how old a frame may be on arrival, and how long it waits for a partner; 0 is no limit.
    queue_size: frames of one stream that wait at most.
    thermal_offset_ns: added to thermal stamps before they are compared with RGB stamps or with the clock.
    output_rate: ``pairs``: each frame is used once; ``rgb``: every RGB frame gets the nearest thermal frame that is
        there, as often as need be.
    thermal_hold_ns: largest skew with output rate ``rgb``, inclusive.
    stamps: ``header``, or ``arrival``: whoever takes messages in is to stamp them with the time of that.
    """

    slop_ns: int
    max_wait_ns: int
    max_age_ns: int
    queue_size: int
    thermal_offset_ns: int = 0
    output_rate: str = "pairs"
    thermal_hold_ns: int = 200_000_000
    stamps: str = "header"

    def __post_init__(self) -> None:
        if self.output_rate not in OUTPUT_RATES:
            raise ValueError(f"output_rate is {self.output_rate!r}; it must be one of {', '.join(OUTPUT_RATES)}")
        for name in ("slop_ns", "max_wait_ns", "max_age_ns", "thermal_hold_ns"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if self.queue_size < 1:
            raise ValueError(f"queue_size is {self.queue_size}; it must be 1 or more")


@dataclass(frozen=True)
class Pair(Generic[Item]):
    """Two frames, their own stamps, and ``skew_ns``: RGB stamp minus thermal stamp with its offset.

    ``too_old``: the thermal frame is beyond the hold, and the RGB frame is to go out alone (output rate ``rgb``).
    """

    thermal: Item
    rgb: Item
    thermal_stamp_ns: int
    rgb_stamp_ns: int
    skew_ns: int
    too_old: bool = False


@dataclass(frozen=True)
class LoneFrame(Generic[Item]):
    """A frame that goes on without a partner; ``time_ns`` is its stamp by the RGB camera's clock."""

    stream: Stream
    item: Item
    stamp_ns: int
    time_ns: int


@dataclass
class Waiting(Generic[Item]):
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
    queue: deque[Waiting[Item]] = field(default_factory=deque)  # undecided frames, oldest first
    newest_ns: float = -math.inf  # time of the newest frame accepted
    decided_ns: float = -math.inf  # time of the newest frame that left the queue
    backward_ns: float = math.inf  # time of a frame out of order, until the next good one
    ceiling_ns: float = math.inf  # the other stream has jumped back: frames above are of the time before
    next_ns: float = -math.inf  # the earliest time of the next frame: half the shortest of the last intervals on
    intervals_ns: deque[float] = field(default_factory=lambda: deque(maxlen=INTERVALS_KEPT))
    lateness_ns: deque[int] = field(default_factory=lambda: deque(maxlen=ARRIVALS_KEPT))  # steady arrival minus time
    latest_ns: float = math.inf  # after its time: the latest so far, and as much again as they differ
    behind_ns: deque[int] = field(default_factory=lambda: deque(maxlen=ARRIVALS_KEPT))  # clock on arrival minus stamp

    def shift(self, by_ns: int) -> None:
        """Moves all its times, as after a change of its offset."""
        for frame in self.queue:
            frame.time_ns += by_ns
        for name in ("newest_ns", "decided_ns", "backward_ns", "ceiling_ns", "next_ns"):
            setattr(self, name, getattr(self, name) + by_ns)
        self.latest_ns -= by_ns
        self.lateness_ns = deque((late - by_ns for late in self.lateness_ns), maxlen=ARRIVALS_KEPT)

    def period_ns(self) -> float:
        """Median interval; 0 while too few are known."""
        return median_low(self.intervals_ns) if len(self.intervals_ns) >= LEAST_INTERVALS else 0.0

    def behind_s(self) -> float | None:
        """By how much its stamps lie behind the clock on arrival, in s: latency, and what the camera's clock is wrong
        by. The median of the last; None while too few are known."""
        return median(self.behind_ns) / 1e9 if len(self.behind_ns) >= INTERVALS_KEPT else None


class Pairer(Generic[Item]):
    """Pairs the frames of two streams, each of which arrives in the order of its stamps.

    A thermal and an RGB frame are a pair if each is the nearest to the other and their skew is within the slop. Of two
    equally near pairs, the one whose RGB frame is first counts as nearer (with "the earlier frame", two cameras exactly
    half a period apart would never pair). So stamps of pairs increase, no frame is used twice, and neither the latency
    of a stream nor the interleaving of the two changes the pairs, as long as waits and queues suffice. How long a frame
    may take to arrive is learnt from those before.

    With output rate ``rgb`` every RGB frame makes a pair, with the nearest of the thermal frames that have come: it
    waits for those that were taken before it, not for later ones. Thermal frames that are further apart than the hold
    are not used at all, so that the images do not change their kind again and again.

    ``arrival_ns`` and ``now_ns`` are of one steady clock, ``clock_ns`` is of the clock that stamps the frames; a bag
    gives its receive times as both. ``drops`` counts dropped frames by name (``DROP_REASONS``); ``on_drop(name, item)``
    is called with each. ``newest`` is the last frame of each stream that was accepted. ``deadline_ns`` is when ``poll``
    has something to do if no frame comes before; None if nothing waits or waits have no end.
    """

    def __init__(self, options: PairingOptions, on_drop: Callable[[str, Item], None] | None = None) -> None:
        self.options = options
        self.drops: Counter[str] = Counter()
        self.newest: dict[Stream, Item] = {}
        self.deadline_ns: int | None = None
        self._on_drop = on_drop
        self._thermal: CameraQueue[Item] = CameraQueue("thermal")
        self._rgb: CameraQueue[Item] = CameraQueue("rgb")
        self._clock_ns: float = -math.inf

    def use(self, options: PairingOptions) -> None:
        """Goes on with other limits. What is known of the thermal camera moves along with its offset."""
        if shift_ns := options.thermal_offset_ns - self.options.thermal_offset_ns:
            self._thermal.shift(shift_ns)
        self.options = options

    def add(
        self, stream: Stream, stamp_ns: int, item: Item, arrival_ns: int, clock_ns: int | None = None
    ) -> list[Pair[Item]]:
        """Takes a frame; returns the pairs it settles. Without ``clock_ns`` no frame is stale on arrival."""
        this, other = (self._thermal, self._rgb) if stream == "thermal" else (self._rgb, self._thermal)
        time_ns = stamp_ns + (self.options.thermal_offset_ns if stream == "thermal" else 0)
        if clock_ns is not None:
            if clock_ns < self._clock_ns:
                self._clock_went_back(clock_ns)
            self._clock_ns = clock_ns
            this.behind_ns.append(clock_ns - stamp_ns)
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
            this.lateness_ns.append(arrival_ns - time_ns)
            known = len(this.lateness_ns) >= INTERVALS_KEPT
            this.latest_ns = 2 * max(this.lateness_ns) - min(this.lateness_ns) if known else math.inf
            this.queue.append(Waiting(item, stamp_ns, time_ns, arrival_ns))
            self.newest[stream] = item
        return self.poll(arrival_ns)

    def poll(self, now_ns: int) -> list[Pair[Item]]:
        """Returns the pairs that have waited long enough by now; drops frames that have waited too long."""
        if self.options.output_rate == "rgb":
            return self._every_rgb(now_ns)
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
            wait_end_ns = min(
                max(thermal.arrival_ns, rgb.arrival_ns) + options.max_wait_ns,
                second + nearer + early.latest_ns,  # a nearer frame would have come by then
            )
            if gap > options.slop_ns or passed_over:
                self._drop_oldest(early, "unpaired")
            elif early.next_ns - second >= nearer or now_ns >= wait_end_ns or len(late.queue) > options.queue_size:
                for stream in streams:
                    stream.decided_ns = stream.queue.popleft().time_ns
                skew_ns = rgb.time_ns - thermal.time_ns
                pairs.append(Pair(thermal.item, rgb.item, thermal.stamp_ns, rgb.stamp_ns, skew_ns))
            else:
                self.deadline_ns = int(wait_end_ns)
                return pairs
        for stream in streams:
            while stream.queue and 0 < options.max_age_ns <= now_ns - stream.queue[0].arrival_ns:
                self._drop_oldest(stream, "unpaired")
            while len(stream.queue) > options.queue_size:
                self._drop_oldest(stream, "overflow")
        waiting = [stream.queue[0].arrival_ns for stream in streams if stream.queue and options.max_age_ns]
        self.deadline_ns = min(waiting) + options.max_age_ns if waiting else None
        return pairs

    def _every_rgb(self, now_ns: int) -> list[Pair[Item]]:
        """``poll`` for output rate ``rgb``: thermal frames stay until a nearer one has come."""
        warm, waiting, options, pairs = self._thermal.queue, self._rgb.queue, self.options, []
        self.deadline_ns = None
        while waiting:
            rgb = waiting[0]
            while len(warm) > 1 and abs(warm[1].time_ns - rgb.time_ns) <= abs(warm[0].time_ns - rgb.time_ns):
                self._drop_oldest(self._thermal, "unpaired")
            wait_end_ns = min(rgb.arrival_ns + options.max_wait_ns, rgb.time_ns + self._thermal.latest_ns)
            if (not warm or self._thermal.next_ns <= rgb.time_ns) and now_ns < wait_end_ns:
                self.deadline_ns = int(wait_end_ns)
                break
            if warm:
                skew_ns, rgb.used, warm[0].used = rgb.time_ns - warm[0].time_ns, True, True
                too_old = max(abs(skew_ns), self._thermal.period_ns()) > options.thermal_hold_ns
                pairs.append(Pair(warm[0].item, rgb.item, warm[0].stamp_ns, rgb.stamp_ns, skew_ns, too_old))
            self._drop_oldest(self._rgb, "unpaired")
        for stream in (self._thermal, self._rgb):
            while len(stream.queue) > options.queue_size:
                self._drop_oldest(stream, "overflow")
        return pairs

    def problems(self) -> list[str]:
        """What is wrong with the clocks of the cameras, and with limits that do not fit them, in words."""
        options = self.options
        behind_s = {s.name: behind_s for s in (self._thermal, self._rgb) if (behind_s := s.behind_s()) is not None}
        problems = [f"{what}: {fix}" for what, fix in clock_problems(behind_s, options.thermal_offset_ns / 1e9)]
        for stream, other in ((self._thermal, self._rgb), (self._rgb, self._thermal)):
            known = stream.lateness_ns and other.lateness_ns and stream.period_ns()
            if self.drops[f"overflow_{stream.name}"] and known:
                late_ns = max(other.lateness_ns) - min(stream.lateness_ns)
                needed = math.ceil(max(0, late_ns) / stream.period_ns()) + 2
                if needed > options.queue_size:
                    problems.append(
                        f"{CAMERAS[other.name]} images come {late_ns / 1e9:.2f} s after {CAMERAS[stream.name]} ones: "
                        f"pairing.queue_size {options.queue_size} is too short, set {needed}"
                    )
        period_ns = self._thermal.period_ns()
        if options.output_rate == "rgb" and period_ns > options.thermal_hold_ns:
            problems.append(
                f"thermal images come every {period_ns / 1e9:.2f} s, pairing.thermal_hold is "
                f"{options.thermal_hold_ns / 1e9:g} s: RGB goes out alone; set it to more than that"
            )
        return problems

    def period_s(self) -> float:
        """Of the slower camera; 0 while too little is known."""
        return max(self._thermal.period_ns(), self._rgb.period_ns()) / 1e9

    def reset(self, reason: str) -> None:
        """Drops every waiting frame for this reason. A stamp that then goes back is still noticed."""
        for stream in (self._thermal, self._rgb):
            self._flush(stream, reason)
        self.deadline_ns = None

    def _drop(self, stream: CameraQueue[Item], item: Item, reason: str) -> None:
        name = f"{reason}_{stream.name}"
        self.drops[name] += 1
        if self._on_drop:
            self._on_drop(name, item)

    def _drop_oldest(self, stream: CameraQueue[Item], reason: str) -> None:
        frame = stream.queue.popleft()
        stream.decided_ns = frame.time_ns
        if not frame.used:
            self._drop(stream, frame.item, reason)

    def _flush(self, stream: CameraQueue[Item], reason: str) -> None:
        while stream.queue:
            self._drop_oldest(stream, reason)

    def _clock_went_back(self, clock_ns: int) -> None:
        """Drops what waits of a stream that has not gone back too."""
        for stream in (self._thermal, self._rgb):
            if stream.newest_ns > (self._clock_ns + clock_ns) // 2:
                self._flush(stream, "clock_jump")

    def _fault(self, this: CameraQueue[Item], other: CameraQueue[Item], time_ns: int) -> str | None:
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

    def _jump_back(self, this: CameraQueue[Item], other: CameraQueue[Item], time_ns: int) -> None:
        """``this`` stream has gone back to ``time_ns``.

        What lies nearer to where it was belongs to the time before: frames that wait there are dropped, and so will be
        those that the other stream still delivers from there, until it has jumped too or this one has come up to it.
        """
        split_ns = (this.newest_ns + time_ns) // 2
        for stream in (this, other):
            if stream.newest_ns > split_ns:
                self._flush(stream, "clock_jump")
                stream.newest_ns = stream.decided_ns = stream.next_ns = -math.inf
                stream.lateness_ns.clear()
                stream.latest_ns = math.inf
                if stream is other:
                    stream.ceiling_ns = split_ns


def stamp_ns(message: Any) -> int:
    """The stamp in a message's header, in ns."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def set_stamp(message: Any, time_ns: int) -> None:
    """Another stamp for a message, in ns."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, 1_000_000_000)


def clock_problems(behind_s: Mapping[Stream, float], offset_s: float) -> list[tuple[str, str]]:
    """Which camera's stamps cannot be right and by how much, and what to set.

    ``behind_s``: by how much stamps are behind the clock on arrival, of the cameras that are known; ``offset_s`` is
    ``pairing.thermal_offset``.
    """
    late_s = {name: value - offset_s * (name == "thermal") for name, value in behind_s.items()}
    wrong = [name for name, value in late_s.items() if not -AHEAD_S <= value <= BEHIND_S]
    both = len(behind_s) == 2
    if len(wrong) == 2 and abs(late_s["thermal"] - late_s["rgb"]) < TOGETHER_S:
        fix = "replay a bag with --clock and use_sim_time; else set the cameras' clocks, or pairing.stamps to arrival"
        return [(f"the stamps of both cameras are {_where(behind_s['rgb'])}", fix)]
    offset = f"pairing.thermal_offset to {behind_s['thermal'] - behind_s['rgb']:.3f}, or " if both else ""
    fix = f"set its clock, or {offset}pairing.stamps to arrival"
    return [(f"{CAMERAS[name]} stamps are {_where(behind_s[name])}", fix) for name in wrong]


def _where(behind_s: float) -> str:
    return f"{abs(behind_s):.2f} s {'behind' if behind_s > 0 else 'ahead of'} the clock"
