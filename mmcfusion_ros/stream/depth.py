"""Depth beside the pairs: what a depth camera or a lidar sends, and the registration of each pair by it."""

from __future__ import annotations

import reprlib
import threading
import time
from collections import deque
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np

from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.fusion.depth_registration import DepthRegistration, followed, small
from mmcfusion_ros.fusion.registration import Registration, Shape
from mmcfusion_ros.stream.camera_info import camera_content, intrinsics_from_message
from mmcfusion_ros.stream.frames import StaticFrames
from mmcfusion_ros.stream.messages import BadImage, image_from_message
from mmcfusion_ros.stream.pairing import stamp_ns

KEPT, LUMINANCES_KEPT = 8, 32
STILL_NS = 5_000_000  # what moves within this does not matter
NEAREST_M, FARTHEST_M = 0.1, 150.0  # of a scene's median: beyond it the unit is wrong
LEAST_KNOWN = 0.005
SAME_LENS = 0.03  # of the focal length, and of the width for the centre
CHECK_NS, CHECKS, WORSE = 1_000_000_000, 10, 4.0  # the last in deviations of a correlation by chance
LARGE_STEP_PX = 3.0
FLOAT32 = 7  # sensor_msgs/PointField


class _Coarse(NamedTuple):
    """A depth message on the coarse grid of a registration."""

    message: Any
    registration: DepthRegistration
    inverse_depth: np.ndarray


class DepthInput:
    """Takes messages of depth, and brings thermal images onto the RGB grid by the one nearest to the RGB frame.

    It may be up to ``slop_ns`` off, and is then moved along with the image. ``wait_ns`` is how long :meth:`wait` waits
    for one that is still to come. Thread-safe: one thread may take what another one uses.

    ``rgb_frame`` is the frame of the RGB images: where the calibration does not say where the depth camera is, and its
    messages are of another frame that ``/tf_static`` connects with it, that says it.
    """

    def __init__(self, slop_ns: int, wait_ns: int) -> None:
        self._slop_ns, self._wait_ns = slop_ns, wait_ns
        self._arrived = threading.Condition()
        self._messages: deque[Any] = deque(maxlen=KEPT)
        self._info: Any = None
        self._camera: Intrinsics | None = None
        self._last_arrival_s = -np.inf
        self.rgb_frame = ""
        self._frames = StaticFrames()
        self._no_frame = self._doubt = ""  # why TF does not say where the depth camera is, and what that may mean
        self.reset()

    def reset(self) -> None:
        """Forgets the frames before, as after a jump of the clock."""
        self._messages.clear()
        self._luminances: deque[tuple[int, np.ndarray]] = deque(maxlen=LUMINANCES_KEPT)
        self._registration: tuple[Registration, DepthRegistration] | None = None
        self._coarse: _Coarse | None = None
        self._by_frames: tuple[Registration, str, str, Registration] | None = None
        self._reason, self._warning = "no depth image has come", ""
        self._by_depth = self._by_plane = 0
        self._age_ms, self._known = float("nan"), 0.0
        self._error_px = np.full((3, 3), np.nan)
        self._plane_error_px = float("nan")
        self._losses: deque[float] = deque(maxlen=CHECKS)
        self._next_check_ns = 0

    def take(self, message: Any) -> None:
        """An ``Image`` (16UC1: millimetres, 32FC1: metres), a ``PointCloud2``, the ``CameraInfo`` of the images, or a
        ``TFMessage`` of ``/tf_static``."""
        with self._arrived:
            if hasattr(message, "transforms"):
                self._frames.take(message)
                self._by_frames = None
                return
            if hasattr(message, "k"):
                if self._info is None or camera_content(self._info) != camera_content(message):
                    self._info, self._camera = message, None
                return
            self._messages.append(message)
            self._last_arrival_s = time.monotonic()
            self._arrived.notify_all()

    def is_ready(self, rgb_stamp_ns: int) -> bool:
        """Whether no message that is still to come can be much nearer to that time."""
        stamps = [stamp_ns(message) for message in self._messages.copy()]
        period_ns = min((b - a for a, b in pairwise(stamps)), default=0)
        return bool(stamps) and rgb_stamp_ns - stamps[-1] <= period_ns / 2

    def has_waited(self, rgb_stamp_ns: int, waited_ns: int) -> bool:
        """Whether an RGB frame of that stamp, which has waited for so long, is to wait no longer."""
        return waited_ns >= self._wait_ns or self.is_ready(rgb_stamp_ns)

    def wait(self, rgb_stamp_ns: int) -> None:
        """Until :meth:`is_ready`, ``wait_ns`` at most; not for a camera that has fallen silent."""
        end_s = time.monotonic() + self._wait_ns / 1e9
        with self._arrived:
            while not self.is_ready(rgb_stamp_ns):
                left_s = min(end_s, self._last_arrival_s + 2 * self._slop_ns / 1e9) - time.monotonic()
                if left_s <= 0 or not self._arrived.wait(left_s):
                    return

    def warp(
        self, registration: Registration, thermal: np.ndarray, luminance: np.ndarray, rgb_stamp_ns: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """As :meth:`DepthRegistration.warp`; None where what has come is of no use, and why is in the problems."""
        try:
            by_depth, inverse_depth, age_ns = self.nearest(registration, thermal.shape, luminance, rgb_stamp_ns)
        except ValueError as error:
            self._reason = str(error)
            self._by_plane += 1
            return None
        self._reason, self._age_ms = "", age_ns / 1e6
        self._by_depth += 1
        warped, weight = by_depth.warp(thermal, luminance, inverse_depth)
        if not self._next_check_ns - CHECK_NS <= rgb_stamp_ns < self._next_check_ns:
            self._next_check_ns = rgb_stamp_ns + CHECK_NS
            self._check(by_depth, inverse_depth, luminance, warped, registration.warp(thermal, luminance.shape)[0])
        return warped, weight

    def nearest(
        self, registration: Registration, thermal_shape: Shape, luminance: np.ndarray, rgb_stamp_ns: int
    ) -> tuple[DepthRegistration, np.ndarray, int]:
        """The registration by depth for images of these shapes, the inverse depth at that time on its coarse grid, and
        how much older its message is, in ns; ``ValueError`` saying why there is none."""
        if not self._luminances or self._luminances[-1][0] != rgb_stamp_ns:
            self._luminances.append((rgb_stamp_ns, small(luminance)))
        by_depth = self._fitting(self._placed(registration), thermal_shape, luminance.shape)
        return by_depth, *self._nearest(by_depth, rgb_stamp_ns)

    def problems(self) -> list[str]:
        """Why the plane takes the place of depth, or what looks wrong with depth, in words."""
        plane = f"registration by the plane, not by depth: {self._reason}" if self._reason else ""
        return [text for text in (plane or self._doubt, self._warning) if text]

    def errors_px(self) -> dict[str, float]:
        """How far off the last frame was in RGB pixels, in the median: what the noise of depth leaves, and what the
        plane would have left; both at the last look, one a second. Empty if it was registered by the plane."""
        if self._reason or np.isnan(self._error_px).all():
            return {}
        return {"depth_error_px": float(np.nanmedian(self._error_px)), "plane_error_px": self._plane_error_px}

    def report(self) -> dict[str, str]:
        """For diagnostics: what registers, frames by either, the error that the noise of depth leaves, in RGB pixels,
        for the 3 x 3 parts of the image, row by row, and the median error that the plane would leave."""
        errors = " ".join("-" if np.isnan(error) else f"{error:.2f}" for error in self._error_px.ravel())
        return {
            "registration": "plane" if self._reason else "depth",
            "depth.frames": str(self._by_depth),
            "depth.plane_frames": str(self._by_plane),
            "depth.age_ms": f"{self._age_ms:.1f}",
            "depth.known": f"{self._known:.2f}",
            "depth.error_px": errors,
            "depth.plane_error_px": f"{self._plane_error_px:.2f}",
        }

    def _placed(self, registration: Registration) -> Registration:
        """With the place of the depth camera, where TF says it and the calibration does not."""
        messages, calibration = self._messages.copy(), registration.calibration
        frame = messages[-1].header.frame_id if messages else ""
        self._doubt = ""
        if calibration.depth_rotation is not None or calibration.kind != "calibrated" or frame in ("", self.rgb_frame):
            self._no_frame = f"depth and RGB images have the same frame, {frame or 'none'}"
            return registration
        key = registration, frame, self.rgb_frame
        if not self._by_frames or self._by_frames[:3] != key:
            try:
                rotation, translation = self._frames.pose(self.rgb_frame, frame)
            except ValueError as error:
                self._no_frame = str(error)
                if self.rgb_frame:
                    self._doubt = f"depth is taken as aligned to RGB, but is of another frame, and {error}"
                return registration
            placed = replace(calibration, depth_rotation=rotation, depth_translation=translation)
            self._by_frames = *key, Registration(placed)
        return self._by_frames[3]

    def _fitting(self, registration: Registration, thermal_shape: Shape, rgb_shape: Shape) -> DepthRegistration:
        known = self._registration
        if not known or known[0] is not registration or known[1].shapes != (thermal_shape, rgb_shape):
            known = self._registration = registration, DepthRegistration(registration, thermal_shape, rgb_shape)
            self._losses.clear()
        return known[1]

    def _nearest(self, registration: DepthRegistration, rgb_stamp_ns: int) -> tuple[np.ndarray, int]:
        """Inverse depth at that time, and how much older the message is; ``ValueError`` saying why there is none."""
        messages = self._messages.copy()
        if not messages:
            raise ValueError("no message on depth/image_raw or depth/points yet")
        message = min(messages, key=lambda m: abs(rgb_stamp_ns - stamp_ns(m)))
        age_ns = rgb_stamp_ns - stamp_ns(message)
        if abs(age_ns) > self._slop_ns:
            raise ValueError(
                f"the nearest depth is {abs(age_ns) / 1e9:.2f} s {'older' if age_ns > 0 else 'newer'} than the RGB "
                f"image (registration.depth_slop is {self._slop_ns / 1e9:g} s)"
            )
        if not self._coarse or self._coarse.message is not message or self._coarse.registration is not registration:
            self._coarse = _Coarse(message, registration, self._read(message, registration))
        inverse_depth = self._coarse.inverse_depth
        if abs(age_ns) > STILL_NS:
            then_ns, then = min(self._luminances, key=lambda kept: abs(kept[0] - stamp_ns(message)))
            if then_ns != rgb_stamp_ns:
                inverse_depth = followed(inverse_depth, then, self._luminances[-1][1])
        return inverse_depth, age_ns

    def _read(self, message: Any, registration: DepthRegistration) -> np.ndarray:
        if hasattr(message, "fields") and registration.is_aligned:
            raise ValueError(f"depth/points needs depth_extrinsics in the calibration file, or TF: {self._no_frame}")
        if hasattr(message, "fields"):
            inverse_depth = registration.from_points(points_from_message(message))
        else:
            depth, metres = depth_from_message(message)
            inverse_depth = registration.from_image(depth, metres, self._lens(registration, depth.shape))
        known = inverse_depth[inverse_depth > 0]
        self._known = known.size / inverse_depth.size
        if self._known < LEAST_KNOWN:
            raise ValueError(f"depth has a distance for {100 * self._known:.1f} % of the RGB image only")
        median_m = 1 / float(np.median(known))
        if not NEAREST_M < median_m < FARTHEST_M:
            raise ValueError(
                f"depth is {median_m:.3g} m in the median: in a wrong unit? 16UC1 must be millimetres, 32FC1 and "
                "points metres"
            )
        return inverse_depth

    def _lens(self, registration: DepthRegistration, shape: Shape) -> Intrinsics | None:
        """That of the depth camera; None if its images are aligned to the RGB camera's."""
        if self._info and self._camera is None:
            self._camera = intrinsics_from_message(self._info)
        if not registration.is_aligned:
            if self._camera is None:
                raise ValueError("it waits for depth/camera_info")
            return self._camera
        rgb = registration.rgb.resized(*shape[::-1], "depth").camera_matrix
        if self._camera is None:
            return None
        camera = self._camera.resized(*shape[::-1], "depth")
        difference = np.abs(camera.camera_matrix - rgb)
        if difference[0, 0] > SAME_LENS * rgb[0, 0] or difference[:2, 2].max() > SAME_LENS * shape[1]:
            raise ValueError(
                f"depth/camera_info is not that of the RGB camera (focal length {camera.camera_matrix[0, 0]:.0f} and "
                f"{rgb[0, 0]:.0f} pixels): subscribe to depth that is aligned to RGB, or add depth_extrinsics to the "
                f"calibration file ({self._no_frame})"
            )
        return None

    def _check(
        self,
        registration: DepthRegistration,
        inverse_depth: np.ndarray,
        luminance: np.ndarray,
        warped: np.ndarray,
        warped_by_plane: np.ndarray,
    ) -> None:
        """How noisy depth is, and whether edges agree with it better than with the plane."""
        shape = inverse_depth.shape
        rough = np.abs(inverse_depth - cv2.medianBlur(inverse_depth, 5))
        for row in range(3):
            for column in range(3):
                part = tuple(slice(s * i // 3, s * (i + 1) // 3) for s, i in zip(shape, (row, column), strict=True))
                known = inverse_depth[part] > 0
                noise = 1.48 * np.median(rough[part][known]) if known.mean() > 0.1 else np.nan
                self._error_px[row, column] = noise * registration.parallax_rgb_px
        images = (luminance, warped, warped_by_plane)
        coarse = [cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA) for image in images]
        by_plane_px = registration.parallax_rgb_px * np.abs(inverse_depth - registration.plane)
        self._plane_error_px = float(np.median(by_plane_px[inverse_depth > 0]))
        moved = (by_plane_px > LARGE_STEP_PX) & (inverse_depth > 0)
        region = cv2.dilate(moved.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        if region.mean() > 0.02:
            edges = [_gradient(image)[region] for image in coarse]
            by_depth, by_plane = np.corrcoef(edges)[0, 1:]
            self._losses.append((by_plane - by_depth) * np.sqrt(region.sum()))
        worse = len(self._losses) >= CHECKS // 2 and np.median(self._losses) > WORSE
        self._warning = (
            "thermal edges agree less with RGB by depth than by the plane: are extrinsics the wrong way round, or is "
            "depth of another camera?"
            if worse
            else ""
        )


def _gradient(image: np.ndarray) -> np.ndarray:
    """Its magnitude, compressed so that no single edge decides."""
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1)
    return cv2.sqrt(cv2.magnitude(cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1)))


def depth_from_message(message: Any) -> tuple[np.ndarray, float]:
    """``H x W`` uint16 or float32 distances along the optical axis, and the metres in one unit of them (REP 118).

    Raises ``BadImage``.
    """
    metres = {"16UC1": 0.001, "mono16": 0.001, "32FC1": 1.0}.get(message.encoding)
    if metres is None:
        text = f"depth of encoding {reprlib.repr(message.encoding)}; it must be 16UC1 (millimetres) or 32FC1 (metres)"
        raise BadImage("bad_encoding", text)
    return image_from_message(message, "thermal"), metres


def points_from_message(message: Any) -> np.ndarray:
    """``N x 3`` float32 x, y, z, metres, of a ``PointCloud2``; ``ValueError`` if it has none."""
    offsets = {field.name: field.offset for field in message.fields if field.datatype == FLOAT32}
    if not offsets.keys() >= {"x", "y", "z"}:
        raise ValueError("the point cloud has no x, y, z of float32")
    count = min(message.width * message.height, len(message.data) // max(1, message.point_step))
    wire = ">f4" if message.is_bigendian else "<f4"
    axes = [
        np.ndarray((count,), wire, message.data, offsets[name], (message.point_step,)).astype(np.float32)
        for name in "xyz"
    ]
    return np.stack(axes, axis=1)
