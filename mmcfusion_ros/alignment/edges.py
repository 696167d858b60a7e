"""Edges as both cameras see them: what is bright or strong in one may be dark or weak in the other."""

from __future__ import annotations

import cv2
import numpy as np

SIGMA = 0.7
NEIGHBOURHOOD = 10.0
SMOOTHING = 0.8
HALF_STRENGTH = 2.0
NOISE_MEDIANS = 0.5
REACH = 8  # pixels that the value at one pixel depends on, in practice

LEAST_GRADIENT = 1.5  # grey levels per pixel: above the noise of a camera
LEAST_TEXTURE = 0.01


def edge_channels(image: np.ndarray) -> np.ndarray:
    """``H x W`` uint8 or float32 to ``H x W x 3`` float32: strength and doubled direction of edges.

    The gradient's magnitude is divided by that of the neighbourhood and bounded, its angle doubled, so that contrast
    and its sign have no say: the squared gradient of Haglund and Fleet, "Stable estimation of image orientation"
    (ICIP 1994), locally normalised.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), SIGMA)
    gx, gy = _gradient(smooth)
    energy = gx * gx + gy * gy
    magnitude = cv2.sqrt(energy)
    noise = 0.3 + NOISE_MEDIANS * float(np.median(magnitude))
    strength = magnitude / (cv2.sqrt(cv2.GaussianBlur(energy, (0, 0), NEIGHBOURHOOD)) + noise)
    strength /= HALF_STRENGTH + strength
    per_energy = strength / np.maximum(energy, 1e-6)
    channels = (
        strength - cv2.GaussianBlur(strength, (0, 0), NEIGHBOURHOOD),
        (gx * gx - gy * gy) * per_energy,
        2 * gx * gy * per_energy,
    )
    return cv2.GaussianBlur(cv2.merge(channels), (0, 0), SMOOTHING)


def texture(image: np.ndarray) -> float:
    """Share of the pixels of an ``H x W`` uint8 image that lie on an edge, 0 to 1."""
    gx, gy = _gradient(cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.5))
    return float((gx * gx + gy * gy > LEAST_GRADIENT**2).mean())


def _gradient(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels per pixel along x and y."""
    return cv2.Scharr(image, cv2.CV_32F, 1, 0, scale=1 / 32), cv2.Scharr(image, cv2.CV_32F, 0, 1, scale=1 / 32)
