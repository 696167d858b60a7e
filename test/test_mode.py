"""Which mode the node is in, on a clock that is set by hand."""

from __future__ import annotations

import pytest

from mmcfusion_ros.stream.mode import ModeSwitch


class Cameras:
    """A switch, and cameras that send at 10 Hz."""

    def __init__(self, pass_through=("rgb", "thermal"), recovery_pairs: int = 3) -> None:
        self.now_s = 1000.0
        self.changes: list[str] = []
        self.switch = ModeSwitch(
            1.05, recovery_pairs, pass_through, lambda new, old: self.changes.append(new), lambda: self.now_s
        )

    def send(self, *sources: str, seconds: float, ok: bool = True) -> str:
        """Frames of these cameras, pairs of both if asked for; whatever goes out alone can be used or not."""
        for _ in range(round(seconds * 10)):
            self.now_s += 0.1
            self.switch.note()
            for source in sources:
                self.switch.note(arrived=[source])
                if source == "pair" or self.switch.wants(source):
                    self.switch.note(**{"good" if ok else "bad": [source]})
        return self.switch.mode


@pytest.fixture
def cameras():
    cameras = Cameras()
    assert cameras.switch.mode == "STARTING"
    assert cameras.send("rgb", "thermal", "pair", seconds=0.1) == "FUSED"
    return cameras


@pytest.mark.parametrize(("camera", "mode"), [("rgb", "RGB_ONLY"), ("thermal", "THERMAL_ONLY")])
def test_loss_and_return_of_a_camera(cameras, camera, mode):
    assert cameras.send(camera, seconds=1.0) == "FUSED"
    assert cameras.send(camera, seconds=0.2) == mode
    assert cameras.switch.source == camera
    assert cameras.switch.source != "pair"
    assert cameras.send("rgb", "thermal", "pair", seconds=0.2) == mode
    assert cameras.send("rgb", "thermal", "pair", seconds=0.1) == "FUSED"
    assert cameras.changes == ["FUSED", mode, "FUSED"]


def test_loss_and_return_of_both(cameras):
    assert cameras.send(seconds=1.2) == "NONE"
    assert cameras.send("rgb", "thermal", "pair", seconds=0.1) == "FUSED"
    assert cameras.send(seconds=1.2) == "NONE"
    assert cameras.send("rgb", seconds=1) == "NONE"
    assert cameras.send("rgb", seconds=0.2) == "RGB_ONLY"
    assert cameras.changes == ["FUSED", "NONE", "FUSED", "NONE", "RGB_ONLY"]


@pytest.mark.parametrize("camera", ["rgb", "thermal"])
def test_hold(camera):
    cameras = Cameras(pass_through=())
    cameras.send("rgb", "thermal", "pair", seconds=1)
    assert cameras.send(camera, seconds=3) == "NONE"
    assert not cameras.switch.wants(camera)
    assert cameras.send("rgb", "thermal", "pair", seconds=0.1) == "FUSED"


def test_without_a_second_camera_from_the_start():
    cameras = Cameras()
    assert cameras.send("rgb", seconds=0.9) == "STARTING"
    assert cameras.send("rgb", seconds=0.3) == "RGB_ONLY"


def test_two_cameras_that_never_pair_count_as_a_lost_thermal_one(cameras):
    assert cameras.send("rgb", "thermal", seconds=1.2) == "RGB_ONLY"
    hold = Cameras(pass_through=("thermal",))
    assert hold.send("rgb", "thermal", seconds=3) == "NONE"


def test_a_loose_plug_does_not_make_the_mode_flutter(cameras):
    for _ in range(20):
        cameras.send("rgb", "thermal", "pair", seconds=0.2)
        cameras.send("rgb", seconds=1.3)
    assert cameras.changes == ["FUSED", "RGB_ONLY"]


def test_the_thermal_camera_makes_way_for_an_rgb_camera_that_stays(cameras):
    assert cameras.send("thermal", seconds=2) == "THERMAL_ONLY"
    assert cameras.send("thermal", "rgb", seconds=0.9) == "THERMAL_ONLY"
    assert cameras.send("thermal", "rgb", seconds=0.5) == "RGB_ONLY"
    assert cameras.changes == ["FUSED", "THERMAL_ONLY", "RGB_ONLY"]


def test_a_slow_network_is_no_loss():
    """One result in 3 s, but pairs form all the time."""
    cameras = Cameras()
    for second in range(12):
        for _ in range(10):
            cameras.now_s += 0.1
            for source in ("rgb", "thermal", "pair"):
                cameras.switch.note(arrived=[source])
        if second % 3 == 2:
            cameras.switch.note(good=["pair"])
    assert cameras.changes == ["FUSED"]


def test_a_slow_network_is_waited_for_after_an_outage(cameras):
    assert cameras.send(seconds=2) == "NONE"
    for _ in range(30):
        cameras.now_s += 0.1
        for source in ("rgb", "thermal", "pair"):
            cameras.switch.note(arrived=[source])
    cameras.switch.note(good=["pair"])
    assert cameras.changes == ["FUSED", "NONE", "FUSED"]


def test_pairs_that_fail_are_a_loss_and_come_back_after_good_ones(cameras):
    assert cameras.send("rgb", "thermal", "pair", seconds=0.9, ok=False) == "FUSED"
    cameras.switch.note(good=["rgb"])
    for _ in range(4):
        cameras.now_s += 0.1
        cameras.switch.note(arrived=["rgb"])
        cameras.switch.note(arrived=["pair"])
        cameras.switch.note(bad=["pair"])
    assert cameras.switch.mode == "RGB_ONLY"
    assert cameras.send("rgb", "thermal", "pair", seconds=0.3) == "FUSED"


def test_frames_that_cannot_be_used_do_not_keep_a_camera_alive(cameras):
    cameras.send("rgb", seconds=1.2)
    assert cameras.send("rgb", "thermal", seconds=1.3, ok=False) == "NONE"
    assert cameras.changes == ["FUSED", "RGB_ONLY", "NONE", "THERMAL_ONLY", "NONE"]
    assert cameras.send("rgb", seconds=1.2) == "RGB_ONLY"


def test_a_camera_whose_frames_cannot_be_used_is_not_taken_for_the_one_that_is_left(cameras):
    """Its first unusable frame came after the last good pair: when that is old, the frame is not yet."""
    cameras.send("rgb", "thermal", "pair", seconds=2)
    for _ in range(12):
        cameras.now_s += 0.1
        cameras.switch.note(arrived=["rgb"])
        cameras.switch.note(arrived=["thermal"])
        cameras.switch.note(bad=["rgb"])
        cameras.switch.note(bad=["pair"])
    assert cameras.changes == ["FUSED", "THERMAL_ONLY"]


@pytest.mark.parametrize("pass_through", [("rgb", "thermal"), ()])
def test_a_frozen_thermal_camera_is_lost_at_once_and_back_after_good_pairs(pass_through):
    cameras = Cameras(pass_through)
    cameras.send("rgb", "thermal", "pair", seconds=2)
    for _ in range(30):
        cameras.now_s += 0.1
        for source in ("rgb", "thermal", "pair"):
            cameras.switch.note(arrived=[source])
        cameras.switch.frozen()
        assert cameras.switch.mode == "RGB_ONLY"
        assert cameras.switch.source == "rgb"
    assert cameras.send("rgb", "thermal", "pair", seconds=0.2) == "RGB_ONLY"
    cameras.switch.frozen()
    assert cameras.send("rgb", "thermal", "pair", seconds=0.2) == "RGB_ONLY"
    assert cameras.send("rgb", "thermal", "pair", seconds=0.1) == "FUSED"
    assert cameras.changes == ["FUSED", "RGB_ONLY", "FUSED"]


def test_nothing_is_left_when_rgb_images_cannot_be_used_beside_a_frozen_thermal_camera(cameras):
    cameras.switch.frozen()
    for _ in range(12):
        cameras.now_s += 0.1
        for source in ("rgb", "thermal", "pair"):
            cameras.switch.note(arrived=[source])
        for source in ("rgb", "pair"):
            cameras.switch.note(bad=[source])
    assert cameras.changes == ["FUSED", "RGB_ONLY", "NONE"]
    assert cameras.send("thermal", seconds=1.3) == "THERMAL_ONLY"


def test_a_camera_that_dies_while_it_is_frozen_is_subject_to_the_policy():
    cameras = Cameras(pass_through=())
    cameras.send("rgb", "thermal", "pair", seconds=2)
    cameras.switch.frozen()
    assert cameras.send("rgb", seconds=1.0) == "RGB_ONLY"
    assert cameras.send("rgb", seconds=0.2) == "NONE"


def test_one_failure_after_a_long_wait_is_a_loss_at_once(cameras):
    """Pairs arrive meanwhile, but they have come to nothing since the last good one."""
    for _ in range(30):
        cameras.now_s += 0.1
        for source in ("rgb", "thermal", "pair"):
            cameras.switch.note(arrived=[source])
    assert cameras.switch.mode == "FUSED"
    cameras.switch.note(bad=["pair"])
    assert cameras.switch.mode == "RGB_ONLY"
