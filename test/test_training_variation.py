"""Variations of the clean pair: what they make white, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest

from mmcfusion_ros.training.variation import disturb, leave_veil, overexpose, vary_tone, whiten_sky

RAMP_160 = np.tile(np.linspace(0.2, 0.6, 160, dtype=np.float32), (160, 1))
RAMP = np.tile(np.linspace(0.2, 0.8, 100, dtype=np.float32), (100, 1))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_another_tone_keeps_the_order_of_grey_levels(rng):
    for _ in range(20):
        varied = vary_tone(RAMP, rng)
        assert varied.dtype == np.float32
        assert (np.diff(varied) >= 0).all()
        assert 0 <= varied.min() < varied.max() <= 1


class TestOverexposure:
    def test_makes_the_brightest_part_white(self, rng):
        for _ in range(20):
            varied = overexpose(RAMP, rng)
            assert varied.dtype == np.float32
            assert 0.01 < (varied == 1).mean() <= 0.41
            grey = varied < 1
            ratio = varied[grey] / RAMP[grey]
            assert np.ptp(ratio) < 1e-5

    def test_brightens_night_four_times_at_most(self, rng):
        np.testing.assert_allclose(overexpose(RAMP / 10, rng), RAMP / 10 * 4, rtol=1e-6)


class TestWhiteSky:
    @pytest.fixture
    def pair(self, rng):
        """A cold upper half, but for a warm tower in it, over a warm town."""
        thermal = rng.uniform(0.5, 0.9, (90, 90)).astype(np.float32)
        thermal[:45] = np.linspace(0.1, 0.2, 45)[:, None]
        thermal[10:45, 40:50] = 0.7
        return thermal, rng.uniform(0.3, 0.6, (90, 90)).astype(np.float32)

    def test_is_white_where_it_is_cold(self, pair, rng):
        thermal, visible = pair
        for _ in range(20):
            varied, whitened = whiten_sky(thermal, visible, rng)
            assert varied.dtype == whitened.dtype == np.float32
            assert 0 <= varied.min() <= varied.max() <= 1
            assert whitened.max() <= 1
            sky = whitened > 0.89
            assert sky.mean() > 0.03
            assert not sky[14:, 44:46].any()
            assert not sky[50:].any()
            np.testing.assert_array_equal(varied[50:], thermal[50:])
            np.testing.assert_array_equal(whitened[50:], visible[50:])
            assert varied[sky].std() <= thermal[sky].std()

    def test_needs_something_large(self, rng):
        stripes = np.tile(np.arange(400, dtype=np.float32) % 16 // 8, (400, 1))  # each is 2 % of the image
        visible = np.full_like(stripes, 0.5)
        for _ in range(20):
            varied, whitened = whiten_sky(stripes, visible, rng)
            np.testing.assert_array_equal(varied, stripes)
            np.testing.assert_array_equal(whitened, visible)


class TestVeil:
    def test_stays_where_thermal_has_no_structure(self, rng):
        thermal = np.full((160, 160), 0.3, np.float32)
        thermal[:, 100:] += rng.normal(0, 0.2, (160, 60)).astype(np.float32)
        target = leave_veil(thermal, RAMP_160, RAMP_160 + np.float32(0.2))
        assert target.dtype == np.float32
        np.testing.assert_allclose(target[10:-10, 10:60], RAMP_160[10:-10, 10:60] + 0.15, atol=0.005)
        np.testing.assert_array_equal(target[:, 110:], RAMP_160[:, 110:])

    def test_dark_input_leaves_the_target_alone(self):
        flat = np.full((160, 160), 0.3, np.float32)
        np.testing.assert_array_equal(leave_veil(flat, RAMP_160, RAMP_160 / 4), RAMP_160)


class TestDisturbance:
    def test_is_faint_noise_a_hot_disc_or_a_part_without_thermal(self, rng):
        kinds = set()
        cold = RAMP / 4
        for _ in range(60):
            results = disturb(cold, RAMP, cold, RAMP, rng)
            thermal_in, visible_in, thermal, visible = results
            assert all(image.dtype == np.float32 and 0 <= image.min() <= image.max() <= 1 for image in results)
            np.testing.assert_array_equal(visible, RAMP)
            if np.array_equal(thermal, cold):
                kinds.add("noise")
                assert (thermal_in - cold).std() < 2.1 / 255
                assert (visible_in - RAMP).std() < 2.1 / 255
                continue
            np.testing.assert_array_equal(thermal_in, thermal)
            np.testing.assert_array_equal(visible_in, RAMP)
            if np.ptp(thermal, axis=0).max() < 1e-6:  # the left or the right of each row
                kinds.add("part")
                assert (thermal <= RAMP + 1e-6).all()
                assert np.isclose(thermal, RAMP).any()
            else:
                kinds.add("disc")
                assert 0.6 < thermal.max() <= 1
        assert kinds == {"noise", "disc", "part"}

    @pytest.mark.parametrize("seed", [0, 4], ids=["disc", "part"])
    def test_for_black_hot_the_disc_is_dark_and_rgb_the_same(self, seed):
        cold = RAMP / 4
        white = disturb(cold, RAMP, cold, RAMP, np.random.default_rng(seed))[0]
        black = disturb(1 - cold, RAMP, 1 - cold, RAMP, np.random.default_rng(seed), "black_hot")[0]
        if seed == 0:
            np.testing.assert_allclose(black, 1 - white, atol=1e-6)
            assert black.min() < 0.4
        else:
            alone = np.isclose(white, RAMP)
            assert 0 < alone.sum() < RAMP.size
            np.testing.assert_allclose(black[alone], RAMP[alone], atol=1e-5)
