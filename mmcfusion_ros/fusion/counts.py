"""Thermal images of any type as the unsigned counts that everything else works on."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

Unit = Literal["counts", "signed counts", "centikelvin"]

ZERO_CELSIUS = 273.15
COLDEST_KELVIN = 173.15  # a picture whose median is above is in kelvin: no scene has 174 degrees Celsius
LARGEST_KELVIN = 655.35  # in 16 bits of 0.01 K; a picture whose median is above is in counts
SIGN = 1 << 15
MEDIAN_SAMPLES = 1000
_NEIGHBOURS = np.ones((3, 3), np.uint8)


def as_counts(
    thermal: np.ndarray, kelvin_per_count: float = 0.0, kelvin_at_zero: float = 0.0
) -> tuple[np.ndarray, Unit]:
    """``H x W`` int16, float32 or float64 to ``H x W`` uint16, and what its values then are; others as they are.

    int16 is moved up by 32768. Floats are temperatures, by their median kelvin or degrees Celsius, and become 0.01 K;
    with ``kelvin_per_count`` the value 0 is ``kelvin_at_zero``. Floats too large for a temperature are counts. What is
    not finite becomes like a neighbour, or 0 (dead) where there is none that is.
    """
    if thermal.dtype == np.int16:
        return thermal.view(np.uint16) ^ np.uint16(SIGN), "signed counts"
    if thermal.dtype not in (np.float32, np.float64):
        return thermal, "counts"
    gain, offset, unit = _scale(thermal, kelvin_per_count, kelvin_at_zero)
    counts = cv2.addWeighted(thermal, gain, thermal, 0, offset, dtype=cv2.CV_16U)
    bad = np.flatnonzero(~np.isfinite(thermal))
    if bad.size:
        counts.reshape(-1)[bad] = 0
        counts.reshape(-1)[bad] = cv2.dilate(counts, _NEIGHBOURS).reshape(-1)[bad]
    return counts, unit


def turned(thermal: np.ndarray, rotate: int, flip: str) -> np.ndarray:
    """``H x W [x 3]`` turned clockwise by 0, 90, 180 or 270 degrees, then mirrored left to right (``horizontal``) or
    upside down (``vertical``); the image itself where nothing is to be done (0, ``none``)."""
    if rotate:
        codes = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
        thermal = cv2.rotate(thermal, codes[rotate])
    return thermal if flip == "none" else cv2.flip(thermal, int(flip == "horizontal"))


def _scale(thermal: np.ndarray, kelvin_per_count: float, kelvin_at_zero: float) -> tuple[float, float, Unit]:
    """Gain and offset from float values to counts, and the unit of those."""
    if kelvin_per_count:
        return 100 * kelvin_per_count, 100 * kelvin_at_zero, "centikelvin"
    every = max(1, int((thermal.size / MEDIAN_SAMPLES) ** 0.5))
    sample = thermal[::every, ::every]
    sample = sample[np.isfinite(sample)]
    median = float(np.median(sample)) if sample.size else 0.0
    if median > LARGEST_KELVIN:
        return 1.0, 0.0, "counts"
    return 100.0, 0.0 if median > COLDEST_KELVIN else 100 * ZERO_CELSIUS, "centikelvin"
