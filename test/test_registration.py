"""Thermal images onto the RGB pixel grid."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcfusion_ros.fusion import registration
from mmcfusion_ros.fusion.registration import Registration, as_homography, fill_outside, load_homography

EXAMPLE = Path(__file__).resolve().parents[1] / "config" / "calibration.example.yaml"
THERMAL, RGB = (128, 160), (120, 200)
TILTED = np.array([[0.9, 0.1, 30.0], [-0.08, 0.95, 5.0], [2e-4, -1e-4, 1.0]])


def noise(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def to_rgb(homography, x, y):
    u, v, w = homography @ (x, y, 1)
    return u / w, v / w


def spot(size, x, y):
    """A round blur around (x, y)."""
    columns, rows = np.arange(size[1]), np.arange(size[0])[:, None]
    return np.round(250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)).astype(np.uint8)


def centre_of(image):
    moments = cv2.moments(image)
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]


homographies = st.builds(
    lambda turn, scale, shift, tilt: np.array(
        [
            [scale * np.cos(turn), -scale * np.sin(turn), shift[0]],
            [scale * np.sin(turn), scale * np.cos(turn), shift[1]],
            [tilt[0], tilt[1], 1],
        ]
    ),
    turn=st.floats(-3.2, 3.2),
    scale=st.floats(0.5, 3),
    shift=st.tuples(st.floats(-40, 200), st.floats(-40, 120)),
    tilt=st.tuples(st.floats(-2e-3, 2e-3), st.floats(-2e-3, 2e-3)),
)


def test_identity_of_equal_sizes_is_free():
    thermal = noise(*THERMAL)
    warped, valid = Registration().warp(thermal, THERMAL)
    assert warped is thermal
    assert valid is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_identity_scales_the_field_of_view(dtype):
    thermal = spot(THERMAL, 100, 40).astype(dtype)
    warped, valid = Registration().warp(thermal, (256, 480))
    assert valid is None
    assert warped.shape == (256, 480)
    assert warped.dtype == dtype
    np.testing.assert_allclose(centre_of(warped.astype(np.float32)), (100.5 * 3 - 0.5, 40.5 * 2 - 0.5), atol=0.1)


@pytest.mark.parametrize("scale", [1, -3, 1e-6])
@pytest.mark.parametrize("point", [(40, 30), (80.5, 64.25), (110, 100)])
def test_a_point_lands_where_the_matrix_says(point, scale):
    warped, _ = Registration(TILTED * scale).warp(spot(THERMAL, *point), RGB)
    assert warped.shape == RGB
    np.testing.assert_allclose(centre_of(warped), to_rgb(TILTED, *point), atol=0.3)


@given(homographies)
@settings(deadline=None)
def test_valid_is_what_the_thermal_camera_sees(homography):
    height, width = THERMAL
    inverse = np.linalg.inv(homography)
    in_front = np.sign(homography[2] @ ((width - 1) / 2, (height - 1) / 2, 1))
    columns, rows = np.meshgrid(np.arange(RGB[1]), np.arange(RGB[0]))
    x, y, depth = np.tensordot(inverse, np.stack([columns, rows, np.ones_like(rows)]), 1) * in_front
    margin = np.minimum.reduce([x / depth + 0.5, width - 0.5 - x / depth, y / depth + 0.5, height - 0.5 - y / depth])
    margin[depth <= 0] = -1
    if (margin <= 1e-6).all():
        with pytest.raises(ValueError, match="outside"):
            Registration(homography).warp(noise(*THERMAL), RGB)
        return
    _, valid = Registration(homography).warp(noise(*THERMAL), RGB)
    valid = np.full(RGB, 255, np.uint8) if valid is None else valid
    assert set(np.unique(valid)) <= {0, 255}
    assert (valid[margin > 1e-6] == 255).all()
    assert (valid[margin < -1e-6] == 0).all()


@given(homographies)
@settings(deadline=None)
def test_valid_pixels_are_thermal_pixels(homography):
    """A bright thermal image has no dark seam inside its mask."""
    try:
        warped, _ = Registration(homography).warp(np.full(THERMAL, 200, np.uint8), RGB)
    except ValueError:
        return
    assert (warped == 200).all()


def test_thermal_image_that_covers_everything_needs_no_mask():
    _, valid = Registration(np.diag([4.0, 4.0, 1.0])).warp(noise(*THERMAL), RGB)
    assert valid is None


def test_whole_pixel_shift_is_exact():
    thermal = noise(*THERMAL)
    warped, valid = Registration(np.array([[1, 0, 25], [0, 1, -8], [0, 0, 1]])).warp(thermal, RGB)
    np.testing.assert_array_equal(warped[:, 25:185], thermal[8:])
    assert (valid[:, 25:185] == 255).all()
    assert not valid[:, :25].any()
    assert not valid[:, 185:].any()


def test_maps_are_built_once_per_pair_of_sizes(monkeypatch):
    built = []
    original = registration._build_maps
    monkeypatch.setattr(registration, "_build_maps", lambda *arguments: built.append(1) or original(*arguments))
    cameras = Registration(TILTED)
    for rgb_size in (RGB, RGB, (90, 150), (90, 150)):
        assert cameras.warp(noise(*THERMAL), rgb_size)[0].shape == rgb_size
    assert len(built) == 2


@pytest.mark.parametrize("shift", [(1000, 0), (0, -1000)])
def test_homography_that_misses_the_rgb_image(shift):
    homography = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    with pytest.raises(ValueError, match="160x128 thermal image outside of the 200x120 RGB image"):
        Registration(homography).warp(noise(*THERMAL), RGB)


class TestFillOutside:
    def test_without_a_mask_nothing_happens(self):
        image = noise(*RGB)
        assert fill_outside(image, image + 1, None) is image

    def test_luminance_comes_in_outside(self):
        warped, valid = Registration(TILTED).warp(noise(*THERMAL), RGB)
        luminance = noise(*RGB)
        before = warped.copy(), luminance.copy()
        filled = fill_outside(warped, luminance, valid)
        np.testing.assert_array_equal(filled, np.where(valid == 255, warped, luminance))
        np.testing.assert_array_equal(warped, before[0])
        np.testing.assert_array_equal(luminance, before[1])


class TestLoadHomography:
    def write(self, tmp_path, text):
        path = tmp_path / "cameras.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    @pytest.mark.parametrize(
        "text",
        [
            "homography: [2, 0, 30, 0, 2.5, 1e-05, 0, 0, 1]",
            "note: ours\nhomography:\n- [2, 0, 30]\n- [0, 2.5, 1.0e-5]\n- [0, 0, 1]\n",
        ],
    )
    def test_nine_numbers_or_three_rows(self, tmp_path, text):
        """YAML reads 1e-05, as Python writes it, as a string."""
        matrix = load_homography(self.write(tmp_path, text))
        np.testing.assert_array_equal(matrix, [[2, 0, 30], [0, 2.5, 1e-5], [0, 0, 1]])
        assert matrix.dtype == np.float64

    def test_example(self):
        _, valid = Registration(load_homography(EXAMPLE)).warp(noise(256, 320), (480, 640))
        assert (valid[50:430, 80:560] == 255).all()
        assert (valid[:, :50] == 0).all()

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "no key homography"),
            ("just words", "no key homography"),
            ("[1, 2, 3]", "no key homography"),
            ("homografy: [1, 0, 0, 0, 1, 0, 0, 0, 1]", "no key homography"),
            ("homography: [1, 0", "not a YAML file"),
            ("homography: !!python/object:os.system []", "not a YAML file"),
            (b"\xff\xfe\x00\xd8", "not a YAML file"),
            ("homography:", "nine numbers"),
            ("homography: 7", "nine numbers"),
            ("homography: [1, 0, 0, 0, 1, 0, 0, 0]", "nine numbers"),
            ("homography: [[1, 0, 0], [0, 1, 0]]", "nine numbers"),
            ("homography: [[1, 0, 0], [0, 1, 0], [0, 1]]", "nine numbers"),
            ("homography: [1, 0, 0, 0, one, 0, 0, 0, 1]", "nine numbers"),
            ("homography: {a: 1}", "nine numbers"),
            ("homography: &self [*self]", "nine numbers"),
            ("homography: [1, 0, 0, 0, .nan, 0, 0, 0, 1]", "not finite"),
            ("homography: [1, 0, 0, 0, 1, 0, 0, 0, -.inf]", "not finite"),
            ("homography: [1, 0, 0, 0, null, 0, 0, 0, 1]", "not finite"),
            ("homography: [0, 0, 0, 0, 0, 0, 0, 0, 0]", "singular"),
            ("homography: [1, 2, 3, 2, 4, 6, 0, 0, 1]", "singular"),
            ("homography: [1, 0, 0, 0, 1.0e-7, 0, 0, 0, 1]", "singular"),
        ],
    )
    def test_file_that_is_no_calibration(self, tmp_path, text, complaint):
        path = self.write(tmp_path, text)
        with pytest.raises(ValueError, match=complaint) as caught:
            load_homography(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", ["missing.yaml", "."])
    def test_no_file(self, tmp_path, name):
        with pytest.raises(FileNotFoundError, match="calibration file"):
            load_homography(tmp_path / name)


@pytest.mark.parametrize("scale", [1e-8, 1, 1e8])
def test_sound_homographies_of_any_scale_are_taken(scale):
    for matrix in (np.eye(3), TILTED, np.diag([6.3, 6.3, 1]), np.array([[0.1, 0, 4000], [0, 0.1, 3000], [0, 0, 1]])):
        np.testing.assert_allclose(as_homography((matrix * scale).ravel().tolist()), matrix * scale)
