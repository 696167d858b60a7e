"""Where the thermal image lies on the RGB image, estimated from the images themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

from mmcfusion_ros.alignment.edges import LEAST_TEXTURE, texture
from mmcfusion_ros.alignment.fit import MODELS, Fit, ImagePair, Level, fit
from mmcfusion_ros.alignment.search import GRIDS, search_similarity

Search = Literal["none", "near", "wide"]

COARSE, MIDDLE, FINE = 160 * 120, 320 * 240, 640 * 480
CANDIDATES = 6
LARGEST_DEVIATION = 4.0
LEAST_CORRELATION = 0.08
LEAST_CONTRAST = 1.3
LEAST_LEAD = 0.01
RIVAL_SHARE, MOST_PLACES = 0.85, 3
STEP_ASIDE, LARGEST_SPREAD, LARGEST_DRIFT = 6.0, 2.0, 3.0  # pixels of 640
AREA_RATIO = (0.05, 4.0)


@dataclass(frozen=True, eq=False)
class Alignment:
    """An estimate and how far to trust it.

    ``homography`` (3x3, float64) takes thermal pixels to RGB pixels, ``(x, y)`` from 0 at the centre of the top left
    one. ``deviation_px`` is its standard deviation at the corners of the RGB image, in pixels of 640 across, from the
    scatter of the evidence over the image and the frames. ``correlation`` (-1 to 1) is that of the edges. ``problem``
    says why the estimate is not to be used, or is empty; it is ``lost`` where a simpler model would not do better: the
    images have no one place where they fit. ``shifts`` (frames x rows x columns x 2, RGB pixels) is what each part of
    each frame would still move by, NaN without evidence; ``frames`` are the correlations of each.
    """

    homography: np.ndarray
    correlation: float = 0.0
    deviation_px: float = np.inf
    problem: str = ""
    lost: bool = False
    shifts: np.ndarray = field(default_factory=lambda: np.empty((0, 3, 4, 2)))
    frames: np.ndarray = field(default_factory=lambda: np.empty(0))


def same_view(thermal_shape: tuple[int, ...], rgb_shape: tuple[int, ...]) -> np.ndarray:
    """The 3x3 homography of two cameras with one field of view, for images of these shapes (height, width)."""
    sy, sx = rgb_shape[0] / thermal_shape[0], rgb_shape[1] / thermal_shape[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def align(
    pairs: Sequence[ImagePair],
    start: np.ndarray | None = None,
    model: str = "homography",
    search: Search = "near",
    finest: int = FINE,
    valid: np.ndarray | None = None,
) -> Alignment:
    """Where the thermal camera of some pairs of one rig looks, as seen from the RGB camera.

    ``pairs`` are thermal and RGB luminance, ``h x w`` and ``H x W`` uint8, all of the same two sizes; more pairs give
    a better estimate. ``start`` is the homography to start from, else both see the same field. ``search`` is how far
    the truth may be from it: ``none`` (some pixels), ``near`` (+-48 pixels of 640, 8 degrees, 15 % scale) or ``wide``
    (another lens: 0.35 to 1.4 in width and height). ``model`` is one of ``MODELS``; ``finest`` the number of
    pixels of the finest scale worked at, ``valid`` (``h x w`` uint8, 0 or 1) where the thermal images are good.
    ``ValueError`` for images that do not fit or an unknown model; whatever goes
    wrong with the estimate is in ``Alignment.problem``.
    """
    _check(pairs, model)
    thermal, rgb = pairs[0]
    start = same_view(thermal.shape, rgb.shape) if start is None else np.asarray(start, np.float64)
    if problem := _too_flat(pairs):
        return Alignment(start, problem=problem, lost=True)
    parameters = MODELS[model]
    places, problem = _coarse(Level(pairs[:: (len(pairs) + 1) // 2], COARSE, valid), start, search, parameters)
    expected = places[0] if search == "wide" else start
    middle = Level(pairs, MIDDLE, valid)
    result, rivalry = best_place(middle, places, expected, parameters)
    problem = problem or rivalry
    lost = bool(problem)
    if search != "none":
        result, unsettled = settled(middle, result, expected, parameters)
        problem = problem or unsettled
    if finest >= FINE:
        result, drift = refined(middle, Level(pairs, FINE, valid), result, expected, parameters)
        problem = problem or drift
    scale = 640 / rgb.shape[1]
    problem = problem or _problem(result, thermal.shape, rgb.shape)
    deviation_px = result.deviation * scale
    return Alignment(result.homography, result.correlation, deviation_px, problem, lost, result.shifts, result.frames)


def corners(shape: tuple[int, ...]) -> np.ndarray:
    """The centres of the four corner pixels of an image of this shape (height, width): ``4 x 2``, x and y."""
    height, width = shape[:2]
    return np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float64)


def transformed(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``N x 2`` points through a 3x3 homography."""
    return cv2.perspectiveTransform(points.reshape(-1, 1, 2), homography).reshape(-1, 2)


def _check(pairs: Sequence[ImagePair], model: str) -> None:
    if model not in MODELS:
        raise ValueError(f"the model is {model!r}; it must be one of {', '.join(MODELS)}")
    if not pairs:
        raise ValueError("no image pairs to align")
    for thermal, rgb in pairs:
        for name, image, first in (("thermal", thermal, pairs[0][0]), ("RGB", rgb, pairs[0][1])):
            if image.ndim != 2 or image.dtype != np.uint8 or min(image.shape) < 64:
                text = f"{name} image of {image.dtype}, shape {image.shape}"
                raise ValueError(f"{text}; it must be H x W uint8 luminance, 64 pixels or more a side")
            if image.shape != first.shape:
                raise ValueError(f"{name} images of shapes {first.shape} and {image.shape}; one rig has one")


def _too_flat(pairs: Sequence[ImagePair]) -> str:
    for position, name in enumerate(("thermal", "RGB")):
        share = float(np.median([texture(pair[position]) for pair in pairs]))
        if share < LEAST_TEXTURE:
            return f"the {name} image has too little texture: edges on {100 * share:.1f} % of it"
    return ""


def _coarse(level: Level, start: np.ndarray, search: Search, parameters: int) -> tuple[list[np.ndarray], str]:
    """Places that fit well at the coarsest scale, best first, and why none of them may be right.

    How well images agree that do not belong together is seen from the mirrored thermal image.
    """
    fits = _candidates(level, start, search, parameters)
    wrong = _candidates(level.mirrored(), start, search, parameters)
    if not fits:
        return [start], "the cameras see nothing in common"
    best, chance = fits[0], wrong[0].score if wrong else 0.0
    places = [best.homography]
    for one in fits[1:]:
        if one.score > RIVAL_SHARE * best.score and all(_apart(level, one.homography, place) > 4 for place in places):
            places.append(one.homography)
    places = places[:MOST_PLACES]
    if best.score < LEAST_CONTRAST * chance:
        text = f"correlation {best.score:.2f}, and {chance:.2f} with the thermal image mirrored"
        return places, f"the edges of the two images agree no better than by chance: {text}"
    return places, ""


def best_place(level: Level, places: Sequence[np.ndarray], expected: np.ndarray, parameters: int) -> tuple[Fit, str]:
    """The place that fits best at a finer scale, and whether another fits nearly as well."""
    fits = [fit(level, place, expected, min(parameters, 6)) for place in places]
    best = max(fits, key=lambda one: one.score)
    rivals = [one.score for one in fits if _apart(level, one.homography, best.homography) > 8]
    close = max(rivals, default=0.0) > best.score - LEAST_LEAD
    return fit(level, best.homography, expected, parameters), "another place fits nearly as well" if close else ""


def settled(level: Level, found: Fit, expected: np.ndarray, parameters: int) -> tuple[Fit, str]:
    """The best of what is found from starts beside a fit, and whether most of them end elsewhere."""
    side = STEP_ASIDE * level.width / 640
    fits = [found]
    for x, y in ((side, 0), (-side, 0), (0, side), (0, -side)):
        aside = np.linalg.inv(level.to_level) @ np.array([[1, 0, x], [0, 1, y], [0, 0, 1]]) @ level.to_level
        fits.append(fit(level, aside @ found.homography, expected, parameters))
    best = max(fits, key=lambda one: one.score)
    ends = [_apart(level, one.homography, best.homography) * 640 / level.width for one in fits]
    spread = float(np.median(ends))
    return best, "" if spread < LARGEST_SPREAD else f"starts beside each other end {spread:.1f} pixels (of 640) apart"


def refined(middle: Level, fine: Level, found: Fit, expected: np.ndarray, parameters: int) -> tuple[Fit, str]:
    """A fit at the fine scale, or where it moves far away that at the middle one, which is the steadier, and a problem.

    Each fit is one of two: the second has its edges from images that the first has put in place.
    """
    steady = fit(middle, found.homography, expected, parameters)
    finer = fit(fine, found.homography, expected, parameters)
    finer = fit(fine, finer.homography, expected, parameters)
    drift = _apart(middle, finer.homography, steady.homography) * 640 / middle.width
    if drift < LARGEST_DRIFT:
        return finer, ""
    return steady, f"two scales of the images disagree by {drift:.1f} pixels (of 640)"


def _apart(level: Level, one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance between the corners of the thermal image under two homographies, in pixels of the level."""
    outline = corners(level.thermal[0].shape)
    distances = np.linalg.norm(transformed(one, outline) - transformed(other, outline), axis=1)
    return float(distances.mean()) * float(level.to_level[0, 0])


def _candidates(level: Level, start: np.ndarray, search: Search, parameters: int) -> list[Fit]:
    """Fits at the coarsest scale, best first."""
    starts = [start] if search == "none" else search_similarity(level, start, GRIDS[search], CANDIDATES)
    count = min(parameters, 6 if search == "wide" else 4)
    fits = [fit(level, candidate, candidate, count) for candidate in starts]
    return sorted(fits, key=lambda one: -one.score)


def _problem(result: Fit, thermal: tuple[int, ...], rgb: tuple[int, ...]) -> str:
    """Why an estimate is lost, or nothing."""
    outline = transformed(result.homography, corners(thermal))
    if not np.isfinite(outline).all() or not cv2.isContourConvex(outline.astype(np.float32)):
        return "the estimate folds the thermal image"
    area = cv2.contourArea(outline.astype(np.float32), oriented=True)
    ratio = area / (rgb[0] * rgb[1])
    if not AREA_RATIO[0] < ratio < AREA_RATIO[1]:
        return (
            f"the estimate is mirrored or collapsed: the thermal image would cover {100 * ratio:.0f} % of the RGB one"
        )
    if result.overlap < 0.2:
        return f"the cameras see too little in common: {100 * result.overlap:.0f} % of the RGB image"
    if result.correlation < LEAST_CORRELATION:
        return f"the edges of the two images do not agree: correlation {result.correlation:.2f}"
    deviation = result.deviation * 640 / rgb[1]
    if deviation > LARGEST_DEVIATION:
        return f"the evidence scatters: {deviation:.1f} pixels (of 640) at the corners"
    return ""
