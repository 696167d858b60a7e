"""What comes out, and in which order, when pairs and lone frames of the same images come to the worker."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from camera_messages import header, rgb_image, thermal_image

from mmcfusion_ros.ros.health import Health
from mmcfusion_ros.ros.mode import ModeSwitch
from mmcfusion_ros.ros.pairing import Pair
from mmcfusion_ros.ros.processor import Processor
from mmcfusion_ros.ros.worker import LoneFrame

MS = 1_000_000


class Setup:
    """A processor whose pipeline finds thermal frames frozen when it is told to; ``out`` are the stamps published."""

    def __init__(self) -> None:
        self.out: list[int] = []
        self.modes = ModeSwitch(1.0, 2, ("rgb",), lambda new, old: None)
        self.health = Health()
        self.pipeline = Pipeline()
        outputs = SimpleNamespace(publish=lambda image, header, clock: self.out.append(header.stamp.nanosec // MS))
        watch = SimpleNamespace(published=lambda job, stages: None)
        self.process = Processor(self.pipeline, outputs, self.modes, self.health, watch, None)

    def pair(self, stamp_ms: int, frozen: bool = False) -> None:
        self.pipeline.passes_through = frozen
        thermal, rgb = thermal_image(), self._rgb(stamp_ms)
        thermal.header = rgb.header
        self.process(Pair(thermal, rgb, stamp_ms * MS, stamp_ms * MS, 0))

    def lone(self, stamp_ms: int) -> None:
        self.process(LoneFrame("rgb", self._rgb(stamp_ms)))

    def _rgb(self, stamp_ms: int):
        message = rgb_image()
        message.header = header(stamp_ms * MS, "rgb_frame")
        return message


class Pipeline:
    passes_through = False

    def __call__(self, thermal, visible, clock, stamp_s):
        return visible


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
