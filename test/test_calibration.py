"""Calibration files, lenses, and the way from RGB pixels to thermal pixels and back."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcfusion_ros.calibration.parallax import parallax_markdown, parallax_pixels
from mmcfusion_ros.fusion.calibration import Calibration, as_homography
from mmcfusion_ros.fusion.calibration_file import calibration_from_content, load_calibration, save_calibration
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.fusion.geometry import Geometry
from mmcfusion_ros.fusion.registration import Registration

EXAMPLE = Path(__file__).resolve().parents[1] / "config" / "calibration.example.yaml"
LENSES = {
    "pinhole": ("plumb_bob", ()),
    "plumb_bob": ("plumb_bob", (-0.43, 0.19, -0.0015, 0.0012, 0.0)),
    "barrel without end": ("plumb_bob", (-0.35, 0.0, 0.0, 0.0)),
    "rational_polynomial": ("rational_polynomial", (0.3, 0.05, 0.0003, -0.0002, 0.0, 0.5, 0.1, 0.0)),
    "equidistant": ("equidistant", (-0.02, 0.01, -0.005, 0.001)),
}
SIZES = "\nthermal_size: [640, 512]\nrgb_size: [640, 480]\n"
UNIT = "homography: [1, 0, 0, 0, 1, 0, 0, 0, 1]"
RIG = """
thermal:
  {image_width: 640, image_height: 512, camera_matrix: [572, 0, 319.5, 0, 572, 255.5, 0, 0, 1], distortion_model:
  plumb_bob, distortion_coefficients: []}
rgb:
  {image_width: 640, image_height: 480, camera_matrix: [500, 0, 319.5, 0, 500, 239.5, 0, 0, 1], distortion_model:
  plumb_bob, distortion_coefficients: []}
extrinsics: {rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1], translation: [0.06, 0, 0]}
plane: {distance: 8.0}
"""


def lens(name, size=(640, 512), focal=500.0):
    width, height = size
    matrix = [focal, 0, width / 2 + 3, 0, 1.01 * focal, height / 2 - 4, 0, 0, 1]
    return Intrinsics(width, height, np.array(matrix), *LENSES[name])


def rig(thermal="plumb_bob", rgb="plumb_bob", **changes):
    rotation, _ = cv2.Rodrigues(np.radians([0.8, -1.2, 0.5]))
    values = {
        "rotation": rotation,
        "translation": np.array([0.06, -0.01, 0.004]),
        "thermal": thermal and lens(thermal),
        "rgb": rgb and lens(rgb, (960, 600), 680.0),
        "plane_distance": 5.0,
        "plane_normal": (0.1, 0.3, 1.0),
    }
    return Calibration(**(values | changes))


def grid(size, margin=0):
    x, y = np.meshgrid(np.linspace(margin, size[0] - 1 - margin, 23), np.linspace(margin, size[1] - 1 - margin, 19))
    return np.column_stack([x.ravel(), y.ravel()])


class TestLenses:
    @pytest.mark.parametrize("name", LENSES)
    def test_pixels_and_rays_are_inverse(self, name):
        camera = lens(name)
        pixels = grid((640, 512))
        rays = camera.rays(pixels)
        seen = np.isfinite(rays).all(axis=1)
        assert seen.mean() > (0.8 if name == "barrel without end" else 0.999)
        np.testing.assert_allclose(camera.pixels(rays[seen]), pixels[seen], atol=0.05)

    @pytest.mark.parametrize("name", ["plumb_bob", "rational_polynomial", "equidistant"])
    def test_against_the_formulas_of_the_field(self, name):
        """As docs.ros.org (sensor_msgs/CameraInfo) and OpenCV write them, at one ray."""
        camera, (x, y) = lens(name), (0.31, -0.22)
        d, square = camera.distortion_coefficients, 0.31**2 + 0.22**2
        if name == "equidistant":
            angle = np.arctan(np.sqrt(square))
            radial = angle * (1 + sum(k * angle ** (2 * i + 2) for i, k in enumerate(d))) / np.sqrt(square)
            expected = np.array([radial * x, radial * y])
        else:
            k1, k2, p1, p2, k3, k4, k5, k6 = (*d, 0, 0, 0)[:8]
            radial = (1 + k1 * square + k2 * square**2 + k3 * square**3) / (
                1 + k4 * square + k5 * square**2 + k6 * square**3
            )
            expected = np.array(
                [
                    x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x),
                    y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y,
                ]
            )
        pixel = camera.camera_matrix @ (*expected, 1)
        np.testing.assert_allclose(camera.pixels(np.array([[x, y]]))[0], pixel[:2], atol=1e-6)

    @pytest.mark.parametrize("name", LENSES)
    def test_skew(self, name):
        """u = fx x + s y + cx, v = fy y + cy, with (x, y) as the lens has bent them."""
        plain = lens(name)
        skewed = replace(plain, camera_matrix=plain.camera_matrix + np.array([[0, 40.0, 0], [0, 0, 0], [0, 0, 0]]))
        rays = np.array([[0.31, -0.22], [-0.2, 0.3], [0.0, 0.0]])
        pixels = plain.pixels(rays)
        bent_y = (pixels[:, 1] - plain.camera_matrix[1, 2]) / plain.camera_matrix[1, 1]
        np.testing.assert_allclose(skewed.pixels(rays), pixels + np.column_stack([40 * bent_y, 0 * bent_y]), atol=1e-9)
        np.testing.assert_allclose(skewed.rays(skewed.pixels(rays)), rays, atol=1e-6)

    @pytest.mark.parametrize(("other", "name"), [("radtan", "plumb_bob"), ("fisheye", "equidistant")])
    def test_other_names_of_the_models(self, other, name):
        camera = lens(name)
        again = replace(camera, distortion_model=other)
        assert again.distortion_model == name
        np.testing.assert_array_equal(again.pixels(np.array([[0.3, 0.2]])), camera.pixels(np.array([[0.3, 0.2]])))

    def test_beyond_its_widest_angle_a_lens_sees_nothing(self):
        """r (1 - 0.35 r^2) falls from r = 0.976 on, and would come back to the middle of the image at 1.69."""
        camera = lens("barrel without end")
        tangents = np.array([[0.9, 0.0], [0.97, 0.0], [0.99, 0.0], [1.69, 0.0]])
        np.testing.assert_array_equal(np.isfinite(camera.pixels(tangents)).all(axis=1), [True, True, False, False])

    @pytest.mark.parametrize("size", [(320, 256), (1280, 1024), (427, 342)])
    def test_a_scaled_image_sees_the_same(self, size):
        camera = lens("plumb_bob")
        centres = grid((640, 512))
        scaled = (centres + 0.5) * (np.array(size) / (640, 512)) - 0.5
        np.testing.assert_allclose(
            camera.resized(*size, "thermal").rays(scaled), camera.rays(centres), atol=1e-4, equal_nan=True
        )

    def test_another_shape_is_refused(self):
        with pytest.raises(ValueError, match="the thermal image is 640x480, no scaled copy of the 640x512"):
            lens("plumb_bob").resized(640, 480, "thermal")

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"width": 0}, "image size is 0x512"),
            ({"camera_matrix": [-500, 0, 320, 0, 500, 256, 0, 0, 1]}, "focal lengths are -500 and 500"),
            ({"camera_matrix": [500, 0, 320, 0, np.nan, 256, 0, 0, 1]}, "focal lengths are 500 and nan"),
            ({"camera_matrix": [500, 0, 0, 0, 500, 0, 320, 256, 1]}, "row by row"),
            ({"distortion_model": "fov"}, "distortion_model is 'fov'; it must be one of plumb_bob"),
            ({"distortion_coefficients": (0.1,) * 8}, "8 distortion_coefficients; plumb_bob has 0 or 4 or 5"),
            ({"distortion_coefficients": (np.inf, 0.0, 0.0, 0.0)}, "not finite"),
        ],
    )
    def test_wrong_intrinsics_are_named(self, changes, complaint):
        values = {"width": 640, "height": 512, "camera_matrix": [500, 0, 320, 0, 500, 256, 0, 0, 1]} | changes
        with pytest.raises(ValueError, match=complaint):
            Intrinsics(**values)


class TestGeometry:
    @pytest.mark.parametrize("thermal", ["pinhole", "plumb_bob", "equidistant"])
    @pytest.mark.parametrize("rgb", ["plumb_bob", "rational_polynomial"])
    def test_there_and_back(self, thermal, rgb):
        geometry = Geometry(rig(thermal, rgb), (640, 512), (960, 600))
        pixels = grid((960, 600), 150)
        there = geometry.thermal_pixels(pixels)
        assert np.isfinite(there).all()
        np.testing.assert_allclose(geometry.rgb_pixels(there), pixels, atol=0.1)

    def test_a_point_on_the_plane_is_where_both_cameras_see_it(self):
        calibration = rig("plumb_bob", "equidistant")
        on_plane = np.array([0.4, -0.3, 0.0])
        normal = calibration.plane_normal
        on_plane[2] = (calibration.plane_distance - normal[:2] @ on_plane[:2]) / normal[2]
        in_thermal = calibration.rotation.T @ (on_plane - calibration.translation)
        seen = [
            camera.pixels((point[:2] / point[2])[None])
            for camera, point in ((calibration.thermal, in_thermal), (calibration.rgb, on_plane))
        ]
        geometry = Geometry(calibration, (640, 512), (960, 600))
        np.testing.assert_allclose(geometry.thermal_pixels(seen[1]), seen[0], atol=1e-3)
        np.testing.assert_allclose(geometry.rgb_pixels(seen[0]), seen[1], atol=1e-3)
        off_plane = geometry.thermal_pixels(seen[1], depth_m=on_plane[2])
        np.testing.assert_allclose(off_plane, seen[0], atol=1e-3)

    def test_far_away_only_the_rotation_counts(self):
        near_zero = rig("pinhole", "pinhole", plane_distance=np.inf)
        homography = near_zero.rgb.camera_matrix @ near_zero.rotation @ np.linalg.inv(near_zero.thermal.camera_matrix)
        pixels = grid((960, 600), 100)
        one = Geometry(near_zero, (640, 512), (960, 600)).thermal_pixels(pixels)
        two = Geometry(Calibration(homography=homography), (640, 512), (960, 600)).thermal_pixels(pixels)
        np.testing.assert_allclose(one, two, atol=1e-6)

    def test_the_floor_is_a_plane_too(self):
        """Seen from 1.2 m above it; rays above the horizon see things far away."""
        floor = rig("pinhole", "pinhole", plane_distance=1.2, plane_normal=(0.0, 1.0, 0.0), rotation=np.eye(3))
        below = np.array([[480.0, 500.0]])
        depth = 1.2 * floor.rgb.camera_matrix[1, 1] / (500 - floor.rgb.camera_matrix[1, 2])
        geometry = Geometry(floor, (640, 512), (960, 600))
        np.testing.assert_allclose(geometry.thermal_pixels(below), geometry.thermal_pixels(below, depth), atol=1e-6)
        above = np.array([[480.0, 100.0]])
        np.testing.assert_allclose(geometry.thermal_pixels(above), geometry.thermal_pixels(above, 1e9), atol=1e-4)

    def test_a_thermal_camera_that_looks_away_sees_nothing(self):
        away, _ = cv2.Rodrigues(np.array([0.0, np.pi, 0.0]))
        calibration = rig(rotation=away)
        assert np.isnan(Geometry(calibration, (640, 512), (960, 600)).thermal_pixels(grid((960, 600)))).all()
        with pytest.raises(ValueError, match="calibrated registration maps the 640x512 thermal image outside"):
            Registration(calibration).warp(np.zeros((512, 640), np.uint8), (600, 960))

    def test_the_maps_of_a_registration_are_the_geometry(self):
        """A horizontal and a vertical ramp of 16 bits tell where each pixel came from, to 1/32 pixel."""
        calibration = rig("plumb_bob", "rational_polynomial")
        ramps = np.meshgrid(np.arange(640, dtype=np.uint16) * 100, np.arange(512, dtype=np.uint16) * 100)
        registration = Registration(calibration)
        warped = [registration.warp(ramp, (600, 960)) for ramp in ramps]
        pixels = np.rint(grid((960, 600), 170)).astype(int)
        found = np.column_stack([image[pixels[:, 1], pixels[:, 0]] / 100 for image, _ in warped])
        expected = Geometry(calibration, (640, 512), (960, 600)).thermal_pixels(pixels)
        np.testing.assert_allclose(found, expected, atol=0.05)

    @pytest.mark.parametrize("missing", ["thermal", "rgb"])
    def test_missing_intrinsics_are_named(self, missing):
        incomplete = rig(**{missing: None})
        with pytest.raises(ValueError, match=f"no intrinsics of the {missing} camera: no {missing}/camera_info"):
            Registration(incomplete).warp(np.zeros((512, 640), np.uint8), (600, 960))
        complete = incomplete.with_intrinsics(lens("plumb_bob"), lens("plumb_bob", (960, 600), 680.0))
        warped, _ = Registration(complete).warp(np.zeros((512, 640), np.uint8), (600, 960))
        assert warped.shape == (600, 960)


class TestParallax:
    def calibration(self, **changes):
        return rig("pinhole", "pinhole", **({"plane_normal": (0.0, 0.0, 1.0), "plane_distance": 8.0} | changes))

    def test_is_focal_length_times_baseline_times_the_difference_of_inverse_distances(self):
        baseline = np.array([0.06, 0.0, 0.0])
        calibration = self.calibration(rotation=np.eye(3), translation=baseline)
        centre, worst = parallax_pixels(calibration, np.array([2.0, 8.0, 1e6]))
        np.testing.assert_allclose(centre, 680 * 0.06 * np.abs(1 / np.array([2, 8, 1e6]) - 1 / 8), atol=0.02)
        np.testing.assert_allclose(worst, centre, rtol=0.02, atol=0.02)

    def test_lenses_and_tilted_planes_have_no_error_on_the_plane(self):
        calibration = rig(plane_normal=(0.0, 0.0, 1.0))
        centre, worst = parallax_pixels(calibration, np.array([5.0, 2.0]))
        assert centre[0] < 0.01
        assert worst[0] < 0.1
        assert worst[1] >= centre[1] > 3

    def test_the_report_is_a_table(self):
        text = parallax_markdown(self.calibration())
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert rows[0] == "| range in m | in the middle, in px | at worst, in px |"
        assert any(re.match(r"\| 8 \| 0\.0 \| 0\.[01] \|", row) for row in rows)
        assert re.search(r"At most 2 px between \d\.\d m and \d+ m", text)

    def test_a_homography_has_none(self):
        with pytest.raises(ValueError, match="a homography does not say how far the cameras are apart"):
            parallax_markdown(Calibration(homography=np.eye(3)))


class TestFiles:
    def write(self, tmp_path, text):
        path = tmp_path / "cameras.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    @pytest.mark.parametrize(
        "text",
        [
            "homography: [2, 0, 30, 0, 2.5, 1e-05, 0, 0, 1]",
            "homography:\n- [2, 0, 30]\n- [0, 2.5, 1.0e-5]\n- [0, 0, 1]",
        ],
    )
    def test_nine_numbers_or_three_rows(self, tmp_path, text):
        """YAML reads 1e-05, as Python writes it, as a string."""
        matrix = load_calibration(self.write(tmp_path, text + SIZES)).homography
        np.testing.assert_array_equal(matrix, [[2, 0, 30], [0, 2.5, 1e-5], [0, 0, 1]])
        assert matrix.dtype == np.float64

    def test_example_homography(self):
        _, weight = Registration(load_calibration(EXAMPLE)).warp(np.zeros((256, 320), np.uint8), (480, 640))
        assert (weight[60:420, 90:550] == 255).all()
        assert (weight[:, :50] == 0).all()

    def test_example_of_a_calibrated_rig(self, tmp_path):
        """What is commented out in the example is a file too."""
        text = EXAMPLE.read_text()
        block = text[text.index("#thermal:") :]
        calibration = load_calibration(self.write(tmp_path, re.sub("^#", "", block, flags=re.MULTILINE)))
        assert calibration.kind == "calibrated"
        assert calibration.thermal.distortion_coefficients[0] == -0.3
        assert calibration.plane_distance == 8.0
        assert parallax_pixels(calibration, np.array([8.0]))[0][0] < 0.05

    @pytest.mark.parametrize(
        "calibration",
        [
            Calibration(np.array([[1.5, 1e-7, -3], [0, 2, 4], [1e-5, 0, 1]]), (640, 512), (960, 600)),
            rig("equidistant", "rational_polynomial"),
            rig(thermal=None, rgb=None, plane_distance=np.inf),
            rig(rotation=None, translation=None, from_frames=True),
        ],
        ids=["homography", "calibrated", "extrinsics only", "extrinsics of TF"],
    )
    def test_what_is_saved_is_loaded(self, tmp_path, calibration):
        path = tmp_path / "saved.yaml"
        save_calibration(calibration, path, "by hand\nresidual: 0.3 px")
        assert path.read_text().startswith("# by hand\n# residual: 0.3 px\n")
        loaded = load_calibration(path)
        for name, value in vars(calibration).items():
            got = getattr(loaded, name)
            if isinstance(value, Intrinsics):
                assert (got.width, got.height, got.distortion_model) == (
                    value.width,
                    value.height,
                    value.distortion_model,
                )
                np.testing.assert_array_equal(got.camera_matrix, value.camera_matrix)
                assert got.distortion_coefficients == value.distortion_coefficients
            elif isinstance(value, np.ndarray):
                np.testing.assert_allclose(got, value, rtol=1e-12, atol=1e-15)
            else:
                assert got == value

    def test_a_homography_without_sizes_is_not_saved(self, tmp_path):
        with pytest.raises(ValueError, match="needs thermal_size and rgb_size"):
            save_calibration(Calibration(np.eye(3)), tmp_path / "a.yaml")

    def test_quaternion(self, tmp_path):
        half = np.radians(30) / 2
        quaternion = [0.0, 0.0, float(np.sin(half)), float(np.cos(half))]
        text = f"extrinsics: {{quaternion: {quaternion}, translation: [0, 0, 0]}}"
        expected, _ = cv2.Rodrigues(np.array([0, 0, np.radians(30)]))
        np.testing.assert_allclose(load_calibration(self.write(tmp_path, text)).rotation, expected, atol=1e-12)

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "no key homography"),
            ("just words", "no key homography"),
            ("[1, 2, 3]", "no key homography"),
            ("homografy: [1, 0, 0, 0, 1, 0, 0, 0, 1]", "no key homography"),
            ("homography: [1, 0", "is not YAML"),
            ("homography: !!python/object:os.system []", "is not YAML"),
            (b"\xff\xfe\x00\xd8", "is not YAML"),
            ("homography:" + SIZES, "nine numbers"),
            ("homography: 7" + SIZES, "nine numbers"),
            ("homography: [1, 0, 0, 0, 1, 0, 0, 0]" + SIZES, "nine numbers"),
            ("homography: [[1, 0, 0], [0, 1, 0]]" + SIZES, "nine numbers"),
            ("homography: [[1, 0, 0], [0, 1, 0], [0, 1]]" + SIZES, "nine numbers"),
            ("homography: [1, 0, 0, 0, one, 0, 0, 0, 1]" + SIZES, "nine numbers"),
            ("homography: {a: 1}" + SIZES, "nine numbers"),
            ("homography: &self [*self]", "more than 20000 values in line 1"),
            ("homography: [1, 0, 0, 0, .nan, 0, 0, 0, 1]" + SIZES, "not finite"),
            ("homography: [1, 0, 0, 0, 1, 0, 0, 0, -.inf]" + SIZES, "not finite"),
            ("homography: [1, 0, 0, 0, null, 0, 0, 0, 1]" + SIZES, "not finite"),
            ("homography: [0, 0, 0, 0, 0, 0, 0, 0, 0]" + SIZES, "singular"),
            ("homography: [1, 2, 3, 2, 4, 6, 0, 0, 1]" + SIZES, "singular"),
            ("homography: [1, 0, 0, 0, 1.0e-7, 0, 0, 0, 1]" + SIZES, "singular"),
            ("homography: [-1, 0, 640, 0, 1, 0, 0, 0, 1]" + SIZES, "mirrors"),
            ("homography: [0, 1, 0, 1, 0, 0, 0, 0, 1]" + SIZES, "mirrors"),
            (UNIT + SIZES.replace("[640, 480]", "640x480"), r"rgb_size must be \[width, height\] in pixels, not text"),
            (UNIT + SIZES.replace("[640, 480]", "[640, -1]"), r"rgb_size must be \[width, height\]"),
            (UNIT + SIZES + "rgb_sise: [640, 480]", r"unknown key rgb_sise \(is it rgb_size\?\)"),
            (UNIT, "the file has no key thermal_size, rgb_size; it takes homography, thermal_size, rgb_size"),
            (UNIT + SIZES + UNIT, "a key that comes twice in the same place in line 1, column 1"),
            (RIG + "homography: [1, 0, 0, 0, 1, 0, 0, 0, 1]", "contradict"),
            (RIG.replace("1, 0, 0, 0, 1, 0, 0, 0, 1]", "1, 0, 0, 0, 1.1, 0, 0, 0, 1]"), "rotation is no rotation"),
            (RIG.replace("1, 0, 0, 0, 1, 0, 0, 0, 1]", "1, 0, 0, 0, -1, 0, 0, 0, 1]"), "rotation mirrors"),
            (RIG.replace("rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1]", "quaternion: [0, 0, 0, 2]"), "has length 2"),
            (RIG.replace("[0.06, 0, 0]", "[60, 0, 0]"), "60 m long; it must be in metres"),
            (RIG.replace("[0.06, 0, 0]", "[0.06, 0]"), "translation must be three numbers"),
            (RIG.replace(", translation: [0.06, 0, 0]", ""), "extrinsics has no key translation"),
            (RIG.replace("rotation:", "rotaton:"), r"no key rotation and unknown key rotaton \(is it rotation\?\)"),
            (RIG.replace("distance:", "distnace:"), r"plane has unknown key distnace \(is it distance\?\)"),
            ("extrinsics: 7", "extrinsics must hold keys"),
            (RIG.replace("8.0", "-8.0"), "plane.distance is -8.0; it must be positive"),
            (RIG.replace("8.0", "near"), "plane.distance is text; it must be a number"),
            (RIG.replace("8.0", "8.0, normal: [0, 0, 0]"), "plane.normal is .* no direction"),
            (RIG.replace("[572, 0", "[-572, 0"), "thermal: focal lengths are -572 and 572"),
            (RIG.replace("[572, 0, 319.5", "[572, 0, 960"), r"thermal.camera_matrix has its centre at \(960, 255.5\)"),
            (RIG.replace("image_width: 640, image_height: 480, ", ""), "rgb has no key image_width"),
            (RIG.replace("image_height: 480", "image_height: x"), "rgb.image_width and image_height must be"),
            (RIG.replace("plumb_bob", "[1]"), "thermal.distortion_model is a list of 1; it must be a name"),
            (RIG.replace("plumb_bob", "fov"), "thermal: distortion_model is 'fov'"),
            (
                RIG.replace("distortion_coefficients: []", "distortion_coefficients: [k]"),
                "coefficients must be numbers",
            ),
            (RIG.replace("coefficients", "coefficents"), r"no key distortion_coefficients and unknown key .*\(is it"),
            (RIG.replace("distortion_model", "camera_model"), "thermal has no key distortion_model and unknown key"),
            (
                RIG.replace("[572, 0, 319.5, 0, 572, 255.5, 0, 0, 1]", "{rows: 3, cols: 4, data: [572, 0, 319.5]}"),
                "thermal.camera_matrix does not have as many values in data",
            ),
        ],
    )
    def test_file_that_is_no_calibration(self, tmp_path, text, complaint):
        path = self.write(tmp_path, text)
        with pytest.raises(ValueError, match=complaint) as caught:
            load_calibration(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", ["missing.yaml", "."])
    def test_no_file(self, tmp_path, name):
        with pytest.raises(FileNotFoundError, match="calibration file"):
            load_calibration(tmp_path / name)

    yaml_values = st.recursive(
        st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=12,
    )

    @given(st.dictionaries(st.sampled_from([*yaml.safe_load(RIG), "homography", "rgb_size"]), yaml_values, min_size=1))
    @settings(deadline=None)
    def test_no_content_crashes(self, content):
        with contextlib.suppress(ValueError):
            assert calibration_from_content(yaml.safe_load(RIG) | content).kind in ("homography", "calibrated")


@pytest.mark.parametrize("scale", [1e-8, 1, 1e8])
def test_sound_homographies_of_any_scale_are_taken(scale):
    tilted = np.array([[0.9, 0.1, 30.0], [-0.08, 0.95, 5.0], [2e-4, -1e-4, 1.0]])
    for matrix in (np.eye(3), tilted, np.diag([6.3, 6.3, 1]), np.array([[0.1, 0, 4000], [0, 0.1, 3000], [0, 0, 1]])):
        np.testing.assert_allclose(as_homography((matrix * scale).ravel().tolist()), matrix * scale)


class TestCaltechRig:
    """A real colour and thermal rig, calibrated by camera_calibration and Kalibr."""

    def test_camera_calibration_files_can_be_pasted(self, shared_data, tmp_path):
        folder = shared_data / "calibration" / "caltech"
        files = {"thermal": "thermal", "rgb": "color"}
        cameras = {name: yaml.safe_load((folder / f"{file}.yaml").read_text()) for name, file in files.items()}
        kalibr = yaml.safe_load((folder / "color_thermal_10x10_calib.yaml").read_text())
        transform = np.linalg.inv(kalibr["cam1"]["T_cn_cnm1"])
        content = cameras | {
            "extrinsics": {"rotation": transform[:3, :3].tolist(), "translation": transform[:3, 3].tolist()},
            "plane": {"distance": 50.0},
        }
        path = tmp_path / "caltech.yaml"
        path.write_text(yaml.safe_dump(content))
        calibration = load_calibration(path)
        _, weight = Registration(calibration).warp(np.zeros((512, 640), np.uint8), (600, 960))
        assert (weight > 0).mean() > 0.99
        centre, worst = parallax_pixels(calibration, np.array([2.0, 10.0, 50.0]))
        assert 6 < centre[0] < worst[0] < 12
        assert worst[2] < 0.1
