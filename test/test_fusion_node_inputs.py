"""What the fusion node makes of its inputs over real DDS: encodings, transports, registration, faults, time."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from camera_messages import (
    HEIGHT,
    NS,
    WIDTH,
    as_camera,
    image,
    pixels_of,
    png_image,
    ramp,
    rgb_image,
    stamp_ns,
    thermal_image,
)
from diagnostic_msgs.msg import DiagnosticStatus
from ros_helpers import Bench
from sensor_msgs.msg import CompressedImage

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import save_calibration
from mmcfusion_ros.fusion.errors import FusionError
from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.stream.messages import fill_compressed
from mmcfusion_ros.stream.pipeline import EXCHANGED

FAULTY = (
    ("bad_encoding", {"encoding": "no_such_encoding"}),
    ("bad_size", {"height": HEIGHT + 1}),
    ("bad_size", {"height": 0, "width": 0, "step": 0, "data": []}),
    ("bad_size", {"step": 5}),
)


@pytest.fixture
def rig():
    with Bench() as bench:
        bench.rig.start()
        yield bench.rig


def dropped(rig, reason: str) -> int:
    return int(rig.values().get(f"dropped.{reason}", 0))


def homography_file(folder, matrix, thermal_size=(WIDTH, HEIGHT)):
    path = folder / "calibration.yaml"
    save_calibration(Calibration(matrix, thermal_size, (WIDTH, HEIGHT)), path)
    return str(path)


def test_sixteen_bit_thermal(rig):
    counts = ramp(seed=3).astype(np.uint16) * 40 + 20_000
    assert rig.fuse(thermal=image(counts, "16UC1")).height == HEIGHT
    assert not rig.warnings()


def test_a_thermal_image_of_another_size_is_fused_on_the_rgb_grid(rig):
    fused = rig.fuse(thermal=thermal_image(40, 50))
    assert (fused.height, fused.width) == (HEIGHT, WIDTH)


def test_compressed_inputs():
    with Bench(rgb__transport="compressed", thermal__transport="compressed") as bench:
        rig = bench.rig
        rig.thermal = rig.node.create_publisher(CompressedImage, "thermal/image_raw/compressed", 10)
        rig.rgb = rig.node.create_publisher(CompressedImage, "rgb/image_raw/compressed", 10)
        rig.start()
        rig.wait(lambda: f"no message on {rig.namespace}/thermal/image_raw/compressed" in rig.problem())
        thermal = png_image(ramp(seed=3).astype(np.uint16) * 40 + 20_000, "mono16")
        rgb = fill_compressed(CompressedImage(), pixels_of(rgb_image()), 90)
        fused = rig.fuse(thermal, rgb)
        assert (fused.height, fused.width, fused.encoding) == (HEIGHT, WIDTH, "rgb8")
        rgb.data = rgb.data[:100]
        rig.wait(lambda: dropped(rig, "bad_data"), lambda: rig.publish(thermal, rgb))
        rig.fuse(thermal, fill_compressed(CompressedImage(), pixels_of(rgb_image()), 90))


@pytest.mark.parametrize("camera", ["thermal", "rgb"])
def test_faulty_messages_are_counted_by_reason_and_good_ones_fused(rig, camera):
    for reason, changes in FAULTY:
        faulty = {"thermal": thermal_image, "rgb": rgb_image}[camera]()
        for field, value in changes.items():
            setattr(faulty, field, value)
        before = dropped(rig, reason)
        rig.wait(lambda b=before, r=reason: dropped(rig, r) > b, lambda f=faulty: rig.publish(**{camera: f}))
        rig.fuse()
    assert rig.warnings()[0].startswith("dropped a frame (bad_encoding): ")
    assert "no_such_encoding" in rig.warnings()[0]
    assert f"[{rig.namespace}/{camera}/image_raw, stamp " in rig.warnings()[0]


def test_diagnostics_tell_the_state_of_each_input(rig):
    def states() -> dict[str, tuple[bytes, str]]:
        return {camera: (status.level, status.message) for camera, status in rig.input_statuses.items()}

    rig.wait(lambda: len(states()) == 2)
    assert {level for level, _ in states().values()} == {DiagnosticStatus.STALE}
    rig.wait(lambda: {level for level, _ in states().values()} == {DiagnosticStatus.OK}, rig.publish)
    faulty = thermal_image()
    faulty.encoding = "no_such_encoding"
    rig.wait(lambda: states()["thermal"][0] == DiagnosticStatus.ERROR, lambda: rig.publish(thermal=faulty))
    assert "bad_encoding: encoding 'no_such_encoding' is not understood" in states()["thermal"][1]
    rig.wait(lambda: "no message on" in states()["rgb"][1])
    assert states()["rgb"][0] == DiagnosticStatus.ERROR


def test_an_image_too_small_for_the_network_is_a_bad_pair(rig):
    rig.wait(lambda: dropped(rig, "bad_pair"), lambda: rig.publish(thermal_image(16, 16), rgb_image(16, 16)))
    assert "16x16" in rig.warnings()[0]
    rig.fuse()


@pytest.mark.parametrize(("error", "reason"), [(FusionError, "backend_failed"), (MemoryError, "internal_error")])
def test_a_failing_backend_is_reported_and_the_next_frame_fused(error, reason, monkeypatch):
    with Bench(stall_timeout=0.5) as bench:
        rig = bench.rig
        rig.start()

        def fail(*_):
            raise error("first line\nsecond line")

        with monkeypatch.context() as patch:
            patch.setattr(Fuser, "fuse", fail)
            rig.wait(lambda: "no pair was fused for" in rig.problem(), rig.publish)
        assert dropped(rig, reason)
        assert rig.warnings()[0].startswith(f"dropped a frame ({reason}): first line second line [")
        rig.fuse()


def test_camera_info_of_another_size_is_warned_about_and_not_published(rig):
    rig.wait(rig.warnings, lambda: (rig.publish_info(HEIGHT, 2 * WIDTH), rig.publish()))
    (warning,) = rig.warnings()
    assert warning.startswith("camera_info is 128x48, the image 64x48: fused/camera_info is not published [")
    assert f"[{rig.namespace}/rgb/camera_info, stamp " in warning
    rig.fuse()
    assert not rig.infos
    rig.wait(lambda: rig.infos, lambda: (rig.publish_info(), rig.publish()))


def test_pairs_beyond_the_slop_never_fuse_and_diagnostics_say_so():
    with Bench(pairing__slop=0.02, pairing__max_wait=0.0, stall_timeout=0.5, on_thermal_loss="hold") as bench:
        rig = bench.rig
        rig.start()
        rig.wait(
            lambda: rig.problem().startswith("both cameras send, but no frames paired for"),
            lambda: rig.publish(skew_ns=30_000_000),
        )
        assert dropped(rig, "unpaired_rgb")
        assert rig.values()["pairs"] == "0"
        assert not rig.fused
        assert rig.statuses[-1].level == b"\1"


def test_a_thermal_offset_brings_stamps_together():
    with Bench(pairing__slop=0.01, pairing__thermal_offset=0.03) as bench:
        rig = bench.rig
        rig.start()
        rig.wait(lambda: rig.fused, lambda: rig.publish(skew_ns=30_000_000))
        rig.wait(lambda: rig.values().get("skew_ms.p50") == "0.00")


def test_every_rgb_frame_is_fused_with_a_slow_thermal_camera():
    """Two of three RGB frames were lost."""
    with Bench(output_rate="rgb", pairing__thermal_hold=2.0) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        for number in range(24):
            if number % 4 == 0:
                rig.publish_one("thermal")
            sent = rig.publish_one("rgb")
            rig.wait(lambda sent=sent: stamp_ns(rig.fused[-1]) == sent)
        assert rig.modes[-1] == "FUSED"
        assert rig.values().get("passed_through", "0") == "0"


def test_without_a_thermal_frame_that_is_new_enough_rgb_goes_out_alone():
    with Bench(output_rate="rgb", pairing__thermal_hold=0.1) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        rgb = rgb_image()
        rig.wait(lambda: rig.modes[-1] == "RGB_ONLY", lambda: rig.publish_one("rgb"))
        sent = rig.publish(rgb=rgb, skew_ns=NS)
        rig.wait(lambda: stamp_ns(rig.fused[-1]) == sent)
        np.testing.assert_array_equal(pixels_of(rig.fused[-1]), pixels_of(rgb))


def test_a_wrong_clock_is_reported_with_what_to_set():
    with Bench(pairing__max_age=0.0) as bench:
        rig = bench.rig
        rig.start()
        rig.wait(
            lambda: "set its clock, or pairing.thermal_offset to -37.0" in rig.problem(),
            lambda: rig.publish(skew_ns=-37 * NS),
        )
        assert re.search(r"thermal stamps are 3[67]\.\d\d s ahead of the clock", rig.problem())


def test_useless_stamps_are_replaced_by_the_arrival():
    with Bench(pairing__stamps="arrival", pairing__slop=0.2) as bench:
        rig = bench.rig
        rig.start()
        before = rig.now_ns()
        rig.wait(lambda: rig.fused, lambda: rig.publish(at_ns=0))
        assert before < stamp_ns(rig.fused[-1]) < rig.now_ns()


@pytest.mark.parametrize("camera", ["thermal", "rgb"])
def test_a_silent_camera_is_reported(rig, camera):
    rig.fuse()
    publisher = {"thermal": rig.rgb, "rgb": rig.thermal}[camera]
    message = {"thermal": rgb_image, "rgb": thermal_image}[camera]()

    def publish_the_other() -> None:
        message.header.stamp = rig.node.get_clock().now().to_msg()
        publisher.publish(message)

    expected = f"no message on {rig.namespace}/{camera}/image_raw for"
    rig.wait(lambda: rig.problem().startswith(expected) and ";" not in rig.problem(), publish_the_other)


def test_what_rgb_cameras_send():
    """The fused image, for eyes, has the colours that the camera saw."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:] = (200, 90, 60)
    with Bench(output__purpose="display") as bench:
        bench.rig.start()
        for encoding in ("uyvy", "yuv422_yuy2", "nv21", "bayer_gbrg8", "bayer_rggb16", "bgr16"):
            fused = pixels_of(bench.rig.fuse(rgb=as_camera(picture, encoding))).astype(int)
            assert (fused[..., 0] > fused[..., 2] + 20).mean() > 0.9, encoding
        assert not bench.rig.warnings()


def test_exchanged_cameras_are_doubted(rig):
    counts = image(ramp(seed=3).astype(np.uint16) * 40 + 20_000, "16UC1")
    rig.publish_info()
    rig.wait(lambda: EXCHANGED in rig.problem(), lambda: rig.publish(rgb_image(), counts))
    rig.wait(lambda: EXCHANGED not in rig.problem(), rig.publish)


def test_missing_camera_info_is_reported(rig):
    rig.wait(lambda: rig.problem() == f"no message on {rig.namespace}/rgb/camera_info yet", rig.publish)


def test_a_bag_loop_goes_on():
    with Bench(pairing__max_age=0.0) as bench:
        rig = bench.rig
        rig.start()
        for start in (1_000 * NS, 500 * NS):
            stamps = iter(range(start, start + 400 * NS, NS // 10))
            before = len(rig.fused)
            rig.wait(lambda before=before: len(rig.fused) >= before + 3, lambda s=stamps: rig.publish(at_ns=next(s)))
        assert stamp_ns(rig.fused[-1]) < 900 * NS
        assert stamp_ns(rig.fused[0]) >= 1_000 * NS


def test_old_stamps_are_stale(rig):
    rig.wait(lambda: dropped(rig, "stale_rgb"), lambda: rig.publish(at_ns=rig.now_ns() - 60 * NS))


def test_diagnostics_come_while_the_simulated_clock_stands_still():
    with Bench(use_sim_time=True) as bench:
        rig = bench.rig
        rig.start()
        rig.wait(lambda: len(rig.statuses) >= 2)
        rig.wait(lambda: rig.fused, lambda: rig.publish(at_ns=NS + len(rig.fused)))


def test_homography(tmp_path):
    """The thermal camera sees the left half of the RGB image, 1:1; elsewhere the RGB luminance passes through."""
    file = homography_file(tmp_path, np.eye(3), (WIDTH // 2, HEIGHT))
    with Bench(registration__type="homography", registration__file=file, output_encoding="mono8") as bench:
        rig = bench.rig
        rig.start()
        rgb = rgb_image()
        fused = pixels_of(rig.fuse(thermal_image(HEIGHT, WIDTH // 2), rgb)).astype(int)
        grey = cv2.cvtColor(pixels_of(rgb), cv2.COLOR_RGB2GRAY).astype(int)
        difference = np.abs(fused - grey)
        assert difference[:, WIDTH // 2 :].max() <= 4
        assert difference[:, : WIDTH // 2].mean() > 4
        rig.wait(lambda: rig.values().get("registration") == "homography")


def test_a_homography_that_maps_outside_of_the_image_is_a_bad_pair(tmp_path):
    file = homography_file(tmp_path, [[1, 0, 500], [0, 1, 0], [0, 0, 1]])
    with Bench(registration__type="homography", registration__file=file, on_thermal_loss="hold") as bench:
        rig = bench.rig
        rig.start()
        rig.wait(lambda: dropped(rig, "bad_pair"), rig.publish)
        assert "maps the 64x48 thermal image outside of the 64x48 RGB image" in rig.warnings()[0]
        assert not rig.fused
