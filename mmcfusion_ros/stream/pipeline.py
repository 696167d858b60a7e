"""A frame's way from two camera images to the fused one: the same object live, from a bag and in the benchmark."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.conditions import (
    FROZEN_POLICIES,
    Blindness,
    CameraWatch,
    denoise,
    rgb_conditions,
)
from mmcfusion_ros.fusion.errors import UnusableThermalError
from mmcfusion_ros.fusion.fuser import Fuser, RegisteredPair, Steadiness, check_size, split_luminance
from mmcfusion_ros.fusion.network import Network
from mmcfusion_ros.fusion.registration import Registration, Shape, blend
from mmcfusion_ros.fusion.thermal import ThermalScaler, in_polarity
from mmcfusion_ros.stream.camera_info import CameraInfoRegistration
from mmcfusion_ros.stream.messages import BitDepth, image_from_message
from mmcfusion_ros.stream.mode import Source
from mmcfusion_ros.stream.pairing import LoneFrame, Pair, Stream

if TYPE_CHECKING:  # loaded only where they are asked for
    from mmcfusion_ros.alignment.refinement import Refiner
    from mmcfusion_ros.fusion.motion import CameraMotion
    from mmcfusion_ros.stream.depth import DepthInput
    from mmcfusion_ros.stream.frames import PlacedRegistration

NOTHING = np.zeros((0, 0), np.uint8)

EXCHANGED = "the thermal images have colours and the RGB images none: are the cameras exchanged?"


@dataclass(frozen=True, eq=False)
class Result:
    """What became of a pair, or of a frame of one camera.

    source: from what the image was made: ``rgb`` is the visible image as it came.
    image: ``H x W [x 3]`` uint8, red first.
    weight: the share of thermal in it, ``H x W`` uint8; None: all.
    registered: the thermal image as the network got it, ``H x W`` uint8 on the RGB pixel grid, black hot where its
    weights expect that; of a pair that passed through the visible luminance; else empty.
    visible: the visible image, ``H x W [x 3]`` uint8, red first; empty without one.
    stamps_ns: of the frames it was made of, by camera.
    thermal_age_s: how much older than the RGB image the thermal picture is, its repetitions counted; NaN without one.
    pair: what was fused, for another fuser; None if nothing was.
    blind: the thermal image shows nothing, and the visible one is given in its place.
    moments: when each stage ended, in s by ``time.perf_counter``, in order; ``start`` is the first.
    """

    source: Source
    image: np.ndarray
    weight: np.ndarray | None
    registered: np.ndarray
    visible: np.ndarray
    stamps_ns: Mapping[Stream, int] = field(default_factory=dict)
    thermal_age_s: float = float("nan")
    pair: RegisteredPair | None = None
    blind: bool = False
    moments: dict[str, float] = field(default_factory=dict)


class FusionPipeline:
    """Thermal scaling, denoising, registration, fusion and colour with fixed settings.

    ``frozen_policy`` says what happens to a pair whose thermal frame is an old one, by ``watch``: pass_through gives
    the visible image as it is, fuse goes on, drop raises ``UnusableThermalError``. Where a thermal frame shows nothing,
    by ``blindness``, there is the visible image. ``refiner`` watches the registration and, if it may, follows the
    cameras. ``motion`` moves thermal images that are used again. ``lenses`` complete the calibration by what the
    cameras say of themselves. ``depth`` registers pairs whose distance is known, pixel by pixel.
    """

    def __init__(
        self,
        fuser: Fuser,
        scaler: ThermalScaler,
        registration: Registration,
        watch: CameraWatch | None = None,
        frozen_policy: str = "pass_through",
        refiner: Refiner | None = None,
        motion: CameraMotion | None = None,
        depth: DepthInput | None = None,
    ) -> None:
        if frozen_policy not in FROZEN_POLICIES:
            raise ValueError(f"frozen_policy is {frozen_policy!r}; it must be one of {', '.join(FROZEN_POLICIES)}")
        self.fuser, self.scaler = fuser, scaler
        self.refiner, self.motion, self.depth = refiner, motion, depth
        self.registration, self.calibration = registration, registration.calibration
        self._placed: PlacedRegistration | None = None  # the lenses, where TF has extrinsics
        self.lenses = self._lenses()
        self._watch, self._rgb_watch = watch or CameraWatch(), CameraWatch(conditions=rgb_conditions)
        self.blindness = Blindness()
        self._frozen_policy = frozen_policy
        self._depth = BitDepth()
        self._checked_shape: tuple[int, ...] = ()
        self._registered: tuple[Registration, Shape, Shape] | None = None
        self._exchanged = False

    def fuse(self, pair: Pair[Any], wanted: bool = True) -> Result:
        """A pair of messages to the fused image; if it is not ``wanted``, the images are only looked at.

        Raises ``BadImage`` for messages that cannot be read, ``ValueError`` for images that do not fit, ``FusionError``
        if the backend fails, ``UnusableThermalError`` if the thermal image is an old one and ``frozen_policy`` is drop.
        """
        moments = {"start": time.perf_counter()}
        visible = image_from_message(pair.rgb, "rgb", self._depth)
        thermal = self.scaler.upright(image_from_message(pair.thermal, "thermal"))
        moments["decode"] = time.perf_counter()
        if visible.shape != self._checked_shape:
            check_size(visible.shape[1], visible.shape[0])
            self._checked_shape = visible.shape
        stamps_ns: dict[Stream, int] = {"thermal": pair.thermal_stamp_ns, "rgb": pair.rgb_stamp_ns}
        if self._placed:
            self._placed.place(pair.thermal.header.frame_id, pair.rgb.header.frame_id)
            self.use(self._placed.registration)
        self._rgb_watch(visible, pair.rgb_stamp_ns / 1e9)
        frozen = self._watch(thermal, pair.thermal_stamp_ns / 1e9)
        if frozen and self._frozen_policy == "drop":
            raise self._frozen_error()
        age_s = pair.skew_ns / 1e9 + self._watch.age_s
        self._exchanged = thermal.ndim > visible.ndim and self.scaler.options.palette == "white_hot"
        old = pair.too_old or (frozen and self._frozen_policy == "pass_through")
        if not (wanted or old):
            return Result("pair", visible, None, NOTHING, visible, stamps_ns, age_s, moments=moments)
        denoises, blind = self.fuser.denoises, False
        if not old:
            thermal = self.scaler(thermal)
            blind = self.blindness(thermal, self.scaler.dead)
            thermal = denoise(thermal) if denoises and not blind else thermal
        moments["thermal"] = time.perf_counter()
        luminance, colour = split_luminance(visible)
        if old or blind:
            self._let_go()
            nothing = np.zeros_like(luminance)
            return Result("rgb", visible, nothing, luminance, visible, stamps_ns, age_s, None, blind, moments)
        clean = denoise(luminance) if denoises else luminance
        moments["luminance"] = time.perf_counter()
        if self.refiner:
            self.refiner.offer(thermal, clean)
        registration = (self.refiner or self).registration
        by_depth = None
        if self.depth:
            self.depth.rgb_frame = pair.rgb.header.frame_id
            by_depth = self.depth.warp(self.registration, thermal, clean, pair.rgb_stamp_ns)
        warped, weight = by_depth or registration.warp(thermal, clean.shape)
        if self.blindness.weight is not None:
            seen, _ = registration.warp(self.blindness.weight, clean.shape)
            weight = seen if weight is None else cv2.multiply(weight, seen, scale=1 / 255)
        if self.motion:
            warped, weight = self.motion(warped, weight, clean, pair.thermal_stamp_ns)
        self._registered = self.registration, thermal.shape, clean.shape
        aligned = RegisteredPair(warped, clean, luminance, colour, weight)
        moments["registration"] = time.perf_counter()
        fused, registered = self.fuser.fuse(aligned, moments)
        moments["colour"] = time.perf_counter()
        return Result("pair", fused, weight, registered, visible, stamps_ns, age_s, aligned, False, moments)

    def alone(self, frame: LoneFrame[Any], rgb_size: tuple[int, int] | None) -> Result:
        """A message of one camera to its image; the thermal one on the RGB pixel grid of that size (width, height).

        It is in the polarity that the network's weights expect; where the thermal camera sees nothing, as cold as can
        be. Without a size it is only brought to 8 bits. One that shows nothing raises ``UnusableThermalError``, and
        so does an old one unless ``frozen_policy`` is fuse: there is no visible image to give instead. Raises
        ``BadImage``, ``ValueError``.
        """
        moments, stamps_ns = {"start": time.perf_counter()}, {frame.stream: frame.stamp_ns}
        if frame.stream == "rgb":
            visible = image_from_message(frame.item, "rgb", self._depth)
            self._rgb_watch(visible, frame.stamp_ns / 1e9)
            return Result(
                "rgb", visible, np.zeros(visible.shape[:2], np.uint8), NOTHING, visible, stamps_ns, moments=moments
            )
        thermal = self.scaler.upright(image_from_message(frame.item, "thermal"))
        self._watch(thermal, frame.stamp_ns / 1e9)
        if self._watch.is_frozen and self._frozen_policy != "fuse":
            raise self._frozen_error()
        image, weight = self.scaler(thermal), None
        if self.blindness(image, self.scaler.dead):
            text = f"the thermal image shows nothing ({self.blindness.reason})"
            raise UnusableThermalError("blind_thermal", text)
        if rgb_size:
            image, weight = (self.refiner or self).registration.warp(image, rgb_size[::-1])
            image = image if weight is None else blend(image, np.zeros_like(image), weight)
        image = in_polarity(image, self.fuser.backend.thermal_polarity)
        return Result("thermal", image, weight, NOTHING, NOTHING, stamps_ns, self._watch.age_s, moments=moments)

    def take_camera_info(self, message: Any, camera: Stream) -> None:
        """A ``camera_info`` message: completes the calibration with a lens that it lacks."""
        if self.lenses.take(message, camera):
            self.use(self.lenses.registration)

    def take_geometry(self, message: Any) -> None:
        """A ``TFMessage`` of ``/tf_static``, which completes the calibration too, or what :class:`DepthInput` takes."""
        if self._placed and hasattr(message, "transforms"):
            self._placed.frames.take(message)
        if self.depth:
            self.depth.take(message)

    def change(
        self,
        scaler: ThermalScaler,
        denoises: bool,
        steadiness: Steadiness | None,
        calibration: Calibration | None = None,
    ) -> None:
        """Goes on with these. A calibration (None: that of now) is completed by the last ``camera_info`` messages."""
        self.scaler, self.fuser.denoises, self.fuser.steadiness = scaler, denoises, steadiness
        if calibration:
            self.calibration = calibration
            self.lenses = self._lenses(self.lenses)
            self.use(self.lenses.registration)

    def use(self, registration: Registration) -> None:
        """Registers what comes with this registration; where it is another one, a refiner begins again."""
        if registration is self.registration:
            return
        self.registration = registration
        if self.refiner:
            self.refiner.rebase(registration)

    def reset(self) -> None:
        """Forgets the frames before, as after a jump of the clock, and the lenses that messages told of."""
        self.scaler.reset()
        self._let_go()
        self._watch.reset()
        self.blindness.reset()
        self._rgb_watch.reset()
        self._depth = BitDepth()
        self.lenses = self._lenses()
        if self.lenses.cameras:
            self.registration = self.lenses.registration
        if self.refiner:
            self.refiner = self.refiner.restarted(self.registration)
        if self.depth:
            self.depth.reset()

    def problems(self) -> list[str]:
        """What looks wrong with the cameras or their calibration, in words."""
        problems = self.lenses.problems()
        if self._watch.is_frozen and self._frozen_policy != "fuse":
            problems.append(f"the thermal camera has sent the same frame for {self._watch.age_s:.1f} s")
        problems += [EXCHANGED] if self._exchanged else []
        problems += self.blindness.problems() + self.scaler.problems() + (self.depth.problems() if self.depth else [])
        if self._registered:
            registration, thermal_shape, rgb_shape = self._registered
            problems += registration.doubts(thermal_shape, rgb_shape)
        return problems + (self.refiner.problems() if self.refiner else [])

    def unchanged_s(self) -> dict[Stream, float]:
        """For how long a camera has sent the same picture; 0 for a repetition that is normal."""
        return {stream: watch.age_s if watch.repeats else 0.0 for stream, watch in self._watches().items()}

    def state(self) -> dict[str, str]:
        """What fuses, and how it registers, for diagnostics, by key."""
        backend = self.fuser.backend
        return {
            "thermal_polarity": backend.thermal_polarity,
            "backend": backend.name,
            "device": backend.device,
            "precision": backend.precision,
            "backend_reason": backend.reason if isinstance(backend, Network) else self.fuser.reason,
            "backend_warning": backend.warning,
            "registration": self.calibration.kind,
        }

    def report(self) -> dict[str, str]:
        """What was seen of the cameras, for diagnostics, by key."""
        values = {}
        for stream, watch in self._watches().items():
            if watch.found is not None:
                values[f"conditions.{stream}"] = " ".join(sorted(watch.found))
            values |= {f"seen.{stream}_{name}": str(n) for name, n in sorted(watch.seen.copy().items()) if n}
        values["thermal_frozen_frames"] = str(self._watch.frames)
        values["thermal_freezes"] = str(self._watch.freezes)
        values["thermal_blind_frames"] = str(self.blindness.frames)
        values["thermal_partly_blind_frames"] = str(self.blindness.parts)
        values["thermal_bad_pixels"] = str(self.scaler.bad_pixels.count)
        values |= self.depth.report() if self.depth else {}
        return values | (self.refiner.report() if self.refiner else {})

    def _lenses(self, before: CameraInfoRegistration | None = None) -> CameraInfoRegistration:
        """Of the calibration of now; they go on with the messages of those ``before``."""
        frames = self._placed.frames if self._placed else None
        self._placed = None
        if not self.calibration.from_frames:
            return CameraInfoRegistration(self.calibration, before)
        from mmcfusion_ros.stream.frames import PlacedRegistration

        self._placed = PlacedRegistration(self.calibration, before, frames)
        return self._placed

    def _let_go(self) -> None:
        if self.fuser.steadiness:
            self.fuser.steadiness.reset()

    def _watches(self) -> dict[Stream, CameraWatch]:
        return {"rgb": self._rgb_watch, "thermal": self._watch}

    def _frozen_error(self) -> UnusableThermalError:
        return UnusableThermalError(
            "frozen_thermal", f"the thermal camera has sent the same frame for {self._watch.age_s:.2f} s"
        )
