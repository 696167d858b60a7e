"""What comes out, and in which order, when pairs and lone frames of the same images come to the worker."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from camera_messages import header, rgb_image, thermal_image

from mmcfusion_ros.fusion.frozen import FrozenDetector
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.ros.processor import Processor
from mmcfusion_ros.ros.worker import LoneFrame
from mmcfusion_ros.stream.health import Health
from mmcfusion_ros.stream.mode import ModeSwitch
from mmcfusion_ros.stream.pairing import Pair

MS = 1_000_000


class Setup:
    """A processor whose pipeline finds thermal frames frozen when it is told to; ``out`` are the stamps published."""

    camera_info = None

    def __init__(self) -> None:
        self.out: list[int] = []
        self.modes = ModeSwitch(1.0, 2, ("rgb",), lambda new, old: None)
        self.health = Health()
        self.pipeline = Pipeline()
        watch = SimpleNamespace(published=lambda job, stages: None)
        display = SimpleNamespace(is_due=lambda: False)
        self.process = Processor(self.pipeline, self, self.modes, self.health, watch, display, None)

    def publish(self, image, weight, header, clock) -> None:
        """As the node's outputs do."""
        self.out.append(header.stamp.nanosec // MS)

    def pair(self, stamp_ms: int, frozen: bool = False, telemetry: int = 0) -> None:
        self.pipeline.passes_through = frozen
        thermal, rgb = thermal_image(), self._rgb(stamp_ms)
        thermal.data[0] = telemetry
        thermal.header = rgb.header
        self.process(Pair(thermal, rgb, stamp_ms * MS, stamp_ms * MS, 0))

    def lone(self, stamp_ms: int, stream: str = "rgb") -> None:
        message = {"rgb": rgb_image, "thermal": thermal_image}[stream]()
        message.header = self._rgb(stamp_ms).header
        self.process(LoneFrame(stream, message))

    def _rgb(self, stamp_ms: int):
        message = rgb_image()
        message.header = header(stamp_ms * MS, "rgb_frame")
        return message


class Pipeline:
    passes_through = False
    weight = None
    frozen = FrozenDetector(0.05)
    scaler = ThermalScaler(ThermalOptions(crop_top=1))

    def __call__(self, thermal, visible, clock, stamp_s):
        return visible

    def thermal_alone(self, thermal, rgb_shape, stamp_s):
        return thermal


def test_every_rgb_image_comes_out_once_when_the_thermal_camera_freezes_and_thaws():
    setup = Setup()
    setup.pair(1)
    setup.pair(2, frozen=True)
    setup.pair(3, frozen=True)  # no lone frame: it came before the mode changed
    setup.lone(4)
    setup.pair(4, frozen=True)
    setup.lone(5)
    setup.pair(5)
    setup.pair(6)  # the second good one
    setup.lone(6)
    setup.pair(7)
    assert setup.out == [1, 2, 3, 4, 5, 6, 7]
    report = setup.health.report({})
    counts = {name: int(report[name]) for name in ("fused", "passed_through", "dropped.superseded")}
    assert counts == {"fused": 3, "passed_through": 4, "dropped.superseded": 3}


def test_nothing_comes_out_or_is_counted_once_it_is_closed():
    setup = Setup()
    setup.process.closed = True
    setup.pair(1)
    setup.pipeline.__class__ = type("Failing", (), {"__call__": lambda *_: 1 / 0, "passes_through": False})
    setup.pair(2)
    assert (setup.out, setup.health.report({}).get("dropped.internal_error")) == ([], None)


def test_stamps_do_not_go_back_from_one_camera_to_the_other():
    """The thermal clock is behind: its frames wait until they are newer than the last RGB image."""
    setup = Setup()
    setup.modes.publishes = lambda source: True
    for stamp_ms, stream in ((5, "rgb"), (4, "thermal"), (5, "thermal"), (6, "thermal"), (6, "rgb"), (7, "rgb")):
        setup.lone(stamp_ms, stream)
    assert setup.out == [5, 6, 7]


def test_a_thermal_picture_counts_as_frozen_after_the_time_of_the_pipeline_whatever_the_telemetry_above_it():
    setup = Setup()
    for stamp_ms in (0, 40, 80, 120):
        setup.pair(stamp_ms, telemetry=stamp_ms)
    assert setup.health.report({})["seen.thermal_frozen"] == "2"
