"""The parameters of the node, in one table: checks, ``config/fusion.yaml`` and ``docs/parameters.md`` come from it."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, fields
from typing import get_args

from mmcfusion_ros.alignment import REFINEMENT_MODES
from mmcfusion_ros.fusion.backends import BACKENDS, DEVICES, PRECISIONS
from mmcfusion_ros.fusion.calibration import Kind
from mmcfusion_ros.fusion.conditions import FROZEN_POLICIES
from mmcfusion_ros.fusion.models import PURPOSES
from mmcfusion_ros.fusion.thermal import FLIPS, LIMITS, MODES, POLARITIES, ROTATIONS, ThermalOptions
from mmcfusion_ros.stream.pairing import OUTPUT_RATES, STAMPS

Value = bool | int | float | str


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is that of ``default``. ``low`` and ``high`` bound numbers, inclusively."""

    name: str
    default: Value
    description: str
    choices: tuple[Value, ...] = ()
    low: float | None = None
    high: float | None = None

    def check(self, value: Value) -> Value:
        """The value in the parameter's type; ``ValueError`` naming the parameter and what it takes."""
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(self.default):
            raise ValueError(f"parameter {self.name} must be of type {self.type_name}, not {reprlib.repr(value)}")
        if self.choices and value not in self.choices:
            raise ValueError(f"parameter {self.name} is {reprlib.repr(value)}; it must be one of {self.range_text}")
        if self.low is not None and self.high is not None and not self.low <= float(value) <= self.high:
            raise ValueError(f"parameter {self.name} is {value}; it must be from {self.low:g} to {self.high:g}")
        return value

    @property
    def type_name(self) -> str:
        """As ``ros2 param describe`` calls it."""
        return {bool: "bool", int: "integer", float: "double", str: "string"}[type(self.default)]

    @property
    def range_text(self) -> str:
        """What values it takes, in words."""
        if self.choices:
            return ", ".join(map(str, self.choices))
        return f"{self.low:g} to {self.high:g}" if self.low is not None else ""


def _thermal(option: str, description: str) -> Parameter:
    """One of ``ThermalOptions``, with its default and limits."""
    low, high = LIMITS[option]
    return Parameter(f"thermal.{option}", getattr(ThermalOptions, option), description, low=low, high=high)


THERMAL = {  # parameter: of ThermalOptions
    "thermal.scaling" if field.name == "mode" else f"thermal.{field.name}": field.name
    for field in fields(ThermalOptions)
}
READ_ONLY = ("autostart", "trace_file")  # no peer on the network may have the node write a file
LIVE = (  # also of a configured or active node
    *("denoise", "output_encoding", "publish_compressed", "jpeg_quality", "rgb.min_rate", "thermal.min_rate"),
    *THERMAL,
    *("output.steady", "registration.file", "registration.plane_distance"),
    *("pairing.slop", "pairing.thermal_offset", "pairing.max_wait", "pairing.max_age"),
)
TRANSPORTS = ("raw", "compressed", "ffmpeg", "foxglove")
TRANSPORT = "subscribe to {0}/image_raw, or to {0}/image_raw/compressed (JPEG, PNG, video), /ffmpeg, /foxglove (video)"
LOSS_POLICIES = ("pass_through", "hold")
RELIABILITIES = ("best_effort", "reliable")

PARAMETERS = (
    Parameter(
        "autostart", True, "configure and activate at start, or end with an error; false: a lifecycle manager does it"
    ),
    Parameter(
        "bond_heartbeat_period",
        0.0,
        "send nav2's lifecycle manager a heartbeat this often while active, in s; 0: no bond",
        low=0,
        high=2,
    ),
    Parameter(
        "output.purpose",
        "detection",
        "use of the fused image: detection (detectors trained on photographs; warm is dark) or display (eyes, and "
        "detectors trained on white-hot images; warm is bright)",
        choices=tuple(PURPOSES),
    ),
    Parameter(
        "output.steady",
        True,
        "hold each pixel of the fused image within 8 grey levels while both cameras hold still there",
    ),
    Parameter(
        "model",
        "auto",
        "auto: the weights for output.purpose ("
        + ", ".join(f"{model} for {purpose}" for purpose, model in PURPOSES.items())
        + "); or the name of a shipped model, or the path of a .safetensors or OpenVINO .xml file",
    ),
    Parameter("backend", "auto", "library that runs the network", choices=BACKENDS),
    Parameter("device", "auto", "device of the network; cuda fails if there is no CUDA device", choices=DEVICES),
    Parameter(
        "precision", "auto", "arithmetic of the network; auto: the fastest that the device supports", choices=PRECISIONS
    ),
    Parameter("threads", 0, "threads of the network and of OpenCV, each; 0: one per processor", low=0, high=256),
    Parameter(
        "fallback_backend",
        "none",
        "runs the network on the CPU after backend_attempts failures; none: the node becomes unconfigured",
        choices=("none", *BACKENDS[1:]),
    ),
    Parameter("backend_attempts", 5, "failures in a row after which the backend is given up", low=1, high=100),
    Parameter(
        "watchdog_timeout",
        10.0,
        "time for one frame after which the network counts as stuck and is reported, in s",
        low=0.1,
        high=600,
    ),
    Parameter(
        "warm_up_width", 640, "RGB width for which the network is compiled at configure, in pixels", low=32, high=4096
    ),
    Parameter(
        "warm_up_height", 480, "RGB height for which the network is compiled at configure, in pixels", low=32, high=4096
    ),
    Parameter(
        "denoise", True, "filter the images before the network if their noise is high compared with their contrast"
    ),
    Parameter("output_encoding", "rgb8", "encoding of fused/image_raw", choices=("rgb8", "bgr8", "mono8")),
    Parameter(
        "display.max_rate",
        5.0,
        "largest rate of display/image_raw, in Hz; the topic exists if output.purpose is detection",
        low=0.1,
        high=60,
    ),
    Parameter("publish_compressed", False, "also publish fused/image_raw/compressed (JPEG)"),
    Parameter("jpeg_quality", 90, "JPEG quality of fused/image_raw/compressed", low=1, high=100),
    Parameter("rgb.transport", "raw", TRANSPORT.format("rgb"), choices=TRANSPORTS),
    Parameter("rgb.min_rate", 0.0, "diagnostics warn below this rate, in Hz; 0: never", low=0, high=1000),
    Parameter("thermal.transport", "raw", TRANSPORT.format("thermal"), choices=TRANSPORTS),
    Parameter("thermal.min_rate", 0.0, "diagnostics warn below this rate, in Hz; 0: never", low=0, high=1000),
    Parameter(
        "thermal.scaling",
        "auto",
        "to 8 bits: percentile follows the scene; fixed maps thermal.fixed_low..fixed_high; equalize gives more grey "
        "values to frequent temperatures, so that people stay visible beside hot things; auto: percentile, but 8-bit "
        "images are not changed unless their span is narrow",
        choices=MODES,
    ),
    _thermal("low_percentile", "this share of the pixels becomes black, in %"),
    _thermal("high_percentile", "this share of the pixels stays below white, in %"),
    _thermal(
        "min_span",
        "smallest range that is mapped to 0..255, in counts, about 20 times the noise; for 8-bit images it is 8",
    ),
    _thermal("smoothing", "weight of the previous range at each frame while the scene drifts; 0: no smoothing in time"),
    _thermal("plateau", "equalize: limit of a histogram bin, as a multiple of the average bin"),
    _thermal("fixed_low", "scaling fixed: this value becomes black, in counts or degrees Celsius"),
    _thermal("fixed_high", "scaling fixed: this value becomes white, in counts or degrees Celsius"),
    _thermal(
        "kelvin_per_count",
        "kelvin per count (0.01: centikelvin; 0.04: TLinear low): thermal.fixed_* are Celsius; 0: they are counts; "
        "float images contain kelvin or Celsius, and thermal.fixed_* are Celsius",
    ),
    _thermal("kelvin_at_zero", "temperature of count 0, in K"),
    Parameter(
        "thermal.polarity",
        "white_hot",
        "polarity of the camera: white_hot if warm things are bright",
        choices=POLARITIES,
    ),
    Parameter(
        "thermal.palette",
        "white_hot",
        "colours of the camera: white_hot, ironbow, rainbow, or the path of a picture of its colour bar, cold to hot",
    ),
    _thermal("crop_top", "rows of telemetry above the image"),
    _thermal("crop_bottom", "rows of telemetry below the image"),
    Parameter(
        "thermal.rotate",
        ThermalOptions.rotate,
        "clockwise rotation that brings the image upright, in degrees",
        choices=ROTATIONS,
    ),
    Parameter(
        "thermal.flip",
        ThermalOptions.flip,
        "mirroring after the rotation: horizontal exchanges left and right, vertical top and bottom",
        choices=FLIPS,
    ),
    Parameter("thermal.replace_bad_pixels", True, "find and replace dead and stuck pixels"),
    Parameter(
        "thermal.frozen_policy",
        "pass_through",
        "if the thermal camera repeats an old frame (shutter): pass_through publishes RGB with mode RGB_ONLY, fuse "
        "fuses the old frame, drop drops the pair; without RGB images, only fuse publishes the old frame",
        choices=FROZEN_POLICIES,
    ),
    Parameter(
        "thermal.frozen_after",
        0.15,
        "a camera with noise counts as frozen after repeating a frame for this time, in s",
        low=0,
        high=60,
    ),
    Parameter(
        "registration.type",
        "auto",
        "auto: as in registration.file, identity without one; identity: both cameras see the same field of view; "
        "homography, calibrated: only such a file; depth: a calibrated one, and each pixel by its distance, from "
        "depth/image_raw or depth/points",
        choices=("auto", *get_args(Kind), "depth"),
    ),
    Parameter("registration.file", "", "path of the calibration, a YAML file as config/calibration.example.yaml"),
    Parameter(
        "registration.plane_distance",
        0.0,
        "distance at which a calibrated rig is registered exactly, in m; 0: plane.distance of the file",
        low=0,
        high=1000,
    ),
    Parameter(
        "registration.depth_slop",
        0.1,
        "largest stamp difference of a depth image and the RGB image, in s; beyond it the plane is used",
        low=0,
        high=10,
    ),
    Parameter(
        "registration.depth_wait",
        0.1,
        "longest wait for the depth image of the time of a pair, in s; 0: the newest that is there, moved along with "
        "the image",
        low=0,
        high=1,
    ),
    Parameter(
        "registration.refine",
        "off",
        "monitor: report the misalignment of thermal to RGB; correct: also correct it slowly; dense: move "
        "each part of the image by itself",
        choices=REFINEMENT_MODES,
    ),
    Parameter("registration.refine_period", 1.0, "time between two estimates, in s", low=0.1, high=60),
    Parameter(
        "registration.refine_warn",
        4.0,
        "diagnostics warn above this misalignment, in pixels of an image 640 wide",
        low=0.5,
        high=100,
    ),
    Parameter(
        "output_rate",
        "pairs",
        "pairs: one fused image for each pair of nearest frames; rgb: one for every RGB frame, with the nearest "
        "thermal frame that has arrived, moved along with the camera's turning",
        choices=OUTPUT_RATES,
    ),
    Parameter("pairing.slop", 0.05, "largest stamp difference of a pair, in s", low=0, high=10),
    Parameter(
        "pairing.thermal_hold",
        0.2,
        "output_rate rgb: largest age of a thermal frame that is fused, in s; beyond it RGB is published alone",
        low=0,
        high=60,
    ),
    Parameter(
        "pairing.stamps",
        "header",
        "header: the stamps of the cameras; arrival: the time of arrival, for cameras without usable stamps",
        choices=STAMPS,
    ),
    Parameter("pairing.thermal_offset", 0.0, "added to the thermal stamps before pairing, in s", low=-1e10, high=1e10),
    Parameter(
        "pairing.max_wait",
        0.15,
        "longest wait for a nearer frame after a pair is found, in s; it ends earlier, when that frame should have "
        "arrived by the learnt latency of its camera",
        low=0,
        high=10,
    ),
    Parameter(
        "pairing.max_age",
        2.0,
        "largest age of a frame on arrival, and longest wait for its partner, in s; 0: no limit",
        low=0,
        high=60,
    ),
    Parameter(
        "pairing.queue_size", 30, "largest number of frames of one camera that wait for a partner", low=1, high=1000
    ),
    Parameter(
        "stall_timeout",
        1.0,
        "a camera without usable images for this time is reported as lost, in s",
        low=0.05,
        high=60,
    ),
    Parameter(
        "on_thermal_loss",
        "pass_through",
        "if thermal is lost: publish the RGB images (pass_through) or nothing (hold)",
        choices=LOSS_POLICIES,
    ),
    Parameter(
        "on_rgb_loss",
        "pass_through",
        "if RGB is lost: publish the thermal images on the RGB pixel grid (pass_through) or nothing (hold)",
        choices=LOSS_POLICIES,
    ),
    Parameter("recovery_pairs", 3, "good pairs in a row before fusion resumes after a loss", low=1, high=1000),
    Parameter(
        "trace_file", "", "path of a file for the stage times of every frame, in Chrome's trace format; empty: none"
    ),
    Parameter("qos.input_reliability", "best_effort", "reliability of the subscriptions", choices=RELIABILITIES),
    Parameter("qos.input_depth", 5, "history depth of the subscriptions", low=1, high=100),
    Parameter("qos.output_reliability", "reliable", "reliability of the publishers", choices=RELIABILITIES),
    Parameter("qos.output_depth", 5, "history depth of the publishers", low=1, high=100),
)
