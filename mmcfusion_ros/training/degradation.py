"""Random degradations of a training pair, so that the network learns to see through them."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from mmcfusion_ros.simulation.degradations import Image, add_fog, add_glare, add_noise, darken, misalign
from mmcfusion_ros.training.config import Degradations


def degrade(thermal: Image, visible: Image, probability: Degradations, rng: Generator) -> tuple[Image, Image]:
    """The pair (float32 ``H x W`` in [0, 1]) as worse cameras, worse light or a loose mount would give it."""
    if rng.random() < probability.thermal_contrast:
        thermal = thermal.mean() + np.float32(rng.uniform(0.3, 0.7)) * (thermal - thermal.mean())
    if rng.random() < probability.misalignment:
        thermal = misalign(thermal, rng, pixels=int(rng.integers(1, 4)))
    if rng.random() < probability.thermal_noise:
        thermal = add_noise(thermal, rng, sigma=rng.uniform(0, 20 / 255))
    if rng.random() < probability.fog:
        visible = add_fog(visible, transmission=rng.uniform(0.3, 0.8), airlight=rng.uniform(0.6, 0.9))
    if rng.random() < probability.darkness:
        visible = darken(visible, rng, gain=rng.uniform(0.1, 0.5), sigma=rng.uniform(0, 6 / 255))
    if rng.random() < probability.glare:
        visible = add_glare(visible, rng, strength=rng.uniform(0.5, 1.0), radius=rng.uniform(0.1, 1.3))
    if rng.random() < probability.visible_noise:
        visible = add_noise(visible, rng, sigma=rng.uniform(0, 15 / 255))
    return thermal, visible
