"""What is measured of a fused frame."""

from __future__ import annotations

import cv2
import numpy as np

from mmcfusion_ros.evaluation.bags.fusing import Fused
from mmcfusion_ros.fusion.fuser import split_luminance

METRICS = ("EN", "SD", "SF", "AG", "MI", "SCD", "CC", "VIF", "Qabf", "SSIM")
RESIDUAL = "residual_px"
DEPTH_ERRORS = ("depth_error_px", "plane_error_px")  # of pairs that are registered by depth


def frame_times(frame: Fused) -> dict[str, float]:
    """Skew (RGB stamp minus thermal stamp) and duration of each stage, in ms."""
    return {"skew_ms": frame.pair.skew_ns / 1e6} | {f"{stage}_ms": ms for stage, ms in frame.milliseconds.items()}


def frame_metrics(frame: Fused) -> dict[str, float]:
    """``METRICS`` of the luminance, and ``residual_px``; empty for images that are too small for them."""
    from mmcfusion_ros.evaluation.metrics import SMALLEST_SIDE, fusion_metrics

    thermal, visible = frame.result.registered, frame.result.visible
    if min(thermal.shape) < SMALLEST_SIDE:
        return {}
    luminance, fused = split_luminance(visible)[0], split_luminance(frame.result.image)[0]
    metrics = fusion_metrics(thermal, luminance, fused)
    return {name: metrics[name] for name in METRICS} | {RESIDUAL: registration_residual(thermal, luminance)}


def registration_residual(thermal: np.ndarray, luminance: np.ndarray) -> float:
    """Shift in pixels that is left between a registered thermal image and the luminance, both ``H x W`` uint8.

    Phase correlation of the gradient magnitudes (Kuglin and Hines 1975), whose edges both cameras see. A single frame
    may be far off; the median over many tells.
    """
    window = cv2.createHanningWindow(thermal.shape[::-1], cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(_edges(thermal), _edges(luminance), window)
    return float(np.hypot(x, y))


def _edges(image: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.float32)
    strength = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    return np.sqrt(strength)
