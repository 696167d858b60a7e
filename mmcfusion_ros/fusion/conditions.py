"""What is wrong with an image at first sight: darkness, glare, fog, a blinded or a frozen camera.

The thresholds were set on the real pictures of RoadScene, MSRS, LLVIP and TNO and on what ``simulation.degradations``
makes of them; ``test_conditions.py`` has the shares that they recognise.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable

import numpy as np

SAMPLES = 20_000

DARK_MEDIAN = 45  # street lights at night: 6 to 40; daylight: 58 and more
WHITE, GLARE_SHARE, SATURATED_SHARE = 250, 0.1, 0.5
FOG_BLACK, FOG_SPAN = 110, 105  # airlight lifts the darkest pixels and leaves little contrast
FLAT_SPAN = {"uint8": 8, "uint16": 30}  # a closed shutter or a covered lens: not even the noise of a scene


def _sample(image: np.ndarray) -> np.ndarray:
    stride = max(1, math.isqrt(image.shape[0] * image.shape[1] // SAMPLES))
    return image[::stride, ::stride]


def rgb_conditions(visible: np.ndarray) -> set[str]:
    """Of ``H x W [x 3]`` uint8: ``dark``, ``glare``, ``fog``, ``saturated``; green stands for the luminance."""
    grey = _sample(visible if visible.ndim == 2 else visible[..., 1])
    black, median, white = np.percentile(grey, (1, 50, 99))
    clipped = (grey >= WHITE).mean()
    tests = {
        "dark": median < DARK_MEDIAN,
        "glare": GLARE_SHARE < clipped <= SATURATED_SHARE,
        "saturated": clipped > SATURATED_SHARE,
        "fog": black > FOG_BLACK and white - black < FOG_SPAN and clipped <= GLARE_SHARE,
    }
    return {name for name, holds in tests.items() if holds}


def thermal_conditions(thermal: np.ndarray) -> set[str]:
    """Of ``H x W`` uint8 or uint16 counts: ``flat``, ``saturated``."""
    sample = _sample(thermal)
    low, high = np.percentile(sample, (1, 99))
    tests = {
        "flat": high - low < FLAT_SPAN[str(thermal.dtype)],
        "saturated": (sample == np.iinfo(thermal.dtype).max).mean() > GLARE_SHARE,
    }
    return {name for name, holds in tests.items() if holds}


class FreezeDetector:
    """Notices a camera that sends the same image again and again: noise makes no two real ones equal."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._checksum: int | None = None
        self._since_s = clock_s()

    def __call__(self, image: np.ndarray) -> float:
        """For how many seconds every image has been like this one, by a checksum of some 20,000 of its pixels."""
        checksum = zlib.crc32(np.ascontiguousarray(_sample(image)).tobytes())
        if checksum != self._checksum:
            self._checksum, self._since_s = checksum, self._clock_s()
        return self._clock_s() - self._since_s
