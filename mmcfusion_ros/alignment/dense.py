"""What one plane or homography leaves: how far the things of each cell of the image still lie beside themselves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from mmcfusion_ros.alignment.edges import edge_channels
from mmcfusion_ros.alignment.fit import Products, products

FIELD = (12, 16)  # cells of a smooth field, rows and columns
AREAS, STEPS, LONGEST_STEP, CLOSE_ENOUGH = (80 * 60, 160 * 120, 320 * 240), 6, 2.0, 0.03  # pixels of a scale
# What is expected of a smooth field before anything is seen, in pixels of 640: its size, and what it differs by, and
# bends by, from one cell to the next; and the pixels over which the disagreement of edges hangs together.
EXPECTED, SLOPE, BEND, CORRELATED_AREA = 6.0, 2.0, 2.0, 20.0

SWEPT = (60, 80)  # cells of the search along the epipolar lines
SWEPT_AREA = 320 * 240
WINDOW = 1.3  # cells: the deviation of what is compared
FLOOR = 0.5  # of the mean energy of edges: where there are fewer, all candidates are alike
ONE_STEP, MANY_STEPS = 0.1, 1.0  # what a surface pays for a change of its distance
ASIDE = 0.12  # what a cell pays for leaving the plane
LEAST_AGREEMENT = 0.2  # of the edges of a cell that leaves it
LIKELY = 0.1  # candidates that cost so much more than the best are less likely by a factor of e


@dataclass(frozen=True, eq=False)
class Shifts:
    """``shift`` (rows x columns x 2, RGB pixels): how far from a cell of the RGB image the thermal image on its grid
    shows the same thing, 0 without evidence. ``confidence`` (rows x columns): 0 to 1, how much there was. ``error``
    (rows x columns, RGB pixels): what it is expected to be off by."""

    shift: np.ndarray
    confidence: np.ndarray
    error: np.ndarray


def smooth_field(
    thermal: np.ndarray, luminance: np.ndarray, valid: np.ndarray | None = None, start: np.ndarray | None = None
) -> Shifts:
    """The small, smooth shifts that make the edges of two images agree best, from coarse to fine.

    ``thermal`` and ``luminance``: ``H x W`` uint8 on one grid; ``valid`` (``H x W`` uint8, 0 or 1) where thermal shows
    anything; ``start``: the shift to begin with. Gauss-Newton on the enhanced correlation coefficient as in
    :func:`fit.fit`, one step of two unknowns for each cell, with Gaussian priors on the field and its first and second
    differences; the confidence is the share of the prior variance that the images take away.
    """
    rows, columns = FIELD
    height, width = luminance.shape
    prior = _prior(rows, columns)
    prior_variance = np.diag(np.linalg.inv(prior))
    shift = np.zeros((rows * columns, 2)) if start is None else start.reshape(-1, 2) * (640 / width)
    valid = np.ones(luminance.shape, np.uint8) if valid is None else valid
    for area in AREAS:
        scale = min(1.0, (area / (height * width)) ** 0.5)
        size = round(width * scale), round(height * scale)
        unit = size[0] / 640  # pixels of this scale for one of 640
        edges, reference = (
            edge_channels(cv2.resize(image, size, interpolation=cv2.INTER_AREA)) for image in (thermal, luminance)
        )
        seen = cv2.resize(valid.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        for _ in range(STEPS):
            places = _places(unit * shift.reshape(rows, columns, 2), size)
            moved = cv2.remap(edges, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            maps = products(moved, cv2.remap(seen, *places, cv2.INTER_LINEAR), reference)
            hessian, pull = _normal_equations(maps, unit)
            for axis in (0, 1):
                own = slice(axis * rows * columns, (axis + 1) * rows * columns)
                hessian[own, own] += prior
                pull[own] -= prior @ shift[:, axis]
            step = np.linalg.solve(hessian, pull).reshape(2, -1).T
            length = float(np.abs(step).max()) * unit
            shift += step * min(1.0, LONGEST_STEP / max(length, 1e-9))
            if length < CLOSE_ENOUGH:
                break
    left = np.diag(np.linalg.inv(hessian)).reshape(2, -1).mean(axis=0)
    confidence = 1 - np.clip(left / prior_variance, 0, 1)
    found = shift.reshape(rows, columns, 2), confidence.reshape(rows, columns), np.sqrt(2 * left).reshape(rows, columns)
    return Shifts(found[0] * (width / 640), found[1], found[2] * (width / 640))


def _normal_equations(maps: Products, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """``2K x 2K`` and ``2K``, all x before all y, in pixels of 640: what the edges say of the shift of each cell."""
    tt, tr, rr, pixels = (float(maps[name].sum()) for name in ("tt", "tr", "rr", "valid"))
    gain = min(tt / max(tr, 1e-9), 3 * (tt / max(rr, 1e-9)) ** 0.5)
    variance = max(gain * gain * rr - 2 * gain * tr + tt, 1e-9) / max(pixels, 1.0)
    weight = unit / (CORRELATED_AREA * variance)

    def of_cells(image: np.ndarray) -> np.ndarray:
        share = image.size / (FIELD[0] * FIELD[1])
        return cv2.resize(image, FIELD[::-1], interpolation=cv2.INTER_AREA).ravel().astype(np.float64) * share * weight

    xx, xy, yy = (np.diag(of_cells(maps[name]) * unit) for name in ("xx", "xy", "yy"))
    pull = [of_cells(np.float32(gain) * maps[f"{axis}r"] - maps[f"{axis}t"]) for axis in "xy"]
    return np.block([[xx, xy], [xy, yy]]), np.concatenate(pull)


@cache
def _prior(rows: int, columns: int) -> np.ndarray:
    """The precision of one component of the field, ``K x K``, in pixels of 640."""
    cells = np.arange(rows * columns).reshape(rows, columns)
    differences: list[tuple[np.ndarray, float]] = [(np.eye(cells.size), EXPECTED)]
    for axis in (0, 1):
        first = np.diff(np.eye(cells.size).reshape(rows, columns, -1), axis=axis)
        differences += [(first, SLOPE), (np.diff(first, axis=axis), BEND)]
        if axis == 0:
            differences.append((2**0.5 * np.diff(first, axis=1), BEND))
    flat = [difference.reshape(-1, cells.size) / size for difference, size in differences]
    return np.sum([one.T @ one for one in flat], axis=0)


def _places(shift: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """For ``cv2.remap``: each pixel of an image of this size (width, height), moved; x and y, ``H x W`` float32."""
    moves = cv2.resize(shift.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    rows, columns = np.indices(size[::-1], dtype=np.float32)
    return columns + moves[..., 0], rows + moves[..., 1]


def along_lines(
    thermal: np.ndarray, luminance: np.ndarray, candidates: np.ndarray, valid: np.ndarray | None = None
) -> Shifts:
    """Of the shifts that each cell may have, for things at one distance after the other, those that fit best.

    ``thermal``, ``luminance`` and ``valid`` as in :func:`smooth_field`; ``candidates``: ``N x rows x columns x 2``
    RGB pixels. Edges are compared in windows, and a surface pays for changes of its distance: semi-global matching
    (Hirschmueller, PAMI 2008) over cells. A cell pays for leaving the plane too, and stays on it where edges hardly
    agree. The windows see a near thing also from beside it: its outermost cells go with what is around it. Confidence:
    how well edges agree.
    """
    height, width = luminance.shape
    scale = min(1.0, (SWEPT_AREA / (height * width)) ** 0.5)
    size = round(width * scale), round(height * scale)
    edges, reference = (
        edge_channels(cv2.resize(image, size, interpolation=cv2.INTER_AREA)) for image in (thermal, luminance)
    )
    valid = np.ones(luminance.shape, np.uint8) if valid is None else valid
    seen = cv2.resize(valid, size, interpolation=cv2.INTER_NEAREST).astype(np.float32)
    sees_plane = cv2.resize(seen, SWEPT[::-1], interpolation=cv2.INTER_AREA) > 0.5
    energy = _of_cells(reference, reference)
    agreement = np.empty((len(candidates), *SWEPT), np.float32)
    for one, candidate in zip(agreement, candidates, strict=True):
        places = _places(scale * candidate, size)
        moved = cv2.remap(edges, *places, cv2.INTER_LINEAR)
        there = cv2.resize(cv2.remap(seen, *places, cv2.INTER_LINEAR), SWEPT[::-1], interpolation=cv2.INTER_AREA)
        both = (_of_cells(moved, moved) + energy) / 2
        one[:] = sees_plane * there * _of_cells(moved, reference) / (both + FLOOR * both.mean())
    on_plane = np.linalg.norm(candidates, axis=-1).argmin(axis=0)[None]
    cost = 1 - agreement + ASIDE * (abs(np.arange(len(candidates))[:, None, None] - on_plane) > 1)
    total = semi_global(cost)
    best = total.argmin(axis=0)[None]
    away = (best - on_plane)[0] * (np.take_along_axis(agreement, best, axis=0)[0] > LEAST_AGREEMENT)
    nearer, farther = (cv2.erode(one.clip(0).astype(np.float32), np.ones((3, 3))) for one in (away, -away))
    best = (on_plane + (nearer - farther).astype(int)).clip(1, len(candidates) - 2)
    before, here, after = (np.take_along_axis(total, best + i, axis=0)[0] for i in (-1, 0, 1))
    part = np.clip((before - after) / np.maximum(2 * (before - 2 * here + after), 1e-6), -0.5, 0.5)
    lower, middle, upper = (np.take_along_axis(candidates, best[..., None] + i, axis=0)[0] for i in (-1, 0, 1))
    shift = middle + part[..., None] * (upper - lower) / 2
    shift[abs(best - on_plane)[0] <= 1] = 0
    likely = np.exp((total.min(axis=0) - total) / LIKELY)
    error = (likely * np.linalg.norm(candidates - shift, axis=-1)).sum(axis=0) / likely.sum(axis=0)
    return Shifts(shift, np.take_along_axis(agreement, best, axis=0)[0].clip(0, 1), error)


def _of_cells(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    product = cv2.transform(one * other, np.ones((1, one.shape[2]), np.float32))
    return cv2.GaussianBlur(cv2.resize(product, SWEPT[::-1], interpolation=cv2.INTER_AREA), (0, 0), WINDOW)


def semi_global(cost: np.ndarray) -> np.ndarray:
    """``N x rows x columns`` costs of labels in order, with those of the paths to each cell from four sides."""
    total = np.zeros_like(cost)
    for axis in (1, 2):
        lines, sums = np.moveaxis(cost, axis, 0), np.moveaxis(total, axis, 0)
        for order in (1, -1):
            path = np.zeros_like(lines[0])
            for line, into in zip(lines[::order], sums[::order], strict=True):
                lowest = path.min(axis=0)
                padded = np.pad(path, ((1, 1), (0, 0)), constant_values=np.inf)
                near = np.minimum(padded[:-2], padded[2:]) + ONE_STEP
                path = line + np.minimum(np.minimum(path, near), lowest + MANY_STEPS) - lowest
                into += path
    return total
