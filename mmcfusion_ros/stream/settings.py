"""The node's settings: its parameter values as the objects they stand for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mmcfusion_ros.fusion.backends import Backend, create_backend
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.conditions import CameraWatch
from mmcfusion_ros.fusion.fuser import Fuser, Steadiness
from mmcfusion_ros.fusion.models import PURPOSES, find_model
from mmcfusion_ros.fusion.network import Maker, Network
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.stream.pairing import PairingOptions, Stream
from mmcfusion_ros.stream.parameters import PARAMETERS, THERMAL, Value
from mmcfusion_ros.stream.pipeline import FusionPipeline

if TYPE_CHECKING:
    from mmcfusion_ros.alignment.refinement import Refiner
    from mmcfusion_ros.fusion.motion import CameraMotion
    from mmcfusion_ros.stream.depth import DepthInput
    from mmcfusion_ros.stream.trace import FrameTrace

CALIBRATION = ("registration.file", "registration.plane_distance", "thermal.rotate", "thermal.flip")


@dataclass(frozen=True)
class Settings:
    """Validated parameter values."""

    values: Mapping[str, Value]

    def with_values(self, changes: Mapping[str, Value]) -> Settings:
        """The same with other values of some parameters; ``ValueError`` naming one that is wrong."""
        return Settings(
            {p.name: p.check(changes[p.name]) if p.name in changes else self.values[p.name] for p in PARAMETERS}
        )

    def text(self, name: str) -> str:
        """A string parameter."""
        return str(self.values[name])

    def whole(self, name: str) -> int:
        """An integer parameter."""
        return int(self.values[name])

    def number(self, name: str) -> float:
        """A parameter of type double."""
        return float(self.values[name])

    @property
    def model(self) -> str:
        """Name or path of the fused image's network."""
        model = self.text("model")
        return PURPOSES[self.text("output.purpose")] if model == "auto" else model

    def nanoseconds(self, name: str) -> int:
        """A parameter in seconds, as integer nanoseconds."""
        return round(self.number(name) * 1e9)

    def pairing(self) -> PairingOptions:
        """Limits of the pairing; ``ValueError`` if they make no sense together."""
        return PairingOptions(
            slop_ns=self.nanoseconds("pairing.slop"),
            max_wait_ns=self.nanoseconds("pairing.max_wait"),
            max_age_ns=self.nanoseconds("pairing.max_age"),
            queue_size=self.whole("pairing.queue_size"),
            thermal_offset_ns=self.nanoseconds("pairing.thermal_offset"),
            output_rate=self.text("output_rate"),
            thermal_hold_ns=self.nanoseconds("pairing.thermal_hold"),
            stamps=self.text("pairing.stamps"),
        )

    def thermal(self) -> ThermalOptions:
        """How thermal frames become grey values; ``ValueError`` if the values make no sense together."""
        values: dict[str, Any] = {option: self.values[name] for name, option in THERMAL.items()}
        return ThermalOptions(**values)

    def network(self) -> Network:
        """What runs the network, loaded; errors say which parameter or file is wrong.

        OpenCV keeps to the same number of threads from now on, in the whole process.
        """
        cv2.setNumThreads(self.whole("threads") or -1)
        return Network(self._backend_makers(), self.whole("backend_attempts"))

    def pipeline(self, network: Network) -> FusionPipeline:
        """The whole way of a frame, run once; errors say which parameter or file is wrong."""
        fuser = Fuser(network, network.reason, bool(self.values["denoise"]), self._steadiness())
        registration = Registration(self._calibration())
        pipeline = FusionPipeline(
            fuser,
            ThermalScaler(self.thermal()),
            registration,
            CameraWatch(self.number("thermal.frozen_after")),
            self.text("thermal.frozen_policy"),
            self._refiner(registration),
            self._motion(),
            self._depth(),
        )
        blank = np.zeros((self.whole("warm_up_height"), self.whole("warm_up_width")), np.uint8)
        Fuser(network)(blank, blank)
        return pipeline

    def change(self, pipeline: FusionPipeline, names: Collection[str]) -> Callable[[], None]:
        """What makes a pipeline go on with these settings, of which the parameters ``names`` are new. All that can fail
        is done before: errors say which parameter or file is wrong, and the pipeline is as it was."""
        scaler = ThermalScaler(self.thermal()) if any(name in names for name in THERMAL) else pipeline.scaler
        calibration = self._calibration() if any(name in names for name in CALIBRATION) else None
        return partial(pipeline.change, scaler, bool(self.values["denoise"]), self._steadiness(), calibration)

    def display_fuser(self) -> Fuser:
        """That of display/image_raw, loaded: on one processor, so that it is not in the way of the fused image's."""
        backend, device, precision = (self.text(name) for name in ("backend", "device", "precision"))
        made = create_backend(find_model(PURPOSES["display"]), backend, device, precision, threads=1)
        return Fuser(*made, steadiness=self._steadiness())

    def _motion(self) -> CameraMotion | None:
        if self.text("output_rate") != "rgb":
            return None
        from mmcfusion_ros.fusion.motion import CameraMotion

        return CameraMotion()

    def _steadiness(self) -> Steadiness | None:
        return Steadiness() if self.values["output.steady"] else None

    def trace(self, failed: Callable[[str], object]) -> FrameTrace | None:
        """The trace that is asked for, begun; ``failed(text)`` is called if it ends early."""
        if not (path := self.text("trace_file")):
            return None
        from mmcfusion_ros.stream.trace import FrameTrace

        return FrameTrace(path, failed)

    def _calibration(self) -> Calibration:
        kind, file = self.text("registration.type"), self.text("registration.file")
        if kind == "identity" and file:
            raise ValueError(
                f"registration.type is identity, but registration.file is {file}; set the type to auto or leave the "
                "file out"
            )
        if kind == "identity" or (kind == "auto" and not file):
            return Calibration()
        if not file:
            raise ValueError(f"registration.type is {kind} but registration.file is empty; name the YAML file")
        from mmcfusion_ros.fusion.calibration_file import load_calibration

        calibration = load_calibration(file)
        if calibration.kind != {"auto": calibration.kind, "depth": "calibrated"}.get(kind, kind):
            raise ValueError(f"registration.type is {kind}, but {file} is of type {calibration.kind}; correct one")
        if self.thermal().turns and calibration.kind == "calibrated" and calibration.thermal is None:
            raise ValueError(
                f"thermal.rotate or thermal.flip turns the image, but {file} leaves the thermal intrinsics to "
                "thermal/camera_info, which is of the unturned one; put those of the turned image into the file"
            )
        if (distance_m := self.number("registration.plane_distance")) and calibration.kind == "calibrated":
            return replace(calibration, plane_distance=distance_m)
        return calibration

    def _backend_makers(self) -> list[Maker]:
        first = partial(self._make_backend, self.text("backend"), self.text("device"), self.text("precision"))
        return [first] if self.text("fallback_backend") == "none" else [first, self._make_fallback]

    def _make_backend(self, backend: str, device: str, precision: str) -> tuple[Backend, str]:
        return create_backend(find_model(self.model), backend, device, precision, self.whole("threads"))

    def _make_fallback(self) -> tuple[Backend, str]:
        backend, _ = self._make_backend(self.text("fallback_backend"), "cpu", "auto")
        return backend, "fallback_backend, since the first one failed"

    def pass_through(self) -> list[Stream]:
        """The cameras whose images go out alone when the other one is lost."""
        policies: dict[Stream, str] = {"rgb": "on_thermal_loss", "thermal": "on_rgb_loss"}
        return [stream for stream, policy in policies.items() if self.text(policy) == "pass_through"]

    def _depth(self) -> DepthInput | None:
        if self.text("registration.type") != "depth":
            return None
        if self.text("registration.refine") != "off":
            raise ValueError(
                f"registration.type is depth, but registration.refine is {self.text('registration.refine')}, which "
                "follows a plane; set one of them"
            )
        from mmcfusion_ros.stream.depth import DepthInput

        return DepthInput(self.nanoseconds("registration.depth_slop"), self.nanoseconds("registration.depth_wait"))

    def _refiner(self, registration: Registration) -> Refiner | None:
        mode = self.text("registration.refine")
        if mode == "off":
            return None
        from mmcfusion_ros.alignment.refinement import RefinementOptions, Refiner

        period_s, warn_px = self.number("registration.refine_period"), self.number("registration.refine_warn")
        options = RefinementOptions(mode, period_s, warn_px=warn_px)
        if mode == "dense":
            from mmcfusion_ros.alignment.dense_refinement import DenseRefiner

            return DenseRefiner(registration, options)
        return Refiner(registration, options)
