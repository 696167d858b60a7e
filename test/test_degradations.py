"""What spoils images: the right one, by the stated amount, the same for the same seed and name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcfusion_ros.evaluation.stress import STRESSES, degrade
from mmcfusion_ros.simulation.degradations import add_fog, add_glare, add_noise, darken, misalign

GREY = np.full((200, 300), 0.5, np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def scene(seed=0):
    return rng(seed).integers(20, 200, (2, 64, 80), dtype=np.uint8)


DEGRADATIONS = {
    "noise": lambda image: add_noise(image, rng()),
    "dark": lambda image: darken(image, rng()),
    "glare": lambda image: add_glare(image, rng()),
    "fog": lambda image: add_fog(image),
    "shift": lambda image: misalign(image, rng()),
}


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("level", [0, 0.5, 1])
def test_results_are_images_of_the_same_kind(name, level):
    image = np.full((5, 7), level, np.float32)
    result = DEGRADATIONS[name](image)
    assert (result.shape, result.dtype) == (image.shape, np.float32)
    assert 0 <= result.min() <= result.max() <= 1
    assert (image == np.float32(level)).all()


def test_noise_has_its_sigma():
    assert add_noise(GREY, rng()).std() == pytest.approx(10 / 255, rel=0.02)
    assert add_noise(GREY, rng(), 0.1).std() == pytest.approx(0.1, rel=0.02)


def test_darkness_takes_gain_and_adds_the_sensors_noise():
    dark = darken(GREY, rng())
    assert dark.mean() == pytest.approx(0.1, abs=1e-3)
    assert dark.std() == pytest.approx(4 / 255, rel=0.02)


def test_glare_is_full_at_the_lamp_and_gone_far_away():
    black = np.zeros((200, 300), np.float32)
    glare = add_glare(black, rng(), strength=0.9, radius=0.05)
    assert glare.max() == pytest.approx(0.9, abs=0.01)
    assert glare.min() < 1e-6
    spots = {np.unravel_index(add_glare(black, rng(seed)).argmax(), black.shape) for seed in range(5)}
    assert len(spots) == 5


def test_fog_lowers_contrast_around_the_airlight():
    black, white = add_fog(np.array([[0, 1]], np.float32))[0]
    assert (black, white) == pytest.approx((0.48, 0.88))


@pytest.mark.parametrize("pixels", [1, 2, 5])
def test_misalignment_moves_along_one_axis_and_repeats_the_edge(pixels):
    image = rng().random((20, 30), np.float32)
    seen = set()
    for seed in range(40):
        moved = misalign(image, rng(seed), pixels)
        for axis, step in ((0, pixels), (0, -pixels), (1, pixels), (1, -pixels)):
            kept = slice(step, None) if step > 0 else slice(None, step)
            index = (kept, slice(None)) if axis == 0 else (slice(None), kept)
            if np.array_equal(moved[index], np.roll(image, step, axis)[index]):
                seen.add((axis, step))
                edge = np.take(image, 0 if step > 0 else -1, axis)
                np.testing.assert_array_equal(np.take(moved, 0 if step > 0 else -1, axis), edge)
    assert len(seen) == 4


class TestStress:
    @pytest.mark.parametrize("stress", STRESSES)
    def test_spoils_one_camera(self, stress):
        thermal, luminance = scene()
        spoilt_thermal, spoilt_luminance = degrade(stress, thermal, luminance, 0, "a")
        assert spoilt_thermal.dtype == spoilt_luminance.dtype == np.uint8
        of_thermal = stress in ("noise", "shift")
        assert np.array_equal(spoilt_thermal, thermal) != of_thermal
        assert np.array_equal(spoilt_luminance, luminance) == of_thermal

    @settings(deadline=None, max_examples=20)
    @given(stress=st.sampled_from(["noise", "dark", "glare"]), seed=st.integers(0, 2**32), name=st.text(min_size=1))
    def test_seed_and_name_decide(self, stress, seed, name):
        pair = scene()
        once = degrade(stress, *pair, seed, name)
        np.testing.assert_array_equal(once, degrade(stress, *pair, seed, name))
        assert not np.array_equal(once, degrade(stress, *pair, seed, name + "_"))
        assert not np.array_equal(once, degrade(stress, *pair, seed + 1, name))

    def test_noise_has_a_sigma_of_ten_grey_levels(self):
        grey = np.full((300, 300), 128, np.uint8)
        noisy, _ = degrade("noise", grey, grey, 0, "a")
        assert noisy.std() == pytest.approx(10, rel=0.02)

    def test_shift_is_by_two_pixels(self):
        thermal, luminance = scene()
        moved, _ = degrade("shift", thermal, luminance, 0, "a")
        assert any(
            np.array_equal(moved[2:-2, 2:-2], np.roll(thermal, step, axis)[2:-2, 2:-2])
            for axis in (0, 1)
            for step in (-2, 2)
        )
