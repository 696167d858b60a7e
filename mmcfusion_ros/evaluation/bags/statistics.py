"""Numbers of a run that stay small however long the bag is."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

from mmcfusion_ros.bags.events import Arrived, Dropped
from mmcfusion_ros.evaluation.bags.fusing import Fused, Outcome


class Statistics:
    """Counts of everything, and 4 bytes a fused frame for each of its values."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        self.texts: dict[str, str] = {}
        self._values: defaultdict[str, array[float]] = defaultdict(lambda: array("f"))
        self._stamps_ns: tuple[int, int] | None = None

    def add(self, result: Outcome, values: Mapping[str, float]) -> None:
        """One result; ``values`` of a fused frame by column, such as ``skew_ms`` or ``EN``."""
        if isinstance(result, Arrived):
            self.counts[result.name] += 1
        elif isinstance(result, Dropped):
            self.drops[result.reason] += 1
            self.texts.setdefault(result.reason, result.text)
        else:
            self._add_frame(result, values)

    def _add_frame(self, frame: Fused, values: Mapping[str, float]) -> None:
        self.counts["fused"] += 1
        stamp = frame.pair.rgb_stamp_ns
        self._stamps_ns = (self._stamps_ns[0] if self._stamps_ns else stamp, stamp)
        for name, value in values.items():
            self._values[name].append(value)

    @property
    def fused_hz(self) -> float:
        """Fused frames per second of the recording, between the first and the last one."""
        first, last = self._stamps_ns or (0, 0)
        return (self.counts["fused"] - 1) / ((last - first) / 1e9) if last > first else 0.0

    def percentiles(self, name: str) -> dict[str, float]:
        """p50, p95 and max of the magnitudes of a column; empty without frames."""
        if not self._values[name]:
            return {}
        magnitudes = np.abs(np.asarray(self._values[name], np.float64))
        p50, p95, largest = np.percentile(magnitudes, (50, 95, 100)).tolist()
        return {"p50": round(p50, 3), "p95": round(p95, 3), "max": round(largest, 3)}

    def mean(self, name: str) -> float:
        """Of a column over all frames that have it; NaN if none has."""
        return float(np.mean(self._values[name])) if self._values[name] else float("nan")

    def median(self, name: str) -> float:
        """Of a column over all frames that have it; NaN if none has."""
        return float(np.median(self._values[name])) if self._values[name] else float("nan")

    def columns(self) -> list[str]:
        """Of which there are values."""
        return [name for name, values in self._values.items() if values]
