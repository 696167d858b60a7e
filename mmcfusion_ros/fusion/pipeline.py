"""A frame's way from two camera images to the fused one: the same objects live, from a bag and in the benchmark."""

from __future__ import annotations

import time

import numpy as np

from mmcfusion_ros.fusion.colour import merge_luminance, split_luminance
from mmcfusion_ros.fusion.fuser import Fuser, check_visible
from mmcfusion_ros.fusion.refinement import Refiner
from mmcfusion_ros.fusion.registration import Registration, fill_outside
from mmcfusion_ros.fusion.thermal import ThermalScaler


class StageClock:
    """Time spent in each named stage of one frame, in milliseconds."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._started = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Ends a stage, which began where the one before ended."""
        now = time.perf_counter()
        self.milliseconds[stage] = 1e3 * (now - self._last)
        self._last = now

    def finish(self) -> dict[str, float]:
        """All stages and their ``total``."""
        return {**self.milliseconds, "total": 1e3 * (self._last - self._started)}


class FusionPipeline:
    """Thermal scaling, registration, fusion and colour with fixed settings; a refiner may watch the registration."""

    def __init__(
        self, fuser: Fuser, scaler: ThermalScaler, registration: Registration, refiner: Refiner | None = None
    ) -> None:
        self.fuser = fuser
        self.scaler = scaler
        self.registration = registration
        self.refiner = refiner

    def __call__(self, thermal: np.ndarray, visible: np.ndarray, clock: StageClock) -> np.ndarray:
        """``h x w`` uint8 or uint16 thermal and ``H x W [x 3]`` uint8 visible (red first) to a fused image like it.

        Raises ``ValueError`` for images that do not fit, ``FusionError`` if the backend fails.
        """
        if thermal.ndim != 2 or not thermal.size or thermal.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"thermal image of {thermal.dtype}, shape {thermal.shape}; it must be h x w uint8 or uint16"
            )
        check_visible(visible)
        thermal = self.scaler(thermal)
        clock.lap("thermal")
        luminance, chroma = split_luminance(visible)
        clock.lap("luminance")
        registration = self.registration
        if self.refiner:
            self.refiner.offer(thermal, luminance)
            registration = self.refiner.registration
        thermal, valid = registration.warp(thermal, luminance.shape)
        thermal = fill_outside(thermal, luminance, valid)
        clock.lap("registration")
        fused = self.fuser.fuse_luminance(thermal, luminance)
        clock.lap("network")
        fused = merge_luminance(fill_outside(fused, luminance, valid), chroma)
        clock.lap("colour")
        return fused
