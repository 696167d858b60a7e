"""The edges of the thermal image on the RGB image: whether both lie on each other, for eyes."""

from __future__ import annotations

import cv2
import numpy as np

GREEN = (0, 255, 0)


def thermal_edges(visible: np.ndarray, thermal: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
    """``visible``, darkened, with the edges of ``thermal`` in green: ``H x W x 3`` uint8, red first.

    ``visible``: ``H x W [x 3]`` uint8, red first; ``thermal``: ``H x W`` uint8 on its pixel grid, of either polarity;
    ``seen``: ``H x W``, 0 where there is nothing thermal, None: nowhere. The edges are as wide at every resolution.
    """
    visible = cv2.cvtColor(visible, cv2.COLOR_GRAY2RGB) if visible.ndim == 2 else visible
    outlined = cv2.convertScaleAbs(visible, alpha=0.7)
    width = visible.shape[1]
    smooth = cv2.GaussianBlur(stretched(thermal), (0, 0), max(1.0, width / 500))
    edges = cv2.dilate(cv2.Canny(smooth, 20, 50), np.ones((max(1, width // 500),) * 2)) > 0
    outlined[edges if seen is None else edges & (seen > 0)] = GREEN
    return outlined


def stretched(image: np.ndarray) -> np.ndarray:
    """``H x W`` uint8 with the most of its values spread over all 256."""
    low, high = np.percentile(image, (1, 99))
    return np.clip((image - low) * (255.0 / max(high - low, 1)), 0, 255).astype(np.uint8)
