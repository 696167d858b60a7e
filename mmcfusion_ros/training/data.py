"""Training samples: random crops of image pairs, decoded once and kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from mmcfusion_ros.fusion.pair_folder import find_pairs, read_rgb, read_thermal

VALIDATION_EVERY = 12

Pair = tuple[np.ndarray, np.ndarray]


class PairSampler:
    """Seeded random batches from one or more folders; every ``VALIDATION_EVERY``-th pair is held out."""

    def __init__(self, folders: Sequence[str | Path], crop: int, seed: int) -> None:
        self.crop = crop
        self.seed = seed
        self.folders: list[list[Pair]] = []
        self.validation: list[Pair] = []
        for folder in folders:
            pairs = [_load(files.thermal, files.rgb, crop) for files in find_pairs(folder)]
            self.validation += pairs[::VALIDATION_EVERY]
            self.folders.append([pair for i, pair in enumerate(pairs) if i % VALIDATION_EVERY])
            if not self.folders[-1]:
                raise ValueError(f"{folder} has too few pairs to train on ({len(pairs)})")
        weights = np.sqrt([len(pairs) for pairs in self.folders])
        self.weights = weights / weights.sum()

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """The batch of that step, the same at every call: two tensors ``size x 1 x crop x crop`` in [0, 1]."""
        rng = np.random.default_rng((self.seed, step))
        samples = [self._sample(rng) for _ in range(size)]
        thermal, visible = (np.stack(images)[:, None] for images in zip(*samples, strict=True))
        return torch.from_numpy(thermal), torch.from_numpy(visible)

    def _sample(self, rng: np.random.Generator) -> Pair:
        pairs = self.folders[rng.choice(len(self.folders), p=self.weights)]
        images = pairs[rng.integers(len(pairs))]
        height, width = images[0].shape
        side = int(rng.integers(self.crop, min(height, width, 2 * self.crop) + 1))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        crops = []
        for image in images:
            part = image[top : top + side, left : left + side]
            part = cv2.resize(part, (self.crop, self.crop), interpolation=cv2.INTER_AREA)
            part = np.rot90(part[:, ::-1] if flip else part, turns)
            crops.append(np.ascontiguousarray(part, dtype=np.float32) / 255)
        thermal, visible = crops
        return _vary(thermal, rng), _vary(visible, rng)


def _vary(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gamma and contrast of another camera, for half of the images."""
    if rng.random() < 0.5:
        return image
    gamma, gain = np.exp(rng.uniform(-0.5, 0.5)), rng.uniform(0.6, 1.0)
    return gain * image ** np.float32(gamma)


def _load(thermal_path: Path, rgb_path: Path, crop: int) -> Pair:
    thermal, rgb = read_thermal(thermal_path), read_rgb(rgb_path)
    if thermal.dtype != np.uint8:
        raise ValueError(f"{thermal_path}: 16-bit pixels; convert the training images to 8 bits first")
    if thermal.shape != rgb.shape[:2]:
        raise ValueError(f"{thermal_path} is {thermal.shape} but {rgb_path} is {rgb.shape[:2]}; pairs must match")
    if min(thermal.shape) < crop:
        raise ValueError(f"{thermal_path} is {thermal.shape}, smaller than the training crop of {crop}")
    return thermal, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
