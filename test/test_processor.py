"""What comes out, and in which order, when pairs and lone frames of the same images come to the worker."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from camera_messages import header, rgb_image, thermal_image

from mmcfusion_ros.fusion.frozen import FrozenDetector
from mmcfusion_ros.fusion.pipeline import FusionPipeline
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.ros.processor import Processor
from mmcfusion_ros.ros.worker import LoneFrame
from mmcfusion_ros.stream.camera_info import CameraInfos
from mmcfusion_ros.stream.health import Health
from mmcfusion_ros.stream.mode import ModeSwitch
from mmcfusion_ros.stream.pairing import Pair

MS = 1_000_000


class Setup:
    """A processor whose pipeline finds thermal frames frozen when it is told to; ``out`` are the stamps published."""

    listeners = 1

    def __init__(self) -> None:
        self.out: list[int] = []
        self.camera_infos = CameraInfos()
        self.modes = ModeSwitch(1.0, 2, ("rgb",), lambda new, old: None)
        self.health = Health()
        self.pipeline = Pipeline()
        watch = SimpleNamespace(published=lambda job, stages: None, used=lambda job: None)
        display = SimpleNamespace(is_due=lambda: False)
        self.process = Processor(self.pipeline, self, self.modes, self.health, watch, display, None)

    def publish(self, image, weight, header, clock) -> None:
        """As the node's outputs do."""
        self.out.append(header.stamp.nanosec // MS)

    def subscribers(self) -> int:
        """As the node's outputs do."""
        return self.listeners

    def pair(self, stamp_ms: int, frozen: bool = False, telemetry: int = 0) -> None:
        self.pipeline.passes_through = frozen
        thermal, rgb = thermal_image(), self._rgb(stamp_ms)
        thermal.data[0] = telemetry
        thermal.header = rgb.header
        self.process(Pair(thermal, rgb, stamp_ms * MS, stamp_ms * MS, 0))

    def lone(self, stamp_ms: int, stream: str = "rgb") -> None:
        message = {"rgb": rgb_image, "thermal": thermal_image}[stream]()
        message.header = self._rgb(stamp_ms).header
        self.process(LoneFrame(stream, message, stamp_ms * MS))

    def _rgb(self, stamp_ms: int):
        message = rgb_image()
        message.header = header(stamp_ms * MS, "rgb_frame")
        return message


class Pipeline(FusionPipeline):
    """One without a network, that lets thermal images pass through when it is told to."""

    passes_through = False

    def __init__(self):
        scaler = ThermalScaler(ThermalOptions(crop_top=1))
        super().__init__(None, scaler, Registration(), FrozenDetector(0.05))
        self.fused = 0

    def __call__(self, thermal, visible, clock):
        self.fused += 1
        return visible

    def thermal_alone(self, thermal, rgb_shape):
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


def test_the_network_rests_while_nobody_subscribes_and_begins_with_the_next_pair():
    setup = Setup()
    setup.pair(1)
    setup.listeners = 0
    for stamp_ms in (2, 3):
        setup.pair(stamp_ms)
    assert (setup.pipeline.fused, setup.out, setup.modes.mode) == (1, [1], "FUSED")
    assert setup.health.report({})["dropped.no_subscriber"] == "2"
    setup.listeners = 1
    setup.pair(4)
    assert (setup.pipeline.fused, setup.out) == (2, [1, 4])


def test_nothing_comes_out_or_is_counted_once_it_is_closed():
    setup = Setup()
    setup.process.closed = True
    setup.pair(1)
    setup.pipeline.__class__ = type("Failing", (Pipeline,), {"__call__": lambda *_: 1 / 0})
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
