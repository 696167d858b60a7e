"""The refiner on frames of the rig whose thermal camera was knocked."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rig_pairs import luminance_pairs, moved
from waiting import wait_until

from mmcfusion_ros.alignment import refinement
from mmcfusion_ros.alignment.find import corners, transformed
from mmcfusion_ros.alignment.refinement import RefinementOptions, Refiner
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalScaler
from mmcfusion_ros.simulation.optics import THERMAL_TO_RGB
from mmcfusion_ros.stream.pipeline import FusionPipeline

KNOCK = moved(0.8, 1.0, (6, -4), (480, 640))


def knocked(mode, **options):
    return Refiner(Registration(KNOCK @ THERMAL_TO_RGB), RefinementOptions(mode, **{"window": 9} | options))


def error(registration):
    """Largest distance from the truth at the corners of the thermal image, in RGB pixels; seen by warping spots."""
    spots = np.array([(x, y) for x in (120, 320, 520) for y in (120, 256, 390)])
    rows, columns = np.mgrid[:512, :640]
    places = []
    for x, y in spots:
        spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 50)
        warped = registration.warp(spot.astype(np.uint8), (480, 640))[0]
        moments = cv2.moments(warped.astype(np.float32))
        places.append((moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]))
    homography, _ = cv2.findHomography(spots.astype(float), np.array(places))
    offsets = transformed(homography, corners((512, 640))) - transformed(THERMAL_TO_RGB, corners((512, 640)))
    return np.linalg.norm(offsets, axis=1).max()


def threads_have_ended():
    return all(thread.name != "refinement" for thread in threading.enumerate())


def test_monitor_reports_and_changes_nothing():
    refiner = knocked("monitor")
    before = refiner.registration
    states = [refiner.step(*pair) for pair in luminance_pairs(5)]
    assert [state.state for state in states] == ["waiting"] * 4 + ["steady"]
    assert states[-1].residual_px == pytest.approx(error(before), rel=0.25)
    assert refiner.registration is before
    assert "calibrate again" in refiner.problems()[0]
    assert refiner.report()["refine.state"] == "steady"


def test_correct_follows_slowly_and_without_jumps():
    refiner = knocked("correct", gain=0.5, largest_step_px=1.5)
    errors, start = [], error(refiner.registration)
    pairs = luminance_pairs(4)
    for i in range(22):
        refiner.step(*pairs[i % 4])
        errors.append(error(refiner.registration))
    assert errors[3] == start
    assert np.abs(np.diff([start, *errors])).max() < 2
    assert errors[-1] < 1.0
    assert refiner.status.state == "steady"
    assert not refiner.problems()


def test_a_good_registration_is_left_alone():
    refiner = Refiner(Registration(THERMAL_TO_RGB), RefinementOptions("correct", window=9))
    before = refiner.registration
    for pair in luminance_pairs(6):
        refiner.step(*pair)
    assert refiner.registration is before
    assert refiner.status.state == "steady"
    assert refiner.status.residual_px < 1


def test_what_one_scene_may_pretend_is_not_followed():
    slightly_off = moved(0, 1, (3, 0), (480, 640)) @ THERMAL_TO_RGB
    refiner = Refiner(Registration(slightly_off), RefinementOptions("correct", window=5))
    before = refiner.registration
    for pair in luminance_pairs(4):
        status = refiner.step(*pair)
    assert status.state == "steady"
    assert status.residual_px > 2
    assert refiner.registration is before


def test_most_of_the_window_must_be_there():
    refiner = knocked("correct", window=9)
    states = [refiner.step(*luminance_pairs(1)[0]).state for _ in range(5)]
    assert states == ["waiting"] * 4 + ["following"]


def test_weak_evidence_freezes():
    refiner = knocked("correct")
    pairs = luminance_pairs(5)
    for pair in pairs:
        refiner.step(*pair)
    assert refiner.status.state == "following"
    followed = refiner.registration
    for _, rgb in pairs:
        status = refiner.step(np.full((512, 640), 80, np.uint8), rgb)
        assert status.state == "frozen"
        assert "too little texture" in status.reason
    assert refiner.registration is followed


def test_no_further_than_the_limit():
    refiner = knocked("correct", limit_px=4.0)
    before = refiner.registration
    for pair in luminance_pairs(5):
        status = refiner.step(*pair)
    assert status.state == "limited"
    assert refiner.registration is before
    assert "moved by more than 4 px" in refiner.problems()[0]


def test_the_thread_takes_the_newest_pair_and_survives_bad_ones():
    refiner = knocked("monitor", period_s=0.05)
    thermal, rgb = luminance_pairs(1)[0]
    started = time.monotonic()
    for _ in range(1000):
        refiner.offer(thermal, rgb)
    assert time.monotonic() - started < 5  # an estimate alone takes longer than 1000 offers
    wait_until(lambda: refiner.status.estimates)
    assert refiner.status.estimates == 1
    refiner.offer(thermal[:10], rgb[:10])
    wait_until(lambda: refiner.status.state == "frozen")
    assert refiner.status.reason
    refiner.stop()
    wait_until(threads_have_ended)
    with pytest.raises(ValueError, match="it must be one of off, monitor, correct"):
        RefinementOptions("always")


def test_lenses_from_camera_info_that_comes_with_each_frame_do_not_restart_it():
    messages = pytest.importorskip("sensor_msgs.msg", reason="the ROS messages are not installed")
    matrix = [500.0, 0.0, 319.5, 0.0, 500.0, 239.5, 0.0, 0.0, 1.0]
    rig = Registration(Calibration(rotation=np.eye(3), translation=np.zeros(3)))
    refiner = Refiner(rig, RefinementOptions("monitor"))
    pipeline = FusionPipeline(SimpleNamespace(steadiness=None), ThermalScaler(), rig, refiner=refiner)
    for pair in luminance_pairs(3):
        for camera, (height, width) in (("thermal", pair[0].shape), ("rgb", pair[1].shape)):
            pipeline.take_camera_info(messages.CameraInfo(width=width, height=height, k=matrix), camera)
        refiner.step(*pair)
    assert refiner.status.estimates == 3


def test_a_step_at_work_does_not_put_the_old_calibration_back(monkeypatch):
    refiner, new = knocked("correct"), Registration(THERMAL_TO_RGB)
    align = refinement.align
    pairs = luminance_pairs(5)
    for pair in pairs[:4]:
        refiner.step(*pair)

    def align_while_another_calibration_comes(*arguments):
        refiner.rebase(new)
        return align(*arguments)

    monkeypatch.setattr(refinement, "align", align_while_another_calibration_comes)
    assert refiner.step(*pairs[4]).state == "following"
    assert refiner.registration is new


def test_a_pipeline_that_begins_anew_does_not_wait_for_the_estimate_at_work(monkeypatch):
    """What the old refiner still finds does not count any more."""
    let_go, entered = threading.Event(), threading.Event()

    def step(self, thermal, luminance):
        entered.set()
        assert let_go.wait(60)
        self.registration = None

    monkeypatch.setattr(Refiner, "step", step)
    registration = Registration(THERMAL_TO_RGB)
    refiner = Refiner(registration, RefinementOptions("correct", period_s=0.1))
    pipeline = FusionPipeline(SimpleNamespace(steadiness=None), ThermalScaler(), registration, refiner=refiner)
    refiner.offer(*luminance_pairs(1)[0])
    assert entered.wait(60)
    pipeline.reset()
    let_go.set()
    wait_until(threads_have_ended)
    assert pipeline.refiner is not refiner
    assert pipeline.refiner.registration is registration
    assert pipeline.refiner.options is refiner.options
