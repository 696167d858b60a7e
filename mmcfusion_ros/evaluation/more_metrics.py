"""Metrics that papers print beside those of ``metrics.py``, as VIFB (Zhang et al. 2020) computes them.

``a`` thermal (or MRI), ``b`` visible luminance, ``f`` fused: ``H x W`` uint8.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Plane = NDArray[np.float64]

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_OF_MS_SSIM = 161  # pixels: 11 of the fifth scale
BLOCK = 16  # pixels, of Qcv
WINDOWS = 1024  # of FMI at once: 81 values of each stay in the cache
PLACES = np.arange(-4, 5, dtype=np.float32)  # in a window
STAIRS = np.tri(9, dtype=np.float32)


def psnr(a: Image, b: Image, f: Image) -> float:
    """Of the mean of both squared errors, in dB of 255 grey levels; VIFB, which takes the error of images in [0, 1],
    prints 48.13 more. Infinite for three equal images."""
    error = np.mean([np.square(f.astype(np.float64) - source).mean() for source in (a, b)])
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def cross_entropy(a: Image, b: Image, f: Image) -> float:
    """CE: mean over the sources of sum p log2(p / p_f) of their histograms, over levels that both have; bits."""
    shares = [np.bincount(image.ravel(), minlength=256) / image.size for image in (a, b, f)]
    both = [(p > 0) & (shares[2] > 0) for p in shares[:2]]
    return float(np.mean([(p[s] * np.log2(p[s] / shares[2][s])).sum() for p, s in zip(shares, both, strict=False)]))


def ms_ssim(source: Image, f: Image) -> float:
    """Wang, Simoncelli and Bovik 2003: five scales, Gaussian window of 11 pixels and sigma 1.5, data range 255; 0 where
    the contrast terms of a scale are negative on the mean. Sides of ``SMALLEST_OF_MS_SSIM`` at least."""
    x, y = source.astype(np.float64), f.astype(np.float64)
    value = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS, 1):
        kernel = cv2.getGaussianKernel(11, 1.5)
        mx, my, xx, yy, xy = (
            cv2.sepFilter2D(plane, -1, kernel, kernel)[5:-5, 5:-5] for plane in (x, y, x * x, y * y, x * y)
        )
        similarity = (2 * (xy - mx * my) + 58.5225) / (xx - mx * mx + yy - my * my + 58.5225)  # (.03 * 255)^2
        if scale == len(MS_SSIM_WEIGHTS):
            similarity = similarity * (2 * mx * my + 6.5025) / (mx * mx + my * my + 6.5025)  # (.01 * 255)^2
        value *= max(0.0, float(similarity.mean())) ** weight
        x, y = (_halved(plane) for plane in (x, y))
    return value


def artefacts(a: Image, b: Image, f: Image) -> float:
    """Nabf of Petrovic and Xydeas as Shreyamsha Kumar (2013) modified it: the share of gradients that neither source
    had, where ``f`` is steeper than both."""
    (strength_a, angle_a), (strength_b, angle_b), (strength_f, angle_f) = map(_gradient, (a, b, f))
    new = (strength_f > strength_a) & (strength_f > strength_b)
    made, whole = 0.0, 0.0
    for strength, angle in ((strength_a, angle_a), (strength_b, angle_b)):
        larger = np.maximum(strength, strength_f)
        ratio = np.minimum(strength, strength_f) / np.where(larger > 0, larger, 1)
        alignment = np.abs(np.abs(angle - angle_f) - np.pi / 2) * 2 / np.pi
        kept = np.sqrt(0.9999 / (1 + np.exp(-19 * (ratio - 0.5))) * 0.9995 / (1 + np.exp(-22 * (alignment - 0.5))))
        weight = np.where(strength >= 2, strength**1.5, 0)
        made += float((new * (1 - kept) * weight).sum())
        whole += float(weight.sum())
    return made / whole if whole else 0.0


def chen_blum(a: Image, b: Image, f: Image) -> float:
    """Qcb (Chen and Blum 2009): how much of the local contrast that an eye sees is kept; nothing over nothing is 1."""
    visible = [_masked_contrast(_stretched(image)) for image in (a, b, f)]
    kept = [np.minimum(c, visible[2]) / np.maximum(np.maximum(c, visible[2]), 1e-300) for c in visible[:2]]
    kept = [np.where((c == 0) & (visible[2] == 0), 1, k) for c, k in zip(visible, kept, strict=False)]
    squares = [c * c for c in visible[:2]]
    whole = squares[0] + squares[1]
    share = np.where(whole > 0, squares[0] / np.where(whole > 0, whole, 1), 0.5)
    return float((share * kept[0] + (1 - share) * kept[1]).mean())


def chen_varshney(a: Image, b: Image, f: Image) -> float:
    """Qcv (Chen and Varshney 2007): what an eye sees of the difference to each source, in blocks of 16 pixels that
    count by the fifth power of their gradients; squared grey levels."""
    fused = _stretched(f)
    lost, whole = 0.0, 0.0
    for source in map(_stretched, (a, b)):
        gx, gy = (cv2.Sobel(source, cv2.CV_64F, *way, borderType=cv2.BORDER_CONSTANT) for way in ((1, 0), (0, 1)))
        salience = _blocks(np.hypot(gx, gy) ** 5).sum(axis=(1, 3))
        r = _frequency(source.shape, 8)
        seen = _filtered(source - fused, 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1)))
        lost += float((salience * _blocks(seen**2).mean(axis=(1, 3))).sum())
        whole += float(salience.sum())
    return lost / whole if whole else 0.0


def feature_information(source: Image, f: Image) -> float:
    """FMI of pixels (Haghighat and Razian 2014): normalised mutual information in windows of 3x3, whose values are
    taken for a distribution and their joint one for the mixture of independence and the closest coupling that has
    their correlation. Equal windows count 1, flat ones 0."""
    x, y = (sliding_window_view(image, (3, 3)).transpose(3, 2, 0, 1).reshape(9, -1) for image in (source, f))
    equal = (x == y).all(axis=0)
    others = ~equal & (x != x[0]).any(axis=0) & (y != y[0]).any(axis=0)
    x, y = x.compress(others, axis=1), y.compress(others, axis=1)
    parts = [_window_information(x[:, i : i + WINDOWS], y[:, i : i + WINDOWS]) for i in range(0, x.shape[1], WINDOWS)]
    return float(equal.sum() + sum(map(np.sum, parts))) / equal.size


def _halved(image: Plane) -> Plane:
    """Means of 2x2 pixels; a last odd row or column counts twice."""
    rows, columns = (side % 2 for side in image.shape)
    even = cv2.copyMakeBorder(image, 0, rows, 0, columns, cv2.BORDER_REPLICATE)
    return even.reshape(len(even) // 2, 2, -1, 2).mean(axis=(1, 3))


def _gradient(image: Image) -> tuple[Plane, Plane]:
    """Sobel strength, grey levels a pixel, and orientation; borders reflected."""
    gx, gy = (cv2.Sobel(image, cv2.CV_64F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    angle = np.where(gx == 0, np.copysign(np.pi / 2, gy) * (gy != 0), np.arctan(gy / np.where(gx == 0, 1, gx)))
    return np.hypot(gx, gy), angle


def _stretched(image: Image) -> Plane:
    """To 0..255; a flat image as it is."""
    low, high = int(image.min()), int(image.max())
    return np.round((image.astype(np.float64) - low) / (high - low) * 255) if high > low else image.astype(np.float64)


def _masked_contrast(image: Plane) -> Plane:
    """After the eye's contrast sensitivity and masking (Watson and Ahumada 2005, Peli 1990)."""
    r = _frequency(image.shape, 30)
    seen = _filtered(image, np.exp(-((r / 15.3870) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2)))
    x = np.arange(-15, 16)
    kernels = [np.exp(-(x**2) / 2 / sigma**2) / np.sqrt(2 * np.pi) / sigma for sigma in (2, 4)]
    fine, coarse = (cv2.sepFilter2D(seen, -1, k, k, borderType=cv2.BORDER_CONSTANT) for k in kernels)
    contrast = np.abs(fine / np.where(coarse == 0, 1, coarse) - (coarse != 0))
    return contrast**3 / (contrast**2 + 1e-4)


def _frequency(shape: tuple[int, ...], distance: float) -> Plane:
    """Of each coefficient of ``rfft2``, in half the sampling rate times side over ``distance``."""
    rows, columns = np.fft.fftfreq(shape[0], 0.5) * shape[0], np.fft.rfftfreq(shape[1], 0.5) * shape[1]
    return np.hypot(rows[:, None], columns) / distance


def _filtered(image: Plane, response: Plane) -> Plane:
    return np.fft.irfft2(np.fft.rfft2(image) * response, image.shape)


def _blocks(image: Plane) -> Plane:
    """``N x BLOCK x M x BLOCK``, filled up with 0."""
    rows, columns = (-side % BLOCK for side in image.shape)
    whole = np.pad(image, ((0, rows), (0, columns)))
    return whole.reshape(len(whole) // BLOCK, BLOCK, -1, BLOCK)


def _window_information(x: Image, y: Image) -> NDArray[np.float32]:
    """Of windows ``9 x N`` that are not flat, in 0..1."""
    p, q = ((window - window.min(axis=0)).astype(np.float32) for window in (x, y))
    sums = p.sum(axis=0), q.sum(axis=0)
    covariance = 9 * _dot(p, q) - sums[0] * sums[1]  # of whole numbers below 2^24: exact
    variances = [9 * _dot(values, values) - whole * whole for values, whole in zip((p, q), sums, strict=True)]
    p, q = p / sums[0], np.where(covariance < 0, q[::-1], q) / sums[1]  # coupled the other way round
    p_sum, q_sum = STAIRS @ p, STAIRS @ q
    coupled = np.minimum(p_sum[:, None], q_sum)  # on the bound of Frechet and Hoeffding
    coupled -= np.maximum((p_sum - p)[:, None], q_sum - q)
    coupled = np.maximum(coupled, 0, out=coupled).reshape(81, -1)
    means = PLACES @ p, PLACES @ q
    spreads = [PLACES**2 @ values - mean * mean for values, mean in zip((p, q), means, strict=True)]
    largest = np.multiply.outer(PLACES, PLACES).ravel() @ coupled - means[0] * means[1]
    wanted = np.abs(covariance) * np.sqrt(spreads[0] * spreads[1] / (variances[0] * variances[1]))
    share = np.divide(wanted, largest, out=np.zeros_like(wanted), where=largest > 0)
    joint = (p[:, None] * ((1 - share) * q)).reshape(81, -1)
    joint += share * coupled
    separate = _entropy(p) + _entropy(q)
    information = 2 * (separate - _entropy(joint))
    return np.divide(information, separate, out=np.zeros_like(separate), where=share > 0)


def _entropy(p: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each column, in bits; what is not above 0 does not count."""
    p = np.maximum(p, 1e-30)
    return -_dot(p, np.log2(p))


def _dot(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each column."""
    return np.einsum("in,in->n", x, y)
