"""The homography that makes the edges of some thermal and RGB images agree best, from a start some pixels away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np

from mmcfusion_ros.alignment.edges import REACH, edge_channels

ImagePair = tuple[np.ndarray, np.ndarray]
Products = dict[str, np.ndarray]

MODELS = {"translation": 2, "similarity": 4, "affine": 6, "homography": 8}
ITERATIONS = 10
LONGEST_STEP = 3.0  # pixels
CLOSE_ENOUGH = 0.02  # pixels
RAMP = 4.0  # pixels over which images must agree to have a say
REGIONS, CELLS = (3, 4), (6, 8)
WHOLE = slice(None)
LEAST_FRAMES = 4  # whose scatter tells anything
SCATTER = 2.0  # how much more estimates scatter than the evidence in one Newton step does, measured on real pairs

# What two cameras side by side may differ by beyond shift, turn and scale, in pixels of 640 at the edge of the image,
# and the area in pixels over which their disagreement hangs together: without evidence for more, less is believed.
EXPECTED = np.array([np.inf, np.inf, np.inf, np.inf, 8.0, 8.0, 6.0, 6.0]) / 320
CORRELATED_AREA = 200.0

# Shift along x and y, scale, turn, stretch, shear, tilt about y and x: in half image widths around the centre.
GENERATORS = np.array(
    [
        [[0, 0, 1], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 1], [0, 0, 0]],
        [[1, 0, 0], [0, 1, 0], [0, 0, 0]],
        [[0, -1, 0], [1, 0, 0], [0, 0, 0]],
        [[1, 0, 0], [0, -1, 0], [0, 0, 0]],
        [[0, 1, 0], [1, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0], [-1, 0, 0]],
        [[0, 0, 0], [0, 0, 0], [0, -1, 0]],
    ],
    np.float64,
)


@dataclass(frozen=True, eq=False)
class Fit:
    """``homography`` from thermal to RGB pixels, ``correlation`` of edges under it and of each of the ``frames``,
    ``overlap`` as a share of the RGB image, ``deviation`` at the corners, by the scatter over cells of the image and by
    that over frames, whichever is larger, and ``shifts`` of regions, both in RGB pixels."""

    homography: np.ndarray
    correlation: float = 0.0
    overlap: float = 0.0
    deviation: float = np.inf
    shifts: np.ndarray = field(default_factory=lambda: np.empty((0, *REGIONS, 2)))
    frames: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def score(self) -> float:
        """Correlation, less where it comes from a small overlap only."""
        return self.correlation * min(1.0, self.overlap / 0.5) ** 0.5


class Level:
    """Some pairs at one scale: ``area`` pixels of the RGB image, or all where it has fewer."""

    def __init__(self, pairs: Sequence[ImagePair], area: int, valid: np.ndarray | None = None) -> None:
        height, width = pairs[0][1].shape
        scale = min(1.0, (area / (height * width)) ** 0.5)
        self.size = round(width * scale), round(height * scale)
        sx, sy = self.size[0] / width, self.size[1] / height
        self.to_level = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
        self.thermal = [thermal for thermal, _ in pairs]
        everywhere = np.ones(self.thermal[0].shape)
        self.valid = np.asarray(everywhere if valid is None else valid, np.float32)
        self.rgb_edges = [edge_channels(cv2.resize(rgb, self.size, interpolation=cv2.INTER_AREA)) for _, rgb in pairs]
        self.width, self.height = self.size
        half = self.width / 2
        self.to_unit = np.array([[1 / half, 0, -(self.width - 1) / self.width], [0, 1 / half, 0], [0, 0, 1]])
        self.to_unit[1, 2] = -(self.height - 1) / self.width

    def mirrored(self) -> Level:
        """The same with each thermal image mirrored left to right."""
        mirrored = copy(self)
        mirrored.thermal = [cv2.flip(thermal, 1) for thermal in self.thermal]
        mirrored.valid = self.valid[:, ::-1].copy()
        return mirrored

    def thermal_edges(self, homography: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Edge channels of each thermal image under a homography to RGB pixels, and where they are valid (0 or 1)."""
        to_level = self.to_level @ homography
        shrink = abs(np.linalg.det(to_level[:2, :2] / to_level[2, 2])) ** 0.5
        seen = cv2.warpPerspective(self.valid, to_level, self.size)
        seen = cv2.copyMakeBorder(seen, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        seen = cv2.erode(seen, np.ones((2 * REACH + 1, 2 * REACH + 1)))[1:-1, 1:-1]
        inner = np.zeros_like(seen)
        inner[REACH:-REACH, REACH:-REACH] = seen[REACH:-REACH, REACH:-REACH] > 0.99
        warped = []
        for thermal in self.thermal:
            if shrink < 0.8:
                thermal = cv2.GaussianBlur(thermal, (0, 0), 0.5 * (1 / shrink**2 - 1) ** 0.5)
            image = cv2.warpPerspective(thermal, to_level, self.size, borderMode=cv2.BORDER_REPLICATE)
            warped.append((edge_channels(image), inner))
        return warped

    def velocities(self, parameters: int) -> np.ndarray:
        """``parameters x 2 x H x W``: how each generator moves each pixel, in pixels."""
        x = (np.arange(self.width, dtype=np.float32) - (self.width - 1) / 2) / (self.width / 2)
        y = (np.arange(self.height, dtype=np.float32)[:, None] - (self.height - 1) / 2) / (self.width / 2)
        return velocities_at(*np.broadcast_arrays(x, y))[:parameters] * np.float32(self.width / 2)


def velocities_at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``8 x 2 x ...``: the velocity fields of ``GENERATORS`` at points in half widths from the centre."""
    one, zero = np.ones_like(x), np.zeros_like(x)
    along_x = (one, zero, x, -y, x, y, x * x, x * y)
    along_y = (zero, one, y, x, -y, x, x * y, y * y)
    return np.stack([np.stack(pair) for pair in zip(along_x, along_y, strict=True)])


def fit(level: Level, homography: np.ndarray, expected: np.ndarray, parameters: int) -> Fit:
    """Gauss-Newton from ``homography`` with the first so many of ``GENERATORS``.

    The enhanced correlation coefficient (Evangelidis and Psarakis, PAMI 2008) over edge channels and all pairs, with
    the mean of the gradients of both images (Benhimane and Malis, IROS 2004), each pixel weighted by how well its
    surroundings agree. ``expected`` is the homography that stretch, shear and tilt are unlikely to differ from much.
    """
    warped = level.thermal_edges(homography)
    velocities = level.velocities(parameters)
    unit, back = level.to_unit, np.linalg.inv(level.to_unit)
    inwards = unit @ level.to_level
    before = inwards @ expected @ np.linalg.inv(inwards @ homography)
    residual = np.eye(3)  # from RGB to the warped thermal image, in half widths
    for _ in range(ITERATIONS):
        grams = [_gram(maps, velocities) for maps in _all_maps(level, warped, back @ residual @ unit)]
        gram = np.sum(grams, axis=0)
        step = _step(gram, before @ residual)[0]
        length = float(np.abs(step).max()) * level.width / 2
        step *= min(1.0, LONGEST_STEP / max(length, 1e-9))
        residual = residual @ (np.eye(3) + np.tensordot(step, GENERATORS[:parameters], 1))
        residual /= residual[2, 2]
        if length < CLOSE_ENOUGH:
            break
    found = np.linalg.inv(inwards) @ np.linalg.inv(residual) @ inwards @ homography
    maps = list(_all_maps(level, warped, back @ residual @ unit))
    return _judged(level, found / found[2, 2], maps, velocities, before @ residual)


def _all_maps(level: Level, warped: list[tuple[np.ndarray, np.ndarray]], residual: np.ndarray) -> Iterator[Products]:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for (edges, valid), reference in zip(warped, level.rgb_edges, strict=True):
        moved = cv2.warpPerspective(edges, residual, level.size, flags=flags)
        yield products(moved, cv2.warpPerspective(valid, residual, level.size, flags=flags), reference)


def products(thermal: np.ndarray, valid: np.ndarray, rgb: np.ndarray) -> Products:
    """The products of gradients and edges of one pair, summed over channels and weighted: ``H x W`` each."""

    def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return cv2.transform(a * b, np.ones((1, a.shape[2]), np.float32))

    tt, tr, rr = dot(thermal, thermal), dot(thermal, rgb), dot(rgb, rgb)
    agreement = cv2.GaussianBlur(tr, (0, 0), RAMP) / (cv2.GaussianBlur((tt + rr) / 2, (0, 0), RAMP) + 1e-3)
    weight = valid * np.clip(agreement, 0, 1)
    total_t, total_r = float((weight * tt).sum()), float((weight * rr).sum())
    mean = (thermal + (total_t / (total_r + 1e-9)) ** 0.5 * rgb) / 2
    gx, gy = cv2.Sobel(mean, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(mean, cv2.CV_32F, 0, 1, scale=1 / 8)
    found = {"xx": dot(gx, gx), "xy": dot(gx, gy), "yy": dot(gy, gy), "tt": tt, "tr": tr, "rr": rr}
    found |= {"xt": dot(gx, thermal), "yt": dot(gy, thermal), "xr": dot(gx, rgb), "yr": dot(gy, rgb)}
    whole = {"valid": valid, "all_tt": valid * tt, "all_tr": valid * tr, "all_rr": valid * rr}
    return whole | {name: product * weight for name, product in found.items()}


def _gram(maps: Products, velocities: np.ndarray, rows: slice = WHOLE, columns: slice = WHOLE) -> np.ndarray:
    """The inner products of the generators' effects, the thermal and the RGB edges over a part of the image.

    ``(k + 3) x (k + 3)``; the last diagonal entry is the number of valid pixels.
    """
    count = len(velocities)
    vx, vy = (velocities[:, axis, rows, columns].reshape(count, -1) for axis in (0, 1))
    part = {name: product[rows, columns].ravel() for name, product in maps.items() if not name.startswith("all")}
    gram = np.zeros((count + 3, count + 3))
    cross = (vx * part["xy"]) @ vy.T
    gram[:count, :count] = (vx * part["xx"]) @ vx.T + (vy * part["yy"]) @ vy.T + cross + cross.T
    gram[:count, count] = vx @ part["xt"] + vy @ part["yt"]
    gram[:count, count + 1] = vx @ part["xr"] + vy @ part["yr"]
    gram[count, count], gram[count, count + 1] = part["tt"].sum(), part["tr"].sum()
    gram[count + 1, count + 1], gram[-1, -1] = part["rr"].sum(), part["valid"].sum()
    return gram


def _step(gram: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The next step in units of ``GENERATORS``, the curvature behind it, and the gain from RGB to thermal edges."""
    count = len(gram) - 3
    hessian, by_thermal, by_rgb = gram[:count, :count], gram[:count, count], gram[:count, count + 1]
    tt, tr, rr, pixels = gram[count, count], gram[count, count + 1], gram[count + 1, count + 1], gram[-1, -1]
    hessian = hessian + 1e-6 * (np.trace(hessian) / count + 1e-9) * np.eye(count)
    inverse = np.linalg.inv(hessian)
    above, below = tt - by_thermal @ inverse @ by_thermal, tr - by_rgb @ inverse @ by_thermal
    gain = above / below if below > 1e-9 else (tt / max(rr, 1e-9)) ** 0.5
    variance = max(gain * gain * rr - 2 * gain * tr + tt, 1e-9) / max(pixels, 1.0)
    prior = CORRELATED_AREA * variance / EXPECTED[:count] ** 2
    hessian = hessian + np.diag(prior)
    return np.linalg.solve(hessian, gain * by_rgb - by_thermal - prior * _shape_of(total)[:count]), hessian, gain


def _shape_of(total: np.ndarray) -> np.ndarray:
    """Stretch, shear and tilts of a homography in half widths, as parameters of ``GENERATORS`` (the others 0)."""
    total = total / total[2, 2]
    _, singular, vt = np.linalg.svd(total[:2, :2])
    stretch = vt.T @ np.diag(singular / max(singular.prod(), 1e-12) ** 0.5) @ vt
    return np.array([0, 0, 0, 0, (stretch[0, 0] - stretch[1, 1]) / 2, stretch[0, 1], -total[2, 0], -total[2, 1]])


def _judged(
    level: Level, homography: np.ndarray, maps: list[Products], velocities: np.ndarray, total: np.ndarray
) -> Fit:
    """The fit with its deviation and the shift of each region.

    Deviation: the sandwich estimator over cells of the image, and the jackknife over frames, each left out in turn by
    one Newton step, since what a frame says of one cell hangs together with what it says of the others.
    """
    count = len(velocities)
    cells = np.array([[_gram(one, velocities, *cell) for cell in _parts(level, CELLS)] for one in maps])
    gram = cells.sum(axis=(0, 1))
    _, hessian, gain = _step(gram, total)
    scores = gain * cells[..., :count, count + 1] - cells[..., :count, count]
    inverse = np.linalg.inv(hessian)
    covariance = SCATTER**2 * inverse @ np.einsum("fci,fcj->ij", scores, scores) @ inverse
    aspect = level.height / level.width
    moves = velocities_at(np.array([-1.0, 1, 1, -1]), aspect * np.array([-1.0, -1, 1, 1]))[:count]
    variance = np.einsum("iak,ij,jak->k", moves, covariance, moves).mean()
    frames = len(maps)
    if frames >= LEAST_FRAMES:
        parts = hessian - cells[..., :count, :count].sum(axis=1)
        left_out = -np.linalg.solve(parts, scores.sum(axis=1)[..., None])[..., 0]
        left_out = np.einsum("fi,iak->fak", left_out - left_out.mean(axis=0), moves)
        variance = max(variance, SCATTER**2 * (frames - 1) / frames * (left_out**2).sum(axis=(0, 1)).mean())
    rgb_pixels = level.width / 2 / level.to_level[0, 0]
    sums = np.array([[one[name].sum() for name in ("all_tt", "all_tr", "all_rr")] for one in maps], np.float64)
    tt, tr, rr = sums.sum(axis=0)
    return Fit(
        homography,
        correlation=float(tr / (tt * rr + 1e-9) ** 0.5),
        overlap=float(gram[-1, -1]) / (frames * level.width * level.height),
        deviation=float(variance**0.5) * rgb_pixels,
        shifts=_shifts(cells, gain).reshape(frames, *REGIONS, 2) * rgb_pixels,
        frames=sums[:, 1] / (sums[:, 0] * sums[:, 2] + 1e-9) ** 0.5,
    )


def _parts(level: Level, shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    rows = np.linspace(0, level.height, shape[0] + 1).astype(int)
    columns = np.linspace(0, level.width, shape[1] + 1).astype(int)
    return [
        (slice(top, bottom), slice(left, right)) for top, bottom in pairwise(rows) for left, right in pairwise(columns)
    ]


def _shifts(cells: np.ndarray, gain: float) -> np.ndarray:
    """``frames x regions x 2``: where the thermal image should move in each region, in half widths."""
    frames, size = len(cells), cells.shape[-1]
    grid = cells.reshape(frames, REGIONS[0], CELLS[0] // REGIONS[0], REGIONS[1], CELLS[1] // REGIONS[1], size, size)
    grams = grid.sum(axis=(2, 4)).reshape(frames, -1, size, size)
    hessian = grams[..., :2, :2]
    pull = gain * grams[..., :2, -2] - grams[..., :2, -3]
    textured = np.linalg.eigvalsh(hessian)[..., 0] > 0.02 * np.trace(hessian, axis1=-2, axis2=-1).mean()
    shifts = np.full(pull.shape, np.nan)
    shifts[textured] = -np.linalg.solve(hessian[textured], pull[textured][..., None])[..., 0]
    return shifts
