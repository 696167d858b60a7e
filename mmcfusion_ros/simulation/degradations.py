"""What bad sensors, bad light and a bad mount do to an image. All images: float32 ``H x W`` in [0, 1]."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.float32]


def add_noise(image: Image, rng: Generator, sigma: float = 10 / 255) -> Image:
    """Gaussian noise of standard deviation ``sigma``, clipped."""
    return np.clip(image + rng.normal(0, sigma, image.shape), 0, 1).astype(np.float32)


def darken(image: Image, rng: Generator, gain: float = 0.2, sigma: float = 4 / 255) -> Image:
    """A scene with little light: ``gain`` of the signal, and the sensor's noise."""
    return add_noise(gain * image, rng, sigma)


def add_glare(image: Image, rng: Generator, strength: float = 0.9, radius: float = 0.25) -> Image:
    """A lamp or the low sun at a random place: a Gaussian veil, ``radius`` relative to the longer side."""
    height, width = image.shape
    rows, columns = np.ogrid[:height, :width]
    distance = (rows - rng.uniform(0, height)) ** 2 + (columns - rng.uniform(0, width)) ** 2
    veil = strength * np.exp(-distance / (2 * (radius * max(image.shape)) ** 2))
    return np.clip(image + veil, 0, 1).astype(np.float32)


def add_fog(image: Image, transmission: float = 0.4, airlight: float = 0.8) -> Image:
    """Koschmieder's law at one depth: ``transmission`` of the scene, the rest is ``airlight``."""
    return (transmission * image + (1 - transmission) * airlight).astype(np.float32)


def misalign(image: Image, rng: Generator, pixels: int = 2) -> Image:
    """The image moved by ``pixels`` along one of its axes; the edge is repeated."""
    height, width = image.shape
    down, right = ((pixels, 0), (-pixels, 0), (0, pixels), (0, -pixels))[rng.integers(4)]
    rows, columns = np.arange(height) - down, np.arange(width) - right
    return image[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
