"""Luminance and colour, apart and together again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mmcfusion_ros.fusion.fuser import daylight, merge_luminance, split_luminance

images = array_shapes(min_dims=2, max_dims=2, max_side=17).flatmap(lambda shape: arrays(np.uint8, (*shape, 3)))


@given(images)
@settings(deadline=None)
def test_luminance_is_bt601_full_range(rgb):
    luminance, colour = split_luminance(rgb)
    np.testing.assert_allclose(luminance, rgb @ np.array([0.299, 0.587, 0.114]), atol=0.51)
    assert luminance.shape == rgb.shape[:2]
    assert luminance.flags.c_contiguous
    assert colour.shape == rgb.shape
    assert luminance.dtype == colour.dtype == np.uint8


@given(images)
@settings(deadline=None)
def test_same_luminance_gives_the_same_image(rgb):
    again = merge_luminance(*split_luminance(rgb))
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(again, rgb)


def rule(fused, rgb):
    """The formula of ``merge_luminance`` in plain numbers, ``H x W x 3`` float."""
    f = fused.astype(float)[..., None]
    y = split_luminance(rgb)[0].astype(float)[..., None]
    difference = rgb - y
    gain = np.minimum((f + 16) / (y + 16), 1.5)
    for room, needed in ((255 - f, difference), (f, -difference)):
        highest = needed.max(axis=2, keepdims=True)
        gain = np.where(highest > 0, np.minimum(gain, room / np.maximum(highest, 1)), gain)
    return f + gain * difference


@given(images.flatmap(lambda rgb: st.tuples(st.just(rgb), arrays(np.uint8, rgb.shape[:2]))))
@settings(deadline=None)
def test_any_luminance_and_colour_follow_the_rule(pair):
    rgb, fused = pair
    np.testing.assert_allclose(merge_luminance(fused, rgb).astype(int), rule(fused, rgb), atol=1)


def test_every_colour_follows_the_rule_and_no_channel_is_clipped():
    steps = np.append(np.arange(0, 255, 17), 255).astype(np.uint8)
    red, green, blue, fused = (axis.reshape(256, -1) for axis in np.meshgrid(*[steps] * 4))
    rgb = np.stack([red, green, blue], axis=2)
    expected = rule(fused, rgb)
    assert expected.min() > -1e-9
    assert expected.max() < 255 + 1e-9
    np.testing.assert_allclose(merge_luminance(fused, rgb).astype(int), expected, atol=1)


def test_a_large_image_is_put_together_without_seams():
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (330, 500, 3), dtype=np.uint8)
    fused = rng.integers(0, 256, (330, 500), dtype=np.uint8)
    pieces = [merge_luminance(fused[i : i + 11], rgb[i : i + 11]) for i in range(0, 330, 11)]
    np.testing.assert_array_equal(merge_luminance(fused, rgb), np.concatenate(pieces))


def test_a_lifted_red_symbol_stays_red():
    rgb = np.full((8, 8, 3), (150, 40, 45), np.uint8)
    red, green, blue = merge_luminance(np.full((8, 8), 200, np.uint8), rgb)[0, 0].astype(int)
    assert red == 255
    assert red - green > 75
    assert abs(blue - green) < 10


def test_greys_stay_exactly_grey():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    luminance, colour = split_luminance(np.stack([grey] * 3, axis=2))
    np.testing.assert_array_equal(luminance, grey)
    for fused in (grey, 255 - grey):
        np.testing.assert_array_equal(merge_luminance(fused, colour), np.stack([fused] * 3, axis=2))


@pytest.mark.parametrize("fused", [20, 60, 110, 160])
def test_the_new_luminance_arrives(fused):
    rgb = np.full((8, 8, 3), (140, 100, 90), np.uint8)
    merged = merge_luminance(np.full((8, 8), fused, np.uint8), rgb)
    np.testing.assert_allclose(split_luminance(merged)[0].astype(int), fused, atol=1)


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255)])
def test_red_comes_first(colour):
    rgb = np.full((4, 4, 3), colour, np.uint8)
    np.testing.assert_allclose(merge_luminance(*split_luminance(rgb)).astype(int), rgb, atol=2)
    expected = {(255, 0, 0): 76, (0, 255, 0): 150, (0, 0, 255): 29}[colour]
    assert (split_luminance(rgb)[0] == expected).all()


def test_inputs_stay_as_they_were():
    rgb = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    rgb.flags.writeable = False
    luminance, colour = split_luminance(rgb)
    before = luminance.copy(), colour.copy()
    merge_luminance(255 - luminance, colour)
    np.testing.assert_array_equal(luminance, before[0])
    np.testing.assert_array_equal(colour, before[1])


@pytest.mark.parametrize("saturation", [0.0, 0.5, 1.0])
def test_saturation_scales_the_colour_and_leaves_the_luminance(saturation):
    rgb = np.full((8, 8, 3), (150, 90, 60), np.uint8)
    merged = merge_luminance(np.full((8, 8), 120, np.uint8), rgb, saturation)[0, 0]
    gain = saturation * (120 + 16) / (105 + 16)  # the luminance of that colour is 105
    np.testing.assert_allclose(merged, [120 + gain * 45, 120 - gain * 15, 120 - gain * 45], atol=1)


class TestDaylight:
    """Of random colours around a grey, as a street has them, with a cast over all of it."""

    @staticmethod
    def street(cast):
        colours = np.random.default_rng(0).normal(110, 25, (160, 240, 3)) * (1 + np.array(cast))
        return colours.clip(0, 255).astype(np.uint8)

    def test_a_grey_world_is_in_daylight(self):
        assert daylight(self.street((0, 0, 0))) == 1
        assert daylight(np.full((40, 40, 3), 90, np.uint8)) == 1

    def test_sodium_lamps_are_none(self):
        assert daylight(self.street((0.1, 0.05, -0.3))) == 0

    def test_it_fades_with_the_cast(self):
        shares = [daylight(self.street((0, 0, -blue))) for blue in (0.04, 0.12, 0.15, 0.5)]
        assert shares == sorted(shares, reverse=True)
        assert 0 < shares[2] < shares[1] < 1

    def test_one_coloured_thing_is_no_cast(self):
        image = self.street((0, 0, 0))
        image[60:90, 60:90] = (200, 30, 30)
        assert daylight(image) == 1
