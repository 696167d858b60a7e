"""A calibration from ordinary images of both cameras: no target, only a scene with edges that both see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmcfusion_ros.alignment.find import Alignment, ImagePair, Search, align, corners, same_view, transformed
from mmcfusion_ros.alignment.fit import LEAST_FRAMES
from mmcfusion_ros.calibration.mounting import mounting

LARGEST_DEVIATION = 3.0
CONTRADICTION = 6.0  # more than this is no model with too much freedom
LEAST_SHARE = 0.6  # of the median correlation
SIMPLER = {"homography": "affine", "affine": "similarity"}


@dataclass(frozen=True, eq=False)
class ImageCalibration:
    """``alignment`` of the frames ``used`` (indices) by ``model``, and ``start`` where the search began.

    ``deviation_px`` is the alignment's, or by two halves of the frames if that is larger (pixels of 640 at the
    corners). ``simplified`` says why it is not the model that was asked for, or is empty.
    """

    alignment: Alignment
    start: np.ndarray
    used: list[int]
    deviation_px: float
    model: str
    simplified: str = ""


def calibrate_from_images(
    pairs: Sequence[ImagePair], model: str = "homography", search: Search = "wide", start: np.ndarray | None = None
) -> ImageCalibration:
    """The homography of a rig from some pairs of thermal and RGB luminance, as :func:`align` takes them.

    Frames that do not agree with the others are left out. One estimate has the evidence of all the others; the scatter
    over the image and over frames says how far to trust it. A homography that this does not carry falls back to an
    affine map, that to a similarity. ``ValueError`` with the reason where the result would not be good enough.
    """
    thermal, rgb = pairs[0]
    start = same_view(thermal.shape, rgb.shape) if start is None else start
    simplified = ""
    while True:
        found, used = _estimate(pairs, model, search, start)
        problem, deviation = found.problem, found.deviation_px
        if not problem:
            deviation = max(deviation, _by_halves([pairs[i] for i in used], found, model))
            if deviation <= LARGEST_DEVIATION:
                return ImageCalibration(found, start, used, deviation, model, simplified)
            problem = f"it would be uncertain by {deviation:.1f} pixels of 640 at the corners; record more edges"
        simplified = simplified or problem
        if found.lost or deviation > CONTRADICTION or model not in SIMPLER:
            break
        model = SIMPLER[model]
    if search == "wide" and (settings := mounting(pairs)):
        simplified += f". The thermal images fit with --set {settings}: set that for the node too"
    raise ValueError(f"no calibration: {simplified}")


def _estimate(pairs: Sequence[ImagePair], model: str, search: Search, start: np.ndarray) -> tuple[Alignment, list[int]]:
    """Of the frames whose edges correlate nearly as well as those of the others, and their indices."""
    first = align(pairs, start, model, search)
    if first.problem:
        return first, []
    used = [int(i) for i in np.flatnonzero(first.frames > LEAST_SHARE * np.median(first.frames))]
    if len(used) == len(pairs):
        return first, used
    if 2 * len(used) <= len(pairs):
        raise ValueError(f"no calibration: {len(pairs) - len(used)} of {len(pairs)} frames disagree with the others")
    return align([pairs[i] for i in used], first.homography, model, "none"), used


def _by_halves(pairs: Sequence[ImagePair], found: Alignment, model: str) -> float:
    """Deviation by two halves of four frames or more, which are twice as far apart as the estimate of all is off."""
    if len(pairs) < LEAST_FRAMES:
        return 0.0
    (thermal, rgb), points = pairs[0], []
    for half in (pairs[::2], pairs[1::2]):
        points.append(transformed(align(half, found.homography, model, "none").homography, corners(thermal.shape)))
    return float(np.linalg.norm(points[0] - points[1], axis=1).mean()) / 2 * 640 / rgb.shape[1]


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
