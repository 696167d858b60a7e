"""Luminance and colour of an image, apart and together again (ITU-R BT.601, full range)."""

from __future__ import annotations

from functools import reduce

import cv2
import numpy as np

from mmcfusion_ros.fusion.bands import bands

ONE = 1 << 13  # a gain of 1 in int16
LARGEST_GAIN = 1.5
DARK = 16  # grey levels: darker ones have no colour that could be trusted with a larger gain
DAYLIGHT, LAMPS = 0.08, 0.14  # casts: of daylight no more than that, of lamps no less
SMALLER = 8  # times, the image that a cast is looked for in


def split_luminance(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """``H x W x 3`` uint8, red first, to its luminance ``H x W`` uint8 and its colour for ``merge_luminance``.

    The colour is the image itself. A grey image, ``H x W``, is its own luminance and has no colour.
    """
    return (image, None) if image.ndim == 2 else (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), image)


def daylight(colour: np.ndarray) -> float:
    """How far the colours of an ``H x W x 3`` uint8 image, red first, are those of daylight and not of lamps: 0 to 1.

    By the cast of the whole image (a grey world has none): the mean of (channel - Y) / (Y + 16), as the length of a
    vector. Lamps turn all that they shine on yellow or green, and detectors know such colours from few photographs.
    """
    height, width = (max(1, side // SMALLER) for side in colour.shape[:2])
    small = cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    luminance = split_luminance(small)[0][..., None]
    cast = float(np.linalg.norm(((small - luminance) / (luminance + DARK)).mean(axis=(0, 1))))
    return min(max((LAMPS - cast) / (LAMPS - DAYLIGHT), 0.0), 1.0)


def merge_luminance(luminance: np.ndarray, colour: np.ndarray | None, saturation: float = 1.0) -> np.ndarray:
    """``H x W`` uint8 luminance F and a colour of the same size to ``H x W x 3`` uint8, red first.

    Each channel is F + g (channel - Y), where Y is the luminance that the colour had and g = (F + 16) / (Y + 16) scales
    its saturation along: at most 1.5, and never so that a channel is clipped; all times ``saturation``, 0 to 1. Where
    F = Y the colour comes out as it was; elsewhere within 1 of that formula. Without colour the luminance is returned
    as it is.
    """
    if colour is None:
        return luminance
    merged = np.empty_like(colour)
    for band in bands(luminance.shape):
        _merge(luminance[band], colour[band], saturation, merged[band])
    return merged


def _merge(luminance: np.ndarray, colour: np.ndarray, saturation: float, merged: np.ndarray) -> None:
    f, y = (plane.astype(np.int16) for plane in (luminance, cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)))
    differences = [channel - y for channel in cv2.split(colour)]
    one = saturation * ONE
    _, gain = cv2.threshold(cv2.divide(f + DARK, y + DARK, scale=one), LARGEST_GAIN * one, 0, cv2.THRESH_TRUNC)
    for room, needed in ((255 - f, reduce(np.maximum, differences)), (f, -reduce(np.minimum, differences))):
        # In 64ths, with a little more room than needed, so that where none is needed there is no limit.
        gain = np.minimum(gain, cv2.divide(64 * room + 2, 64 * needed + 1, scale=ONE))
    cv2.merge([(f + cv2.multiply(gain, d, scale=1 / ONE)).astype(np.uint8) for d in differences], merged)
