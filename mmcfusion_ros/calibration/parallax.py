"""What the plane of a calibration costs: how far the overlay is off for things before and behind it."""

from __future__ import annotations

import numpy as np

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.geometry import Geometry

RANGES_M = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 1000.0)
TOLERANCES_PX = (1.0, 2.0, 5.0)
GRID = 25


def parallax_pixels(calibration: Calibration, ranges_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the overlay is off for things at ``N`` distances along the RGB camera's optical axis.

    In RGB pixels, ``N`` in the middle of the image and ``N`` at the worst place of what both cameras see; NaN where
    they have nothing in common. For a pinhole it is focal length * baseline * \\|1 / range - 1 / plane distance\\|
    (Hartley and Zisserman, 2004, section 13.3). ``ValueError`` if the calibration is not of a rig with intrinsics.
    """
    if calibration.kind != "calibrated":
        raise ValueError(
            f"the calibration is of type {calibration.kind}: a homography does not say how far the cameras are apart; "
            "parallax needs extrinsics"
        )
    thermal, rgb = calibration.thermal, calibration.rgb
    if thermal is None or rgb is None:
        raise ValueError("parallax needs the intrinsics of both cameras in the calibration file")
    geometry = Geometry(calibration, (thermal.width, thermal.height), (rgb.width, rgb.height))
    columns, rows = np.linspace(0, rgb.width - 1, GRID), np.linspace(0, rgb.height - 1, GRID)
    pixels = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    errors = []
    for range_m in ranges_m:
        seen = geometry.thermal_pixels(pixels, float(range_m))
        outside = ~((seen >= 0) & (seen <= (thermal.width - 1, thermal.height - 1))).all(axis=1)
        seen[outside] = np.nan
        errors.append(np.linalg.norm(geometry.rgb_pixels(seen) - pixels, axis=1))
    table = np.array(errors)
    worst = np.array([np.nanmax(row) if np.isfinite(row).any() else np.nan for row in table])
    return table[:, len(pixels) // 2], worst


def parallax_markdown(calibration: Calibration) -> str:
    """A table of the error over range, and between which ranges it stays small; raises as ``parallax_pixels``."""
    middle, worst = parallax_pixels(calibration, np.array(RANGES_M))
    lines = ["| range in m | in the middle, in px | at worst, in px |", "|---|---|---|"]
    lines += [f"| {range_m:g} | {a:.1f} | {b:.1f} |" for range_m, a, b in zip(RANGES_M, middle, worst, strict=True)]
    ranges = np.geomspace(RANGES_M[0], RANGES_M[-1], 400)
    _, worst = parallax_pixels(calibration, ranges)
    lines.append("")
    for tolerance in TOLERANCES_PX:
        good = ranges[worst <= tolerance]
        if len(good):
            lines.append(f"At most {tolerance:g} px between {good[0]:.1f} m and {good[-1]:.0f} m.")
    return "\n".join(lines) + "\n"
