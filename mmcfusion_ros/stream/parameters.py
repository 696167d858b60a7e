"""The node's parameters, declared once: validation, ``config/fusion.yaml`` and the README table come from here."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any, get_args

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


READ_ONLY = ("autostart", "trace_file")  # no peer on the network may have the node write a file
TRANSPORTS = ("raw", "compressed")
LOSS_POLICIES = ("pass_through", "hold")
RELIABILITIES = ("best_effort", "reliable")

PARAMETERS = (
    Parameter("autostart", True, "configure and activate at start; switch it off for a lifecycle manager"),
    Parameter(
        "output.purpose",
        "detection",
        "what the fused image is for: detection (detectors trained on photographs; warm is dark) or display (eyes, and "
        "detectors trained on white-hot images)",
        choices=tuple(PURPOSES),
    ),
    Parameter(
        "model",
        "auto",
        "auto: the one made for output.purpose ("
        + ", ".join(f"{model} for {purpose}" for purpose, model in PURPOSES.items())
        + "); else name of a shipped model, or path of a .safetensors or OpenVINO .xml file",
    ),
    Parameter("backend", "auto", "what runs the network", choices=BACKENDS),
    Parameter("device", "auto", "where it runs; cuda is an error where there is none", choices=DEVICES),
    Parameter("precision", "auto", "of the network's arithmetic; auto: the fastest the device has", choices=PRECISIONS),
    Parameter("threads", 0, "processors for the network and for OpenCV, each; 0: all", low=0, high=256),
    Parameter(
        "fallback_backend",
        "none",
        "runs the network on the CPU once backend has failed for good; none: the node goes to unconfigured",
        choices=("none", *BACKENDS[1:]),
    ),
    Parameter("backend_attempts", 5, "failures of a backend in a row that end it", low=1, high=100),
    Parameter(
        "watchdog_timeout", 10.0, "time at one frame that is reported and ends the wait, in s", low=0.1, high=600
    ),
    Parameter("warm_up_width", 640, "RGB width that the network is made ready for at configure", low=32, high=4096),
    Parameter("warm_up_height", 480, "RGB height that the network is made ready for at configure", low=32, high=4096),
    Parameter("denoise", True, "take out noise before the network, where it is much beside the contrast"),
    Parameter("output_encoding", "rgb8", "encoding of fused/image_raw", choices=("rgb8", "bgr8", "mono8")),
    Parameter(
        "display.max_rate",
        5.0,
        "of display/image_raw, in Hz; it is there with output.purpose detection, and fused while somebody subscribes",
        low=0.1,
        high=60,
    ),
    Parameter("publish_compressed", False, "publish fused/image_raw/compressed (JPEG) too"),
    Parameter("jpeg_quality", 90, "of fused/image_raw/compressed", low=1, high=100),
    Parameter("rgb.transport", "raw", "compressed: subscribe to rgb/image_raw/compressed instead", choices=TRANSPORTS),
    Parameter("rgb.min_rate", 0.0, "rate below which diagnostics warn, in Hz; 0: any", low=0, high=1000),
    Parameter(
        "thermal.transport", "raw", "compressed: subscribe to thermal/image_raw/compressed instead", choices=TRANSPORTS
    ),
    Parameter("thermal.min_rate", 0.0, "rate below which diagnostics warn, in Hz; 0: any", low=0, high=1000),
    Parameter(
        "thermal.scaling",
        "auto",
        "to 8 bits: percentile follows the scene, fixed maps thermal.fixed_low..fixed_high, equalize shares out the "
        "grey values by need, so that people stay visible beside hot things; auto: percentile, but 8 bits stay as they "
        "are unless their span is narrow",
        choices=MODES,
    ),
    _thermal("low_percentile", "share of pixels, in %, that become black"),
    _thermal("high_percentile", "share of pixels, in %, below white"),
    _thermal("min_span", "least range that is spread, in counts; 20 times the noise; of 8-bit images it is 8"),
    _thermal("smoothing", "share of the former range that is kept at each frame while the scene drifts"),
    _thermal("plateau", "equalize: most that one temperature counts, to the average"),
    _thermal("fixed_low", "counts or Celsius that become black with scaling fixed"),
    _thermal("fixed_high", "counts or Celsius that become white with scaling fixed"),
    _thermal(
        "kelvin_per_count",
        "0.01 for centikelvin, 0.04 for TLinear low: thermal.fixed_* are Celsius; 0: they are counts, but Celsius for "
        "float images, which hold kelvin or Celsius",
    ),
    _thermal("kelvin_at_zero", "temperature of count 0, in K"),
    Parameter("thermal.polarity", "white_hot", "how the camera sends warm things", choices=POLARITIES),
    Parameter(
        "thermal.palette",
        "white_hot",
        "of a camera that sends colours: white_hot, ironbow, rainbow, or a picture of its colour bar, cold to hot",
    ),
    _thermal("crop_top", "rows of telemetry above the image"),
    _thermal("crop_bottom", "rows of telemetry below the image"),
    Parameter(
        "thermal.rotate",
        ThermalOptions.rotate,
        "clockwise turn that brings the image of a camera mounted turned upright, in degrees",
        choices=ROTATIONS,
    ),
    Parameter(
        "thermal.flip",
        ThermalOptions.flip,
        "of a camera that looks into a mirror, after the turn: horizontal exchanges left and right, vertical top and "
        "bottom",
        choices=FLIPS,
    ),
    Parameter("thermal.replace_bad_pixels", True, "find dead and stuck pixels, and replace them"),
    Parameter(
        "thermal.frozen_policy",
        "pass_through",
        "of pairs whose thermal frame only repeats an old one (shutter): pass_through publishes RGB, mode RGB_ONLY; "
        "of thermal frames alone: only fuse publishes old ones",
        choices=FROZEN_POLICIES,
    ),
    Parameter(
        "thermal.frozen_after",
        0.15,
        "time for which a camera with noise may repeat a picture, in s; one without noise may for ever",
        low=0,
        high=60,
    ),
    Parameter(
        "registration.type",
        "identity",
        "identity: both cameras see the same field; homography, calibrated: registration.file says where they look",
        choices=get_args(Kind),
    ),
    Parameter("registration.file", "", "YAML file of the calibration, see config/calibration.example.yaml"),
    Parameter(
        "registration.refine",
        "off",
        "monitor: report how far thermal lies beside RGB; correct: follow it slowly too",
        choices=REFINEMENT_MODES,
    ),
    Parameter("registration.refine_period", 1.0, "time between two estimates, in s", low=0.1, high=60),
    Parameter("registration.refine_warn", 4.0, "misalignment that warns, in pixels of 640 across", low=0.5, high=100),
    Parameter(
        "output_rate",
        "pairs",
        "pairs: one fused image for each pair of frames that are each other's nearest; rgb: one for every RGB frame, "
        "with the nearest thermal frame that has come",
        choices=OUTPUT_RATES,
    ),
    Parameter("pairing.slop", 0.05, "largest stamp difference of a pair, in s, inclusive", low=0, high=10),
    Parameter(
        "pairing.thermal_hold",
        0.2,
        "output_rate rgb: oldest thermal frame that is fused, in s; beyond it RGB is published alone",
        low=0,
        high=60,
    ),
    Parameter(
        "pairing.stamps",
        "header",
        "header: the cameras' stamps; arrival: the time of arrival instead, for cameras whose stamps are useless",
        choices=STAMPS,
    ),
    Parameter("pairing.thermal_offset", 0.0, "added to thermal stamps before comparing, in s", low=-1e10, high=1e10),
    Parameter(
        "pairing.max_wait",
        0.15,
        "longest wait for a nearer frame once a pair is there, in s; it ends when the frame should have come, by what "
        "is learnt of the camera's latency",
        low=0,
        high=10,
    ),
    Parameter(
        "pairing.max_age",
        2.0,
        "oldest frame on arrival, oldest image that is published, and longest wait for a partner, in s; 0: any",
        low=0,
        high=60,
    ),
    Parameter("pairing.queue_size", 30, "frames of one camera that may wait for a partner", low=1, high=1000),
    Parameter("stall_timeout", 1.0, "silence of a camera that is reported, and its loss, in s", low=0.05, high=60),
    Parameter(
        "on_thermal_loss",
        "pass_through",
        "without thermal images that pair and fuse: publish the RGB images alone, or hold (publish nothing)",
        choices=LOSS_POLICIES,
    ),
    Parameter(
        "on_rgb_loss",
        "pass_through",
        "without RGB images: publish the thermal ones alone, on the RGB pixel grid, or hold (publish nothing)",
        choices=LOSS_POLICIES,
    ),
    Parameter("recovery_pairs", 3, "good pairs in a row after a loss that resume fusion", low=1, high=1000),
    Parameter("trace_file", "", "file for the stage times of every frame, in Chrome's trace format; empty: none"),
    Parameter("qos.input_reliability", "best_effort", "of the subscriptions", choices=RELIABILITIES),
    Parameter("qos.input_depth", 5, "of the subscriptions", low=1, high=100),
    Parameter("qos.output_reliability", "reliable", "of the publishers", choices=RELIABILITIES),
    Parameter("qos.output_depth", 5, "of the publishers", low=1, high=100),
)


def parameters_yaml() -> str:
    """``config/fusion.yaml``: every parameter with its default."""
    lines = ["# Every parameter with its default. Written by: mmcfusion parameters --format yaml", "/**:"]
    lines.append("  ros__parameters:")
    group = ""
    for parameter in PARAMETERS:
        *parents, leaf = parameter.name.split(".")
        if parents and parents[0] != group:
            lines.append(f"    {parents[0]}:")
        group = parents[0] if parents else ""
        indent = "      " if parents else "    "
        values = f" ({parameter.range_text})" if parameter.range_text else ""
        lines += [f"{indent}# {parameter.description}{values}", f"{indent}{leaf}: {_yaml(parameter.default)}"]
    return "\n".join(lines) + "\n"


def parameters_markdown() -> str:
    """The README's table."""
    rows = ["| parameter | type | default | values | what it does |", "|---|---|---|---|---|"]
    for p in PARAMETERS:
        rows.append(f"| `{p.name}` | {p.type_name} | `{_yaml(p.default)}` | {p.range_text} | {p.description} |")
    return "\n".join(rows) + "\n"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
