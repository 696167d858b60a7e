"""What a soak test found: samples of a process, how fast it came back after each fault, and the verdict."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import psutil
from scipy.stats import theilslopes

from mmcfusion_ros.stream.mode import Mode

MAX_SLOPE_MB_PER_H = 1.0
MAX_RECOVERY_S = 1.0
RECOVERED_SHARE = 0.7
RATE_WINDOW_S = 1.0
WARM_UP_SHARE = 1 / 6
SHORTEST_JUDGED_MIN = 10.0
MODES = get_args(Mode)


@dataclass(frozen=True)
class Fault:
    """One fault and its times on the steady clock of the observer, in s."""

    kind: str
    start_s: float
    end_s: float


def sample_process(pid: int) -> dict[str, float]:
    """Resident memory, threads, file descriptors and shared-memory files.

    ``rss_mb`` is ``own_mb``, the heap and the shared memory of the process, and pages of programs and libraries, which
    the kernel drops and maps again as other processes read them. Raises ``psutil.NoSuchProcess`` if it has ended.
    """
    process = psutil.Process(pid)
    maps = process.memory_maps()
    shared = [area for area in maps if area.path.startswith("/dev/shm/")]
    own = sum(area.anonymous for area in maps) + sum(area.rss for area in shared)
    return {
        "rss_mb": round(process.memory_info().rss / 2**20, 2),
        "own_mb": round(own / 2**20, 2),
        "threads": process.num_threads(),
        "file_descriptors": process.num_fds(),
        "shared_memory_segments": len(shared),
    }


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used; 0 if it has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def machine_cpu_seconds() -> float:
    """Busy processor time of the whole machine since its start."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq


def recovery_s(arrivals_s: Sequence[float], fault: Fault, until_s: float) -> float | None:
    """Time from the fault's end to the first image of a second with ``RECOVERED_SHARE`` of the images per second that
    came in the two seconds before the fault; None if there was none by ``until_s``. ``arrivals_s`` are sorted."""

    def count(start_s: float, end_s: float) -> int:
        return bisect.bisect_left(arrivals_s, end_s) - bisect.bisect_left(arrivals_s, start_s)

    needed = RECOVERED_SHARE * count(fault.start_s - 2 * RATE_WINDOW_S, fault.start_s) / 2
    for start_s in arrivals_s[bisect.bisect_left(arrivals_s, fault.end_s) :]:
        if start_s + RATE_WINDOW_S > until_s:
            return None
        if count(start_s, start_s + RATE_WINDOW_S) >= needed:
            return start_s - fault.end_s
    return None


def mode_shares(changes: Sequence[tuple[float, str]], start_s: float, end_s: float) -> dict[str, float]:
    """Share of the time from ``start_s`` to ``end_s`` by mode; ``changes`` are times, sorted, and the modes since."""
    shares = dict.fromkeys(MODES, 0.0)
    for (since_s, mode), (until_s, _) in itertools.pairwise([*changes, (end_s, "")]):
        shares[mode] += max(0.0, min(until_s, end_s) - max(since_s, start_s)) / (end_s - start_s)
    return {mode: round(share, 4) for mode, share in shares.items()}


def soak_report(
    samples: list[dict[str, Any]],
    faults: Sequence[Fault],
    arrivals_s: Sequence[float],
    errors: Mapping[str, int],
    minutes: float,
) -> dict[str, Any]:
    """Samples (of ``sample_process``, with their ``minute``), faults with their recovery, errors and the verdict."""
    limits = [fault.start_s for fault in faults[1:]] + ([arrivals_s[-1]] if arrivals_s else [0.0])
    recoveries = [recovery_s(arrivals_s, fault, until) for fault, until in zip(faults, limits, strict=False)]
    # The last fault may end with the run, too late to be judged.
    judged = [(f, r) for f, r, until in zip(faults, recoveries, limits, strict=False) if until - f.end_s > 2.5]
    late = [asdict(fault) | {"recovery_s": r} for fault, r in judged if r is None or r > MAX_RECOVERY_S]
    by_kind = {
        kind: [r for f, r in judged if f.kind == kind and r is not None] for kind in sorted({f.kind for f in faults})
    }
    warm = [sample for sample in samples if sample["minute"] >= WARM_UP_SHARE * minutes]
    minute = [sample["minute"] for sample in warm]
    slopes = None
    if minutes >= SHORTEST_JUDGED_MIN and len(warm) > 1:
        slopes = {key: 60 * theilslopes([s[key] for s in warm], minute).slope for key in ("own_mb", "rss_mb")}
    return {
        "faults": dict(sorted(Counter(f.kind for f in faults).items())),
        "recovery_s": {
            kind: {"judged": len(r), "p50": round(float(np.median(r)), 3), "max": round(max(r), 3)}
            for kind, r in by_kind.items()
            if r
        },
        "late": late,
        "errors": dict(errors),
        "slope_mb_per_h": slopes and {key: round(float(slope), 3) for key, slope in slopes.items()},
        "verdict": {
            "memory": slopes and bool(slopes["own_mb"] < MAX_SLOPE_MB_PER_H),
            "no_errors": not errors,
            "rate_back_within_1_s": not late and bool(judged),
        },
        "samples": samples,
    }


def passed(report: Mapping[str, Any]) -> bool:
    """Whether nothing in the verdict is false; the slope of a short run is not judged."""
    return False not in report["verdict"].values()


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Modes, memory, rate, latency and counts over time, as a PNG file."""
    from matplotlib.figure import Figure

    samples = report["samples"]
    minutes = [sample["minute"] for sample in samples]
    panels = {
        "share of time": [f"mode_{mode}" for mode in MODES],
        "resident\nmemory, MB": ["rss_mb"],
        "its own, MB": ["own_mb"],
        "published\nimages per s": ["published_hz"],
        "stamp to\narrival, ms": ["latency_ms_p50", "latency_ms_p99"],
        "count": ["threads", "file_descriptors", "shared_memory_segments"],
        "busy\nprocessors": ["cpu_node", "cpu_others"],
    }
    figure = Figure(figsize=(9, 11), layout="constrained")
    for axes, (label, keys) in zip(figure.subplots(len(panels), sharex=True), panels.items(), strict=True):
        for key in keys:
            axes.plot(minutes, [sample[key] for sample in samples], label=key)
        axes.set_ylabel(label)
        if not keys[0].endswith("_mb"):  # its growth would not show above zero
            axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
    axes.set_xlabel("minutes")
    figure.savefig(path, dpi=100)
