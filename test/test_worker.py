"""What the worker takes, in which order, and what comes out when pairs and lone frames of the same images come."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from camera_messages import header, rgb_image, thermal_image
from waiting import WAIT_S, wait_until

from mmcfusion_ros.fusion.conditions import CameraWatch
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.ros.worker import FrameWorker
from mmcfusion_ros.stream.health import Health
from mmcfusion_ros.stream.mode import ModeSwitch
from mmcfusion_ros.stream.pairing import PairingOptions
from mmcfusion_ros.stream.pipeline import FusionPipeline

MS = 1_000_000
TOPICS = {name: name for name in ("thermal_in", "rgb_in", "camera_info_in")}


class Network:
    """A fuser that gives the thermal image back, once ``gate`` is open, or fails."""

    denoises, steadiness = False, None
    backend = SimpleNamespace(thermal_polarity="white_hot")

    def __init__(self) -> None:
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self.fused = 0
        self.threads: set[str] = set()

    def fuse(self, pair, moments):
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        if self.fault:
            raise self.fault
        self.fused += 1
        self.threads.add(threading.current_thread().name)
        return pair.thermal, pair.thermal


class Told(CameraWatch):
    """Finds thermal frames frozen when it is told to."""

    def __call__(self, thermal, stamp_s):
        return self.is_frozen


class Topic:
    """A publisher with so many listeners; ``stamps_ms`` of what was published."""

    def __init__(self, listeners: int = 0) -> None:
        self.listeners = listeners
        self.stamps_ms: list[int] = []

    def get_subscription_count(self) -> int:
        return self.listeners

    def publish(self, message) -> None:
        self.stamps_ms.append(message.header.stamp.nanosec // MS)


class Setup:
    def __init__(self, max_wait_ms: int = 0, max_age_ms: int = 0, frozen: CameraWatch | None = None) -> None:
        pairing = PairingOptions(
            slop_ns=5 * MS, max_wait_ns=max_wait_ms * MS, max_age_ns=max_age_ms * MS, queue_size=10
        )
        self.network, self.frozen, self.image = Network(), frozen or Told(), Topic(1)
        scaler = ThermalScaler(ThermalOptions(crop_top=1))
        self.pipeline = FusionPipeline(self.network, scaler, Registration(), self.frozen)
        outputs = SimpleNamespace(
            publishers={"image": self.image, "camera_info": Topic(), "valid_mask": Topic()}, encoding="rgb8"
        )
        clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=0))
        self.modes = ModeSwitch(1.0, 2, ("rgb", "thermal"), lambda new, old: None)
        self.health = Health(1.0, TOPICS)
        self.worker = FrameWorker(pairing, clock, self.pipeline, outputs, self.modes, self.health, None, print)
        self.out = self.image.stamps_ms

    def send(self, *stamps_ms: int, streams: tuple[str, ...] = ("thermal", "rgb"), telemetry: int = 0) -> None:
        for stamp_ms in stamps_ms:
            for stream in streams:
                message = {"thermal": thermal_image, "rgb": rgb_image}[stream]()
                message.data[0] = telemetry
                message.header = header(stamp_ms * MS, f"{stream}_frame")
                self.worker.take(message, stream)

    def step(self, *stamps_ms: int, **options) -> None:
        """Sends, and waits until what became of it is counted."""
        for stamp_ms in stamps_ms:
            before = self.done()
            self.send(stamp_ms, **options)
            wait_until(lambda before=before: self.done() > before)

    def done(self) -> int:
        """Pairs and frames that have had their turn."""
        return sum(self.count(name) for name in ("fused", "passed_through", "dropped.internal_error", "dropped.late"))

    def count(self, name: str) -> int:
        return int(self.health.report(self.worker.drops()).get(name, 0))

    def stop(self) -> None:
        self.network.gate.set()
        self.worker.stop()
        assert self.worker.join(WAIT_S)


@pytest.fixture
def setup():
    setup = Setup()
    yield setup
    setup.stop()


def test_every_pair_is_fused_in_one_thread_if_there_is_time(setup):
    setup.worker.start()
    setup.step(10, 20, 30)
    assert (setup.out, setup.count("pairs"), setup.count("fused")) == ([10, 20, 30], 3, 3)
    assert (setup.count("dropped.superseded"), setup.network.threads) == (0, {"fusion"})


def test_the_newest_pair_wins_and_the_others_are_superseded(setup):
    setup.network.gate.clear()
    setup.worker.start()
    setup.send(10)
    assert setup.network.entered.wait(WAIT_S)
    assert setup.worker.busy_s() > 0
    setup.send(20, 30, 40)
    assert setup.count("dropped.superseded") == 2
    setup.network.gate.set()
    wait_until(lambda: setup.out == [10, 40])


def test_a_lone_frame_of_one_camera_does_not_replace_that_of_the_other(setup):
    """A camera that failed is looked at alone: it must not wait for ever behind one that sends right after it."""
    setup.modes.wants = lambda stream: True
    for stamp_ms in (10, 20):
        setup.send(stamp_ms, streams=("thermal",))
        setup.send(stamp_ms + 10_000, streams=("rgb",))  # too far away to pair
    assert setup.count("dropped.superseded") == 2
    setup.worker.start()
    wait_until(lambda: setup.count("dropped.superseded") == 4)  # neither is published in this mode


def test_pairs_from_before_the_start_are_not_lost(setup):
    setup.send(10, 20)
    setup.worker.start()
    wait_until(lambda: setup.out == [20])
    assert setup.count("dropped.superseded") == 1


def test_a_wait_ends_without_another_message():
    setup = Setup(max_wait_ms=50)
    setup.worker.start()
    setup.send(10, streams=("rgb",))
    setup.send(12, streams=("thermal",))
    wait_until(lambda: setup.out == [10])
    setup.stop()


def test_a_frame_without_a_partner_is_dropped_without_another_message():
    setup = Setup(max_age_ms=50)
    setup.worker.start()
    setup.send(10, streams=("rgb",))
    wait_until(lambda: setup.worker.drops() == {"unpaired_rgb": 1})
    setup.stop()
    assert setup.out == []


def test_a_wait_that_is_over_while_a_pair_is_at_work_ends_right_after_it():
    setup = Setup(max_wait_ms=20)
    setup.network.gate.clear()
    setup.worker.start()
    setup.send(10)
    assert setup.network.entered.wait(WAIT_S)
    setup.send(30)
    time.sleep(0.05)
    setup.network.gate.set()
    wait_until(lambda: setup.out == [10, 30])
    setup.stop()


def test_stop_before_the_start_and_twice(setup):
    for _ in range(2):
        setup.worker.stop()
        assert setup.worker.join(0)
    setup.send(10)
    assert setup.out == []


def test_stop_waits_for_the_pair_at_work_of_which_nothing_is_published_or_counted(setup):
    setup.network.gate.clear()
    setup.worker.start()
    setup.send(10)
    assert setup.network.entered.wait(WAIT_S)
    setup.send(20)
    setup.worker.stop()
    assert not setup.worker.join(0.05)
    setup.network.fault = RuntimeError("too late")
    threading.Timer(0.1, setup.network.gate.set).start()
    assert setup.worker.join()
    assert (setup.out, setup.count("dropped.internal_error")) == ([], 0)


def test_many_messages_from_another_thread(setup):
    """Every pair is fused or superseded, in order, whatever the timing."""
    setup.worker.start()
    publisher = threading.Thread(target=setup.send, args=range(10, 500))
    publisher.start()
    publisher.join(WAIT_S)
    wait_until(lambda: 499 in setup.out)
    assert setup.out == sorted(setup.out)
    assert len(setup.out) + setup.count("dropped.superseded") == 490 == setup.count("pairs")


def test_every_rgb_image_comes_out_once_when_the_thermal_camera_freezes_and_thaws(setup):
    setup.worker.start()
    setup.step(10)
    setup.frozen.is_frozen = True
    setup.step(20)
    assert setup.modes.mode == "RGB_ONLY"
    setup.modes.wants = lambda stream: False
    setup.step(30)  # no lone frame: it came before the mode changed
    del setup.modes.wants
    setup.step(40, streams=("rgb",))
    setup.send(40, streams=("thermal",))  # the pair of what went out alone
    wait_until(lambda: setup.count("dropped.superseded") == 1)
    setup.frozen.is_frozen = False
    setup.step(50, streams=("rgb",))
    setup.send(50, streams=("thermal",))
    wait_until(lambda: setup.modes.mode == "RGB_ONLY" and setup.count("dropped.superseded") == 2)
    setup.send(60)  # the second good one
    wait_until(lambda: setup.modes.mode == "FUSED")
    setup.step(70)
    assert sorted(setup.out) == setup.out
    assert set(setup.out) == {10, 20, 30, 40, 50, 60, 70}


def test_the_network_rests_while_nobody_subscribes_and_begins_with_the_next_pair(setup):
    setup.worker.start()
    setup.step(10)
    setup.image.listeners = 0
    setup.send(20)
    wait_until(lambda: setup.count("dropped.no_subscriber") == 1)
    assert (setup.network.fused, setup.out, setup.modes.mode) == (1, [10], "FUSED")
    setup.image.listeners = 1
    setup.step(30)
    assert (setup.network.fused, setup.out) == (2, [10, 30])


def test_stamps_do_not_go_back_from_one_camera_to_the_other(setup):
    """The thermal clock is behind: its frames wait until they are newer than the last RGB image."""
    setup.worker.start()
    setup.modes.wants = lambda stream: True
    setup.modes.note = lambda **_: None  # the source that goes out is set by hand
    for stamp_ms, stream, published in (
        *((50, "rgb", True), (40, "thermal", False), (44, "thermal", False)),
        *((60, "thermal", True), (70, "rgb", True), (90, "rgb", True)),
    ):
        setup.modes.source = stream
        before, held_back = len(setup.out), setup.count("dropped.superseded")
        setup.send(stamp_ms, streams=(stream,))
        wait_until(lambda done=before + held_back: len(setup.out) + setup.count("dropped.superseded") > done)
        assert (len(setup.out) > before) == published
    assert setup.out == [50, 60, 70, 90]


def test_a_thermal_picture_counts_as_frozen_after_the_time_of_the_pipeline_whatever_the_telemetry_above_it():
    setup = Setup(frozen=CameraWatch(0.05))
    setup.worker.start()
    setup.step(10, 50, 90, 130, telemetry=7)
    setup.stop()
    assert setup.pipeline.report()["seen.thermal_frozen"] == "2"
    assert setup.pipeline.unchanged_s()["thermal"] == pytest.approx(0.12)


def test_a_failure_costs_one_pair(setup):
    setup.worker.start()
    setup.network.fault = np.linalg.LinAlgError("odd")
    setup.send(10)
    wait_until(lambda: setup.count("dropped.bad_pair") == 1)
    setup.network.fault = None
    setup.step(20)
    assert setup.out == [20]
