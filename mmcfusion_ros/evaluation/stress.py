"""Conditions that a robot meets and a benchmark leaves out."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mmcfusion_ros.simulation import degradations

Plane = NDArray[np.float32]

STRESSES: dict[str, Callable[[Plane, Plane, Generator], tuple[Plane, Plane]]] = {
    "noise": lambda thermal, luminance, rng: (degradations.add_noise(thermal, rng), luminance),
    "dark": lambda thermal, luminance, rng: (thermal, degradations.darken(luminance, rng)),
    "glare": lambda thermal, luminance, rng: (thermal, degradations.add_glare(luminance, rng)),
    "fog": lambda thermal, luminance, rng: (thermal, degradations.add_fog(luminance)),
    "shift": lambda thermal, luminance, rng: (degradations.misalign(thermal, rng), luminance),
}


def degrade(
    stress: str, thermal: np.ndarray, luminance: np.ndarray, seed: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Two ``H x W`` uint8 images under a stress of ``STRESSES``.

    Seed and image name alone decide, so that neither the order nor the choice of images matters.
    """
    rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
    a, b = ((image / 255).astype(np.float32) for image in (thermal, luminance))
    a, b = STRESSES[stress](a, b, rng)
    return np.rint(a * 255).astype(np.uint8), np.rint(b * 255).astype(np.uint8)
