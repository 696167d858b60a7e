"""Counters of a running node and what ``/diagnostics`` says of them."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

RECENT_FRAMES = 200


class Health:
    """Counts since activation, and latencies and skews of the last frames. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._drops: Counter[str] = Counter()
        self._latencies: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT_FRAMES))
        self._skews: deque[float] = deque(maxlen=RECENT_FRAMES)
        self._reported: tuple[Counter[str], float] | None = None

    def count(self, name: str) -> None:
        """One more ``thermal_in``, ``rgb_in``, ``pairs`` or ``fused``."""
        with self._lock:
            self._counts[name] += 1

    def drop(self, reason: str) -> None:
        """One more message or pair lost for this reason."""
        with self._lock:
            self._drops[reason] += 1

    def fused(self, milliseconds: Mapping[str, float], skew_ms: float) -> None:
        """A fused frame was published."""
        with self._lock:
            self._counts["fused"] += 1
            self._skews.append(abs(skew_ms))
            for stage, duration in milliseconds.items():
                self._latencies[stage].append(duration)

    def report(self, now_s: float, pairing_drops: Mapping[str, int]) -> dict[str, str]:
        """Everything by key, and rates per second since the last report; ``now_s`` is of a steady clock."""
        with self._lock:
            values: dict[str, str] = {}
            counts = self._counts.copy()
            before, then = self._reported or (counts, now_s)
            self._reported = (counts, now_s)
            for name in ("thermal_in", "rgb_in", "pairs", "fused"):
                values[name] = str(counts[name])
                rate = (counts[name] - before[name]) / (now_s - then) if now_s > then else 0.0
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
    return DiagnosticStatus(
        level=DiagnosticStatus.WARN if problems else DiagnosticStatus.OK,
        name=name,
        hardware_id=hardware_id,
        message="; ".join(problems) or "fusing",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
