"""What the fusion node makes of real rigs over real DDS: lenses, camera_info, shutter freezes, palettes, telemetry."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from camera_messages import HEIGHT, NS, WIDTH, header, image, pixels_of, ramp, rgb_image, stamp_ns, thermal_image
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_helpers import Bench, Rig, unfrozen
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import save_calibration
from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.fusion.palette import Palette
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalScaler
from mmcfusion_ros.stream.camera_info import CameraInfoRegistration, intrinsics_from_message
from mmcfusion_ros.stream.pipeline import FusionPipeline

CAMERAS = ("thermal", "rgb")
MATRIX = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]


def info(width=WIDTH, height=HEIGHT, k=MATRIX, d=(-0.1, 0.01, 0.0, 0.0, 0.0), **more):
    return CameraInfo(width=width, height=height, k=list(k), d=list(d), distortion_model="plumb_bob", **more)


@pytest.fixture
def extrinsics(tmp_path):
    """A file without intrinsics: the thermal camera 10 cm to the right, the plane at 3 m."""
    path = tmp_path / "rig.yaml"
    save_calibration(Calibration(rotation=np.eye(3), translation=np.array([0.1, 0, 0]), plane_distance=3.0), path)
    return str(path)


class TestCameraInfo:
    def test_values_are_taken_over(self):
        lens = intrinsics_from_message(info())
        assert (lens.width, lens.height, lens.distortion_model) == (WIDTH, HEIGHT, "plumb_bob")
        np.testing.assert_array_equal(lens.camera_matrix.ravel(), MATRIX)
        assert lens.distortion_coefficients == (-0.1, 0.01, 0.0, 0.0, 0.0)

    def test_a_simulator_without_distortion(self):
        message = info(d=())
        message.distortion_model = ""
        assert intrinsics_from_message(message).distortion_coefficients == ()

    def test_a_fisheye_lens_of_zeros_is_no_pinhole(self):
        """Its radius is the angle itself: at 45 degrees 60 * pi / 4 pixels, not 60."""
        message = info(d=(0.0,) * 4)
        message.distortion_model = "fisheye"
        lens = intrinsics_from_message(message)
        np.testing.assert_allclose(lens.pixels(np.array([[1.0, 0.0]])), [[31.5 + 60 * np.pi / 4, 23.5]])
        message.distortion_model, message.d = "", [0.1, 0.0, 0.0, 0.0]
        with pytest.raises(ValueError, match="distortion_model is ''"):
            intrinsics_from_message(message)

    def test_binning_and_region_of_interest(self):
        """A pixel of the cut and binned image sees what its four pixels of the full image see."""
        full = intrinsics_from_message(info(d=()))
        roi = RegionOfInterest(x_offset=10, y_offset=6, width=40, height=20)
        part = intrinsics_from_message(info(d=(), binning_x=2, binning_y=2, roi=roi))
        assert (part.width, part.height) == (20, 10)
        np.testing.assert_allclose(
            part.rays(np.array([[3.0, 4.0]])), full.rays(np.array([[10 + 6.5, 6 + 8.5]])), atol=1e-9
        )

    @pytest.mark.parametrize(
        ("message", "complaint"),
        [
            (info(k=[0.0] * 9), "thermal/camera_info: K is zero: the camera is not calibrated"),
            (info(k=[-60.0, *MATRIX[1:]]), "thermal/camera_info: focal lengths are -60 and 60"),
            (info(d=(0.1, 0.2)), "thermal/camera_info: 2 distortion_coefficients"),
            (info(width=0), "thermal/camera_info: image size is 0x48"),
        ],
    )
    def test_wrong_ones_are_named_and_good_ones_taken_then(self, message, complaint):
        rig = CameraInfoRegistration(Calibration(rotation=np.eye(3), translation=np.zeros(3)))
        assert rig.cameras == ["thermal", "rgb"]
        rig.take(message, "thermal")
        rig.take(info(), "rgb")
        assert rig.problems()[0].startswith(complaint)
        with pytest.raises(ValueError, match="no intrinsics of the thermal camera"):
            rig.registration.warp(np.zeros((HEIGHT, WIDTH), np.uint8), (HEIGHT, WIDTH))
        rig.take(info(), "thermal")
        assert rig.problems() == []
        before = rig.registration
        before.warp(np.zeros((HEIGHT, WIDTH), np.uint8), (HEIGHT, WIDTH))
        rig.take(info(), "thermal")
        assert rig.registration is before

    def test_the_plane_moves_and_the_lenses_stay(self):
        far = Calibration(rotation=np.eye(3), translation=np.array([0.1, 0, 0]))
        fuser = Fuser(SimpleNamespace(thermal_polarity="white_hot"))
        pipeline = FusionPipeline(fuser, ThermalScaler(), Registration(far))
        for camera in CAMERAS:
            pipeline.take_camera_info(info(d=()), camera)
        thermal = np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1))
        before = pipeline.registration.warp(thermal, thermal.shape)[0][24, 40]
        pipeline.change(pipeline.scaler, True, None, replace(far, plane_distance=1.0))
        assert before - pipeline.registration.warp(thermal, thermal.shape)[0][24, 40] == 6  # 60 px * 0.1 m / 1 m

    def test_a_file_with_intrinsics_needs_none(self):
        lens = intrinsics_from_message(info())
        rig = CameraInfoRegistration(Calibration(rotation=np.eye(3), translation=np.zeros(3), thermal=lens, rgb=lens))
        assert rig.cameras == []
        assert CameraInfoRegistration(Calibration()).cameras == []


def test_a_calibrated_rig_waits_for_camera_info_and_then_fuses(extrinsics):
    with Bench(registration__type="calibrated", registration__file=extrinsics, output_encoding="mono8") as bench:
        rig = bench.rig
        thermal_info = rig.node.create_publisher(CameraInfo, "thermal/camera_info", 10)
        rig.start()
        rig.wait(lambda: "registration waits for thermal/camera_info" in rig.problem(), rig.publish)
        rig.wait(lambda: int(rig.values().get("dropped.bad_pair", 0)), rig.publish)
        assert "no intrinsics of the thermal camera: no thermal/camera_info has come" in rig.warnings()[0]
        assert not rig.fused

        def publish() -> None:
            for camera, publisher in (("thermal", thermal_info), ("rgb", rig.info)):
                message = info()
                message.header = header(rig.now_ns(), camera)
                publisher.publish(message)
            rig.publish()

        rig.wait(lambda: rig.fused, publish)
        rig.wait(lambda: rig.problem() == "fusing", publish)
        assert rig.values()["registration"] == "calibrated"
        # 60 px * 0.1 m / 3 m: the two columns at the left are outside of the thermal image.
        grey = cv2.cvtColor(pixels_of(rgb_image()), cv2.COLOR_RGB2GRAY).astype(int)
        difference = np.abs(pixels_of(rig.fused[-1]).astype(int) - grey)
        assert difference[1:, 0].max() <= 1  # the first pixel is not the same in each picture
        assert difference[:, 10:].mean() > 4
        assert rig.change("deactivate")
        assert rig.change("activate")
        rig.wait(lambda: "thermal/camera_info" in rig.inputs())
        fused = len(rig.fused)
        rig.wait(lambda: len(rig.fused) > fused, rig.publish)


@pytest.mark.parametrize("latched", [True, False])
def test_camera_info_that_was_sent_before_the_node_was_there(latched, extrinsics):
    """Once, by a publisher that keeps it; and of one that keeps nothing, every message."""
    with Bench(registration__type="calibrated", registration__file=extrinsics) as bench:
        rig = bench.rig
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE)
        rig.node.destroy_publisher(rig.info)
        publishers = {camera: rig.node.create_publisher(CameraInfo, f"{camera}/camera_info", qos) for camera in CAMERAS}

        def publish_infos() -> None:
            for camera, publisher in publishers.items():
                message = info()
                message.header = header(0, camera)
                publisher.publish(message)

        publish_infos()
        rig.start()
        rig.wait(lambda: rig.fused, lambda: (latched or publish_infos(), rig.publish()))
        rig.wait(lambda: rig.problem() == "fusing", lambda: (latched or publish_infos(), rig.publish()))
        if latched:
            assert rig.values()["camera_info_in"] == "1"
        else:
            rig.wait(lambda: int(rig.values()["camera_info_in"]) > 1, lambda: (publish_infos(), rig.publish()))
        assert not [text for text in rig.warnings() if "QoS" in text]


def test_an_uncalibrated_camera_info_goes_out_with_the_size_of_the_image():
    """As drivers send it: 0x0, K = 0. Who subscribes to image and camera_info would hear nothing without it."""
    with Bench() as bench:
        rig = bench.rig
        rig.start()

        def publish() -> None:
            rig.info.publish(CameraInfo(header=header(rig.now_ns(), "rgb_frame"), distortion_model="plumb_bob"))
            rig.publish()

        rig.wait(lambda: rig.infos, publish)
        assert (rig.infos[-1].width, rig.infos[-1].height) == (WIDTH, HEIGHT)
        assert not np.any(rig.infos[-1].k)
        rig.wait(lambda: stamp_ns(rig.infos[-1]) in map(stamp_ns, rig.fused))
        assert rig.infos[-1].header.frame_id == "rgb_frame"


def test_the_thermal_camera_alone_looks_from_the_frame_of_the_rgb_camera():
    """Its images have the pixels and the K of the RGB camera."""
    with Bench(stall_timeout=0.5) as bench:
        rig = bench.rig
        rig.start()
        rig.wait(lambda: rig.fused, lambda: (rig.publish_info(), rig.publish(rgb=rgb_image(2 * HEIGHT, 2 * WIDTH))))
        alone = rig.thermal_alone()
        assert alone.header.frame_id == "rgb_frame"
        assert (alone.width, alone.height) == (2 * WIDTH, 2 * HEIGHT), (
            "of the last RGB image, whatever camera_info says"
        )


@pytest.mark.parametrize("known", [False, True])
def test_a_thermal_camera_without_any_rgb_camera(known):
    """As it is, with its own frame and camera_info, until the RGB camera's is known."""
    with Bench(stall_timeout=0.5) as bench:
        rig = bench.rig
        thermal_info = rig.node.create_publisher(CameraInfo, "thermal/camera_info", 10)
        rig.start()

        def publish() -> None:
            small = unfrozen(thermal_image(HEIGHT // 2, WIDTH // 2))
            small.header = header(rig.now_ns(), "thermal_frame")
            rig.thermal.publish(small)
            lens = info(width=WIDTH // 2, height=HEIGHT // 2, k=[30.0, *MATRIX[1:]])
            lens.header = small.header
            thermal_info.publish(lens)
            if known:
                rig.publish_info()

        rig.wait(lambda: rig.infos, publish)
        alone, lens = rig.fused[-1], rig.infos[-1]
        if known:
            assert (alone.header.frame_id, alone.width, lens.k[0]) == ("rgb_frame", WIDTH, 50.0)
        else:
            assert (alone.header.frame_id, alone.width, lens.k[0]) == ("thermal_frame", WIDTH // 2, 30.0)
        assert lens.header.frame_id == alone.header.frame_id


def test_a_binned_rgb_camera_has_its_camera_info_and_its_grid():
    """camera_info is of the full sensor; every second pixel of a part of it is sent."""
    with Bench(stall_timeout=0.5) as bench:
        rig = bench.rig
        rig.start()
        roi = RegionOfInterest(x_offset=10, y_offset=6, width=2 * WIDTH, height=2 * HEIGHT)
        sent = info(width=300, height=200, binning_x=2, binning_y=2, roi=roi)

        def publish_info() -> None:
            sent.header = header(rig.now_ns(), "rgb_frame")
            rig.info.publish(sent)

        rig.wait(lambda: rig.infos, lambda: (publish_info(), rig.publish()))
        assert (rig.infos[-1].width, rig.infos[-1].binning_x, rig.infos[-1].roi) == (300, 2, roi)
        small = image(ramp(HEIGHT // 2, WIDTH // 2), "mono8")
        moving = iter(range(10_000))

        def publish_thermal() -> None:
            small.header = header(rig.now_ns(), "thermal_frame")
            small.data[0] = next(moving) % 256
            rig.thermal.publish(small)

        rig.thermal_alone(publish_thermal)
        assert (rig.fused[-1].width, rig.fused[-1].height) == (WIDTH, HEIGHT)


def test_the_valid_mask_says_where_the_image_shows_what_thermal_sees(tmp_path):
    path = tmp_path / "rig.yaml"
    save_calibration(Calibration(np.array([[1, 0, 10], [0, 1, -4], [0, 0, 1]]), (WIDTH, HEIGHT), (WIDTH, HEIGHT)), path)
    seen = np.zeros((HEIGHT, WIDTH), np.uint8)
    seen[:-4, 10:] = 255
    with Bench(registration__type="homography", registration__file=str(path), stall_timeout=0.5) as bench:
        rig, masks = bench.rig, []
        rig.node.create_subscription(Image, f"{rig.full_name}/debug/valid_mask", masks.append, 50)
        rig.start()
        for expected, cameras in ((seen, ["thermal", "rgb"]), (0 * seen, ["rgb"]), (seen, ["thermal"])):

            def publish(cameras=cameras) -> None:
                rig.publish_info()
                rig.publish() if len(cameras) == 2 else rig.publish_one(*cameras)

            rig.wait(lambda expected=expected: masks and np.array_equal(pixels_of(masks[-1]), expected), publish)
        mask = masks[0]
        assert mask.encoding == "mono8"
        rig.wait(lambda: mask.header in [fused.header for fused in rig.fused])
        assert {stamp_ns(fused) for fused in rig.fused} >= {stamp_ns(mask) for mask in masks[:-1]}


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_depth_registers_while_it_comes_and_else_the_plane(encoding, tmp_path):
    """A block at 1 m before a wall at the plane's 3 m: left of it, 60 px * 0.1 m * (1 - 1/3) are hidden."""
    lens = intrinsics_from_message(info(d=()))
    file = str(tmp_path / "rig.yaml")
    rig_at = Calibration(
        rotation=np.eye(3), translation=np.array([0.1, 0, 0]), thermal=lens, rgb=lens, plane_distance=3.0
    )
    save_calibration(rig_at, file)
    distance = np.full((HEIGHT, WIDTH), 3.0, np.float32)
    distance[12:36, 30:46] = 1.0
    depth = (1000 * distance).astype(np.uint16) if encoding == "16UC1" else distance
    picture = image(np.repeat((ramp() // 4 + 120 * (distance < 2)).astype(np.uint8)[..., None], 3, axis=2), "rgb8")
    with Bench(registration__type="depth", registration__file=file, registration__depth_wait=0.3) as bench:
        rig, masks = bench.rig, []
        camera = rig.node.create_publisher(Image, "depth/image_raw", 10)
        rig.node.create_subscription(Image, f"{rig.full_name}/debug/valid_mask", masks.append, 50)
        rig.start()
        rig.wait(lambda: rig.inputs() >= {"depth/image_raw", "depth/camera_info", "depth/points"})

        def without() -> None:
            rig.publish_info()
            rig.publish(rgb=unfrozen(picture))

        def publish() -> None:
            rig.publish_info()
            message = image(depth, encoding)
            message.header = header(rig.publish(rgb=unfrozen(picture)), "rgb_frame")
            camera.publish(message)

        def beside_the_block() -> np.ndarray:
            return pixels_of(masks[-1])[18:30, 27:30]

        plane = "by the plane, not by depth: no message on depth/image_raw"
        rig.wait(lambda: masks and plane in rig.problem(), without)
        assert beside_the_block().all()
        for _ in range(2):
            rig.wait(lambda: rig.values().get("registration") == "depth" and rig.problem() == "fusing", publish)
            rig.wait(lambda: not beside_the_block().any(), publish)
            assert pixels_of(masks[-1])[18:30, 34:42].all()
            rig.wait(lambda: rig.values()["registration"] == "plane", without)
            assert "older than the RGB image" in rig.problem()
            rig.wait(lambda: beside_the_block().all(), without)
        assert int(rig.values()["depth.frames"]) > 0
        assert rig.modes[-1] == "FUSED"


@pytest.mark.parametrize("policy", ["drop", "pass_through"])
def test_a_thermal_camera_that_stands_still(policy):
    with Bench(thermal__frozen_policy=policy) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse(thermal=image(ramp(seed=3), "mono8"))

        def stand_still() -> None:
            rig.publish(thermal_image(), rgb_image())

        rig.wait(lambda: "the thermal camera has sent the same frame for" in rig.problem(), stand_still)
        assert rig.values()["thermal_freezes"] == "1"
        if policy == "drop":
            rig.wait(lambda: int(rig.values().get("dropped.frozen_thermal", 0)) > 1, stand_still)
            rig.wait(lambda: rig.modes[-1] == "RGB_ONLY", stand_still)  # by on_thermal_loss, after stall_timeout
        else:
            rig.wait(lambda: rig.modes[-2:] == ["FUSED", "RGB_ONLY"], stand_still)
            rgb = pixels_of(rgb_image())
            rig.wait(lambda: np.array_equal(pixels_of(rig.fused[-1]), rgb), stand_still)
            rig.wait(lambda: int(rig.values()["passed_through"]) > 0, stand_still)
        rig.wait(lambda: int(rig.values()["thermal_frozen_frames"]) > 1, stand_still)
        moving = iter(range(10_000))
        fused = len(rig.fused)

        def publish() -> None:
            rig.publish(thermal=image(ramp(seed=next(moving)), "mono8"))

        rig.wait(lambda: len(rig.fused) > fused + 2, publish)
        rig.wait(lambda: rig.modes[-1] == "FUSED", publish)
        rig.wait(lambda: "same frame" not in rig.problem() and rig.values()["mode"] == "FUSED", publish)
        assert int(rig.values()["thermal_frozen_frames"]) > 1
        stamps = list(map(stamp_ns, rig.fused))
        assert stamps == sorted(set(stamps))


def test_the_mode_tells_what_comes_out_of_a_frozen_thermal_camera():
    """``thermal.frozen_policy`` counts, not ``on_thermal_loss``. A late subscriber is told too."""
    with Bench(on_thermal_loss="hold") as bench:
        rig = bench.rig
        rig.start()
        rgb, moving = pixels_of(rgb_image()), iter(range(10_000))
        for mode in ("FUSED", "RGB_ONLY", "FUSED"):

            def publish(still: bool = mode == "RGB_ONLY") -> int:
                return rig.publish(thermal_image() if still else image(ramp(seed=next(moving)), "mono8"), rgb_image())

            rig.wait(lambda m=mode: rig.modes[-1:] == [m], publish)
            first = publish()
            rig.wait(lambda f=first: rig.fused and stamp_ns(rig.fused[-1]) > f, publish)
            assert np.array_equal(pixels_of(rig.fused[-1]), rgb) == (mode == "RGB_ONLY")
            rig.wait(lambda m=mode: rig.values().get("mode") == m, publish)
            late = Rig(rig.context.get_domain_id(), rig.namespace, node_name="late")
            late.wait(lambda late=late, m=mode: late.modes[-1:] == [m], publish)
            late.close()


def test_a_frozen_thermal_camera_is_not_passed_off_as_new_when_it_is_alone():
    with Bench(stall_timeout=0.5) as bench:
        rig, moving = bench.rig, iter(range(10_000))
        rig.start()

        def publish(still: bool = False) -> None:
            message = thermal_image() if still else image(ramp(seed=next(moving)), "mono8")
            message.header = header(rig.now_ns(), "thermal_frame")
            rig.thermal.publish(message)

        rig.wait(lambda: rig.modes[-1] == "THERMAL_ONLY", publish)
        rig.wait(lambda: rig.fused, publish)
        rig.wait(lambda: rig.modes[-1] == "NONE", lambda: publish(still=True))
        published = len(rig.fused)
        rig.wait(lambda: int(rig.values().get("dropped.frozen_thermal", 0)) > 3, lambda: publish(still=True))
        assert len(rig.fused) == published
        assert "the thermal camera has sent the same frame for" in rig.problem()
        rig.wait(lambda: rig.modes[-1] == "THERMAL_ONLY" and len(rig.fused) > published, publish)


def test_a_blind_thermal_camera_that_is_alone_publishes_nothing():
    """White all over, with noise: no image of a scene."""
    with Bench(stall_timeout=0.5) as bench:
        rig, rng = bench.rig, np.random.default_rng(0)
        rig.start()
        first = rig.thermal_alone()
        assert first.width == WIDTH
        published = len(rig.fused)

        def publish_white() -> None:
            message = image(rng.integers(250, 256, (HEIGHT, WIDTH)).astype(np.uint8), "mono8")
            message.header = header(rig.now_ns(), "thermal_frame")
            rig.thermal.publish(message)

        rig.wait(lambda: rig.modes[-1] == "NONE", publish_white)
        rig.wait(lambda: int(rig.values().get("dropped.blind_thermal", 0)) > 3, publish_white)
        assert len(rig.fused) - published <= 1  # one may have been on its way
        assert "the thermal image shows nothing" in rig.problem()
        rig.thermal_alone()


def test_camera_info_of_a_turned_thermal_camera_is_not_that_of_its_images():
    with Bench(thermal__rotate=90, stall_timeout=0.5) as bench:
        rig = bench.rig
        info = rig.node.create_publisher(CameraInfo, "thermal/camera_info", 10)
        rig.start()

        def publish() -> None:
            info.publish(CameraInfo(header=header(rig.publish_one("thermal"), "thermal_frame"), k=[1.0] * 9))

        assert rig.thermal_alone(publish).width == HEIGHT
        rig.wait(lambda: any("before thermal.rotate and thermal.flip" in text for text in rig.warnings()), publish)
        assert not rig.infos


@pytest.mark.parametrize("policy", ["drop", "pass_through"])
def test_nothing_goes_out_while_rgb_images_cannot_be_used_and_the_thermal_camera_is_frozen(policy):
    """Whether the thermal camera freezes first or both begin at once."""
    with Bench(thermal__frozen_policy=policy, stall_timeout=0.5) as bench:
        rig, moving = bench.rig, iter(range(10_000))
        rig.start()

        def publish(still: bool = False, bad: bool = False) -> None:
            rgb = rgb_image()
            rgb.encoding = "nonsense" if bad else rgb.encoding
            rig.publish(thermal_image() if still else image(ramp(seed=next(moving)), "mono8"), rgb)

        for begin, between in (("RGB_ONLY", []), ("FUSED", ["THERMAL_ONLY"])):
            rig.wait(lambda: rig.modes[-1] == "FUSED", publish)
            rig.wait(lambda b=begin: rig.modes[-1] == b, lambda b=begin: publish(still=b == "RGB_ONLY"))
            changes = len(rig.modes)
            rig.wait(lambda: rig.modes[-1] == "NONE", lambda: publish(still=True, bad=True))
            # A busy machine that pauses between two frames for stall_timeout adds RGB_ONLY, until the next one is read.
            assert [mode for mode in rig.modes[changes:-1] if mode != "RGB_ONLY"] == between
            changes, published = len(rig.modes), len(rig.fused)
            for _ in range(15):
                publish(still=True, bad=True)
                rig.spin(0.1)
            assert (len(rig.modes), len(rig.fused)) == (changes, published)
        rig.wait(lambda: rig.modes[-1] == "THERMAL_ONLY", lambda: publish(bad=True))


def test_telemetry_and_palette():
    """Colours of ironbow below a row of telemetry: the fused image is that of the grey values."""
    grey = pixels_of(thermal_image())
    coloured = np.vstack([np.full((1, WIDTH, 3), 255, np.uint8), Palette.from_name("ironbow").apply(grey)])
    results = []
    for parameters, thermal in (
        ({}, thermal_image()),
        ({"thermal__palette": "ironbow", "thermal__crop_top": 1}, image(coloured, "rgb8")),
    ):
        with Bench(**parameters) as bench:
            bench.rig.start()
            results.append(pixels_of(bench.rig.fuse(thermal)).astype(int))
            bench.rig.wait(lambda rig=bench.rig: rig.statuses)
            assert "palette" not in bench.rig.problem()
    assert np.abs(results[0] - results[1]).mean() < 2


def test_foreign_colours_are_reported():
    with Bench() as bench:
        rig = bench.rig
        rig.start()
        colours = image(Palette.from_name("rainbow").apply(ramp(seed=1)), "rgb8")
        rig.wait(lambda: "away from thermal.palette white_hot" in rig.problem(), lambda: rig.publish(thermal=colours))
        rig.wait(lambda: rig.fused, lambda: rig.publish(thermal=colours))


def test_a_fused_image_comes_at_the_stamp_of_the_rgb_image_while_thermal_is_old():
    """Frozen is judged by thermal stamps, not by arrival."""
    with Bench(thermal__frozen_policy="drop", pairing__max_age=0.0) as bench:
        rig = bench.rig
        rig.start()
        first = rig.now_ns()
        stamps = iter(first + i * NS // 1000 for i in range(100_000))
        rig.wait(lambda: len(rig.fused) > 5, lambda: rig.publish(at_ns=next(stamps)))
        assert "dropped.frozen_thermal" not in rig.values()
