"""Luminance and colour of an image, apart and together again (ITU-R BT.601, full range)."""

from __future__ import annotations

from functools import reduce

import cv2
import numpy as np

from mmcfusion_ros.fusion.bands import bands

ONE = 1 << 13  # a gain of 1 in int16
LARGEST_GAIN = 1.5
DARK = 16  # grey levels: darker ones have no colour that could be trusted with a larger gain


def split_luminance(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """``H x W x 3`` uint8, red first, to its luminance ``H x W`` uint8 and its colour for ``merge_luminance``.

    The colour is the image itself. A grey image, ``H x W``, is its own luminance and has no colour.
    """
    return (image, None) if image.ndim == 2 else (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), image)


def merge_luminance(luminance: np.ndarray, colour: np.ndarray | None) -> np.ndarray:
    """``H x W`` uint8 luminance F and a colour of the same size to ``H x W x 3`` uint8, red first.

    Each channel is F + g (channel - Y), where Y is the luminance that the colour had and g = (F + 16) / (Y + 16) scales
    its saturation along: at most 1.5, and never so that a channel is clipped. Where F = Y the colour comes out as it
    was; elsewhere within 1 of that formula. Without colour the luminance is returned as it is.
    """
    if colour is None:
        return luminance
    merged = np.empty_like(colour)
    for band in bands(luminance.shape):
        _merge(luminance[band], colour[band], merged[band])
    return merged


def _merge(luminance: np.ndarray, colour: np.ndarray, merged: np.ndarray) -> None:
    f, y = (plane.astype(np.int16) for plane in (luminance, cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)))
    differences = [channel - y for channel in cv2.split(colour)]
    _, gain = cv2.threshold(cv2.divide(f + DARK, y + DARK, scale=ONE), LARGEST_GAIN * ONE, 0, cv2.THRESH_TRUNC)
    for room, needed in ((255 - f, reduce(np.maximum, differences)), (f, -reduce(np.minimum, differences))):
        # In 64ths, with a little more room than needed, so that where none is needed there is no limit.
        gain = np.minimum(gain, cv2.divide(64 * room + 2, 64 * needed + 1, scale=ONE))
    cv2.merge([(f + cv2.multiply(gain, d, scale=1 / ONE)).astype(np.uint8) for d in differences], merged)
