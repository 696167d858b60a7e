"""What a detector gets over real DDS while cameras come and go, and while the backend fails. The backend that fails
on demand is the only fake."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import weakref
from typing import ClassVar

import numpy as np
import pytest
from camera_messages import HEIGHT, NS, WIDTH, image, pixels_of, ramp, rgb_image, stamp_ns, thermal_image
from ros_helpers import Bench, gap_s, unfrozen

from mmcfusion_ros.fusion import network
from mmcfusion_ros.ros import fusion_node
from mmcfusion_ros.stream import settings

QUICK = {"stall_timeout": 0.5}


def wait_for_mode(rig, mode: str, *cameras: str) -> float:
    """Sends these cameras' images at 10 Hz; the seconds until the mode was there."""
    begin = time.monotonic()
    if cameras == ("thermal", "rgb"):
        rig.wait(lambda: rig.modes and rig.modes[-1] == mode, rig.publish)
    else:
        rig.wait(lambda: rig.modes and rig.modes[-1] == mode, lambda: [rig.publish_one(camera) for camera in cameras])
    return time.monotonic() - begin


def test_cameras_die_and_come_back(figure):
    """One story: both, RGB alone, both, thermal alone, none, both; the stamps that come out only rise."""
    with Bench(**QUICK) as bench:
        rig = bench.rig
        assert rig.change("configure")
        rig.wait(lambda: rig.modes == ["NONE"])
        assert rig.change("activate")
        rig.wait(lambda: "STARTING" in rig.modes)
        wait_for_mode(rig, "FUSED", "thermal", "rgb")
        rig.wait(lambda: rig.values().get("mode") == "FUSED", rig.publish)

        first = len(rig.fused)
        figure("thermal camera dies: RGB_ONLY after, s", wait_for_mode(rig, "RGB_ONLY", "rgb"))
        sent: set[int] = set()
        rig.wait(lambda: sent & set(map(stamp_ns, rig.fused)), lambda: sent.add(rig.publish_one("rgb")))
        assert rig.fused[-1].encoding == "rgb8"
        assert rig.fused[-1].header.frame_id == "rgb_frame"
        np.testing.assert_array_equal(pixels_of(rig.fused[-1])[1:], pixels_of(rgb_image())[1:])
        rig.wait(lambda: rig.values().get("mode") == "RGB_ONLY", lambda: rig.publish_one("rgb"))
        assert "no message on" in rig.problem()
        figure("thermal camera dies: longest gap of the output, s", gap_s(rig, first))

        figure("thermal camera back: FUSED after, s", wait_for_mode(rig, "FUSED", "thermal", "rgb"))
        rig.wait(
            lambda: rig.infos,
            lambda: (rig.publish_info(2 * HEIGHT, 2 * WIDTH), rig.publish(rgb=rgb_image(2 * HEIGHT, 2 * WIDTH))),
        )

        first = len(rig.fused)
        figure("RGB camera dies: THERMAL_ONLY after, s", wait_for_mode(rig, "THERMAL_ONLY", "thermal"))
        rig.thermal_alone()
        assert (rig.fused[-1].height, rig.fused[-1].width) == (2 * HEIGHT, 2 * WIDTH), "on the RGB grid"
        assert np.ptp(pixels_of(rig.fused[-1]), axis=2).max() == 0, "grey"
        rig.wait(lambda: stamp_ns(rig.infos[-1]) == stamp_ns(rig.fused[-1]))

        figure("RGB camera back: FUSED after, s", wait_for_mode(rig, "FUSED", "thermal", "rgb"))
        wait_for_mode(rig, "NONE")
        figure("both back: FUSED after, s", wait_for_mode(rig, "FUSED", "thermal", "rgb"))
        stamps = list(map(stamp_ns, rig.fused))
        assert stamps == sorted(set(stamps))
        assert rig.change("deactivate")
        rig.wait(lambda: rig.modes[-1] == "NONE")
        assert not rig.errors()


def test_hold():
    with Bench(**QUICK, on_thermal_loss="hold", on_rgb_loss="hold") as bench:
        rig = bench.rig
        rig.start()
        for camera in ("rgb", "thermal"):
            wait_for_mode(rig, "FUSED", "thermal", "rgb")
            wait_for_mode(rig, "NONE", camera)
            rig.spin(0.2)
            published = len(rig.fused)
            for _ in range(8):
                rig.publish_one(camera)
                rig.spin(0.1)
            assert len(rig.fused) == published
        wait_for_mode(rig, "FUSED", "thermal", "rgb")


@pytest.fixture(scope="module")
def quick_rig():
    with Bench(**QUICK) as bench:
        bench.rig.start()
        yield bench.rig


def test_a_camera_that_sends_rubbish_is_a_lost_camera(quick_rig, figure):
    """It comes back with another size and encoding."""
    rig = quick_rig
    for camera, mode in (("thermal", "RGB_ONLY"), ("rgb", "THERMAL_ONLY")):
        wait_for_mode(rig, "FUSED", "thermal", "rgb")
        bad = {"thermal": thermal_image, "rgb": rgb_image}[camera]()
        bad.data = bad.data[:100]
        first = len(rig.fused)
        rig.wait(lambda m=mode: rig.modes[-1] == m, lambda c=camera, b=bad: rig.publish(**{c: b}))
        rig.wait(lambda f=first: len(rig.fused) > f + 3, lambda c=camera, b=bad: rig.publish(**{c: b}))
        figure(f"{camera} truncated: longest gap of the output, s", gap_s(rig, first))
    counts = np.linspace(20_000, 30_000, 96 * 128).reshape(96, 128).astype(np.uint16)
    rig.wait(
        lambda: rig.modes[-1] == "FUSED" and rig.fused[-1].height == 96,
        lambda: rig.publish(image(counts, "16UC1"), rgb_image(96, 128)),
    )
    rig.wait(lambda: int(rig.values().get("dropped.bad_size", 0)) > 3)


def test_a_camera_with_another_clock_is_a_lost_camera(quick_rig):
    rig = quick_rig
    wait_for_mode(rig, "FUSED", "thermal", "rgb")
    rig.wait(lambda: rig.modes[-1] == "RGB_ONLY", lambda: rig.publish(skew_ns=-100 * NS))
    rig.wait(lambda: rig.modes[-1] == "FUSED", rig.publish)


def test_the_thermal_camera_alone_keeps_the_time_of_the_rgb_camera():
    """Its own clock is 5 s behind, as ``pairing.thermal_offset`` says."""
    with Bench(pairing__thermal_offset=5.0, stall_timeout=0.5) as bench:
        rig = bench.rig
        rig.start()
        rig.wait(lambda: rig.modes[-1:] == ["FUSED"], lambda: rig.publish(skew_ns=5 * NS))
        rig.thermal_alone(lambda: rig.publish_one("thermal", rig.now_ns() - 5 * NS))
        stamps = list(map(stamp_ns, rig.fused))
        assert stamps == sorted(stamps)


def test_conditions_and_frozen_cameras_are_reported_and_fused():
    with Bench(**QUICK, thermal__frozen_policy="fuse") as bench:
        rig = bench.rig
        rig.start()
        wait_for_mode(rig, "FUSED", "thermal", "rgb")
        dark = image(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "rgb8")
        still = thermal_image()
        rig.wait(
            lambda: "have not changed for" in rig.problem(),
            lambda: (rig.publish_info(), rig.publish(still, dark)),
        )
        values = rig.values()
        assert (values["conditions.rgb"], values["conditions.thermal"], values["mode"]) == ("dark", "", "FUSED")
        assert min(int(values[f"seen.{name}"]) for name in ("rgb_dark", "thermal_frozen", "rgb_frozen")) > 1
        assert f"the images on {rig.namespace}/rgb/image_raw have not changed" in rig.problem()


def warm_shutter():
    """Counts of a scene that has gone; the noise of 5 counts is another in each frame."""
    counts = np.random.default_rng().normal(23_500, 5, (HEIGHT, WIDTH))
    return image(counts.astype(np.uint16), "16UC1")


def celsius(temperatures):
    """With noise of 0.03 K and a bad pixel."""
    temperatures = temperatures + np.random.default_rng().normal(0, 0.03, (HEIGHT, WIDTH))
    temperatures[7, 9] = np.nan
    return image(temperatures.astype(np.float32), "32FC1")


def counts_of(low, span):
    """A scene spread over so many counts, with noise."""
    counts = low + span * (ramp() / 255) + np.random.default_rng().normal(0, 0.002 * span, (HEIGHT, WIDTH))
    return image(np.rint(counts).astype(np.uint16), "16UC1")


@pytest.mark.parametrize(
    ("seeing", "blind", "options"),
    [
        (lambda: counts_of(6833, 333), warm_shutter, {}),
        (thermal_image, lambda: unfrozen(image(np.full((HEIGHT, WIDTH), 255, np.uint8), "mono8")), {}),
        (lambda: celsius(ramp() / 10), lambda: celsius(np.full((HEIGHT, WIDTH), 31.5)), {}),
        (
            lambda: counts_of(21_000, 1200),
            lambda: counts_of(30_000, 1200),
            {"thermal__scaling": "fixed", "thermal__fixed_low": 21_000.0, "thermal__fixed_high": 22_000.0},
        ),
    ],
    ids=["warm shutter", "white", "temperatures", "saturated"],
)
def test_a_blind_thermal_camera_does_not_overwrite_rgb(seeing, blind, options):
    """RGB goes out as it is, counted and told; with the first good frame fusion is back, without a white image."""
    with Bench(**options) as bench:
        rig = bench.rig
        rig.start()
        rgb = pixels_of(rgb_image())
        rig.wait(lambda: rig.modes[-1:] == ["FUSED"], lambda: rig.publish(seeing(), rgb_image()))
        blind_stamps: set[int] = set()
        rig.wait(
            lambda: "the thermal image shows nothing (" in rig.problem(),
            lambda: blind_stamps.add(rig.publish(blind(), rgb_image())),
        )
        assert rig.modes[-1] == "RGB_ONLY"
        assert int(rig.values()["thermal_blind_frames"]) > 0
        rig.spin(0.3)
        first = rig.publish(seeing(), rgb_image())
        rig.wait(lambda: stamp_ns(rig.fused[-1]) == first)
        rig.wait(lambda: rig.modes[-1] == "FUSED")
        assert not np.array_equal(pixels_of(rig.fused[-1]), rgb)
        for fused in rig.fused:
            assert pixels_of(fused).mean() < 220
            if stamp_ns(fused) in blind_stamps:
                np.testing.assert_array_equal(pixels_of(fused), rgb)
        assert blind_stamps & set(map(stamp_ns, rig.fused))
        assert not rig.errors()


class FakeBackend:
    """The real one, or what ``fault`` says: an exception to raise, or a call that takes its time."""

    fault = None
    alive: ClassVar = weakref.WeakSet()

    def __init__(self, backend) -> None:
        self.alive.add(self)
        self._backend = backend
        self._lock = threading.Lock()
        for name in ("name", "device", "precision", "variant", "thermal_polarity", "warning"):
            setattr(self, name, getattr(backend, name))

    def __call__(self, thermal, luminance):
        assert self._lock.acquire(blocking=False), "two threads in one network"
        with contextlib.ExitStack() as stack:
            stack.callback(self._lock.release)
            fault = FakeBackend.fault
            if isinstance(fault, Exception):
                raise fault
            if fault:
                fault()
            return self._backend(thermal, luminance)


@pytest.fixture
def fault(monkeypatch):
    """Sets what backends of device auto do; one made as a fall-back does its work. ``fault.making()`` is called
    before one is made."""

    def create(model, backend, device, precision, threads):
        fault.making()
        made, reason = create_backend(model, backend, device, precision, threads)
        return (FakeBackend(made) if device == "auto" else made), reason

    create_backend = settings.create_backend
    monkeypatch.setattr(settings, "create_backend", create)
    monkeypatch.setattr(network, "FIRST_PAUSE_S", 0.05)

    def fault(what) -> None:
        FakeBackend.fault = what

    fault.making = lambda: None
    yield fault
    FakeBackend.fault = None


def test_a_backend_that_fails_once_costs_frames_and_one_past_help_unconfigures_the_node(fault, figure):
    with Bench(**QUICK, backend_attempts=3) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        fault(RuntimeError("CUDA out of memory"))
        rig.wait(rig.warnings, rig.publish)
        fault(None)
        begin = time.monotonic()
        rig.fuse()
        figure("backend out of memory once: fused again after, s", time.monotonic() - begin)
        assert rig.warnings()[0].startswith("dropped a frame (backend_failed): openvino: CUDA out of memory [")
        rig.wait(lambda: int(rig.values().get("dropped.backend_failed", 0)) >= 1, rig.publish)
        assert rig.state() == "active"

        fault(RuntimeError("the driver is gone"))
        rig.wait(rig.errors, rig.publish)
        reason = "the backend failed 3 times in a row: openvino: the driver is gone"
        rig.wait(lambda: rig.statuses[-1].level == b"\2" and rig.problem() == f"{reason}; not configured")
        assert rig.state() == "unconfigured"
        assert rig.errors() == [reason]
        assert rig.modes[-1] == "NONE"
        fault(None)
        rig.start()
        rig.fuse()
        rig.wait(lambda: rig.statuses[-1].level != b"\2")


@pytest.mark.slow
def test_the_fall_back_backend_takes_over(fault):
    with Bench(**QUICK, backend_attempts=2, fallback_backend="openvino") as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        fault(RuntimeError("the driver is gone"))
        rig.wait(lambda: "this is the fall-back backend" in rig.problem(), rig.publish)
        rig.fuse()
        rig.wait(lambda: rig.values()["backend_reason"] == "fallback_backend, since the first one failed", rig.publish)
        assert rig.state() == "active"
        rig.wait(lambda: rig.modes[-1] == "FUSED", rig.publish)


def test_rgb_goes_out_while_the_backend_is_made_anew(fault, figure):
    """However long that takes. Deactivated and activated meanwhile, the node is in no hurry either."""
    with Bench(**QUICK, watchdog_timeout=60.0) as bench:
        rig = bench.rig
        rig.start()
        wait_for_mode(rig, "FUSED", "thermal", "rgb")
        done, begun = threading.Event(), threading.Event()
        fault.making = lambda: (begun.set(), done.wait(60))
        first = len(rig.fused)
        fault(RuntimeError("CUDA out of memory"))
        rig.wait(begun.is_set, rig.publish)
        fault(None)
        wait_for_mode(rig, "RGB_ONLY", "thermal", "rgb")
        rig.wait(lambda: len(rig.fused) > first + 4, rig.publish)
        figure("backend made anew for seconds: longest gap of the output, s", gap_s(rig, first))
        rig.wait(lambda: rig.values().get("mode") == "RGB_ONLY", rig.publish)
        assert "openvino: CUDA out of memory; the network has been loading for 128x128 for" in rig.problem()
        assert rig.statuses[-1].level == b"\1"
        assert any("dropped a frame (network_busy): the network has been" in line for line in rig.warnings())
        for transition in ("deactivate", "activate"):
            assert rig.change(transition)
        wait_for_mode(rig, "RGB_ONLY", "thermal", "rgb")
        done.set()
        wait_for_mode(rig, "FUSED", "thermal", "rgb")
        rig.wait(lambda: rig.statuses[-1].level == b"\0", lambda: (rig.publish_info(), rig.publish()))
        assert not rig.errors()


@pytest.mark.slow
def test_the_watchdog_says_that_a_network_is_loading(fault):
    with Bench(**QUICK, watchdog_timeout=0.5) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        done = threading.Event()
        fault.making = lambda: done.wait(60)
        fault(RuntimeError("CUDA out of memory"))
        try:
            rig.wait(rig.errors, rig.publish)
            assert rig.errors()[0].startswith("the network has been loading for 128x128 for ")
            rig.wait(lambda: rig.statuses[-1].level == b"\2", rig.publish)
            assert rig.problem().count("loading for 128x128") == 1
        finally:
            done.set()


def stick(fault, rig) -> threading.Event:
    """The network stands still at a frame until the event is set."""
    let_go, stuck = threading.Event(), threading.Event()
    fault(lambda: (stuck.set(), let_go.wait(60)))
    rig.wait(stuck.is_set, rig.publish)
    return let_go


@pytest.mark.parametrize(
    "transitions",
    [("deactivate", "activate"), ("deactivate", "cleanup", "configure", "activate"), ("deactivate", "shutdown")],
)
def test_transitions_do_not_wait_for_the_frame_at_work(fault, transitions):
    """They are done while the network is at a frame, which is never published."""
    with Bench(watchdog_timeout=60.0) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        let_go = stick(fault, rig)
        rig.spin(0.2)
        fault(None)
        published = len(rig.fused)
        try:
            assert all(map(rig.change, transitions))
            if "configure" in transitions:
                rig.fuse()  # in another network
                published = len(rig.fused)
        finally:
            let_go.set()
        rig.spin(0.3)
        assert len(rig.fused) == published
        if transitions[-1] == "activate":
            rig.fuse()
        assert not [*rig.errors(), *rig.warnings()]


@pytest.mark.slow
def test_a_network_is_not_loaded_beside_one_that_is_about_to_end(fault, monkeypatch):
    """After a cleanup that did not wait for the frame at work."""
    monkeypatch.setattr(fusion_node, "PATIENCE_S", 60.0)
    gc.collect()  # those of other tests
    with Bench(watchdog_timeout=60.0) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        let_go = stick(fault, rig)
        fault(None)
        assert all(map(rig.change, ("deactivate", "cleanup")))
        ended = []
        fault.making = lambda: ended.append(let_go.is_set() and not FakeBackend.alive)
        threading.Timer(0.5, let_go.set).start()
        rig.start()
        rig.fuse()
        assert ended == [True]


def test_the_watchdog_reports_a_network_that_is_stuck(fault, figure):
    with Bench(**QUICK, watchdog_timeout=0.5) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        let_go = stick(fault, rig)
        begin = time.monotonic()
        rig.wait(rig.errors)
        figure("network stuck, watchdog_timeout 0.5: reported after, s", time.monotonic() - begin)
        assert rig.errors()[0].startswith("the network has been at one frame for ")
        rig.wait(lambda: rig.statuses[-1].level == b"\2")
        assert rig.problem().startswith("the network has been at one frame for ")
        late = stamp_ns(rig.fused[-1])
        wait_for_mode(rig, "RGB_ONLY", "thermal", "rgb")
        rig.wait(lambda: stamp_ns(rig.fused[-1]) > late + NS // 2, rig.publish)
        assert rig.change("deactivate")
        rig.wait(lambda: rig.modes[-1] == "NONE")
        assert rig.change("activate")
        wait_for_mode(rig, "RGB_ONLY", "thermal", "rgb")
        fault(None)
        let_go.set()
        wait_for_mode(rig, "FUSED", "thermal", "rgb")
        stamps = [stamp_ns(message) for message in rig.fused]
        assert stamps == sorted(set(stamps))
        rig.wait(lambda: int(rig.values().get("dropped.network_busy", 0)) >= 1, rig.publish)
