"""Noise of a camera: how much of it an image has, and the image with less.

The network mixes its sources pixel by pixel, so their noise would go through it. All images: ``H x W`` uint8.
"""

from __future__ import annotations

import cv2
import numpy as np

from mmcfusion_ros.fusion.bands import bands
from mmcfusion_ros.fusion.quantiles import quantile

BLOCK = 16  # pixels
ENOUGH_BLOCKS = 600
FLATTEST = 0.1  # of the blocks
MEAN_OF_FLATTEST = 0.70  # that quantile of the mean of 64 absolute values of unit normal noise
WINDOW = (5, 5)
REACH = 2  # rows beyond a pixel that its window has
LITTLE, MUCH = 0.06, 0.12  # noise to contrast: good pictures have less, those of the night or of cheap sensors more


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of white noise, in grey levels; 0 below 16 pixels a side.

    From the diagonal detail of the finest Haar scale (Donoho and Johnstone 1994) in the flattest blocks that are not of
    one colour: texture hardly counts. Large images are looked at in some of their rows of blocks.
    """
    height, width = (size // BLOCK * BLOCK for size in image.shape)
    if not (height and width):
        return 0.0
    rows_of_blocks = image[:height, :width].reshape(-1, BLOCK, width)
    every = max(1, height * width // BLOCK**2 // ENOUGH_BLOCKS)
    part = rows_of_blocks[::every].reshape(-1, width)
    vertical = np.subtract(part[::2], part[1::2], dtype=np.int16)
    diagonal = np.abs(vertical[:, ::2] - vertical[:, 1::2]).astype(np.float32)
    blocks = cv2.resize(diagonal, (width // BLOCK, len(part) // BLOCK), interpolation=cv2.INTER_AREA) / 2
    blocks = np.sort(blocks[blocks > 0])
    return quantile(blocks, FLATTEST) / MEAN_OF_FLATTEST if blocks.size else 0.0


def denoise(image: np.ndarray) -> np.ndarray:
    """The image as it is where its noise is little beside its contrast; else with less noise, its edges kept.

    The local Wiener filter (Lee 1980), which sets in between ``LITTLE`` and ``MUCH``.
    """
    level = noise_level(image)
    if level < 1:
        return image
    _, contrast = cv2.meanStdDev(image)
    strength = np.clip((level / contrast.item() - LITTLE) / (MUCH - LITTLE), 0, 1)
    noise = np.float32(strength * level**2)
    if noise < 1:
        return image
    cleaned = np.empty_like(image)
    for band in bands(image.shape):
        first = max(0, band.start - REACH)
        filtered = _filter(image[first : band.stop + REACH], noise)
        cleaned[band] = filtered[band.start - first :][: band.stop - band.start]
    return cleaned


def _filter(image: np.ndarray, noise: np.float32) -> np.ndarray:
    values, mean = image.astype(np.float32), cv2.boxFilter(image, cv2.CV_32F, WINDOW)
    variance = cv2.boxFilter(np.multiply(image, image, dtype=np.uint16), cv2.CV_32F, WINDOW) - mean * mean
    share_of_noise = noise / np.clip(variance, noise, np.float32(np.inf))
    return cv2.convertScaleAbs(values + share_of_noise * (mean - values))
