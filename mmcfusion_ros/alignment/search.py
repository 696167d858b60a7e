"""Where two images may fit at all: every shift, and a grid of turns and scales."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np

from mmcfusion_ros.alignment.fit import Level

LEAST_OVERLAP = 0.25
NEAR_REACH = 0.13  # of the image's width
SEPARATION = 6  # pixels of the level
PEAKS = 2
PADDING = 1.6

Grid = tuple[np.ndarray, np.ndarray, np.ndarray]

# Turns in degrees, scales along x, and along y relative to x.
GRIDS: dict[str, Grid] = {
    "near": (np.linspace(-8, 8, 5), np.geomspace(1 / 1.16, 1.16, 5), np.ones(1)),
    "wide": (np.linspace(-4, 4, 3), np.geomspace(0.35, 1.4, 13), np.geomspace(1 / 1.4, 1.4, 5)),
}


def search_similarity(level: Level, start: np.ndarray, grid: Grid, candidates: int) -> list[np.ndarray]:
    """The best homographies, best first: ``start`` followed by a turn, scales and shift of the RGB image's plane.

    By the correlation of edge channels over the common part of the images, for all shifts at once (Fourier
    transforms), summed over the pairs of the level.
    """
    width, height = level.size
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    spectra = [_Spectra.of(edges, np.ones(edges.shape[:2], np.float32)) for edges in level.rgb_edges]
    found: list[tuple[float, np.ndarray]] = []
    for degrees, sx, ratio in product(*grid):
        turn = np.radians(degrees)
        matrix = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        matrix = centre @ matrix @ np.diag([sx, sx * ratio, 1]) @ np.linalg.inv(centre)
        placed = np.linalg.inv(level.to_level) @ matrix @ level.to_level @ start
        scores = _scores(level, placed, spectra, wide=len(grid[2]) > 1)
        rows, columns = _signed_grid(scores.shape)
        for _ in range(PEAKS):
            y, x = np.unravel_index(scores.argmax(), scores.shape)
            dx, dy = columns[0, x], rows[y, 0]
            shift = np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]])
            found.append((float(scores[y, x]), np.linalg.inv(level.to_level) @ shift @ level.to_level @ placed))
            scores[(abs(rows - dy) < SEPARATION) & (abs(columns - dx) < SEPARATION)] = -1
    found.sort(key=lambda candidate: -candidate[0])
    return [homography for _, homography in found[:candidates]]


def _scores(level: Level, homography: np.ndarray, rgb: list[_Spectra], wide: bool) -> np.ndarray:
    """The correlation at each shift of the warped thermal images, wrapped around; -1 out of reach."""
    width, height = level.size
    scores = np.zeros(rgb[0].valid.shape)
    for (edges, valid), there in zip(level.thermal_edges(homography), rgb, strict=True):
        here = _Spectra.of(edges, valid)
        agreement = _correlate(there.edges, here.edges)
        energy = _correlate([there.energy], [here.valid]) * _correlate([there.valid], [here.energy])
        overlap = _correlate([there.valid], [here.valid]) / (width * height)
        correlation = agreement / np.sqrt(np.maximum(energy, 1e-3 * energy.max() + 1e-9))
        enough = overlap > LEAST_OVERLAP * min(1.0, 2 * valid.mean())
        scores += np.where(enough, correlation * np.sqrt(np.maximum(overlap, 0)), -1)
    if not wide:
        rows, columns = _signed_grid(scores.shape)
        scores[(abs(rows) > NEAR_REACH * width) | (abs(columns) > NEAR_REACH * width)] = -1
    return scores


@dataclass(frozen=True)
class _Spectra:
    """Of the edge channels, of their energy and of where they are valid, padded."""

    edges: list[np.ndarray]
    energy: np.ndarray
    valid: np.ndarray

    @classmethod
    def of(cls, edges: np.ndarray, valid: np.ndarray) -> _Spectra:
        edges = edges * valid[..., None]
        height, width = (cv2.getOptimalDFTSize(round(PADDING * side)) for side in valid.shape)
        images = (*cv2.split(edges), (edges * edges).sum(axis=2), valid)
        border = (0, height - valid.shape[0], 0, width - valid.shape[1], cv2.BORDER_CONSTANT)
        *channels, energy, seen = (cv2.dft(cv2.copyMakeBorder(image, *border)) for image in images)
        return cls(channels, energy, seen)


def _correlate(rgb: list[np.ndarray], thermal: list[np.ndarray]) -> np.ndarray:
    """At ``[dy, dx]``: the sum of products where the thermal image is moved by so much, from spectra."""
    products = [cv2.mulSpectrums(a, b, 0, conjB=True) for a, b in zip(rgb, thermal, strict=True)]
    return cv2.idft(np.sum(products, axis=0), flags=cv2.DFT_SCALE)


def _signed_grid(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns as wrapped shifts: the far half is negative."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows + shape[0] // 2) % shape[0] - shape[0] // 2, (columns + shape[1] // 2) % shape[1] - shape[1] // 2
