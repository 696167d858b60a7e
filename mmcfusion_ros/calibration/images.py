"""A calibration from ordinary images of both cameras: no target, only a scene with edges that both see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmcfusion_ros.alignment.find import Alignment, ImagePair, Search, align, corners, same_view, transformed
from mmcfusion_ros.calibration.mounting import mounting

LARGEST_DEVIATION = 3.0
LARGEST_DISAGREEMENT = 4.0
LEAST_SHARE = 0.6  # of the median correlation


@dataclass(frozen=True, eq=False)
class ImageCalibration:
    """``alignment`` of the frames ``used`` (indices), ``start`` where the search began, and how far (pixels of 640 at
    the corners) the homographies of two halves of the frames are apart, NaN for fewer than four frames."""

    alignment: Alignment
    start: np.ndarray
    used: list[int]
    disagreement_px: float


def calibrate_from_images(
    pairs: Sequence[ImagePair], model: str = "homography", search: Search = "wide", start: np.ndarray | None = None
) -> ImageCalibration:
    """The homography of a rig from some pairs of thermal and RGB luminance, as :func:`align` takes them.

    Frames that do not agree with the others are left out. ``ValueError`` with the reason where the result would not
    be good enough to be used.
    """
    thermal, rgb = pairs[0]
    start = same_view(thermal.shape, rgb.shape) if start is None else start
    first = align(pairs, start, model, search)
    if first.problem and search == "wide" and (settings := mounting(pairs)):
        _refuse(f"{first.problem}. The thermal images fit with --set {settings}: set that for the node too")
    _refuse(first.problem)
    scale = 640 / rgb.shape[1]
    used = _agreeing(first)
    if len(used) < max(1, len(pairs) // 2):
        raise ValueError(f"no calibration: {len(pairs) - len(used)} of {len(pairs)} frames disagree with the others")
    kept = [pairs[i] for i in used]
    final = first if len(used) == len(pairs) else align(kept, first.homography, model, "none")
    _refuse(final.problem)
    if final.deviation_px > LARGEST_DEVIATION:
        _refuse(f"it would be uncertain by {final.deviation_px:.1f} pixels of 640 at the corners; record more edges")
    disagreement = np.nan
    if len(kept) >= 4:
        halves = [align(kept[i::2], final.homography, model, "none").homography for i in (0, 1)]
        points = [transformed(half, corners(thermal.shape)) for half in halves]
        disagreement = float(np.linalg.norm(points[0] - points[1], axis=1).mean()) * scale
        if disagreement > LARGEST_DISAGREEMENT:
            _refuse(f"two halves of the frames disagree by {disagreement:.1f} pixels of 640; use more frames")
    return ImageCalibration(final, start, used, disagreement)


def region_markdown(alignment: Alignment) -> str:
    """A table of what is left in each part of the RGB image: median shift and spread over the frames, in RGB pixels."""
    frames, rows, columns, _ = alignment.shifts.shape
    lines = ["| rows \\ columns | " + " | ".join(f"{i + 1} of {columns}" for i in range(columns)) + " |"]
    lines.append("|---" * (columns + 1) + "|")
    for row in range(rows):
        cells = [_cell(alignment.shifts[:, row, column]) for column in range(columns)]
        lines.append(f"| {row + 1} of {rows} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\nEach cell: residual x, y ± spread over {frames} frames, in RGB pixels.\n"


def _cell(shifts: np.ndarray) -> str:
    shifts = shifts[np.isfinite(shifts).all(axis=1)]
    if not len(shifts):
        return "no edges"
    median = np.median(shifts, axis=0)
    spread = np.median(np.linalg.norm(shifts - median, axis=1))
    return f"{median[0]:+.1f}, {median[1]:+.1f} ± {spread:.1f}"


def _agreeing(alignment: Alignment) -> list[int]:
    """The frames whose edges correlate nearly as well as those of the others."""
    return [int(i) for i in np.flatnonzero(alignment.frames > LEAST_SHARE * np.median(alignment.frames))]


def _refuse(problem: str) -> None:
    if problem:
        raise ValueError(f"no calibration: {problem}")
