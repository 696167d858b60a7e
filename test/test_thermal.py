"""16-bit thermal images to 8 bits."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler

RADIOMETRIC = Path(__file__).resolve().parents[2] / "shared" / "data" / "radiometric" / "ir16"


def scene(seed=0, noise=0.0, shape=(120, 160)):
    """Counts of a cold to warm gradient with a hot square."""
    counts = np.linspace(28_000, 30_000, shape[1]) * np.ones(shape)
    counts[40:50, 60:70] = 34_000
    return np.round(counts + np.random.default_rng(seed).normal(0, noise, shape)).astype(np.uint16)


def test_8_bits_that_fill_their_range_pass_through():
    thermal = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert ThermalScaler()(thermal) is thermal


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int32])
def test_other_types_are_refused(dtype):
    with pytest.raises(TypeError, match=np.dtype(dtype).name):
        ThermalScaler()(np.zeros((8, 8), dtype))


@given(
    thermal=arrays(np.uint16, array_shapes(min_dims=2, max_dims=2, max_side=9)),
    low=st.integers(0, 65_534),
    span=st.integers(1, 65_535),
)
@settings(deadline=None)
def test_fixed_range_is_linear(thermal, low, span):
    high = min(low + span, 65_535)
    scaled = ThermalScaler(ThermalOptions(mode="fixed", fixed_low=low, fixed_high=high))(thermal)
    expected = np.clip((thermal - float(low)) / (high - low), 0, 1) * 255
    assert scaled.dtype == np.uint8
    np.testing.assert_allclose(scaled, expected, atol=0.6)


def test_fixed_range_does_not_move():
    options = ThermalOptions(mode="fixed", fixed_low=28_000, fixed_high=30_000)
    scaler = ThermalScaler(options)
    for thermal in (scene(), np.full((8, 8), 60_000, np.uint16)):
        scaler(thermal)
        assert scaler.range == (28_000, 30_000)


@given(
    thermal=arrays(np.uint16, array_shapes(min_dims=2, max_dims=2, max_side=12)),
    smoothing=st.floats(0, 0.99),
    earlier=arrays(np.uint16, (4, 4)),
)
@settings(deadline=None)
def test_warmer_is_never_darker(thermal, smoothing, earlier):
    """But for one grey level, where OpenCV rounds halves either way."""
    scaler = ThermalScaler(ThermalOptions(smoothing=smoothing))
    scaler(earlier)
    scaled = scaler(thermal)
    assert scaled.shape == thermal.shape
    assert scaled.dtype == np.uint8
    order = np.argsort(thermal, axis=None)
    ordered = scaled.ravel()[order].astype(int)
    assert (ordered >= np.maximum.accumulate(ordered) - 1).all()


def test_percentiles_of_a_large_frame():
    thermal = scene(shape=(512, 640))
    scaler = ThermalScaler(ThermalOptions(low_percentile=10, high_percentile=90))
    scaler(thermal)
    np.testing.assert_allclose(scaler.range, np.percentile(thermal, (10, 90)), atol=20)


def test_whole_range_is_used():
    scaled = ThermalScaler()(scene(noise=5))
    assert scaled.min() == 0
    assert scaled.max() == 255


@pytest.mark.parametrize("value", [0, 1, 30_000, 65_534, 65_535])
def test_flat_frame(value):
    scaled = ThermalScaler()(np.full((48, 64), value, np.uint16))
    assert np.ptp(scaled) <= 1


def test_noise_of_a_flat_scene_stays_small():
    thermal = np.random.default_rng(0).normal(30_000, 5, (240, 320)).astype(np.uint16)
    assert ThermalScaler()(thermal).std() < 15
    assert ThermalScaler(ThermalOptions(min_span=1))(thermal).std() > 40


def test_dead_and_saturated_pixels_have_no_say():
    thermal = scene()
    clean = ThermalScaler()
    clean(thermal)
    thermal[:, :8], thermal[:, -8:] = 0, 65_535
    broken = ThermalScaler()
    scaled = broken(thermal)
    np.testing.assert_allclose(broken.range, clean.range, atol=150)
    assert (scaled[:, :8] == 0).all()
    assert (scaled[:, -8:] == 255).all()


@pytest.mark.parametrize("value", [0, 65_535])
def test_frame_without_a_live_pixel_keeps_the_range(value):
    dead = np.full((120, 160), value, np.uint16)
    scaler = ThermalScaler()
    scaler(dead)
    assert scaler.range is None
    scaler(scene())
    kept = scaler.range
    scaler(dead)
    assert scaler.range == kept


def test_static_scene_does_not_flicker():
    scaler, probe = ThermalScaler(), scene()
    shown = []
    for seed in range(40):
        scaler(scene(seed, noise=20))
        fixed = ThermalOptions(mode="fixed", fixed_low=scaler.range[0], fixed_high=scaler.range[1])
        shown.append(ThermalScaler(fixed)(probe).astype(int))
    assert np.abs(np.diff(shown, axis=0)).max() <= 1


def test_range_follows_a_drifting_scene_and_reset_jumps():
    scaler = ThermalScaler(ThermalOptions(smoothing=0.9))
    scaler(scene())
    first = np.array(scaler.range)
    warmer = scene() + np.uint16(200)
    scaler(warmer)
    np.testing.assert_allclose(scaler.range - first, 20, atol=1e-6)
    for _ in range(60):
        scaler(warmer)
    np.testing.assert_allclose(scaler.range - first, 200, atol=0.01 * np.ptp(scaler.range))
    scaler.reset()
    scaler(scene())
    np.testing.assert_array_equal(scaler.range, first)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "linear"},
        {"low_percentile": 60, "high_percentile": 40},
        {"low_percentile": -1},
        {"high_percentile": 101},
        {"high_percentile": float("nan")},
        {"min_span": 0},
        {"min_span": float("inf")},
        {"smoothing": 1},
        {"smoothing": -0.1},
        {"fixed_low": 500, "fixed_high": 500},
        {"fixed_low": -40_000},
        {"rotate": 45},
        {"flip": "both"},
        {"fixed_high": 65_536},
        {"fixed_low": float("nan")},
    ],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))) as caught:
        ThermalOptions(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not RADIOMETRIC.is_dir(), reason=f"{RADIOMETRIC} is not there")
def test_real_frames_become_usable_images():
    for path in sorted(RADIOMETRIC.iterdir()):
        scaled = ThermalScaler()(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        assert scaled.std() > 20, path.name
        assert np.isin(scaled, (0, 255)).mean() < 0.1, path.name
