"""What detectors find: people and vehicles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

KINDS = ("person", "vehicle")
OVERLAP = 0.65  # of two boxes of one kind, IoU, above which the one of the lower score goes
APART = 10_000  # pixels: wider than any image

Detector = Callable[[np.ndarray], "Found"]


@dataclass(frozen=True)
class Found:
    """What a detector found in an image: ``N x 4`` corners (left, top, right, bottom) in pixels, ``N`` indices of
    ``KINDS``, ``N`` scores in [0, 1]."""

    corners: NDArray[np.float64]
    kinds: NDArray[np.int64]
    scores: NDArray[np.float64]

    def suppressed(self, overlap: float) -> Found:
        """Without the boxes that overlap one of their kind and of a higher score by more than that (IoU)."""
        sizes = self.corners[:, 2:] - self.corners[:, :2]
        places = self.corners[:, :2] + APART * self.kinds[:, None]  # Humble's OpenCV has no NMSBoxesBatched
        indices = cv2.dnn.NMSBoxes(np.hstack((places, sizes)).tolist(), self.scores.tolist(), 0.0, overlap)
        kept = np.asarray(indices, int).reshape(-1)
        return Found(self.corners[kept], self.kinds[kept], self.scores[kept])


def join(a: Found, b: Found, overlap: float = 0.55) -> Found:
    """The boxes of two images of one scene, each object once."""
    corners, kinds = np.concatenate((a.corners, b.corners)), np.concatenate((a.kinds, b.kinds))
    return Found(corners, kinds, np.concatenate((a.scores, b.scores))).suppressed(overlap)
