"""Luminance and colour of an image, apart and together again (ITU-R BT.601, full range)."""

from __future__ import annotations

import cv2
import numpy as np


def split_luminance(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """``H x W x 3`` uint8, red first, to its luminance ``H x W`` uint8 and its chroma for ``merge_luminance``.

    The chroma is ``H x W x 3`` uint8: Y, Cr and Cb, where Cr = Cb = 128 is grey. A grey image, ``H x W``, is its own
    luminance and has no chroma.
    """
    if image.ndim == 2:
        return image, None
    chroma = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    return cv2.extractChannel(chroma, 0), chroma


def merge_luminance(luminance: np.ndarray, chroma: np.ndarray | None) -> np.ndarray:
    """``H x W`` uint8 luminance and Cr, Cb of a chroma of the same size to ``H x W x 3`` uint8, red first.

    Without chroma the luminance is returned as it is.
    """
    if chroma is None:
        return luminance
    ycrcb = chroma.copy()
    cv2.insertChannel(luminance, ycrcb, 0)
    return cv2.cvtColor(ycrcb, cv2.COLOR_YCrCb2RGB)
