"""Follows, while the node runs, what the calibration leaves: near things, lenses, a bent homography."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from mmcfusion_ros.alignment.dense import FIELD, SWEPT, along_lines, smooth_field
from mmcfusion_ros.alignment.refinement import RefinementState, Refiner, Warp

LIMIT_PX = 24.0  # of 640
NEAREST_M, STEP_PX = 0.8, 2.0  # of 640: from one candidate of a distance to the next
MEMORY = 0.6  # of a smooth field, from one estimate to the next: it is the rig's, while near things come and go
LEAST_CONFIDENCE = 0.05
FLOW_SIZE = 160, 120  # pixels


class DenseRefiner(Refiner):
    """Moves each cell of the image by itself. With extrinsics only along the epipolar lines, and anew at each estimate;
    between two of them what is off the plane goes along with what moves in the RGB image. Without extrinsics by a small
    and smooth field, averaged over time. ``shift`` is that in use, as in :class:`Shifts`."""

    shift: np.ndarray | None
    _candidates: np.ndarray | None
    _tracks: tuple[_Track, ...]  # of the shift in use, and of one that is being estimated
    _seen: np.ndarray | None

    def offer(self, thermal: np.ndarray, luminance: np.ndarray) -> None:
        """Takes note of the newest pair: ``h x w`` and ``H x W`` uint8, not to be written to later."""
        calibrated, tracks, before = self._calibrated, self._tracks, self._seen
        self._seen = cv2.resize(luminance, FLOW_SIZE, interpolation=cv2.INTER_AREA)
        if tracks and before is not None:
            still = np.zeros((*before.shape, 2), np.float32)
            flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(before, self._seen, still)
            for track in tracks:
                track.follow(flow)
            if tracks[0].shift is not None:
                self.shift = tracks[0].shown()
                self._use(Displaced(calibrated, self.shift / luminance.shape[1]))
        super().offer(thermal, luminance)

    def report(self) -> dict[str, str]:
        """Also what the last estimate is expected to be off by, in the 3 x 3 parts of the image, row by row."""
        errors = " ".join(f"{error:.1f}" for error in self._errors_px.ravel())
        return super().report() | {"refine.error_px": errors}

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
        track, swept = _Track(), len(self._candidates) > 0
        if swept:
            self._tracks = *self._tracks, track
            found = along_lines(warped, luminance, self._candidates, seen)
            shift = found.shift
        else:
            found = smooth_field(warped, luminance, seen, self.shift)
            shift = found.shift if self.shift is None else MEMORY * self.shift + (1 - MEMORY) * found.shift
        self._errors_px = cv2.resize(found.error, (3, 3), interpolation=cv2.INTER_AREA) * (640 / luminance.shape[1])
        self.status = self._judged(found.confidence, np.linalg.norm(shift, axis=2) * 640 / luminance.shape[1])
        if self.status.state != "following":
            if not swept:
                return self.status
            shift = np.zeros_like(shift)  # what was near may have gone
        if swept:
            track.shift = shift
            self._tracks = (track,) if shift.any() else ()
            shift = track.shown()
        self.shift = shift
        self._use(Displaced(self._calibrated, shift / luminance.shape[1]) if shift.any() else self._calibrated)
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
        self.shift = self._candidates = self._seen = None
        self._tracks = ()
        self._errors_px = np.full((3, 3), np.nan)

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


class Displaced:
    """A registration, with each part of the RGB image seen from another place of it.

    ``shift`` (rows x columns x 2) is of cells over the RGB image, in widths of it, and interpolated between them.
    """

    def __init__(self, registration: Warp, shift: np.ndarray) -> None:
        self._registration, self._shift = registration, shift.astype(np.float32)

    def warp(self, thermal: np.ndarray, rgb_shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`Warp.warp`."""
        warped, weight = self._registration.warp(thermal, rgb_shape)
        height, width = rgb_shape
        x, y = cv2.split(cv2.scaleAdd(cv2.resize(self._shift, (width, height)), width, _pixels(rgb_shape)))
        seen = np.full(rgb_shape, 255, np.uint8) if weight is None else weight
        return (
            cv2.remap(warped, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
            cv2.remap(seen, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT),
        )


@lru_cache(maxsize=2)
def _pixels(shape: tuple[int, int]) -> np.ndarray:
    """Where each of them lies: ``H x W x 2`` float32, x and y."""
    rows, columns = np.indices(shape, dtype=np.float32)
    return np.dstack([columns, rows])


class _Track:
    """Where the cells of one estimate are by now, and the ``shift`` of each once it is known."""

    def __init__(self) -> None:
        self.shift: np.ndarray | None = None
        self._places = _pixels(SWEPT)

    def follow(self, flow: np.ndarray) -> None:
        """From one frame to the next; ``flow`` is of pixels of an image of the same field of view."""
        step = flow.shape[1] / SWEPT[1]
        x, y = cv2.split(step * (self._places + 0.5) - 0.5)
        moves = cv2.remap(flow, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self._places = self._places + moves / step

    def shown(self) -> np.ndarray:
        """The shift as it is now: 0 where nothing is any more, the larger one where a thing has come before another."""
        assert self.shift is not None
        away = self.shift.any(axis=2)
        places, shifts = np.rint(self._places[away]).astype(int), self.shift[away]
        order = np.linalg.norm(shifts, axis=1).argsort()
        (columns, rows), shifts = places[order].T, shifts[order]
        inside = (rows >= 0) & (rows < SWEPT[0]) & (columns >= 0) & (columns < SWEPT[1])
        shown = np.zeros((*SWEPT, 2), np.float32)
        shown[rows[inside], columns[inside]] = shifts[inside]
        return np.dstack([cv2.medianBlur(np.ascontiguousarray(one), 3) for one in np.moveaxis(shown, 2, 0)])
