"""Thermal images onto the RGB pixel grid."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmcfusion_ros.fusion import geometry
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.registration import Registration, blend

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
def test_weight_is_positive_where_the_thermal_camera_sees(homography):
    height, width = THERMAL
    if np.linalg.det(homography) < 0:
        with pytest.raises(ValueError, match="mirrors"):
            Registration(homography)
        return
    inverse = np.linalg.inv(homography)
    in_front = np.sign(homography[2] @ ((width - 1) / 2, (height - 1) / 2, 1))
    columns, rows = np.meshgrid(np.arange(RGB[1]), np.arange(RGB[0]))
    x, y, depth = np.tensordot(inverse, np.stack([columns, rows, np.ones_like(rows)]), 1) * in_front
    margin = np.minimum.reduce([x / depth + 0.5, width - 0.5 - x / depth, y / depth + 0.5, height - 0.5 - y / depth])
    margin[depth <= 0] = -1
    assume(abs(margin.max()) > 0.5)
    if margin.max() < 0:
        with pytest.raises(ValueError, match="outside"):
            Registration(homography).warp(noise(*THERMAL), RGB)
        return
    warped, weight = Registration(homography).warp(np.full(THERMAL, 200, np.uint8), RGB)
    assert (warped == 200).all()
    weight = np.full(RGB, 255, np.uint8) if weight is None else weight
    steep = np.maximum(*(np.abs(np.gradient(a / np.maximum(depth, 1e-9), axis=i)) for i, a in ((0, y), (1, x))))
    sure = (steep < 3) & (depth > 0.2)
    assert (weight[sure & (margin > 0.2)] > 0).all()
    assert (weight[sure & (margin < -0.2)] == 0).all()


def test_thermal_image_that_covers_everything_needs_no_weight():
    _, weight = Registration(np.diag([4.0, 4.0, 1.0])).warp(noise(*THERMAL), RGB)
    assert weight is None


def test_whole_pixel_shift_is_exact_and_its_seam_is_soft():
    thermal = noise(*THERMAL)
    warped, weight = Registration(np.array([[1, 0, 25], [0, 1, -8], [0, 0, 1]])).warp(thermal, RGB)
    np.testing.assert_array_equal(warped[:, 25:185], thermal[8:])
    assert not weight[:, :25].any()
    assert not weight[:, 185:].any()
    ramp = weight[60, 25:105].astype(int)
    assert ramp[0] > 0
    assert (np.diff(ramp) >= 0).all()
    assert 3 <= np.count_nonzero(ramp < 255) <= 8
    assert (weight[:, 40:170] == 255).all()


def test_a_much_enlarged_image_is_warped_like_others():
    """It takes the short cut over fewer pixels."""
    thermal = cv2.GaussianBlur(noise(*THERMAL), (0, 0), 3)
    enlarged = np.array([[3.3, 0.05, 10], [-0.04, 3.1, 7.5], [1e-5, 2e-5, 1]])
    warped, weight = Registration(enlarged).warp(thermal, (420, 560))
    direct = cv2.warpPerspective(thermal, enlarged, (560, 420), borderMode=cv2.BORDER_REPLICATE)
    error = np.abs(warped.astype(int) - direct)[weight == 255]
    assert error.max() <= 2
    assert error.mean() < 0.5


def test_maps_are_built_once_per_pair_of_sizes(monkeypatch):
    built = []
    original = geometry.Geometry
    monkeypatch.setattr(geometry, "Geometry", lambda *arguments: built.append(1) or original(*arguments))
    cameras = Registration(TILTED)
    for rgb_size in (RGB, RGB, (90, 150), (90, 150)):
        assert cameras.warp(noise(*THERMAL), rgb_size)[0].shape == rgb_size
    assert len(built) == 2


@pytest.mark.parametrize("shift", [(1000, 0), (0, -1000)])
def test_homography_that_misses_the_rgb_image(shift):
    homography = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    with pytest.raises(ValueError, match="160x128 thermal image outside of the 200x120 RGB image"):
        Registration(homography).warp(noise(*THERMAL), RGB)


class TestSizes:
    """A calibration made at one resolution, used at another."""

    def at(self, thermal_shape, rgb_shape):
        calibration = Calibration(homography=TILTED, thermal_size=(160, 128), rgb_size=(200, 120))
        return Registration(calibration).warp(spot(thermal_shape, *(np.array(thermal_shape[::-1]) / 2 - 5)), rgb_shape)

    def test_scaled_copies_are_scaled(self):
        half, _ = self.at((64, 80), (240, 400))
        x, y = to_rgb(TILTED, *(2 * (np.array([80, 64]) / 2 - 5) + 0.5))
        np.testing.assert_allclose(centre_of(half), (2 * x + 0.5, 2 * y + 0.5), atol=0.4)

    @pytest.mark.parametrize(
        ("thermal", "rgb", "complaint"),
        [
            ((120, 160), RGB, "the thermal image is 160x120, no scaled copy of the 160x128"),
            (THERMAL, (150, 200), "the rgb image is 200x150, no scaled copy of the 200x120"),
        ],
    )
    def test_other_shapes_are_refused_by_name(self, thermal, rgb, complaint):
        with pytest.raises(ValueError, match=complaint):
            self.at(thermal, rgb)

    def test_exchanged_cameras_are_doubted(self):
        calibration = Calibration(homography=np.diag([2, 2, 1]), thermal_size=(80, 60), rgb_size=(160, 120))
        (doubt,) = Registration(calibration).doubts((120, 160), (60, 80))
        assert "exchanged" in doubt
        assert not Registration(calibration).doubts((60, 80), (120, 160))

    def test_one_field_of_view_of_two_shapes_is_doubted(self):
        (doubt,) = Registration().doubts((512, 640), (480, 640))
        assert "thermal image is 640x512 and the RGB image 640x480" in doubt
        assert not Registration().doubts((256, 320), (1023, 1280))

    def test_a_homography_the_wrong_way_round_is_doubted(self):
        (doubt,) = Registration(np.diag([0.25, 0.25, 1])).doubts((120, 160), (480, 640))
        assert "sees only 0.4 % of the RGB image" in doubt
        assert not Registration(np.diag([4.0, 4.0, 1])).doubts((120, 160), (480, 640))


class TestSizesThatNobodyGave:
    """What is given in pixels alone belongs to the first images: it is scaled with them, or refused."""

    @pytest.mark.parametrize("correct", [False, True])
    def test_a_bare_homography_is_not_used_at_another_resolution(self, correct):
        registration = Registration().corrected(TILTED) if correct else Registration(TILTED)
        thermal = THERMAL if correct else (256, 320)
        before, _ = registration.warp(spot(THERMAL, 90, 50), RGB)
        scale = thermal[0] / THERMAL[0]
        after, _ = registration.warp(
            spot(thermal, 90 * scale + scale / 2 - 0.5, 50 * scale + scale / 2 - 0.5), (240, 400)
        )
        np.testing.assert_allclose(centre_of(after), 2 * np.array(centre_of(before)) + 0.5, atol=0.6)
        with pytest.raises(ValueError, match="the rgb image is 200x200, no scaled copy of the 200x120"):
            registration.warp(spot(THERMAL, 90, 50), (200, 200))
        if not correct:
            with pytest.raises(ValueError, match="the thermal image is 160x120, no scaled copy of the 160x128"):
                registration.warp(spot((120, 160), 90, 50), RGB)


class TestCorrected:
    """Followed by a homography in RGB pixels."""

    shift = np.array([[1.01, 0.004, 6], [0.002, 0.99, -4], [1e-5, 0, 1]])

    @pytest.mark.parametrize("base", [None, TILTED])
    def test_a_point_lands_where_both_say(self, base):
        thermal = spot(THERMAL, 80, 60)
        before, _ = Registration(base).warp(thermal, RGB)
        after, _ = Registration(base).corrected(self.shift).warp(thermal, RGB)
        np.testing.assert_allclose(centre_of(after), to_rgb(self.shift, *centre_of(before)), atol=0.4)

    def test_corrections_add_up_and_the_first_registration_stays(self):
        thermal, base = spot(THERMAL, 80, 60), Registration(TILTED)
        twice, _ = base.corrected(self.shift).corrected(self.shift).warp(thermal, RGB)
        at_once, _ = base.corrected(self.shift @ self.shift).warp(thermal, RGB)
        np.testing.assert_array_equal(twice, at_once)
        np.testing.assert_array_equal(base.warp(thermal, RGB)[0], Registration(TILTED).warp(thermal, RGB)[0])


class TestBlend:
    def test_luminance_comes_in_outside(self):
        warped, weight = Registration(TILTED).warp(noise(*THERMAL), RGB)
        luminance = noise(*RGB)
        before = warped.copy(), luminance.copy()
        blended = blend(warped, luminance, weight)
        share = weight / 255.0
        np.testing.assert_allclose(blended, share * warped + (1 - share) * luminance, atol=1.01)
        np.testing.assert_array_equal(blended[weight == 255], warped[weight == 255])
        np.testing.assert_array_equal(blended[weight == 0], luminance[weight == 0])
        np.testing.assert_array_equal(warped, before[0])
        np.testing.assert_array_equal(luminance, before[1])
