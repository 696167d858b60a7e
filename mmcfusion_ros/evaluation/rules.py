"""The classic fusion rules. Each takes two uint8 ``H x W`` images, thermal and luminance, and returns the fused one."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Fusion = Callable[[np.ndarray, np.ndarray], np.ndarray]

PYRAMID_LEVELS = 4
BASE_WINDOW = (31, 31)
BASE_FILTER = (45, 0.3)  # radius in pixels and regularisation, for images in [0, 1]
DETAIL_FILTER = (7, 1e-6)
SALIENCY_WINDOW, SALIENCY_SIGMA = (11, 11), 5


def maximum(thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
    """The brighter of both."""
    return np.maximum(thermal, luminance)


def average(thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
    """The mean, rounded."""
    return cv2.addWeighted(thermal, 0.5, luminance, 0.5, 0)


def laplacian(thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
    """Laplacian pyramids (Burt and Adelson 1983): the stronger detail of each level on the mean of the coarsest."""
    *details, (base_a, base_b) = zip(_pyramid(thermal), _pyramid(luminance), strict=True)
    fused = (base_a + base_b) / 2
    for a, b in reversed(details):
        fused = _expand(fused, a) + np.where(np.abs(a) >= np.abs(b), a, b)
    return _to_bytes(fused)


def guided(thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
    """Guided-filter fusion (Li, Kang and Hu 2013): base and detail of the more salient source, smooth weights."""
    sources = [image.astype(np.float64) for image in (thermal, luminance)]
    bases = [cv2.blur(image, BASE_WINDOW) for image in sources]
    details = [image - base for image, base in zip(sources, bases, strict=True)]
    thermal_wins = (_saliency(sources[0]) >= _saliency(sources[1])).astype(np.float64)
    fused = np.zeros(thermal.shape)
    for layers, (radius, eps) in ((bases, BASE_FILTER), (details, DETAIL_FILTER)):
        a, b = (
            guided_filter(image / 255, wins, radius, eps)
            for image, wins in zip(sources, (thermal_wins, 1 - thermal_wins), strict=True)
        )
        fused += (a * layers[0] + b * layers[1]) / (a + b)
    return _to_bytes(fused)


RULES: dict[str, Fusion] = {"max": maximum, "average": average, "laplacian": laplacian, "guided": guided}


def guided_filter(guide: np.ndarray, image: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """``image`` smoothed along the edges of ``guide`` (He, Sun and Tang 2013, equations 5, 6 and 8); ``H x W``."""

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (2 * radius + 1, 2 * radius + 1))

    mean_guide, mean_image = mean(guide), mean(image)
    slope = (mean(guide * image) - mean_guide * mean_image) / (mean(guide * guide) - mean_guide**2 + eps)
    return mean(slope) * guide + mean(mean_image - slope * mean_guide)


def _pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Details from fine to coarse, then what is left."""
    details: list[np.ndarray] = []
    plane: np.ndarray = image.astype(np.float32)
    for _ in range(PYRAMID_LEVELS):
        coarse = cv2.pyrDown(plane)
        details.append(plane - _expand(coarse, plane))
        plane = coarse
    return [*details, plane]


def _expand(coarse: np.ndarray, like: np.ndarray) -> np.ndarray:
    return cv2.pyrUp(coarse, dstsize=like.shape[::-1])


def _saliency(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(np.abs(cv2.Laplacian(image, cv2.CV_64F)), SALIENCY_WINDOW, SALIENCY_SIGMA)


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
