"""Counters of a running node and what ``/diagnostics`` says of them."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticStatus

RECENT_FRAMES = 200
COUNTED = ("thermal_in", "rgb_in", "camera_info_in", "pairs", "fused")


class Health:
    """Counts since its creation, and latencies and skews of the last frames. Thread-safe.

    ``clock_s`` is a steady clock.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._drops: Counter[str] = Counter()
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
        return []

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
            for name, recent in (("skew", self._skews), *sorted(self._latencies.items())):
                if recent:
                    p50, p95, largest = np.percentile(recent, (50, 95, 100))
                    values |= {f"{name}_ms.p50": f"{p50:.2f}", f"{name}_ms.p95": f"{p95:.2f}"}
                    values |= {f"{name}_ms.mean": f"{np.mean(recent):.2f}", f"{name}_ms.max": f"{largest:.2f}"}
            return values


def status_message(name: str, hardware_id: str, problems: list[str], values: Mapping[str, str]) -> DiagnosticStatus:
    """OK, or WARN with the problems."""
    from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

    return DiagnosticStatus(
        level=DiagnosticStatus.WARN if problems else DiagnosticStatus.OK,
        name=name,
        hardware_id=hardware_id,
        message="; ".join(problems) or "fusing",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
