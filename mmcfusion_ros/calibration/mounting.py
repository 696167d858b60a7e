"""Whether the thermal camera is mounted turned, or looks into a mirror: from images of what both cameras see."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from mmcfusion_ros.alignment.find import COARSE, LEAST_CONTRAST, ImagePair, same_view
from mmcfusion_ros.alignment.fit import Level, fit
from mmcfusion_ros.alignment.search import GRIDS, search_similarity
from mmcfusion_ros.fusion.thermal import ROTATIONS, turned

CANDIDATES = 2
UPRIGHT = (0, "none")
NAMES = {(180, "horizontal"): (0, "vertical")}
_, _SCALES, _RATIOS = GRIDS["wide"]
GRID = (np.zeros(1), _SCALES, _RATIOS)


def mounting(pairs: Sequence[ImagePair]) -> str:
    """The parameters that would bring the thermal images of some pairs upright, and how well they fit then, in words.

    Empty if none of the eight ways to turn and mirror them fits clearly better than the others, or if they are upright.
    ``pairs`` as :func:`~mmcfusion_ros.alignment.find.align` takes them; two of them are looked at.
    """
    chosen = pairs[:: (len(pairs) + 1) // 2]
    ways = list(product(ROTATIONS, ("none", "horizontal")))
    scores = [_score([(turned(thermal, *way), rgb) for thermal, rgb in chosen]) for way in ways]
    second, best = np.argsort(scores)[-2:]
    if ways[best] == UPRIGHT or scores[best] < LEAST_CONTRAST * scores[second]:
        return ""
    rotate, flip = NAMES.get(ways[best], ways[best])
    settings = [f"thermal.rotate={rotate}"] if rotate else []
    settings += [f"thermal.flip={flip}"] if flip != "none" else []
    return f"{' '.join(settings)} (correlation {scores[best]:.2f}, else {scores[second]:.2f} at most)"


def _score(pairs: Sequence[ImagePair]) -> float:
    """The correlation of the edges where they fit best, less where that is a small overlap: there anything fits."""
    thermal, rgb = pairs[0]
    level = Level(pairs, COARSE)
    places = search_similarity(level, same_view(thermal.shape, rgb.shape), GRID, CANDIDATES)
    return max(fit(level, place, place, 6).score for place in places)
