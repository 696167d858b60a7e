"""Watches how the thermal camera moves against the RGB camera while the node runs, and follows it if asked."""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from mmcfusion_ros.alignment import REFINEMENT_MODES
from mmcfusion_ros.alignment.find import MIDDLE, align, corners, transformed

NICENESS = 10


class Warp(Protocol):
    """What brings thermal images onto the RGB pixel grid."""

    def warp(self, thermal: np.ndarray, rgb_shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        """``h x w`` uint8 onto the grid of ``rgb_shape`` (height, width), and its weight there, ``H x W`` uint8."""


class ThermalToRgb(Warp, Protocol):
    """A calibration that does, as ``fusion.registration``."""

    def corrected(self, correction: np.ndarray) -> Warp:
        """This registration followed by a homography (3x3) from RGB pixels to RGB pixels."""

    def parallax(
        self, cells: tuple[int, int], thermal_shape: tuple[int, int], rgb_shape: tuple[int, int], inverse_depth: float
    ) -> np.ndarray | None:
        """The shift that is right for things at a distance, in ``cells`` (rows, columns) of the RGB image and in
        widths of it; None without extrinsics."""


@dataclass(frozen=True)
class RefinementOptions:
    """Lengths are pixels of 640 across the RGB image, at its corners.

    An estimate is made every ``period_s``; what counts is the median of the last ``window`` of them, of which most
    must be trusted. ``warn_px``: misalignment that is reported. In mode ``correct`` each estimate moves the
    registration by ``gain`` of what is missing, by ``largest_step_px`` at most, and never further than ``limit_px``
    from the calibration. It begins where more than ``begin_px`` are missing, which is more than what one scene can
    make a good registration look off by, and ends at ``end_px``. Estimates that scatter by more than
    ``largest_scatter_px`` count for nothing.
    """

    mode: str = "off"
    period_s: float = 1.0
    window: int = 25
    warn_px: float = 4.0
    gain: float = 0.3
    largest_step_px: float = 0.5
    limit_px: float = 24.0
    largest_scatter_px: float = 1.5
    begin_px: float = 5.0
    end_px: float = 0.7

    def __post_init__(self) -> None:
        if self.mode not in REFINEMENT_MODES:
            raise ValueError(f"registration.refine is {self.mode!r}; it must be one of {', '.join(REFINEMENT_MODES)}")


@dataclass(frozen=True)
class RefinementState:
    """``residual_px``: how far the registration in use is off, by the last ``estimates`` that could be trusted (NaN:
    not known). ``corrected_px``: how far it is from the calibration. ``confidence``: 0 to 1, share of trusted
    estimates. ``state``: ``waiting``, ``steady``, ``following``, ``frozen`` or ``limited``, and ``reason`` why."""

    state: str = "waiting"
    reason: str = ""
    residual_px: float = float("nan")
    corrected_px: float = 0.0
    confidence: float = 0.0
    estimates: int = 0


class Refiner:
    """``registration`` is the one to use now; it is replaced as a whole, between frames.

    One thread of low priority estimates on the newest pair that was offered; offering never waits. Its steps can be
    taken without the thread by calling :meth:`step`.
    """

    def __init__(self, registration: ThermalToRgb, options: RefinementOptions) -> None:
        self.options = options
        self.registration: Warp = registration
        self.status = RefinementState()
        self._calibrated = registration
        self._rebased: ThermalToRgb | None = None
        self._lock = threading.Lock()  # of the registration in use and the one to begin anew from
        self._newest: tuple[np.ndarray, np.ndarray] | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self._corners = self._moved = np.zeros((4, 2))
        self._following = False
        self._forget()

    def offer(self, thermal: np.ndarray, luminance: np.ndarray) -> None:
        """Takes note of the newest pair: ``h x w`` and ``H x W`` uint8, not to be written to later."""
        self._newest = thermal, luminance
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="refinement", daemon=True)
            self._thread.start()

    def rebase(self, registration: ThermalToRgb) -> None:
        """Begins anew from another calibration; a step at work changes nothing any more."""
        with self._lock:
            self.registration = self._rebased = registration

    def restarted(self, registration: ThermalToRgb) -> Refiner:
        """Stops this one; another with its options, which begins with that registration."""
        self.stop()
        return type(self)(registration, self.options)

    def stop(self) -> None:
        """For good: its thread ends after the estimate at work, for which this does not wait."""
        self._stop.set()

    def problems(self) -> list[str]:
        """What a person should look at, in words."""
        status = self.status
        if status.state == "limited":
            return [f"the cameras moved by more than {self.options.limit_px:g} px of 640: {status.reason}"]
        if status.residual_px > self.options.warn_px:
            advice = "following" if status.state == "following" else "calibrate again with mmcfusion calibrate"
            return [f"thermal is off by {status.residual_px:.1f} px of 640 from RGB: {advice}"]
        return []

    def report(self) -> dict[str, str]:
        """For diagnostics, by key."""
        status = self.status
        return {
            "refine.mode": self.options.mode,
            "refine.state": status.state + (f" ({status.reason})" if status.reason else ""),
            "refine.residual_px": f"{status.residual_px:.2f}",
            "refine.corrected_px": f"{status.corrected_px:.2f}",
            "refine.confidence": f"{status.confidence:.2f}",
            "refine.estimates": str(status.estimates),
        }

    def step(self, thermal: np.ndarray, luminance: np.ndarray) -> RefinementState:
        """One estimate on one pair, and what follows from it."""
        warped, seen = self._calibrated_view(thermal, luminance)
        start = self.correction()
        estimate = align([(warped, luminance)], start, "similarity", "none", MIDDLE, seen)
        measured = None if estimate.problem else transformed(estimate.homography, self._corners) - self._corners
        self._measured.append(measured)
        self._estimates += 1
        self.status = self._follow(thermal, luminance, estimate.problem)
        return self.status

    def _calibrated_view(self, thermal: np.ndarray, luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The thermal image by the calibration, and where it shows anything (0 or 1); new sizes begin anew."""
        with self._lock:
            if self._rebased:
                self._calibrated, self._rebased = self._rebased, None
                self._forget()
        if self._shapes != (thermal.shape, luminance.shape):
            self._forget()
            self.registration = self._calibrated
            self._shapes, self._corners = (thermal.shape, luminance.shape), corners(luminance.shape)
        warped, weight = self._calibrated.warp(thermal, luminance.shape)
        return warped, None if weight is None else (weight == weight.max()).astype(np.uint8)

    def _follow(self, thermal: np.ndarray, luminance: np.ndarray, problem: str) -> RefinementState:
        options, scale = self.options, 640 / luminance.shape[1]
        trusted = [one for one in self._measured if one is not None]
        confidence = len(trusted) / options.window
        before = float(np.linalg.norm(self._moved, axis=1).max()) * scale

        def status(state: str, reason: str = "", residual: float = float("nan")) -> RefinementState:
            return RefinementState(state, reason, residual, before, confidence, self._estimates)

        quorum = options.window // 2 + 1
        if len(trusted) < quorum:
            return status("waiting" if len(self._measured) < quorum else "frozen", problem)
        target = np.median(trusted, axis=0)
        scatter = float(np.median(np.linalg.norm(np.array(trusted) - target, axis=2))) * scale
        if scatter > options.largest_scatter_px:
            return status("frozen", f"estimates scatter by {scatter:.1f} px")
        missing = target - self._moved
        residual = float(np.linalg.norm(missing, axis=1).max()) * scale
        if problem or options.mode != "correct":
            return status("frozen" if problem else "steady", problem, residual)
        if float(np.linalg.norm(target, axis=1).max()) * scale > options.limit_px:
            return status("limited", f"{np.linalg.norm(target, axis=1).max() * scale:.1f} px", residual)
        self._following = residual > (options.end_px if self._following else max(options.begin_px, 2 * scatter))
        if not self._following:
            return status("steady", "", residual)
        self._moved = self._moved + missing * min(options.gain, options.largest_step_px / residual)
        corrected = self._calibrated.corrected(self.correction())
        corrected.warp(thermal, luminance.shape)  # builds its maps here, not at the next frame
        self._use(corrected)
        return status("following", "", residual)

    def _use(self, registration: Warp) -> None:
        with self._lock:
            if not self._rebased:
                self.registration = registration

    def correction(self) -> np.ndarray:
        """What the registration in use adds to the calibration: a 3x3 homography from RGB to RGB pixels."""
        moved = (self._corners + self._moved).astype(np.float32)
        return cv2.getPerspectiveTransform(self._corners.astype(np.float32), moved)

    def _forget(self) -> None:
        self._measured: deque[np.ndarray | None] = deque(maxlen=self.options.window)
        self._moved = np.zeros((4, 2))
        self._estimates = 0
        self._following = False

    def _run(self) -> None:
        if hasattr(os, "setpriority"):  # of this thread, on Linux
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not self._stop.wait(self.options.period_s):
            newest, self._newest = self._newest, None
            if newest is None:
                continue
            try:
                self.step(*newest)
            except Exception as error:  # whatever it is, frames must go on
                self.status = RefinementState("frozen", f"{error}", estimates=self._estimates)
