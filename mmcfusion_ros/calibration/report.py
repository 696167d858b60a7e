"""One calibration from pairs to files: the YAML for the node, a picture, and what to say about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.calibration.boards import Pattern, calibrate_from_boards
from mmcfusion_ros.calibration.images import calibrate_from_images, region_markdown
from mmcfusion_ros.calibration.picture import before_and_after
from mmcfusion_ros.calibration.recording import ThermalAndRgb
from mmcfusion_ros.fusion.alignment import same_view
from mmcfusion_ros.fusion.calibration import Calibration, save_calibration
from mmcfusion_ros.fusion.colour import split_luminance


def calibrate(
    pairs: Sequence[ThermalAndRgb], model: str, board: tuple[Pattern, int, int] | None, out: Path, source: str
) -> str:
    """Writes ``out`` (YAML) and a picture beside it (``.jpg``); the report as Markdown.

    ``board`` are its pattern, columns and rows, None for a calibration from the scene. ``ValueError`` with the reason,
    and no file, where the result would not be good enough.
    """
    if not pairs:
        raise ValueError(f"{source} holds no pair of a thermal and an RGB frame")
    luminance = [(thermal, split_luminance(rgb)[0]) for thermal, rgb in pairs]
    thermal, rgb = pairs[0]
    if board:
        from_board = calibrate_from_boards(luminance, *board)
        homography = from_board.homography
        summary = f"board found in {len(from_board.views)} of {len(pairs)} pairs\n"
        summary += f"reprojection error: {from_board.rms_px:.2f} RGB pixels"
        summary += f" ({min(from_board.errors_px):.2f} to {max(from_board.errors_px):.2f} per view)\n"
        shown = from_board.views[0]
    else:
        found = calibrate_from_images(luminance, model)
        alignment, homography = found.alignment, found.alignment.homography
        summary = f"{len(found.used)} of {len(pairs)} frames used\n"
        summary += f"correlation of edges: {alignment.correlation:.2f}\n"
        summary += f"expected error at the corners: {alignment.deviation_px:.2f} pixels of 640\n"
        if np.isfinite(found.disagreement_px):
            summary += f"two halves of the frames agree within {found.disagreement_px:.2f} pixels of 640\n"
        else:
            summary += "few frames: the result cannot be checked against itself; look at the picture\n"
        summary += "\n" + region_markdown(alignment)
        shown = found.used[len(found.used) // 2]
    thermal, rgb = pairs[shown]
    thermal_size, rgb_size = (thermal.shape[1], thermal.shape[0]), (rgb.shape[1], rgb.shape[0])
    save_calibration(Calibration(homography, thermal_size, rgb_size), out, f"from {source}\n{summary}")
    picture = out.with_suffix(".jpg")
    image = before_and_after(thermal, rgb, same_view(thermal.shape, rgb.shape), homography)
    picture.write_bytes(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
    return f"{summary}\nwrote {out} and {picture}: look at the picture before you use the file\n"
