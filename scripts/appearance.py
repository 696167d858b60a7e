"""What eyes find wrong in fused images and fusion metrics do not, in numbers: far things that dim, skies, texture.

Images are ``H x W`` uint8, thermal (white hot) and luminance; grey levels are of 0 to 255.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mmcfusion_ros.evaluation.metrics import Image
from mmcfusion_ros.evaluation.rules import Fusion

Mask = NDArray[np.bool_]
Plane = NDArray[np.float32]
Boxes = NDArray[np.float64]  # N x 4: left, top, right, bottom in pixels

RADIUS, FAR = 90, 64  # pixels: of the disc, and off its edge
SOFT = 3  # pixels over which the disc ends
GRID, MARGIN = 40, 60  # pixels between the places that are tried for it, and to the sides of the image
FLAT, BRIGHT = 2.0, 160  # grey levels a pixel, grey level: sky in RGB
SMALLEST_SKY = 0.005  # of the image
DETAIL = 2.0, 20.0  # grey levels of deviation: texture in RGB


def dimming(fuse: Fusion, thermal: Image, luminance: Image, people: Boxes) -> dict[str, float]:
    """What a hot disc of radius 90 pixels changes in the fused image more than 64 pixels off its edge, in grey levels.

    The disc stands at two places, away from people (``N x 4``: left, top, right, bottom). The worse of both of
    ``person``: largest mean change of one of them; ``people``: 95 % of their pixels change by less; ``any``: largest
    change of any pixel. What looks at a pixel's surroundings alone gives 0.
    """
    before = fuse(thermal, luminance)
    worst = {"person": 0.0, "people": 0.0, "any": 0.0}
    boxes = [_inside(thermal, box) for box in people]
    for centre in disc_centres(np.logical_or.reduce([*boxes, np.zeros(thermal.shape, bool)])):
        disc, outside = with_disc(thermal, centre)
        change = fuse(disc, luminance).astype(np.float64) - before
        far = outside > FAR
        each = [change[box & far] for box in boxes if (box & far).any()] or [np.zeros(1)]
        values = (
            max(abs(pixels.mean()) for pixels in each),
            np.percentile(np.abs(np.concatenate(each)), 95),
            np.abs(change[far]).max(initial=0),
        )
        worst = {name: max(old, float(new)) for (name, old), new in zip(worst.items(), values, strict=True)}
    return worst


def with_disc(thermal: Image, centre: tuple[int, int]) -> tuple[Image, Plane]:
    """A copy with a disc of 255 around ``centre`` (x, y), and how many pixels each pixel is outside its edge."""
    outside = _distance(thermal, centre) - RADIUS
    share = np.clip(0.5 - outside / SOFT, 0, 1)
    return np.rint(thermal * (1 - share) + 255 * share).astype(np.uint8), outside


def disc_centres(people: Mask) -> tuple[tuple[int, int], tuple[int, int]]:
    """Two places (x, y) where it comes near the fewest pixels of people, as far from each other as can be."""
    height, width = people.shape
    places = [(x, height * y // 4) for y in (1, 2, 3) for x in range(MARGIN, width - MARGIN + 1, GRID)]
    near = [int(people[_distance(people, place) < RADIUS + FAR].sum()) for place in places]
    free = [place for place, count in zip(places, near, strict=True) if count <= min(near) + 0.02 * people.sum()]
    return free[0], max(free, key=lambda place: np.hypot(place[0] - free[0][0], place[1] - free[0][1]))


def sky_area(thermal: Image, luminance: Image) -> Mask:
    """Where RGB is bright and without features and thermal colder than half of its image, in large connected parts
    that reach the upper quarter of the image."""
    t, y = (_blurred(image, 1.5) for image in (thermal, luminance))
    around = np.ones((5, 5), np.uint8)
    flat = cv2.dilate(_slope(y), around) < FLAT
    bright = y >= max(BRIGHT, 0.8 * float(np.percentile(y, 98)))
    area = cv2.erode((flat & bright & (t <= np.median(thermal))).astype(np.uint8), around)
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(area, connectivity=8)
    large = boxes[:, cv2.CC_STAT_AREA] >= SMALLEST_SKY * area.size
    upper = boxes[:, cv2.CC_STAT_TOP] < area.shape[0] / 4
    return np.isin(parts, [part for part in range(1, count) if large[part] and upper[part]])


def texture_kept(thermal: Image, luminance: Image, fused: Image) -> tuple[float, float]:
    """Share of RGB's fine detail in the fused image where RGB has texture and thermal has none, and where thermal is
    the brighter source besides; 1 is all of it, at its own contrast, not a number where there is no such part.

    By linear regression of what is finer than 2 pixels.
    """
    t, y, f = (_detail(image) for image in (thermal, luminance, fused))
    power_t, power_y = (_blurred(detail**2, 4) for detail in (t, y))
    here = (power_y > DETAIL[0] ** 2) & (power_y < DETAIL[1] ** 2) & (power_t < power_y / 4)
    warm = here & (_blurred(thermal, 4) > _blurred(luminance, 4))
    kept, warm_kept = (
        float((f[where] * y[where]).sum() / (y[where] ** 2).sum()) if where.any() else np.nan for where in (here, warm)
    )
    return kept, warm_kept


def _inside(image: np.ndarray, box: NDArray[np.float64]) -> Mask:
    left, top, right, bottom = np.rint(box).astype(int).clip(0)
    mask = np.zeros(image.shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def _distance(image: np.ndarray, centre: tuple[int, int]) -> Plane:
    rows, columns = np.indices(image.shape, np.float32)
    return np.hypot(columns - centre[0], rows - centre[1])


def _slope(plane: Plane) -> Plane:
    """Grey levels a pixel."""
    return cv2.magnitude(*(cv2.Sobel(plane, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1))))  # type: ignore[return-value]


def _detail(image: Image) -> Plane:
    return image - _blurred(image, 2)


def _blurred(image: Image | Plane, deviation: float) -> Plane:
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), deviation)  # type: ignore[return-value]
