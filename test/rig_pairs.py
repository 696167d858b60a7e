"""Pairs of the synthetic rig, whose homography is known exactly."""

from __future__ import annotations

from functools import cache
from itertools import islice

import cv2
import numpy as np

from mmcfusion_ros.fusion.fuser import split_luminance
from mmcfusion_ros.fusion.thermal import ThermalScaler
from mmcfusion_ros.simulation.rig import RigOptions, rig_frames


@cache
def rig_pairs(count: int = 6) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """8-bit thermal 512 x 640 and RGB 480 x 640 x 3, a second apart."""
    frames = [frame.image for frame in islice(rig_frames(RigOptions(thermal_rate_hz=1, rgb_rate_hz=1)), 2 * count)]
    scale = ThermalScaler()
    return tuple((scale(thermal), rgb) for thermal, rgb in zip(frames[::2], frames[1::2], strict=True))


def luminance_pairs(count: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same with the RGB camera's luminance only."""
    return [(thermal, split_luminance(rgb)[0]) for thermal, rgb in rig_pairs()[:count]]


def moved(degrees: float, scale: float, shift: tuple[float, float], shape: tuple[int, ...]) -> np.ndarray:
    """A homography that turns and scales about the centre of an image of this shape, then shifts."""
    centre = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    matrix = np.vstack([cv2.getRotationMatrix2D(centre, degrees, scale), [0, 0, 1]])
    matrix[:2, 2] += shift
    return matrix
