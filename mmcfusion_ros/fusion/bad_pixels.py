"""Dead and stuck pixels of a thermal camera: learned while it runs, replaced by what is around them."""

from __future__ import annotations

import cv2
import numpy as np

LOOKS_TO_LEARN, FRAMES_BETWEEN_LOOKS = 8, 10
CONTRAST = 4.0  # a lens blurs a hot point: one of its neighbours stands out by a quarter as much, or more
LEAST_STEP = 8
LARGEST_SHARE = 0.01
NEIGHBOURS = 4
_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
_SQUARE = np.ones((5, 5), np.uint8)  # with the pixel itself, which counts for nothing where it is beyond its ring
_AROUND = np.array([(y, x) for y in range(-2, 3) for x in range(-2, 3) if (y, x) != (0, 0)])
_AROUND = _AROUND[np.argsort((_AROUND**2).sum(axis=1), kind="stable")]


class BadPixels:
    """Replaces the pixels of one stream that stood out look after look, by the median of their nearest good ones.

    A pixel stands out if it is outside the range of its eight neighbours by more than ``CONTRAST`` times that of the
    twenty-four around it, or if it is 0 in a 16-bit image. A look is taken at every tenth frame, so that what only
    looks like a bad pixel has time to move on.
    """

    def __init__(self) -> None:
        self._begin((0, 0))

    def _begin(self, shape: tuple[int, ...]) -> None:
        self._frames = 0
        self._score = np.zeros(shape, np.uint8)
        self._known = np.zeros(shape, bool)
        self._bad = np.zeros(0, np.intp)
        self._neighbours = np.zeros((0, NEIGHBOURS), np.intp)

    @property
    def count(self) -> int:
        """How many pixels are replaced."""
        return len(self._bad)

    def __call__(self, thermal: np.ndarray) -> np.ndarray:
        """``H x W`` uint8 or uint16; a copy where something is replaced."""
        if self._score.shape != thermal.shape:
            self._begin(thermal.shape)
        if self._frames % FRAMES_BETWEEN_LOOKS == 0:
            self._look(thermal)
        self._frames += 1
        if not self.count:
            return thermal
        repaired = np.array(thermal, order="C")
        flat = repaired.reshape(-1)
        flat[self._bad] = np.median(flat[self._neighbours], axis=1)
        return repaired

    def _look(self, thermal: np.ndarray) -> None:
        rise = 2 * _stands_out(thermal).view(np.uint8)
        self._score = np.minimum(np.maximum(self._score + rise, 1) - 1, LOOKS_TO_LEARN)
        bad = (self._score == LOOKS_TO_LEARN) | (self._known & (self._score > 0))
        if not np.array_equal(bad, self._known):
            self._known = bad
            self._learn(bad if bad.mean() <= LARGEST_SHARE else np.zeros_like(bad))

    def _learn(self, bad: np.ndarray) -> None:
        height, width = bad.shape
        places = np.argwhere(bad)
        rows, columns = np.moveaxis(places[:, None] + _AROUND, -1, 0)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        good = inside & ~bad[rows.clip(0, height - 1), columns.clip(0, width - 1)]
        nearest = np.argsort(~good, axis=1, kind="stable")[:, :NEIGHBOURS]
        repairable = np.take_along_axis(good, nearest, axis=1).all(axis=1)
        self._bad = (places @ (width, 1))[repairable]
        self._neighbours = np.take_along_axis(rows * width + columns, nearest, axis=1)[repairable]


def _stands_out(thermal: np.ndarray) -> np.ndarray:
    highest, lowest = cv2.dilate(thermal, _RING), cv2.erode(thermal, _RING)
    floor, ceiling = cv2.erode(thermal, _SQUARE), cv2.dilate(thermal, _SQUARE)
    above = cv2.addWeighted(highest, CONTRAST, floor, -CONTRAST, LEAST_STEP)
    below = cv2.addWeighted(ceiling, CONTRAST, lowest, -CONTRAST, LEAST_STEP)
    outlier = (cv2.subtract(thermal, highest) > above) | (cv2.subtract(lowest, thermal) > below)
    return outlier | (thermal == 0) if thermal.dtype == np.uint16 else outlier
