"""Pairs that come at a fixed rate, whether or not the last one is done: the way of NVIDIA's ros2_benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from mmcfusion_ros.evaluation.energy import EnergyMeter

PERCENTILES = (50, 95, 99)


def percentiles(milliseconds: Sequence[float], which: Sequence[int] = PERCENTILES) -> dict[str, float]:
    """By ``p50_ms`` and so on."""
    return {f"p{p}_ms": round(float(np.percentile(milliseconds, p)), 3) for p in which}


def at_fixed_rate(
    fuse: Callable[[], object],
    rate_hz: float,
    pairs: int,
    clock_s: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, object]:
    """So many pairs that come at that rate; as in the node the newest one is fused next, and older ones are missed.

    ``latency`` is from a pair's coming to its fused image, ``interval`` from image to image: its standard deviation is
    the jitter. ``joules_per_image`` is there where :class:`EnergyMeter` can measure it.
    """
    meter, start_s, next_pair = EnergyMeter(), clock_s(), 0
    latencies, images_s = [], []
    while next_pair < pairs:
        sleep(max(0.0, start_s + next_pair / rate_hz - clock_s()))
        newest = min(pairs - 1, max(next_pair, int((clock_s() - start_s) * rate_hz)))
        fuse()
        images_s.append(clock_s())
        latencies.append(1e3 * (images_s[-1] - start_s - newest / rate_hz))
        next_pair = newest + 1
    intervals = 1e3 * np.diff(images_s)
    result: dict[str, object] = {
        "rate_hz": rate_hz,
        "pairs": pairs,
        "fused": len(images_s),
        "missed": pairs - len(images_s),
        "latency": percentiles(latencies),
    }
    if intervals.size:
        result["interval"] = {**percentiles(intervals.tolist()), "std_ms": round(float(intervals.std()), 3)}
    if not meter.problem:
        result["joules_per_image"] = round(meter.joules() / len(images_s), 3)
    return result
