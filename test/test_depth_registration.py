"""Thermal images onto the RGB pixel grid by the distance of every pixel: a box before a wall, seen by three cameras."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import calibration_from_content, load_calibration, save_calibration
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.fusion.depth_registration import DepthRegistration, followed, small
from mmcfusion_ros.fusion.geometry import Geometry
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.stream.depth import DepthInput
from mmcfusion_ros.stream.frames import PlacedRegistration, StaticFrames

RGB_SHAPE, THERMAL_SHAPE, DEPTH_SHAPE = (240, 320), (256, 320), (240, 424)
BOX_M, WALL_M, PLANE_M = 1.5, 5.0, 8.0
MS = 1_000_000


def lens(shape, focal_px, distortion=()):
    height, width = shape
    matrix = np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]])
    return Intrinsics(width, height, matrix, "plumb_bob", distortion)


RGB, THERMAL, DEPTH = lens(RGB_SHAPE, 250.0), lens(THERMAL_SHAPE, 286.0), lens(DEPTH_SHAPE, 212.0)
BENT = (-0.2, 0.05, 0.0, 0.0)
TURNED = cv2.Rodrigues(np.radians([0.4, -0.5, 0.6]))[0]
HERE, NOWHERE = np.eye(3), np.zeros(3)


def rig(own_depth=False, bent=False, baseline_m=0.1):
    rgb, thermal = (
        (lens(s, f, BENT) for s, f in ((RGB_SHAPE, 280.0), (THERMAL_SHAPE, 320.0))) if bent else (RGB, THERMAL)
    )
    own = {"depth_rotation": TURNED.T, "depth_translation": np.array([-0.03, 0.01, 0.0])} if own_depth else {}
    translation = np.array([baseline_m, 0.01 * (baseline_m > 0), 0.0])
    return Calibration(
        rotation=TURNED, translation=translation, thermal=thermal, rgb=rgb, plane_distance=PLANE_M, **own
    )


def seen(camera, rotation, translation, left_m=0.0):
    """Depth along the optical axis of a camera (``X_rgb = rotation @ X + translation``), and where it sees the box."""
    columns, rows = np.meshgrid(np.arange(camera.width, dtype=float), np.arange(camera.height, dtype=float))
    rays = camera.rays(np.column_stack([columns.ravel(), rows.ravel()]))
    rays = np.column_stack([rays, np.ones(len(rays))]) @ rotation.T
    to_box, to_wall = ((z - translation[2]) / rays[:, 2] for z in (BOX_M, WALL_M))
    x, y, _ = (translation + to_box[:, None] * rays).T
    box = (abs(x + left_m) < 0.2) & (abs(y) < 0.3)
    shape = camera.height, camera.width
    return np.where(box, to_box, to_wall).reshape(shape), box.reshape(shape)


def picture(box):
    """As a camera sees it: a box with a light of its own, both with some texture."""
    noise = np.random.default_rng(0).integers(0, 20, box.shape)
    return (np.where(box, 150, 60) + noise).astype(np.uint8)


def depth_image(calibration, noise=0.0, holes=0.0, dtype=np.uint16):
    """In millimetres or metres, aligned or of the depth camera, with even noise in inverse depth."""
    own = calibration.depth_rotation is not None
    pose = (calibration.depth_rotation, calibration.depth_translation) if own else (HERE, NOWHERE)
    depth, box = seen(DEPTH if own else calibration.rgb, *pose)
    rng = np.random.default_rng(1)
    depth = 1 / (1 / depth + rng.normal(0, noise, depth.shape)) if noise else depth
    if holes:
        edge = cv2.morphologyEx(box.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((7, 7))) > 0
        depth[edge & (rng.random(depth.shape) < 0.5)] = 0
        depth[cv2.dilate((rng.random(depth.shape) < holes).astype(np.uint8), np.ones((5, 5))) > 0] = 0
    return np.rint(1000 * depth).astype(np.uint16) if dtype == np.uint16 else depth.astype(dtype)


def positions(warp):
    """Which thermal pixel each RGB pixel gets, told by two ramps."""
    rows, columns = np.mgrid[: THERMAL_SHAPE[0], : THERMAL_SHAPE[1]]
    return np.stack([warp((64 * axis).astype(np.uint16))[0] / 64 for axis in (columns, rows)], axis=-1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"noise": 0.008, "holes": 0.01},
        {"own_depth": True},
        {"own_depth": True, "noise": 0.008, "holes": 0.01},
        {"own_depth": True, "bent": True, "noise": 0.008, "holes": 0.01},
    ],
)
def test_every_visible_pixel_gets_its_thermal_pixel_and_none_what_is_hidden(options):
    calibration = rig(options.get("own_depth", False), options.get("bent", False))
    _, box = seen(calibration.rgb, HERE, NOWHERE)
    _, warm = seen(calibration.thermal, calibration.rotation, calibration.translation)
    plane = Registration(calibration)
    registration = DepthRegistration(plane, THERMAL_SHAPE, RGB_SHAPE)
    image = depth_image(calibration, options.get("noise", 0), options.get("holes", 0))
    camera = DEPTH if "own_depth" in options else None
    inverse_depth = registration.from_image(image, 0.001, camera)
    luminance = picture(box)
    found = positions(lambda thermal: registration.warp(thermal, luminance, inverse_depth))
    shown, weight = registration.warp(200 * warm.astype(np.uint8), luminance, inverse_depth)

    columns, rows = np.meshgrid(np.arange(320.0), np.arange(240.0))
    geometry = Geometry(calibration, (320, 256), (320, 240))
    pixels = np.column_stack([columns.ravel(), rows.ravel()])
    truth = np.stack([geometry.thermal_pixels(pixels, m).reshape(240, 320, 2) for m in (WALL_M, BOX_M)])
    truth = np.where(box[..., None], truth[1], truth[0])
    visible = (truth > 1).all(axis=-1) & (truth < (318, 254)).all(axis=-1)
    hits_box = cv2.remap(warm.astype(np.uint8), *np.moveaxis(truth.astype(np.float32), 2, 0), cv2.INTER_NEAREST) > 0
    hidden = visible & ~box & hits_box
    error = np.linalg.norm(found - truth, axis=-1)[visible & ~hidden & (weight > 127)]
    assert np.median(error) < 0.35
    assert np.percentile(error, 95) < 1.5
    assert (weight > 127)[visible & ~hidden].mean() > 0.8

    band = cv2.dilate(box.astype(np.uint8), np.ones((31, 31))).astype(bool) & ~box & visible
    assert hidden.sum() > 1000
    assert (band & (shown > 100) & (weight > 127)).sum() < 0.01 * band.sum()
    ghost, _ = plane.warp(200 * warm.astype(np.uint8), RGB_SHAPE)
    assert (band & (ghost > 100)).sum() > 0.2 * band.sum()
    at_box = positions(lambda thermal: plane.warp(thermal, RGB_SHAPE))[box & visible] - truth[box & visible]
    assert np.median(np.linalg.norm(at_box, axis=-1)) > 10


@pytest.mark.parametrize("bent", [False, True])
def test_at_the_distance_of_the_plane_it_is_the_plane(bent):
    calibration = rig(bent=bent)
    plane = Registration(calibration)
    registration = DepthRegistration(plane, THERMAL_SHAPE, RGB_SHAPE)
    inverse_depth = registration.from_image(np.full(RGB_SHAPE, PLANE_M, np.float32), 1.0)
    luminance = picture(np.zeros(RGB_SHAPE, bool))
    by_depth = positions(lambda thermal: registration.warp(thermal, luminance, inverse_depth))
    by_plane = positions(lambda thermal: plane.warp(thermal, RGB_SHAPE))
    inside = ((by_plane > 1) & (by_plane < (318, 254))).all(axis=-1)
    np.testing.assert_allclose(by_depth[inside], by_plane[inside], atol=0.1)
    thermal = np.zeros(THERMAL_SHAPE, np.uint8)
    valid = registration.warp(thermal, luminance, inverse_depth)[1] > 0
    assert (valid == (plane.warp(thermal, RGB_SHAPE)[1] > 0)).mean() > 0.995


def test_a_picture_without_depth_gets_the_plane_and_a_hole_what_is_around():
    plane = Registration(rig())
    registration = DepthRegistration(plane, THERMAL_SHAPE, RGB_SHAPE)
    luminance = picture(np.zeros(RGB_SHAPE, bool))
    nothing = registration.filled(np.zeros(RGB_SHAPE, np.float32), luminance)
    np.testing.assert_allclose(nothing, 1 / PLANE_M, rtol=1e-6)
    wall = np.full(RGB_SHAPE, 1 / WALL_M, np.float32)
    wall[100:130, 140:180] = 0
    np.testing.assert_allclose(registration.filled(wall, luminance), 1 / WALL_M, rtol=1e-3)


@pytest.mark.parametrize("plane_m", [PLANE_M, np.inf])
def test_a_thing_before_nothing_keeps_its_outline(plane_m):
    registration = DepthRegistration(Registration(replace(rig(), plane_distance=plane_m)), THERMAL_SHAPE, RGB_SHAPE)
    _, box = seen(RGB, HERE, NOWHERE)
    filled = registration.filled(np.where(box, np.float32(1 / BOX_M), np.float32(0)), picture(box))
    assert ((filled > 0.5) != box).mean() < 0.002
    assert (np.abs(filled - 1 / plane_m)[filled < 0.5] < 2e-4).mean() > 0.998


def test_the_lines_of_a_lidar_are_joined():
    """Of 2.2 degrees between them, as of one with 16."""
    calibration = rig(own_depth=True)
    registration = DepthRegistration(Registration(calibration), THERMAL_SHAPE, RGB_SHAPE)
    distance, _ = seen(DEPTH, calibration.depth_rotation, calibration.depth_translation)
    rows, columns = (axis[4::8].ravel() for axis in np.mgrid[:240, :424])
    rays = DEPTH.rays(np.column_stack([columns, rows]))
    points = np.column_stack([rays, np.ones(len(rays))]) * distance[rows, columns][:, None]
    _, box = seen(RGB, HERE, NOWHERE)
    filled = registration.filled(registration.from_points(points), picture(box))
    truth = np.where(box, 1 / BOX_M, 1 / WALL_M)
    assert (np.abs(filled - truth) < 0.02)[20:-20, 20:-20].mean() > 0.97


def test_millimetres_and_metres_say_the_same_and_no_number_is_a_hole():
    registration = DepthRegistration(Registration(rig()), THERMAL_SHAPE, RGB_SHAPE)
    metres = np.full(RGB_SHAPE, 2.5, np.float32)
    metres[0, :5] = [0, np.nan, np.inf, -np.inf, -1]
    millimetres = np.where(np.isfinite(metres) & (metres > 0), 1000 * metres, 0).astype(np.uint16)
    inverse_depth = registration.from_image(metres, 1.0)
    np.testing.assert_allclose(inverse_depth, registration.from_image(millimetres, 0.001), rtol=1e-6)
    assert not inverse_depth[0, :5].any()
    np.testing.assert_allclose(inverse_depth[1:], 0.4)


def test_cameras_at_one_place_hide_nothing_from_each_other():
    calibration = rig(baseline_m=0.0)
    registration = DepthRegistration(Registration(calibration), THERMAL_SHAPE, RGB_SHAPE)
    _, box = seen(RGB, HERE, NOWHERE)
    _, weight = registration.warp(
        np.zeros(THERMAL_SHAPE, np.uint8), picture(box), registration.from_image(depth_image(calibration), 0.001)
    )
    _, by_plane = Registration(calibration).warp(np.zeros(THERMAL_SHAPE, np.uint8), RGB_SHAPE)
    assert ((weight > 0) == (by_plane > 0)).mean() > 0.99


def test_only_a_calibrated_rig_can_do_it():
    with pytest.raises(ValueError, match="needs a calibrated rig, not identity"):
        DepthRegistration(Registration(), THERMAL_SHAPE, RGB_SHAPE)
    with pytest.raises(ValueError, match="the rgb image is 300x300, no scaled copy"):
        DepthRegistration(Registration(rig()), THERMAL_SHAPE, (300, 300))


def test_depth_follows_what_has_moved_since():
    then, now = (seen(RGB, HERE, NOWHERE, left_m)[1] for left_m in (0.0, 0.04))
    texture = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 60, (240, 320)).astype(np.float32), (0, 0), 2)
    shift = np.float32([[1, 0, -0.04 * 250 / BOX_M], [0, 1, 0]])
    moved = cv2.warpAffine(texture, shift, (320, 240))
    images = [
        np.where(box, 128 + 3 * t, 60).clip(0, 255).astype(np.uint8) for box, t in ((then, texture), (now, moved))
    ]
    inverse_depth = np.where(then, 1 / BOX_M, 1 / WALL_M).astype(np.float32)
    new = followed(inverse_depth, *(small(image) for image in images))
    assert ((new > 0.4) != now).mean() < 0.5 * (then != now).mean()


class TestFile:
    def test_where_the_depth_camera_is(self, tmp_path):
        save_calibration(rig(own_depth=True), tmp_path / "rig.yaml")
        read = load_calibration(tmp_path / "rig.yaml")
        np.testing.assert_allclose(read.depth_rotation, TURNED.T, atol=1e-12)
        np.testing.assert_array_equal(read.depth_translation, [-0.03, 0.01, 0.0])
        save_calibration(rig(), tmp_path / "rig.yaml")
        assert load_calibration(tmp_path / "rig.yaml").depth_rotation is None

    @pytest.mark.parametrize(
        ("extrinsics", "complaint"),
        [
            ({"rotation": np.eye(3).tolist()}, "depth_extrinsics has no key translation"),
            ({"rotation": [1] * 9, "translation": [0, 0, 0]}, "depth_extrinsics.rotation is no rotation"),
            ({"rotation": np.eye(3).tolist(), "translation": [15, 0, 0]}, "depth_extrinsics.translation .* in metres"),
        ],
    )
    def test_wrong_ones_are_named(self, extrinsics, complaint):
        pose = {"rotation": np.eye(3).tolist(), "translation": [0.1, 0, 0]}
        with pytest.raises(ValueError, match=complaint):
            calibration_from_content({"extrinsics": pose, "depth_extrinsics": extrinsics})


def header(stamp_ns):
    stamp = SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return SimpleNamespace(stamp=stamp, frame_id="depth")


def frames_message(**parents):
    """``/tf_static`` with the pose of each child in its parent: (parent, quaternion, translation)."""
    return SimpleNamespace(
        transforms=[
            SimpleNamespace(
                header=SimpleNamespace(frame_id=parent),
                child_frame_id=child,
                transform=SimpleNamespace(
                    rotation=SimpleNamespace(**dict(zip("xyzw", turn, strict=True))),
                    translation=SimpleNamespace(**dict(zip("xyz", move, strict=True))),
                ),
            )
            for child, (parent, turn, move) in parents.items()
        ]
    )


HALF = np.sqrt(0.5)
TREE = {"rgb": ("/base", (0, 0, HALF, HALF), (1, 0, 0)), "mount": ("base", (0, 0, 0, 1), (1, 0.2, 0))}


class TestFrames:
    def test_a_pose_goes_over_the_frame_that_both_have(self):
        frames = StaticFrames()
        frames.take(frames_message(**TREE))
        frames.take(frames_message(depth=("mount", (0, 0, 0, 1), (0, 0, 0.5))))
        rotation, translation = frames.pose("rgb", "/depth")
        np.testing.assert_allclose(rotation, [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-12)
        np.testing.assert_allclose(translation, [0.2, 0, 0.5], atol=1e-12)

    @pytest.mark.parametrize(
        ("more", "complaint"),
        [
            ({}, "/tf_static does not connect depth with rgb"),
            ({"depth": ("mount", (0, 0, 0, 2), (0, 0, 0))}, "/tf_static of depth.quaternion has length 2"),
            ({"depth": ("mount", (0, 0, 0, 1), (0, 0, 99))}, r"/tf_static from depth to rgb.translation .* in metres"),
            ({"depth": ("lens", (0, 0, 0, 1), (0, 0, 0)), "lens": ("depth", (0, 0, 0, 1), (0, 0, 0))}, "in a circle"),
        ],
    )
    def test_what_is_wrong_is_named(self, more, complaint):
        frames = StaticFrames()
        frames.take(frames_message(**TREE, **more))
        with pytest.raises(ValueError, match=complaint):
            frames.pose("rgb", "depth")


class TestPlaced:
    def test_the_thermal_camera_stands_where_frames_say(self):
        placed = PlacedRegistration(calibration_from_content({"extrinsics": "tf", "plane": {"distance": 5.0}}))
        for thermal_frame, problem in (("rgb", "thermal and RGB images have the same frame, /rgb"), ("mount", "")):
            placed.place(thermal_frame, "/rgb")
            problem = problem or "/tf_static does not connect mount with /rgb"
            assert f"extrinsics: {problem}" in placed.problems()
        placed.frames.take(frames_message(**TREE))
        placed.place("mount", "/rgb")
        first = placed.registration
        placed.place("mount", "/rgb")
        assert placed.registration is first
        assert not any("extrinsics" in problem for problem in placed.problems())
        np.testing.assert_allclose(first.calibration.translation, [0.2, 0, 0], atol=1e-12)
        assert (first.calibration.kind, first.calibration.plane_distance) == ("calibrated", 5.0)
        again = PlacedRegistration(first.calibration, frames=placed.frames)
        again.place("mount", "/rgb")
        np.testing.assert_allclose(again.registration.calibration.translation, [0.2, 0, 0], atol=1e-12)

    def test_before_tf_has_come_it_is_said(self):
        unplaced = replace(rig(), rotation=None, translation=None, from_frames=True)
        with pytest.raises(ValueError, match="no extrinsics: /tf_static has not told where the thermal camera is"):
            Registration(unplaced).warp(np.zeros((48, 64), np.uint8), (48, 64))


def image_message(pixels, stamp_ns=0, encoding=""):
    height, width = pixels.shape
    return SimpleNamespace(
        header=header(stamp_ns),
        encoding=encoding or {"u": "16UC1", "f": "32FC1"}[pixels.dtype.kind],
        height=height,
        width=width,
        step=pixels.strides[0],
        is_bigendian=0,
        data=pixels.tobytes(),
    )


def info_message(camera):
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    return SimpleNamespace(
        k=camera.camera_matrix.ravel(),
        d=list(camera.distortion_coefficients),
        distortion_model="plumb_bob",
        width=camera.width,
        height=camera.height,
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def points_message(points):
    data = np.zeros((len(points), 4), np.float32)
    data[:, :3] = points
    fields = [SimpleNamespace(name=name, offset=4 * i, datatype=7) for i, name in enumerate("xyz")]
    return SimpleNamespace(
        header=header(0), fields=fields, width=len(points), height=1, point_step=16, is_bigendian=False,
        data=data.tobytes(),
    )  # fmt: skip


class TestInput:
    def warp(self, depth, calibration, stamp_ns=0, left_m=0.0, registration=None):
        _, box = seen(calibration.rgb, HERE, NOWHERE, left_m)
        _, warm = seen(calibration.thermal, rig().rotation, rig().translation, left_m)
        return depth.warp(registration or Registration(calibration), picture(warm), picture(box), stamp_ns)

    @pytest.mark.parametrize("dtype", [np.uint16, np.float32])
    def test_depth_registers_and_says_so(self, dtype):
        depth = DepthInput(100 * MS, 0)
        assert self.warp(depth, rig()) is None
        assert depth.problems() == [
            "registration by the plane, not by depth: no message on depth/image_raw or depth/points yet"
        ]
        depth.take(image_message(depth_image(rig(), noise=0.004, dtype=dtype)))
        warped, weight = self.warp(depth, rig())
        assert warped.shape == weight.shape == RGB_SHAPE
        assert depth.problems() == []
        report = depth.report()
        assert (report["registration"], report["depth.frames"], report["depth.plane_frames"]) == ("depth", "1", "1")
        errors = [float(error) for error in report["depth.error_px"].split()]
        assert len(errors) == 9
        assert 0.04 < np.median(errors) < 0.2  # 0.004 / m, 25 px at 1 m

    def test_depth_with_a_lens_of_its_own_waits_for_it(self):
        depth = DepthInput(100 * MS, 0)
        depth.take(image_message(depth_image(rig(own_depth=True))))
        assert self.warp(depth, rig(own_depth=True)) is None
        assert "waits for depth/camera_info" in depth.problems()[0]
        depth.take(info_message(DEPTH))
        assert self.warp(depth, rig(own_depth=True))

    def test_points_of_a_lidar(self):
        distance, _ = seen(DEPTH, TURNED.T, np.array([-0.03, 0.01, 0.0]))
        columns, rows = np.meshgrid(np.arange(424.0), np.arange(240.0))
        rays = DEPTH.rays(np.column_stack([columns.ravel(), rows.ravel()]))
        points = np.column_stack([rays, np.ones(len(rays))]) * distance.reshape(-1, 1)
        depth = DepthInput(100 * MS, 0)
        depth.take(points_message(points))
        assert self.warp(depth, rig()) is None
        assert "depth/points needs depth_extrinsics in the calibration file, or TF" in depth.problems()[0]
        by_points = self.warp(depth, rig(own_depth=True))
        depth.take(info_message(DEPTH))
        depth.take(image_message(depth_image(rig(own_depth=True)), MS))
        by_image = self.warp(depth, rig(own_depth=True), MS)
        assert (cv2.absdiff(by_points[0], by_image[0]) < 30).mean() > 0.97

    @pytest.mark.parametrize(
        ("message", "complaint"),
        [
            (image_message(np.zeros(RGB_SHAPE, np.uint16)), "a distance for 0.0 % of the RGB image"),
            (image_message(np.full(RGB_SHAPE, 2000, np.float32)), "2e+03 m in the median: in a wrong unit"),
            (image_message(np.full(RGB_SHAPE, 3, np.uint16)), "0.003 m in the median: in a wrong unit"),
            (image_message(np.ones((100, 320), np.float32)), "the depth image is 320x100, no scaled copy"),
            (image_message(np.ones(RGB_SHAPE, np.uint16), encoding="rgb8"), "encoding 'rgb8'; it must be 16UC1"),
            (image_message(np.ones(RGB_SHAPE, np.float32), 10**9), "1.00 s newer"),
        ],
    )  # fmt: skip
    def test_useless_depth_is_named_and_the_plane_takes_its_place(self, message, complaint):
        depth = DepthInput(100 * MS, 0)
        depth.take(message)
        assert self.warp(depth, rig()) is None
        assert complaint in depth.problems()[0]
        assert depth.report()["registration"] == "plane"

    def test_depth_that_is_not_aligned_though_the_file_says_so(self):
        depth = DepthInput(100 * MS, 0)
        depth.take(info_message(lens(RGB_SHAPE, 212.0)))
        depth.take(image_message(depth_image(rig())))
        assert self.warp(depth, rig()) is None
        assert (
            "depth/camera_info is not that of the RGB camera (focal length 212 and 250 pixels)" in depth.problems()[0]
        )

    @pytest.mark.parametrize("rgb_frame", ["depth", "rgb"])
    def test_aligned_depth_of_another_frame_is_said(self, rgb_frame):
        depth = DepthInput(100 * MS, 0)
        depth.rgb_frame = rgb_frame
        depth.take(image_message(depth_image(rig())))
        assert self.warp(depth, rig())
        doubt = "is taken as aligned to RGB, but is of another frame, and /tf_static does not connect depth with rgb"
        assert depth.problems() == ([f"depth {doubt}"] if rgb_frame == "rgb" else [])

    def test_frames_say_where_the_depth_camera_is(self):
        by_file, by_frames = (DepthInput(100 * MS, 0) for _ in range(2))
        by_frames.rgb_frame = "rgb"
        for depth in (by_file, by_frames):
            depth.take(info_message(DEPTH))
            depth.take(image_message(depth_image(rig(own_depth=True))))
        assert self.warp(by_frames, rig()) is None
        assert "the depth image is 424x240, no scaled copy" in by_frames.problems()[0]
        turn = cv2.Rodrigues(rig(own_depth=True).depth_rotation)[0].ravel() / 2  # small: half of it is the quaternion
        turn = (*turn, np.sqrt(1 - turn @ turn))
        by_frames.take(frames_message(depth=("rgb", turn, (-0.03, 0.01, 0.0))))
        for one, other in zip(self.warp(by_file, rig(own_depth=True)), self.warp(by_frames, rig()), strict=True):
            assert (cv2.absdiff(one, other) < 3).mean() > 0.999
        assert by_frames.problems() == []

    def test_extrinsics_the_wrong_way_round_are_noticed(self):
        """By the plane, they would be: it is far away, where they matter least."""
        right = rig()
        wrong = Calibration(
            rotation=right.rotation, translation=-right.translation, thermal=THERMAL, rgb=RGB, plane_distance=PLANE_M
        )
        for calibration, warned in ((right, False), (wrong, True)):
            depth, registration = DepthInput(100 * MS, 0), Registration(calibration)
            for i in range(8):
                stamp_ns, left_m = i * 1_100_000_000, 0.05 * (i % 4)
                box_depth = seen(RGB, HERE, NOWHERE, left_m)[0].astype(np.float32)
                depth.take(image_message(box_depth, stamp_ns))
                assert self.warp(depth, calibration, stamp_ns, left_m, registration)
            assert any("extrinsics the wrong way round" in problem for problem in depth.problems()) == warned

    def test_it_is_ready_once_no_nearer_message_can_come(self):
        depth = DepthInput(100 * MS, 0)
        assert not depth.is_ready(0)
        for stamp_ns in (0, 66 * MS):
            depth.take(image_message(np.ones(RGB_SHAPE, np.float32), stamp_ns))
        assert depth.is_ready(50 * MS)
        assert depth.is_ready(99 * MS)
        assert not depth.is_ready(100 * MS)
        depth.wait(10**9)  # returns
