"""What is wrong with an image at first sight: darkness, glare, fog, a blinded camera.

The thresholds were set on the real pictures of RoadScene, MSRS, LLVIP and TNO and on what ``simulation.degradations``
makes of them; ``test_conditions.py`` has the shares that they recognise.
"""

from __future__ import annotations

import numpy as np

from mmcfusion_ros.fusion.quantiles import ordered_sample, quantile

DARK_MEDIAN = 45  # street lights at night: 6 to 40; daylight: 58 and more
WHITE, GLARE_SHARE, SATURATED_SHARE = 250, 0.1, 0.5
FOG_BLACK, FOG_SPAN = 110, 105  # airlight lifts the darkest pixels and leaves little contrast
FLAT_SPAN = {"uint8": 8, "uint16": 30}  # a closed shutter or a covered lens: not even the noise of a scene


def rgb_conditions(visible: np.ndarray) -> set[str]:
    """Of ``H x W [x 3]`` uint8: ``dark``, ``glare``, ``fog``, ``saturated``; green stands for the luminance."""
    grey = ordered_sample(visible if visible.ndim == 2 else visible[..., 1])
    black, median, white = (quantile(grey, share) for share in (0.01, 0.5, 0.99))
    clipped = 1 - np.searchsorted(grey, WHITE) / grey.size
    tests = {
        "dark": median < DARK_MEDIAN,
        "glare": GLARE_SHARE < clipped <= SATURATED_SHARE,
        "saturated": clipped > SATURATED_SHARE,
        "fog": black > FOG_BLACK and white - black < FOG_SPAN and clipped <= GLARE_SHARE,
    }
    return {name for name, holds in tests.items() if holds}


def thermal_conditions(thermal: np.ndarray) -> set[str]:
    """Of ``H x W`` uint8 or uint16 counts, or ``H x W x 3`` colours of a palette: ``flat``, ``saturated``."""
    sample = ordered_sample(thermal)
    tests = {
        "flat": quantile(sample, 0.99) - quantile(sample, 0.01) < FLAT_SPAN[str(thermal.dtype)],
        "saturated": thermal.ndim == 2 and (sample == np.iinfo(thermal.dtype).max).mean() > GLARE_SHARE,
    }
    return {name for name, holds in tests.items() if holds}
