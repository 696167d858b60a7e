"""A stereo depth camera that looks at the street: the noise of a RealSense D435, and what it cannot see."""

from __future__ import annotations

import cv2
import numpy as np

from mmcfusion_ros.simulation.optics import DEPTH, Optics
from mmcfusion_ros.simulation.scene import StreetScene

# Deviation of z: z^2 * subpixel / (f * baseline), by Intel's "Best known methods for tuning Intel RealSense D400 depth
# cameras for best performance" (2020), section 4: a subpixel of 0.08, 50 mm of baseline, f = 424 pixels at 848 across.
SUBPIXEL, BASELINE_M = 0.08, 0.05
INVERSE_DEPTH_NOISE = SUBPIXEL / (424.0 * BASELINE_M)
PATCH_PX = 5  # neighbours share the pixels that were matched: so they share noise, and edges are uncertain
EDGE_DROPOUT, DROPOUT, FARTHEST_M = 0.5, 0.02, 12.0


class DepthCamera:
    """Its images, aligned to the RGB camera or with their own lens (``optics.DEPTH``)."""

    def __init__(self, scene: StreetScene, optics: Optics, aligned: bool, rate_hz: float, seed: int) -> None:
        self._scene, self._optics, self._aligned, self._rate_hz, self._seed = scene, optics, aligned, rate_hz, seed

    def image(self, index: int) -> np.ndarray:
        """``480 x 640`` (aligned) or ``480 x 848`` uint16 millimetres; 0: none."""
        truth = self._scene.inverse_depth(index / self._rate_hz)
        seen = self._optics.rgb_view(truth, cv2.INTER_NEAREST) if self._aligned else self._optics.depth_view(truth)
        rng = np.random.default_rng([self._seed, 25, index])
        noise = cv2.GaussianBlur(rng.standard_normal(seen.shape, np.float32), (0, 0), PATCH_PX / 4)
        measured = seen + noise * np.float32(INVERSE_DEPTH_NOISE / noise.std())
        lost = self._shadow(seen) | (_patches(seen.shape, rng) < DROPOUT)
        window = np.ones((PATCH_PX, PATCH_PX), np.uint8)
        edge = cv2.dilate(seen, window) - cv2.erode(seen, window) > 4 * INVERSE_DEPTH_NOISE
        lost |= edge & (_patches(seen.shape, rng) < EDGE_DROPOUT)
        lost |= measured * FARTHEST_M < 1
        millimetres = np.rint(1000 / np.maximum(measured, 1e-3))
        return np.where(lost, 0, millimetres).astype(np.uint16)

    def _shadow(self, seen: np.ndarray) -> np.ndarray:
        """What only one of its two imagers sees: a strip to the left of each near thing."""
        disparity = DEPTH.camera_matrix[0, 0] * BASELINE_M * seen
        reach = int(np.ceil(disparity.max()))
        hidden = np.zeros(seen.shape, bool)
        for shift in range(1, min(reach, seen.shape[1] - 1) + 1):
            hidden[:, :-shift] |= disparity[:, shift:] > disparity[:, :-shift] + shift
        return hidden


def _patches(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Uniform numbers, the same within each patch."""
    rows, columns = (-(-side // PATCH_PX) for side in shape)
    return cv2.resize(rng.random((rows, columns)), shape[::-1], interpolation=cv2.INTER_NEAREST)
