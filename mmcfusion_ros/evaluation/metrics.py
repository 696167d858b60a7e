"""Fusion metrics of 8-bit grey images: ``a`` thermal (or MRI), ``b`` visible luminance, ``f`` fused; all ``H x W``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mmcfusion_ros.evaluation.more_metrics import (
    SMALLEST_OF_MS_SSIM,
    artefacts,
    chen_blum,
    chen_varshney,
    cross_entropy,
    feature_information,
    ms_ssim,
    psnr,
)

Image = NDArray[np.uint8]
Plane = NDArray[np.float64]

LOWER_IS_BETTER = ("CE", "Nabf", "Qcv")
SMALLEST_SIDE = 41  # pixels: the fourth scale of VIF is empty below


def fusion_metrics(a: Image, b: Image, f: Image, more: Sequence[str] = ()) -> dict[str, float]:
    """EN (bits), SD, SF, AG, MI (nats), SCD, CC, VIF, Qabf, SSIM and SSIM_cdd by name; larger is better in all. Then
    those of ``MORE`` that are asked for, of which some are ``LOWER_IS_BETTER``.

    ``VIF_min``, ``SSIM_min`` and ``Qabf_min`` are the smaller of what is kept of ``a`` and of ``b``. SSIM has data
    range 255, SSIM_cdd 2 (as the CDDFuse family of papers printed it).
    Raises ``ValueError`` if the three images are not uint8 of one shape, or a side is below ``SMALLEST_SIDE`` (161 for
    MS_SSIM).
    """
    if not (a.shape == b.shape == f.shape and a.ndim == 2) or {a.dtype, b.dtype, f.dtype} != {np.dtype(np.uint8)}:
        raise ValueError(f"metrics need three uint8 grey images of one shape, got {a.shape}, {b.shape}, {f.shape}")
    check_measurable(f.shape, more)
    da, db, df = (image.astype(np.float64) for image in (a, b, f))
    vif = [visual_information_fidelity(source, df) for source in (da, db)]
    ssim, ssim_cdd = zip(*(structural_similarity(source, df, (255, 2)) for source in (da, db)), strict=True)
    edges = np.array([edges_kept(source, df) for source in (da, db)])
    return {
        "EN": entropy(f),
        "SD": float(df.std()),
        "SF": spatial_frequency(df),
        "AG": average_gradient(df),
        "MI": mutual_information(a, f) + mutual_information(b, f),
        "SCD": correlation(da, df - db) + correlation(db, df - da),
        "CC": (correlation(da, df) + correlation(db, df)) / 2,
        "VIF": sum(vif),
        "Qabf": _share(*edges.sum(axis=0)),
        "SSIM": sum(ssim),
        "SSIM_cdd": sum(ssim_cdd),
        "VIF_min": min(vif),
        "SSIM_min": min(ssim),
        "Qabf_min": min(_share(*source) for source in edges),
        **{name: MORE[name](a, b, f) for name in more},
    }


def check_measurable(shape: tuple[int, ...], more: Sequence[str] = ()) -> None:
    """``ValueError`` for images whose height or width is too small for these metrics beside the usual ones."""
    smallest = SMALLEST_OF_MS_SSIM if "MS_SSIM" in more else SMALLEST_SIDE
    if min(shape[:2]) < smallest:
        what = "MS_SSIM needs" if "MS_SSIM" in more else "metrics need"
        raise ValueError(f"image of {shape[1]}x{shape[0]}: {what} sides of at least {smallest} pixels")


def entropy(f: Image) -> float:
    """Shannon entropy of the 256-bin histogram, in bits."""
    p = np.bincount(f.ravel(), minlength=256) / f.size
    p = p[p > 0]
    return float(0 - (p * np.log2(p)).sum())


def spatial_frequency(f: Plane) -> float:
    """Root of the mean squared horizontal plus the mean squared vertical difference."""
    return float(np.sqrt(np.mean(np.diff(f, axis=1) ** 2) + np.mean(np.diff(f, axis=0) ** 2)))


def average_gradient(f: Plane) -> float:
    """Mean of ``sqrt((gx^2 + gy^2) / 2)``, central differences."""
    gy, gx = np.gradient(f)
    return float(np.sqrt((gx**2 + gy**2) / 2).mean())


def mutual_information(x: Image, y: Image) -> float:
    """From the 256x256 joint histogram, in nats."""
    joint = np.bincount(x.ravel().astype(np.int64) * 256 + y.ravel(), minlength=65536).reshape(256, 256) / x.size
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def correlation(x: Plane, y: Plane) -> float:
    """Pearson correlation; 0 for a constant image."""
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / norm) if norm > 0 else 0.0


def visual_information_fidelity(reference: Plane, image: Plane) -> float:
    """Pixel-domain VIF over four scales (Sheikh and Bovik 2006; noise variance 2)."""
    noise, eps = 2.0, 1e-10
    kept, total = 0.0, 0.0
    for scale in range(1, 5):
        size = 2 ** (5 - scale) + 1
        if scale > 1:
            reference, image = _gaussian(reference, size)[::2, ::2], _gaussian(image, size)[::2, ::2]
        mean_r, mean_i = _gaussian(reference, size), _gaussian(image, size)
        variance_r = np.maximum(_gaussian(reference * reference, size) - mean_r**2, 0)
        variance_i = np.maximum(_gaussian(image * image, size) - mean_i**2, 0)
        covariance = _gaussian(reference * image, size) - mean_r * mean_i
        gain = covariance / (variance_r + eps)
        residual = variance_i - gain * covariance
        flat = variance_r < eps
        gain[flat], residual[flat], variance_r[flat] = 0, variance_i[flat], 0
        gain[variance_i < eps], residual[variance_i < eps] = 0, 0
        negative = gain < 0
        residual[negative], gain[negative] = variance_i[negative], 0
        residual = np.maximum(residual, eps)
        kept += float(np.log10(1 + gain**2 * variance_r / (residual + noise)).sum())
        total += float(np.log10(1 + variance_r / noise).sum())
    return kept / total if total > 0 else 0.0


def structural_similarity(x: Plane, y: Plane, data_ranges: Sequence[int]) -> list[float]:
    """SSIM for each data range (Wang et al. 2004): 7x7 uniform window, sample covariance."""
    mx, my, xx, yy, xy = (cv2.blur(plane, (7, 7))[3:-3, 3:-3] for plane in (x, y, x * x, y * y, x * y))
    means, squares = mx * my, mx * mx + my * my
    covariance, variances = 49 / 48 * (xy - means), 49 / 48 * (xx + yy - squares)
    constants = [((0.01 * data_range) ** 2, (0.03 * data_range) ** 2) for data_range in data_ranges]
    maps = [(2 * means + c) * (2 * covariance + d) / ((squares + c) * (variances + d)) for c, d in constants]
    return [float(of_range.mean()) for of_range in maps]


def edges_kept(source: Plane, f: Plane) -> tuple[float, float]:
    """Strength of a source's edges that ``f`` keeps, and of all its edges (Xydeas and Petrovic 2000).

    Qabf is what is kept of both sources over what was there.
    """
    strength, angle = _edges(source)
    fused_strength, fused_angle = _edges(f)
    larger = np.maximum(strength, fused_strength)
    ratio = np.minimum(strength, fused_strength) / np.where(larger == 0, 1, larger)
    alignment = 1 - np.abs(angle - fused_angle) / (np.pi / 2)
    kept = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5))) * 0.9879 / (1 + np.exp(-22 * (alignment - 0.8)))
    return float((kept * strength).sum()), float(strength.sum())


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0


def _gaussian(image: Plane, size: int) -> Plane:
    kernel = cv2.getGaussianKernel(size, size / 5)
    margin = size // 2
    return cv2.sepFilter2D(image, -1, kernel, kernel)[margin:-margin, margin:-margin]  # type: ignore[return-value]


def _edges(image: Plane) -> tuple[Plane, Plane]:
    """Sobel strength and orientation in (-pi/2, pi/2]."""
    gx = cv2.Sobel(image, cv2.CV_64F, 1, 0, borderType=cv2.BORDER_CONSTANT)
    gy = cv2.Sobel(image, cv2.CV_64F, 0, 1, borderType=cv2.BORDER_CONSTANT)
    angle = np.where(gx == 0, np.pi / 2, np.arctan(gy / np.where(gx == 0, 1, gx)))
    return np.hypot(gx, gy), angle


MORE: dict[str, Callable[[Image, Image, Image], float]] = {
    "MI_bits": lambda a, b, f: (mutual_information(a, f) + mutual_information(b, f)) / float(np.log(2)),
    "PSNR": psnr,
    "CE": cross_entropy,
    "MS_SSIM": lambda a, b, f: ms_ssim(a, f) + ms_ssim(b, f),
    "Nabf": artefacts,
    "Qcb": chen_blum,
    "Qcv": chen_varshney,
    "FMI": lambda a, b, f: (feature_information(a, f) + feature_information(b, f)) / 2,
}
