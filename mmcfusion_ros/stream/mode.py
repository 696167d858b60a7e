"""What the node puts out: fused pairs, or the images of the one camera that is left."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection
from typing import Literal

from mmcfusion_ros.stream.pairing import Stream

Mode = Literal["STARTING", "FUSED", "RGB_ONLY", "THERMAL_ONLY", "NONE"]
Source = Literal["pair", "rgb", "thermal"]
FROZEN: Literal["frozen"] = "frozen"

ALONE: dict[Stream, Mode] = {"rgb": "RGB_ONLY", "thermal": "THERMAL_ONLY"}


class ModeSwitch:
    """Follows what arrives and whether it could be used. Thread-safe.

    Fusion is given up once no usable pair came for ``timeout_s``; the RGB camera, or else the thermal one, then goes
    out alone, if it is one of ``pass_through`` and has been sending usable frames for ``timeout_s``. Fusion is resumed
    after ``recovery_pairs`` usable pairs in a row, or after the first one in mode NONE; so a loose plug does not make
    the mode flutter. A source that failed counts again after its first success, and what arrived since its last success
    then proves nothing: a network that is stuck or made anew for longer than ``timeout_s`` is a loss.

    A frozen or blind thermal camera is lost at once, and the RGB camera goes out alone whatever ``pass_through`` says;
    after a blind one the first usable pair resumes fusion.

    ``on_change(new, old)`` is called with every change, one at a time and in order.
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
        self._timeout_s, self._recovery_pairs, self._pass_through = timeout_s, recovery_pairs, pass_through
        self._on_change, self._clock_s = on_change, clock_s
        self._lock = threading.Lock()
        self._last_s: dict[str, float] = {"pair": clock_s(), "rgb": -math.inf, "thermal": -math.inf, FROZEN: -math.inf}
        self._since_s = dict(self._last_s)
        self._good_s = dict(self._last_s)
        self._failing: set[Source] = set()
        self._good_pairs = 0
        self._blind = False

    def arrived(self, source: Source) -> None:
        """A frame was accepted by the pairing, or a pair formed."""
        with self._lock:
            if source not in self._failing:
                self._mark(source)
            self._update()

    def succeeded(self, source: Source) -> None:
        """A frame or pair could be used."""
        with self._lock:
            self._failing.discard(source)
            self._mark(source)
            self._good_s[source] = self._last_s[source]
            self._good_pairs += source == "pair"
            self._update()

    def failed(self, source: Source) -> None:
        """A frame or pair could not be used."""
        with self._lock:
            self._failing.add(source)
            self._last_s[source] = self._good_s[source]
            if source == "pair":
                self._good_pairs = 0
            self._update()

    def frozen(self, blind: bool = False) -> None:
        """The thermal frame of a pair was an old one, or shows nothing, and the RGB camera is to go out instead."""
        with self._lock:
            self._blind = blind
            self._failing |= {"pair", "thermal"}
            self._good_pairs = 0
            self._last_s["pair"] = self._good_s["pair"] = -math.inf
            self._mark(FROZEN)
            self._update()

    def update(self) -> None:
        """Time has passed."""
        with self._lock:
            self._update()

    def publishes(self, source: Source) -> bool:
        """Whether fused pairs, or frames of this camera alone, go out."""
        if source == "pair":
            return self.mode not in ALONE.values()
        return self.mode == ALONE[source]

    def wants(self, stream: Stream) -> bool:
        """Whether frames of this camera are looked at alone: they go out, or may prove that it is well again."""
        return self.publishes(stream) or (self.mode == "NONE" and stream in self._failing)

    def _mark(self, source: str) -> None:
        now_s = self._clock_s()
        if now_s - self._last_s[source] > self._timeout_s:
            self._since_s[source] = now_s
        self._last_s[source] = now_s

    def _update(self) -> None:
        new = self._next()
        if new != self.mode:
            old, self.mode = self.mode, new
            self._on_change(new, old)

    def _next(self) -> Mode:
        now_s = self._clock_s()
        fresh = {source for source, last_s in self._last_s.items() if now_s - last_s <= self._timeout_s}
        if "pair" not in fresh:
            self._good_pairs = 0
        at_once = self.publishes("pair") or (self._blind and FROZEN in fresh)
        if self._good_pairs >= (1 if at_once else self._recovery_pairs):
            return "FUSED"
        if "pair" in fresh and self.publishes("pair"):
            return self.mode
        if FROZEN in fresh:
            return "RGB_ONLY"
        for stream in ALONE:
            if stream in fresh and now_s - self._since_s[stream] >= self._timeout_s:
                return ALONE[stream] if stream in self._pass_through else "NONE"
        return "NONE"
