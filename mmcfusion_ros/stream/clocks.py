"""Whose clock is wrong: told by how far stamps lie behind the clock when frames arrive."""

from __future__ import annotations

from collections.abc import Mapping

from mmcfusion_ros.stream.camera_queue import CAMERAS, Stream

AHEAD_S, BEHIND_S = 0.02, 0.5  # beyond which it is the clock, not latency
TOGETHER_S = 0.2  # two cameras that differ by less share a clock


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
