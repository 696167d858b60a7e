"""A picture that shows whether two images lie on each other."""

from __future__ import annotations

import cv2
import numpy as np

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.overlay import stretched, thermal_edges
from mmcfusion_ros.fusion.registration import Registration

TILES = 10
PANEL_WIDTH = 800


def before_and_after(thermal: np.ndarray, rgb: np.ndarray, before: Calibration, after: Calibration) -> np.ndarray:
    """Both calibrations below each other, each as a chequer of both images and as thermal edges on RGB.

    ``h x w`` uint8 thermal, ``H x W x 3`` uint8 RGB (red first); the picture is such an image too.
    """
    rows = []
    for title, calibration in (("before", before), ("after", after)):
        panels = [captioned(panel, title) for panel in overlays(thermal, rgb, calibration)]
        rows.append(np.hstack(panels))
    return np.vstack(rows)


def overlays(thermal: np.ndarray, rgb: np.ndarray, calibration: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """A chequer of thermal and RGB tiles, and the RGB image with the thermal edges in green."""
    try:
        warped, valid = Registration(calibration).warp(thermal, rgb.shape[:2])
    except ValueError:  # nothing in common
        return rgb, rgb
    seen = np.ones(rgb.shape[:2], bool) if valid is None else valid > 0
    tile = max(1, rgb.shape[1] // TILES)
    rows, columns = np.ogrid[: rgb.shape[0], : rgb.shape[1]]
    show = seen & ((rows // tile + columns // tile) % 2 == 0)
    chequer = np.where(show[..., None], cv2.cvtColor(stretched(warped), cv2.COLOR_GRAY2RGB), rgb)
    return chequer, thermal_edges(rgb, warped, valid)


def captioned(image: np.ndarray, *texts: str | tuple[str, tuple[int, int, int]]) -> np.ndarray:
    """An ``H x W x 3`` uint8 image as a panel, with lines of text, white or of a colour."""
    height = round(PANEL_WIDTH * image.shape[0] / image.shape[1])
    panel = cv2.resize(image, (PANEL_WIDTH, height), interpolation=cv2.INTER_AREA)
    for i, line in enumerate(texts):
        text, colour = (line, (255, 255, 255)) if isinstance(line, str) else line
        for ink, thickness in (((0, 0, 0), 4), (colour, 1)):
            place = (10, 28 + 30 * i)
            cv2.putText(panel, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, ink, thickness, cv2.LINE_AA)
    return panel
