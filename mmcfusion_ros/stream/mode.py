"""What the node puts out: fused pairs, or the images of the one camera that is left."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Literal

from mmcfusion_ros.stream.pairing import Stream

Mode = Literal["STARTING", "FUSED", "RGB_ONLY", "THERMAL_ONLY", "NONE"]
Source = Literal["pair", "rgb", "thermal"]
FROZEN: Literal["frozen"] = "frozen"

ALONE: dict[Stream, Mode] = {"rgb": "RGB_ONLY", "thermal": "THERMAL_ONLY"}
SOURCES: dict[Mode, Source] = {mode: stream for stream, mode in ALONE.items()}


class ModeSwitch:
    """Follows what arrives and whether it could be used. Thread-safe.

    Fusion is given up once no usable pair came for ``timeout_s``; the RGB camera, or else the thermal one, then goes
    out alone, if it is one of ``pass_through`` and has been sending usable frames for ``timeout_s``. Fusion is resumed
    after ``recovery_pairs`` usable pairs in a row, or after the first one in mode NONE; so a loose plug does not make
    the mode flutter. A source that failed counts again after its first success, and what arrived since its last success
    then proves nothing: a network that is stuck or created again for longer than ``timeout_s`` is a loss.

    A frozen or blind thermal camera is lost at once, and the RGB camera goes out alone whatever ``pass_through`` says;
    after a blind one the first usable pair resumes fusion.

    ``timeout_s`` may change. ``source`` is what goes out: fused pairs, or frames of one camera. ``on_change(new, old)``
    is called with every change of the mode, one at a time and in order.
    """

    def __init__(
        self,
        timeout_s: float,
        recovery_pairs: int,
        pass_through: Collection[Stream],
        on_change: Callable[[Mode, Mode], object],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mode: Mode = "STARTING"
        self.source: Source = "pair"
        self.timeout_s, self._recovery_pairs, self._pass_through = timeout_s, recovery_pairs, pass_through
        self._on_change, self._clock_s = on_change, clock_s
        self._lock = threading.Lock()
        self._last_s: dict[str, float] = {"pair": clock_s(), "rgb": -math.inf, "thermal": -math.inf, FROZEN: -math.inf}
        self._since_s = dict(self._last_s)
        self._good_s = dict(self._last_s)
        self._failing: set[Source] = set()
        self._good_pairs = 0
        self._blind = False

    def note(self, arrived: Iterable[Source] = (), good: Collection[Source] = (), bad: Collection[Source] = ()) -> None:
        """What was accepted by the pairing or became a pair, what could be used, what could not; or time has passed."""
        with self._lock:
            now_s = self._clock_s()
            self._failing.difference_update(good)
            for source in [*good, *(source for source in arrived if source not in self._failing)]:
                if now_s - self._last_s[source] > self.timeout_s:
                    self._since_s[source] = now_s
                self._last_s[source] = now_s
            self._good_s.update(dict.fromkeys(good, now_s))
            self._good_pairs = 0 if "pair" in bad else self._good_pairs + ("pair" in good)
            self._failing.update(bad)
            self._last_s.update((source, self._good_s[source]) for source in bad)
            if self.mode != "FUSED" or now_s - self._last_s["pair"] > self.timeout_s:
                self._follow(now_s)

    def frozen(self, blind: bool = False) -> None:
        """The thermal frame of a pair was an old one, or shows nothing, and the RGB camera is to go out instead."""
        with self._lock:
            now_s = self._clock_s()
            self._blind = blind
            self._failing |= {"pair", "thermal"}
            self._good_pairs = 0
            self._last_s["pair"] = self._good_s["pair"] = -math.inf
            self._last_s[FROZEN] = now_s
            self._follow(now_s)

    def wants(self, stream: Stream) -> bool:
        """Whether frames of this camera are looked at alone: they go out, or may prove that it is well again."""
        return self.source == stream or (self.mode == "NONE" and stream in self._failing)

    def _follow(self, now_s: float) -> None:
        new = self._next(now_s)
        if new != self.mode:
            old, self.mode = self.mode, new
            self.source = SOURCES.get(new, "pair")
            self._on_change(new, old)

    def _next(self, now_s: float) -> Mode:
        fresh = {source for source, last_s in self._last_s.items() if now_s - last_s <= self.timeout_s}
        if "pair" not in fresh:
            self._good_pairs = 0
        at_once = self.source == "pair" or (self._blind and FROZEN in fresh)
        if self._good_pairs >= (1 if at_once else self._recovery_pairs):
            return "FUSED"
        if "pair" in fresh and self.source == "pair":
            return self.mode
        if FROZEN in fresh:
            return "RGB_ONLY"
        for stream, mode in ALONE.items():
            if stream in fresh and now_s - self._since_s[stream] >= self.timeout_s:
                return mode if stream in self._pass_through else "NONE"
        return "NONE"
