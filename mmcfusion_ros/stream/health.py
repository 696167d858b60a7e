"""Counters of a running node and what ``/diagnostics`` says of them."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Mapping

import numpy as np

RECENT_FRAMES = 200
COUNTED = ("thermal_in", "rgb_in", "camera_info_in", "pairs", "fused", "passed_through")


class Health:
    """Counts since its creation, and latencies and skews of the last frames. Thread-safe.

    ``clock_s`` is a steady clock.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._drops: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._conditions: dict[str, str] = {}
        self._frozen_s: dict[str, float] = {}
        self._latencies: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT_FRAMES))
        self._skews: deque[float] = deque(maxlen=RECENT_FRAMES)
        self._last_s = dict.fromkeys(COUNTED, clock_s())
        self._reported: tuple[Counter[str], float] = (Counter(), clock_s())

    def count(self, name: str) -> None:
        """One more of ``COUNTED``."""
        with self._lock:
            self._counts[name] += 1
            self._last_s[name] = self._clock_s()

    def drop(self, reason: str) -> None:
        """One more message or pair lost for this reason."""
        with self._lock:
            self._drops[reason] += 1

    def rested(self) -> None:
        """A pair or frame could be used, but nobody subscribes to what would come of it: that is no silence."""
        with self._lock:
            self._drops["no_subscriber"] += 1
            self._last_s["fused"] = self._clock_s()

    def see(self, stream: str, conditions: Collection[str], frozen_s: float) -> None:
        """What is wrong with an image, and for how long it has been the same."""
        with self._lock:
            self._seen.update(f"{stream}_{condition}" for condition in conditions)
            self._seen[f"{stream}_frozen"] += frozen_s > 0
            self._conditions[stream] = " ".join(sorted(conditions))
            self._frozen_s[stream] = frozen_s

    def fused(self, milliseconds: Mapping[str, float], skew_ms: float) -> None:
        """A fused frame was published."""
        self.count("fused")
        with self._lock:
            self._skews.append(abs(skew_ms))
            for stage, duration in milliseconds.items():
                self._latencies[stage].append(duration)

    def problems(self, timeout_s: float, topics: Mapping[str, str]) -> list[str]:
        """What keeps fused images from coming, in words; ``topics`` are those of ``thermal_in`` and the like."""
        now_s = self._clock_s()
        silent = {
            name: f"{now_s - last_s:.1f} s" for name, last_s in self._last_s.items() if now_s - last_s > timeout_s
        }
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
            f"the images on {topics[f'{stream}_in']} have not changed for {frozen_s:.1f} s"
            for stream, frozen_s in list(self._frozen_s.items())
            if frozen_s > timeout_s
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
            values |= {f"conditions.{stream}": words for stream, words in self._conditions.items()}
            values |= {f"seen.{name}": str(number) for name, number in sorted((+self._seen).items())}
            for name, recent in (("skew", self._skews), *sorted(self._latencies.items())):
                if recent:
                    p50, p95, largest = np.percentile(recent, (50, 95, 100))
                    values |= {f"{name}_ms.p50": f"{p50:.2f}", f"{name}_ms.p95": f"{p95:.2f}"}
                    values |= {f"{name}_ms.mean": f"{np.mean(recent):.2f}", f"{name}_ms.max": f"{largest:.2f}"}
            return values
