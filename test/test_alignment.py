"""Where the thermal image lies on the RGB image: against the known truth of the synthetic rig, and on real pairs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig_pairs import luminance_pairs, moved

from mmcfusion_ros.alignment.find import (
    FINE,
    MIDDLE,
    align,
    best_place,
    corners,
    refined,
    same_view,
    settled,
    transformed,
)
from mmcfusion_ros.alignment.fit import MODELS, Level, fit
from mmcfusion_ros.data.images import read_rgb, read_thermal
from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.simulation.optics import THERMAL_TO_RGB


def error(found, truth, shape):
    """Mean distance at the corners, in pixels."""
    points = corners(shape)
    return np.linalg.norm(transformed(found, points) - transformed(truth, points), axis=1).mean()


def test_frames_of_the_rig_give_its_homography():
    pairs = luminance_pairs(3)
    found = align(pairs, search="near", finest=MIDDLE)
    assert not found.problem
    assert error(found.homography, THERMAL_TO_RGB, pairs[0][0].shape) < 0.5
    assert found.deviation_px < 1
    assert found.correlation > 0.3
    assert found.shifts.shape == (3, 3, 4, 2)
    assert np.nanmedian(np.abs(found.shifts)) < 0.3


@pytest.mark.parametrize(
    ("degrees", "scale", "shift"), [(8, 1, (0, 0)), (0, 1.15, (10, -10)), (0, 1, (-48, 30)), (-6, 0.88, (30, 40))]
)
def test_capture_range(degrees, scale, shift):
    thermal, rgb = luminance_pairs(1)[0]
    # On the RGB grid first, so that the motion alone is to be found.
    aligned = cv2.warpPerspective(thermal, THERMAL_TO_RGB, rgb.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    motion = moved(degrees, scale, shift, rgb.shape)
    turned = cv2.warpPerspective(aligned, motion, rgb.shape[::-1], flags=cv2.WARP_INVERSE_MAP)
    valid = cv2.warpPerspective(np.ones_like(aligned), motion, rgb.shape[::-1], flags=cv2.WARP_INVERSE_MAP)
    found = align([(turned, rgb)], model="similarity", finest=MIDDLE, valid=valid)
    assert not found.problem
    assert error(found.homography, motion, rgb.shape) < 2


def test_contrast_and_its_sign_have_no_say():
    thermal, rgb = luminance_pairs(1)[0]
    there = align([(thermal, rgb)], THERMAL_TO_RGB, search="none", finest=MIDDLE)
    inverted = align([(255 - thermal // 2, rgb)], THERMAL_TO_RGB, search="none", finest=MIDDLE)
    assert not inverted.problem
    assert error(there.homography, inverted.homography, thermal.shape) < 0.5


@pytest.mark.parametrize("model", MODELS)
def test_models_keep_to_their_freedom(model):
    thermal, rgb = luminance_pairs(1)[0]
    found = align([(thermal, rgb)], THERMAL_TO_RGB, model, "none", MIDDLE)
    change = found.homography @ np.linalg.inv(THERMAL_TO_RGB)
    change /= change[2, 2]
    affine = change[:2, :2]
    if model != "homography":
        np.testing.assert_allclose(change[2, :2], 0, atol=1e-9)
    if model in ("translation", "similarity"):
        assert affine[0, 0] == pytest.approx(affine[1, 1], abs=1e-9)
        assert affine[0, 1] == pytest.approx(-affine[1, 0], abs=1e-9)
    if model == "translation":
        np.testing.assert_allclose(affine, np.eye(2), atol=1e-9)
    assert error(found.homography, THERMAL_TO_RGB, thermal.shape) < 1.5


def test_what_cannot_be_aligned_is_named():
    thermal, rgb = luminance_pairs(1)[0]
    flat = np.full_like(thermal, 90)
    assert "thermal image has too little texture" in align([(flat, rgb)]).problem
    assert "RGB image has too little texture" in align([(thermal, np.full_like(rgb, 7))]).problem
    noise = np.random.default_rng(0).normal(100, 3, thermal.shape).astype(np.uint8)
    assert align([(noise, rgb)], search="none").problem
    assert "no better than by chance" in align([(cv2.flip(thermal, 1), rgb)]).problem
    outside = np.array([[1.0, 0, 5000], [0, 1, 0], [0, 0, 1]])
    assert align([(thermal, rgb)], outside, search="none").problem


def test_wrong_input():
    thermal, rgb = luminance_pairs(1)[0]
    with pytest.raises(ValueError, match="no image pairs"):
        align([])
    with pytest.raises(ValueError, match="the model is 'rigid'; it must be one of translation, similarity"):
        align([(thermal, rgb)], model="rigid")
    with pytest.raises(ValueError, match=r"thermal image of uint16, shape \(512, 640\)"):
        align([(thermal.astype(np.uint16), rgb)])
    with pytest.raises(ValueError, match=r"RGB images of shapes \(480, 640\) and \(240, 320\)"):
        align([(thermal, rgb), (thermal, rgb[::2, ::2].copy())])


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["noise", "blocks", "ramp", "dot"]),
    size=st.tuples(st.integers(64, 90), st.integers(64, 120)),
)
def test_nothing_makes_it_crash(seed, kind, size):
    rng = np.random.default_rng(seed)
    images = {
        "noise": rng.integers(0, 256, size),
        "blocks": np.kron(rng.integers(0, 256, (size[0] // 16 + 1, size[1] // 16 + 1)), np.ones((16, 16))),
        "ramp": np.add.outer(np.arange(size[0]), np.arange(size[1])),
        "dot": np.eye(*size) * 255,
    }
    thermal = images[kind][: size[0], : size[1]].astype(np.uint8)
    rgb = rng.integers(0, 256, (70, 80)).astype(np.uint8)
    found = align([(thermal, rgb)], search="none")
    assert found.problem or np.isfinite(found.homography).all()


def test_real_pairs_are_found_again(shared_data):
    """The relative truth of scripts/alignment_bars.py, a small part of it."""
    for folder in ("roadscene/test", "llvip/train"):
        pair = find_pairs(shared_data / folder)[2]
        rgb = cv2.cvtColor(read_rgb(pair.rgb), cv2.COLOR_RGB2GRAY)
        thermal = read_thermal(pair.thermal)
        before = align([(thermal, rgb)], same_view(thermal.shape, rgb.shape), search="none", finest=MIDDLE)
        motion = moved(1.5, 1.03, (0.02 * rgb.shape[1], -4), rgb.shape)
        turned = cv2.warpPerspective(thermal, motion, rgb.shape[::-1], flags=cv2.WARP_INVERSE_MAP)
        valid = cv2.warpPerspective(np.ones_like(thermal), motion, rgb.shape[::-1], flags=cv2.WARP_INVERSE_MAP)
        after = align([(turned, rgb)], finest=MIDDLE, valid=valid)
        assert not before.problem + after.problem
        assert error(after.homography, before.homography @ motion, rgb.shape) * 640 / rgb.shape[1] < 3


def test_a_repeated_scene_has_no_one_place():
    rng = np.random.default_rng(0)
    tile = cv2.GaussianBlur(rng.integers(0, 256, (64, 64)).astype(np.uint8), (0, 0), 2)
    image = np.tile(cv2.normalize(tile, None, 0, 255, cv2.NORM_MINMAX), (8, 10))
    assert "another place fits nearly as well" in align([(image, image)], finest=MIDDLE).problem


def test_an_estimate_that_depends_on_its_start_is_told():
    thermal, rgb = luminance_pairs(1)[0]
    level = Level([(thermal, rgb)], MIDDLE)
    assert not settled(level, fit(level, THERMAL_TO_RGB, THERMAL_TO_RGB, 8), THERMAL_TO_RGB, 8)[1]
    noise = np.random.default_rng(0).integers(0, 256, thermal.shape).astype(np.uint8)
    unrelated = Level([(noise, rgb)], MIDDLE)
    found = fit(unrelated, THERMAL_TO_RGB, THERMAL_TO_RGB, 8)
    assert "starts beside each other end" in settled(unrelated, found, THERMAL_TO_RGB, 8)[1]


def test_the_best_of_several_places_is_chosen_at_the_finer_scale():
    thermal, rgb = luminance_pairs(1)[0]
    level = Level([(thermal, rgb)], MIDDLE)
    aside = moved(0, 1, (40, 20), rgb.shape) @ THERMAL_TO_RGB
    found, problem = best_place(level, [aside, THERMAL_TO_RGB], THERMAL_TO_RGB, 8)
    assert not problem
    assert error(found.homography, THERMAL_TO_RGB, thermal.shape) < 2


def test_scales_that_disagree_are_told():
    thermal, rgb = luminance_pairs(1)[0]
    middle = Level([(thermal, rgb)], MIDDLE)
    found = fit(middle, THERMAL_TO_RGB, THERMAL_TO_RGB, 8)
    _, problem = refined(middle, Level([(thermal, rgb)], FINE), found, THERMAL_TO_RGB, 8)
    assert not problem
    aside = Level([(np.roll(thermal, 5, axis=1), rgb)], FINE)
    kept, problem = refined(middle, aside, found, THERMAL_TO_RGB, 8)
    assert "two scales of the images disagree by" in problem
    assert error(kept.homography, found.homography, thermal.shape) < 0.5
