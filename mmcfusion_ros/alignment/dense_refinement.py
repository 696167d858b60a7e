"""Follows, while the node runs, what the calibration leaves: near things, lenses, a bent homography."""

from __future__ import annotations

import numpy as np

from mmcfusion_ros.alignment.dense import FIELD, SWEPT, along_lines, smooth_field
from mmcfusion_ros.alignment.refinement import RefinementState, Refiner

LIMIT_PX = 24.0  # of 640
NEAREST_M, STEP_PX = 0.8, 2.0  # of 640: from one candidate of a distance to the next
MEMORY = 0.6  # of a smooth field, from one estimate to the next: it is the rig's, while near things come and go
LEAST_CONFIDENCE = 0.05


class DenseRefiner(Refiner):
    """Moves each cell of the image by itself. With extrinsics only along the epipolar lines, and anew at each estimate;
    without them by a small and smooth field, averaged over time. ``shift`` is that in use, as in :class:`Shifts`."""

    shift: np.ndarray | None
    _candidates: np.ndarray | None

    def problems(self) -> list[str]:
        """What a person should look at, in words."""
        status = self.status
        return [f"refinement leaves the calibration as it is: {status.reason}"] if status.state == "frozen" else []

    def step(self, thermal: np.ndarray, luminance: np.ndarray) -> RefinementState:
        """One estimate on one pair, and what follows from it."""
        warped, seen = self._calibrated_view(thermal, luminance)
        self._estimates += 1
        if self._candidates is None:
            self._candidates = self._swept(thermal, luminance)
        if len(self._candidates):
            found = along_lines(warped, luminance, self._candidates, seen)
            shift = found.shift
        else:
            found = smooth_field(warped, luminance, seen, self.shift)
            shift = found.shift if self.shift is None else MEMORY * self.shift + (1 - MEMORY) * found.shift
        self.status = self._judged(found.confidence, np.linalg.norm(shift, axis=2) * 640 / luminance.shape[1])
        if self.status.state == "following":
            self.shift = shift
            self._use(self._calibrated.displaced(shift / luminance.shape[1]), thermal, luminance)
        elif len(self._candidates):
            self._use(self._calibrated, thermal, luminance)  # what was near may have gone
        return self.status

    def _swept(self, thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """``N x rows x columns x 2`` RGB pixels: shifts of things from far away to near; none without extrinsics."""
        width = luminance.shape[1]
        far, near = (self._calibrated.parallax(SWEPT, thermal.shape, luminance.shape, w) for w in (0, 1 / NEAREST_M))
        if far is None or near is None:
            return np.empty((0, *SWEPT, 2))
        count = 2 + int(640 / STEP_PX * np.median(np.linalg.norm(near - far, axis=2)))
        inverse_depths = np.linspace(0, 1 / NEAREST_M, count).tolist()
        shifts = [self._calibrated.parallax(SWEPT, thermal.shape, luminance.shape, w) for w in inverse_depths]
        return width * np.array(shifts)

    def _forget(self) -> None:
        super()._forget()
        self.shift = self._candidates = None

    def _judged(self, confidences: np.ndarray, lengths: np.ndarray) -> RefinementState:
        confidence, smooth = float(confidences.mean()), lengths.shape == FIELD
        state, reason = "following", ""
        if confidence < LEAST_CONFIDENCE:
            state, reason = "frozen", "the two images have too few edges in common"
        elif smooth and lengths.max() > LIMIT_PX:
            state, reason = "frozen", f"{lengths.max():.0f} px of 640 are no small error: calibrate again"
        return RefinementState(
            state, reason, float(np.median(lengths)), float(lengths.max()), confidence, self._estimates
        )
