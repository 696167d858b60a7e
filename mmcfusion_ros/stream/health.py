"""What becomes of each frame: counters and states for ``/diagnostics``, the trace, the log of what was dropped."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmcfusion_ros.stream.pairing import Stream

if TYPE_CHECKING:
    from mmcfusion_ros.stream.trace import FrameTrace

RECENT_FRAMES = 200
COUNTED = ("thermal_in", "rgb_in", "camera_info_in", "pairs", "fused", "passed_through")
LOG_PERIOD_S = 5.0

Level = Literal["OK", "WARN", "ERROR", "STALE"]


@dataclass
class _Input:
    """What came from one camera since its last state."""

    last_s: float | None = None
    received: int = 0
    used: int = 0
    unusable: int = 0
    reason: str = ""
    drops: Mapping[str, int] = field(default_factory=dict)  # all of the pairing until then


class Health:
    """Counts since its creation, and latencies and skews of the last frames. Thread-safe.

    ``clock_s`` is a steady clock, ``log`` takes a warning, ``topics`` are the full names by ``thermal_in``, ``rgb_in``
    and ``camera_info_in``. A silence of ``timeout_s``, which may change, is a problem.
    """

    def __init__(
        self,
        timeout_s: float,
        topics: Mapping[str, str],
        log: Callable[[str], object] = lambda text: None,
        trace: FrameTrace | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeout_s, self._topics, self._log, self._trace, self._clock_s = timeout_s, topics, log, trace, clock_s
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._drops: Counter[str] = Counter()
        self._recent: deque[tuple[float, float | None, Mapping[str, float]]] = deque(maxlen=RECENT_FRAMES)
        self._last_s = dict.fromkeys(COUNTED, clock_s())
        self._reported: tuple[Counter[str], float] = (Counter(), clock_s())
        self._inputs: dict[Stream, _Input] = {"thermal": _Input(), "rgb": _Input()}
        self._inputs_reported_s = clock_s()
        self._next_line_s: dict[str, float] = {}
        self._held_back: Counter[str] = Counter()

    def count(self, name: str, number: int = 1) -> None:
        """So many more of one of ``COUNTED``."""
        with self._lock:
            self._counts[name] += number
            self._last_s[name] = self._clock_s()

    def received(self, stream: Stream, pairs: int) -> None:
        """A frame came, and so many pairs with it."""
        with self._lock:
            now_s, camera = self._clock_s(), self._inputs[stream]
            self._counts[f"{stream}_in"] += 1
            self._last_s[f"{stream}_in"] = camera.last_s = now_s
            camera.received += 1
            if pairs:
                self._counts["pairs"] += pairs
                self._last_s["pairs"] = now_s

    def published(
        self,
        stamps_ns: Mapping[Stream, int],
        moments: Mapping[str, float],
        skew_ms: float | None,
        age_ms: float | None = None,
    ) -> None:
        """An image of these frames was published; ``moments`` are when its stages ended, as a ``Result`` has them.
        ``skew_ms`` is None if it is not fused, ``age_ms`` is how old the RGB frame was by then, if that is known."""
        with self._lock:
            name = "passed_through" if skew_ms is None else "fused"
            self._counts[name] += 1
            self._last_s[name] = self._clock_s()
            for stream in stamps_ns:
                self._inputs[stream].used += 1
            if skew_ms is not None:
                self._recent.append((abs(skew_ms), age_ms, moments))
        if self._trace:
            named = {f"{stream}_stamp_ns": stamp for stream, stamp in stamps_ns.items()}
            self._trace.frame(moments, **named)

    def rested(self, stamps_ns: Mapping[Stream, int]) -> None:
        """These frames could be used, but nobody subscribes to what would come of them: that is no silence."""
        with self._lock:
            self._drops["no_subscriber"] += 1
            self._last_s["fused"] = self._clock_s()
            for stream in stamps_ns:
                self._inputs[stream].used += 1

    def lost(self, reason: str, number: int = 1) -> None:
        """So many pairs or frames were lost for this reason, in silence."""
        with self._lock:
            self._drops[reason] += number

    def dropped(
        self, reason: str, text: str, stamps_ns: Mapping[Stream, int], stream: Stream, unusable: bool = False
    ) -> None:
        """These frames were dropped for this reason, because of that of ``stream``; it was ``unusable`` by itself."""
        with self._lock:
            self._drops[reason] += 1
            if unusable:
                self._inputs[stream].unusable += 1
                self._inputs[stream].reason = f"{reason}: {text}"
        self.warn(f"{reason} {stream}", f"dropped a frame ({reason}): {text}", f"{stream}_in", stamps_ns[stream])
        if self._trace:
            named = {f"{stream}_stamp_ns": stamp for stream, stamp in stamps_ns.items()}
            self._trace.dropped(time.perf_counter(), reason, **named)

    def warn(self, key: str, text: str, topic: str, stamp_ns: int) -> None:
        """Logs a line about one message, one in ``LOG_PERIOD_S`` for each key, with the number of those held back.

        rclpy's ``throttle_duration_sec`` goes by the place in the code: there, one fault hides all others.
        """
        with self._lock:
            now_s = self._clock_s()
            if now_s < self._next_line_s.get(key, now_s):
                self._held_back[key] += 1
                return
            self._next_line_s[key] = now_s + LOG_PERIOD_S
            held_back = self._held_back.pop(key, 0)
        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        more = f" (and {held_back} more like it before)" if held_back else ""
        self._log(f"{text} [{self._topics[topic]}, stamp {seconds}.{nanoseconds:09}]{more}")

    def problems(self, unchanged_s: Mapping[Stream, float]) -> list[str]:
        """What keeps fused images from coming, in words; ``unchanged_s``: since when a camera repeats one picture."""
        now_s = self._clock_s()
        silent = {
            name: f"{now_s - last_s:.1f} s" for name, last_s in self._last_s.items() if now_s - last_s > self.timeout_s
        }
        topics = self._topics
        problems = [
            f"no message on {topics[name]} for {silent[name]}" for name in ("thermal_in", "rgb_in") if name in silent
        ]
        if problems:
            return problems
        if "pairs" in silent:
            return [f"both cameras send, but no frames paired for {silent['pairs']}; see the dropped.* counts"]
        if "fused" in silent:
            return [f"no pair was fused for {silent['fused']}; see the dropped.* counts and the log"]
        if not self._counts["camera_info_in"]:
            return [f"no message on {topics['camera_info_in']} yet"]
        return [
            f"the images on {topics[f'{stream}_in']} have not changed for {seconds:.1f} s"
            for stream, seconds in unchanged_s.items()
            if seconds > self.timeout_s
        ]

    def report(self, pairing_drops: Mapping[str, int]) -> dict[str, str]:
        """Everything by key, and rates per second since the last report, at first since creation."""
        now_s = self._clock_s()
        with self._lock:
            values: dict[str, str] = {}
            counts = self._counts.copy()
            before, then_s = self._reported
            self._reported = (counts, now_s)
            for name in COUNTED:
                values[name] = str(counts[name])
                rate = (counts[name] - before[name]) / (now_s - then_s) if now_s > then_s else 0.0
                values[f"{name}_hz"] = f"{rate:.2f}"
            for reason, number in sorted((self._drops + Counter(pairing_drops)).items()):
                values[f"dropped.{reason}"] = str(number)
            recent = list(self._recent)
        durations_ms: defaultdict[str, list[float]] = defaultdict(list)
        for skew_ms, age_ms, moments in recent:
            ages = {} if age_ms is None else {"age": age_ms}
            for name, duration in {"skew": skew_ms, **ages, **milliseconds(moments)}.items():
                durations_ms[name].append(duration)
        for name, durations in sorted(durations_ms.items()):
            p50, p95, largest = np.percentile(durations, (50, 95, 100))
            values |= {f"{name}_ms.p50": f"{p50:.2f}", f"{name}_ms.p95": f"{p95:.2f}"}
            values |= {f"{name}_ms.mean": f"{np.mean(durations):.2f}", f"{name}_ms.max": f"{largest:.2f}"}
        return values

    def input_states(
        self, pairing_drops: Mapping[str, int], min_rates_hz: Mapping[Stream, float]
    ) -> dict[Stream, tuple[Level, str, dict[str, str]]]:
        """Level, text and values of each camera since the last call; ``pairing_drops`` are all so far.

        - STALE: no message has come yet
        - ERROR: none for longer than ``timeout_s``, or not one could be used
        - WARN: some could not be used, or fewer than ``min_rates_hz`` came (0: any rate will do)
        """
        states: dict[Stream, tuple[Level, str, dict[str, str]]] = {}
        with self._lock:
            now_s = self._clock_s()
            seconds, self._inputs_reported_s = max(now_s - self._inputs_reported_s, 1e-9), now_s
            for stream, camera in self._inputs.items():
                drops = {name: n for name, n in pairing_drops.items() if name.endswith(stream)}
                new = {name: n - camera.drops.get(name, 0) for name, n in drops.items()}
                rate_hz, age_s = camera.received / seconds, None if camera.last_s is None else now_s - camera.last_s
                topic = self._topics[f"{stream}_in"]
                level, text = self._judge(camera, topic, age_s, rate_hz, min_rates_hz[stream], new)
                age = "" if age_s is None else f"{age_s:.3f}"
                states[stream] = level, text, {"topic": topic, "rate_hz": f"{rate_hz:.2f}", "age_s": age}
                self._inputs[stream] = _Input(last_s=camera.last_s, drops=drops)
        return states

    def _judge(
        self,
        camera: _Input,
        topic: str,
        age_s: float | None,
        rate_hz: float,
        min_rate_hz: float,
        drops: Mapping[str, int],
    ) -> tuple[Level, str]:
        if age_s is None:
            return "STALE", f"no message on {topic} yet"
        if age_s > self.timeout_s:
            return "ERROR", f"no message on {topic} for {age_s:.1f} s"
        level: Level = "WARN" if camera.used else "ERROR"
        if camera.unusable:
            return level, f"{camera.unusable} messages on {topic} could not be used: {camera.reason}"
        if any(drops.values()) and not camera.used:
            counts = ", ".join(f"{n} {name}" for name, n in sorted(drops.items()) if n)
            return level, f"no message on {topic} was used: {counts}"
        if rate_hz < min_rate_hz:
            return "WARN", f"{topic} at {rate_hz:.1f} Hz, less than {min_rate_hz:g} Hz"
        return "OK", f"{rate_hz:.1f} Hz"


def milliseconds(moments: Mapping[str, float]) -> dict[str, float]:
    """Time spent in each stage, and the ``total``, of the moments (s) when they ended; the first is their start."""
    ends = list(moments.items())
    stages = {stage: 1e3 * (end - begin) for (_, begin), (stage, end) in pairwise(ends)}
    return {**stages, "total": 1e3 * (ends[-1][1] - ends[0][1])}
