"""Luminance and colour, apart and together again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from mmcfusion_ros.fusion.colour import merge_luminance, split_luminance

images = array_shapes(min_dims=2, max_dims=2, max_side=17).flatmap(lambda shape: arrays(np.uint8, (*shape, 3)))


@given(images)
@settings(deadline=None)
def test_luminance_is_bt601_full_range(rgb):
    luminance, chroma = split_luminance(rgb)
    np.testing.assert_allclose(luminance, rgb @ np.array([0.299, 0.587, 0.114]), atol=0.51)
    assert luminance.shape == rgb.shape[:2]
    assert luminance.flags.c_contiguous
    assert chroma.shape == rgb.shape
    assert luminance.dtype == chroma.dtype == np.uint8


@given(images)
@settings(deadline=None)
def test_same_luminance_gives_the_same_image(rgb):
    again = merge_luminance(*split_luminance(rgb))
    assert again.dtype == np.uint8
    np.testing.assert_allclose(again.astype(int), rgb, atol=2)


def test_greys_stay_exactly_grey():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    luminance, chroma = split_luminance(np.stack([grey] * 3, axis=2))
    np.testing.assert_array_equal(luminance, grey)
    for fused in (grey, 255 - grey):
        np.testing.assert_array_equal(merge_luminance(fused, chroma), np.stack([fused] * 3, axis=2))


def test_new_luminance_arrives_and_colour_stays():
    rgb = np.full((8, 8, 3), (140, 100, 90), np.uint8)
    luminance, chroma = split_luminance(rgb)
    brighter = merge_luminance(luminance + np.uint8(60), chroma)
    np.testing.assert_allclose(brighter.astype(int) - rgb, 60, atol=2)


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255)])
def test_red_comes_first(colour):
    rgb = np.full((4, 4, 3), colour, np.uint8)
    np.testing.assert_allclose(merge_luminance(*split_luminance(rgb)).astype(int), rgb, atol=2)
    expected = {(255, 0, 0): 76, (0, 255, 0): 150, (0, 0, 255): 29}[colour]
    assert (split_luminance(rgb)[0] == expected).all()


def test_inputs_stay_as_they_were():
    rgb = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    rgb.flags.writeable = False
    luminance, chroma = split_luminance(rgb)
    before = luminance.copy(), chroma.copy()
    merge_luminance(255 - luminance, chroma)
    np.testing.assert_array_equal(luminance, before[0])
    np.testing.assert_array_equal(chroma, before[1])
