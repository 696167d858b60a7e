"""Random variations of a clean pair, of inputs and targets alike: other cameras, other exposures, other skies.

All images: ``H x W`` float32 in [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from mmcfusion_ros.simulation.degradations import Image

SMALLEST_SKY = 0.03  # of the image


def vary_tone(image: Image, rng: Generator) -> Image:
    """Gamma and exposure of another camera; overexposed, it saturates."""
    gamma, gain = np.float32(np.exp(rng.uniform(-0.5, 0.5))), np.float32(rng.uniform(0.6, 1.6))
    return np.minimum(gain * image**gamma, np.float32(1))


def overexpose(visible: Image, rng: Generator) -> Image:
    """So far that its brightest part, up to 40 % of it, is white; four times at most."""
    white = np.float32(np.quantile(visible, rng.uniform(0.6, 0.98)))
    return np.minimum(visible / np.maximum(white, np.float32(0.25)), np.float32(1))


def whiten_sky(thermal: Image, visible: Image, rng: Generator) -> tuple[Image, Image]:
    """What is cold and large, as a sky is: white in the visible image, in the thermal one flat to some degree about its
    mean or black. White and without a feature, and still no glare."""
    smooth = cv2.GaussianBlur(thermal, (0, 0), 2)
    cold = (smooth <= np.quantile(smooth, rng.uniform(0.1, 0.4))).astype(np.uint8)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(cold)
    large = np.flatnonzero(statistics[:, cv2.CC_STAT_AREA] > SMALLEST_SKY * cold.size)
    sky = np.isin(labels, large[large > 0]).astype(np.uint8)
    share = cv2.GaussianBlur(sky.astype(np.float32), (0, 0), rng.uniform(0.4, 1.5))
    level = np.float32(cv2.mean(thermal, sky)[0] if rng.random() < 0.5 else 0)
    thermal = thermal + np.float32(rng.uniform(0, 1)) * share * (level - thermal)
    return thermal, np.maximum(visible, np.float32(rng.uniform(0.9, 1.0)) * share)


def leave_veil(thermal: Image, visible: Image, visible_in: Image) -> Image:
    """The visible target, with the fog or glare of the input left in it where the thermal image has no structure.

    Nothing there could say what is behind it; and what is flat and bright in both is then kept everywhere, as a sky is.
    """
    smooth = cv2.GaussianBlur(thermal, (0, 0), 8)
    deviation = np.sqrt((cv2.GaussianBlur(thermal * thermal, (0, 0), 8) - smooth * smooth).clip(0))
    empty = ((np.float32(0.05) - deviation) / np.float32(0.03)).clip(0, 1)
    veil = cv2.GaussianBlur(visible_in - visible, (0, 0), 2) - np.float32(0.05)
    return np.minimum(visible + empty * veil.clip(0), np.float32(1))


def disturb(
    thermal_in: Image, visible_in: Image, thermal: Image, visible: Image, rng: Generator, polarity: str = "white_hot"
) -> tuple[Image, Image, Image, Image]:
    """Inputs and targets as a camera would give them a moment later: with other noise, with a hot thing in front, or
    with RGB alone in a part, as where the thermal camera is saturated or does not look; thermal images in the
    ``polarity`` of the network."""
    kind = rng.random()
    if kind < 0.5:
        thermal_in, visible_in = (image + _flicker(image.shape, rng) for image in (thermal_in, visible_in))
        return thermal_in.clip(0, 1), visible_in.clip(0, 1), thermal, visible
    height, width = thermal.shape
    centre, radius = (int(rng.integers(width)), int(rng.integers(height))), int(rng.uniform(0.1, 0.4) * width)
    part = np.zeros_like(thermal)
    if kind < 0.8:
        cv2.circle(part, centre, radius, 1.0, -1)
        level = rng.uniform(0.7, 1)
        shown_in = shown = np.full_like(thermal, level if polarity == "white_hot" else 1 - level)
    else:
        part[:, slice(centre[0]) if rng.random() < 0.5 else slice(centre[0], None)] = 1
        shown_in, shown = visible_in, visible
    part = cv2.GaussianBlur(part, (0, 0), rng.uniform(0.5, 3))  # type: ignore[assignment]
    return thermal_in + part * (shown_in - thermal_in), visible_in, thermal + part * (shown - thermal), visible


def _flicker(shape: tuple[int, ...], rng: Generator) -> Image:
    """White noise and what a codec makes of it, together up to two grey levels."""
    white, coarse = rng.standard_normal((2, *shape), dtype=np.float32)
    coarse = cv2.GaussianBlur(coarse, (0, 0), 2)
    noise = white + coarse / coarse.std() * np.float32(rng.uniform(0, 2))
    return noise * np.float32(rng.uniform(0, 2) / 255 / noise.std())
