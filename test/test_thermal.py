"""16-bit thermal images to 8 bits."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mmcfusion_ros.fusion.palette import Palette
from mmcfusion_ros.fusion.thermal import SAMPLES, ThermalOptions, ThermalScaler, live_sample

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


def with_span(low, span, seed=0):
    """Counts of the scene, spread over so many from ``low``."""
    counts = scene(seed, noise=3).astype(float)
    return np.rint(low + span * (counts - 28_000) / 6000).astype(np.uint16)


class TestJumps:
    """The frame after one is what it is when the scaler sees it first."""

    @pytest.mark.parametrize("mode", ["percentile", "equalize"])
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (with_span(6833, 333), with_span(21_000, 1200)),
            (with_span(21_000, 1200), with_span(6833, 333)),
            (with_span(2850, 600), with_span(28_500, 6000)),
            (with_span(28_500, 6000), with_span(28_700, 6000)[::-1] + np.uint16(1700)),
            (with_span(20_000, 20_000), with_span(29_000, 600)),
            (with_span(29_000, 600), with_span(20_000, 20_000)),
            (with_span(29_000, 6000), np.full((120, 160), 30_000, np.uint16)),
        ],
        ids=["gain up", "gain down", "TLinear", "half overlap", "within", "around", "flat"],
    )
    def test_a_jump(self, before, after, mode):
        options = ThermalOptions(mode=mode)
        expected = ThermalScaler(options)(after)
        scaler = ThermalScaler(options)
        for _ in range(5):
            scaler(before)
        np.testing.assert_array_equal(scaler(after), expected)
        for _ in range(9):
            scaler(np.random.default_rng(0).normal(23_500, 5, (120, 160)).astype(np.uint16))
        np.testing.assert_array_equal(scaler(after), expected)

    def test_a_shutter_within_the_range(self):
        """Nine frames later the scene is what it was."""
        scaler = ThermalScaler()
        before = scaler(scene())
        for seed in range(9):
            scaler(np.random.default_rng(seed).normal(30_000, 5, (120, 160)).astype(np.uint16))
        np.testing.assert_array_equal(scaler(scene()), before)

    def test_a_small_hot_thing_is_none(self):
        scaler = ThermalScaler()
        scaler(scene())
        _, high = scaler.range
        hot = scene()
        hot[40:60, 60:90] = 50_000
        scaler(hot)
        assert scaler.range[1] < high + 0.2 * (50_000 - high)


class TestSaturatedParts:
    @pytest.mark.parametrize("top", [16_383, 65_535])
    def test_have_no_say(self, top):
        """Also where the camera's counts end at 14 bits."""
        rest = with_span(6000, 4000)
        half = rest.copy()
        half[:, :80] = top
        assert ThermalScaler()(half)[:, 90:].std() > 0.7 * ThermalScaler()(rest)[:, 90:].std()


class TestEightBits:
    """Of a scene of 12 to 40 degrees Celsius."""

    CELSIUS = 12 + np.minimum(28 * (scene().astype(float) - 28_000) / 2300, 28)

    @pytest.mark.parametrize(
        "levels",
        [95 + (CELSIUS - 12) * 9 / 28, 90 + (CELSIUS - 12) * 40 / 28, (100 * (CELSIUS + 273.15)) // 256],
        ids=["95 to 104", "90 to 130", "centikelvin >> 8"],
    )
    def test_a_narrow_span_gets_its_contrast(self, levels):
        narrow = np.rint(levels).astype(np.uint8)
        scaled = ThermalScaler()(narrow)
        assert scaled.std() > 40
        full = ThermalScaler()(np.rint(100 * (self.CELSIUS + 273.15)).astype(np.uint16))
        assert np.corrcoef(scaled.ravel(), full.ravel())[0, 1] > 0.9

    def test_a_wide_span_stays_as_it_is(self):
        wide = np.rint(20 + (self.CELSIUS - 12) * 100 / 28).astype(np.uint8)
        assert ThermalScaler()(wide) is wide
        assert np.ptp(ThermalScaler(ThermalOptions(mode="percentile"))(wide)) == 255
        assert np.ptp(ThermalScaler(ThermalOptions(mode="equalize"))(wide)) == 255

    def test_between_the_two_nothing_jumps(self):
        """As the scene of a camera with its own gain grows slowly."""
        shown = []
        for span in np.arange(30.0, 100.0, 0.5):
            levels = np.rint(100 + span * (self.CELSIUS - 12) / 28).astype(np.uint8)
            shown.append(ThermalScaler()(levels).astype(int))
        assert np.abs(np.diff(shown, axis=0)).mean(axis=(1, 2)).max() < 12

    def test_noise_stays_small(self):
        flat = np.rint(np.random.default_rng(0).normal(120, 0.5, (240, 320))).astype(np.uint8)
        assert ThermalScaler()(flat).std() < 20

    def test_colours_of_a_palette_are_never_scaled(self):
        narrow = np.rint(90 + (self.CELSIUS - 12) * 40 / 28).astype(np.uint8)
        for mode in ("auto", "percentile", "equalize"):
            scaler = ThermalScaler(ThermalOptions(mode=mode, palette="ironbow"))
            assert np.abs(scaler(Palette.from_name("ironbow").apply(narrow)).astype(int) - narrow).max() < 5
        np.testing.assert_array_equal(ThermalScaler()(np.dstack([narrow] * 3)), ThermalScaler()(narrow))

    def test_a_static_scene_does_not_flicker(self):
        scaler, rng = ThermalScaler(), np.random.default_rng(0)
        levels = 90 + (self.CELSIUS - 12) * 40 / 28
        ranges = []
        for _ in range(40):
            scaler(np.rint(levels + rng.normal(0, 0.7, levels.shape)).astype(np.uint8))
            ranges.append(scaler.range)
        # How far a level moves, in grey levels of the result.
        assert np.abs(np.diff(ranges, axis=0)).max() * 255 / np.ptp(ranges[-1]) <= 1


class TestTemperatures:
    """Of -5 to 46 degrees Celsius, with one bad pixel."""

    CELSIUS = np.linspace(-5, 46, 120 * 160).reshape(120, 160)

    def sent(self, kind):
        celsius = self.CELSIUS.copy()
        celsius[50, 60] = np.nan
        if kind == "centi-Celsius":
            return np.rint(100 * self.CELSIUS).astype(np.int16)
        return (celsius + (273.15 if "kelvin" in kind else 0)).astype(np.float64 if "64" in kind else np.float32)

    KINDS = ("kelvin 32", "kelvin 64", "Celsius 32", "Celsius 64", "centi-Celsius")

    @pytest.mark.parametrize("kind", KINDS)
    def test_follow_the_scene_like_counts(self, kind):
        scaler = ThermalScaler()
        scaled = scaler(scaler.upright(self.sent(kind)))
        expected = ThermalScaler()(np.rint(100 * (self.CELSIUS + 273.15)).astype(np.uint16))
        np.testing.assert_allclose(scaled, expected.astype(int), atol=2)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_range_in_celsius(self, kind):
        centi = {"kelvin_per_count": 0.01, "kelvin_at_zero": 273.15} if kind == "centi-Celsius" else {}
        scaler = ThermalScaler(ThermalOptions(mode="fixed", fixed_low=-5.0, fixed_high=46.0, **centi))
        scaled = scaler(scaler.upright(self.sent(kind)))
        np.testing.assert_allclose(scaled, 5 * (self.CELSIUS + 5), atol=2)

    def test_floats_in_units_of_their_own(self):
        """The value 0 is 200 K, and 1 more is 0.1 K more; or counts that are no temperatures at all."""
        options = ThermalOptions(mode="fixed", fixed_low=-5, fixed_high=46, kelvin_per_count=0.1, kelvin_at_zero=200)
        scaler = ThermalScaler(options)
        values = ((self.CELSIUS + 73.15) * 10).astype(np.float32)
        np.testing.assert_allclose(scaler(scaler.upright(values)), 5 * (self.CELSIUS + 5), atol=1)
        counts = with_span(6833, 333)
        scaler = ThermalScaler()
        np.testing.assert_array_equal(scaler(scaler.upright(counts.astype(np.float32))), ThermalScaler()(counts))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_what_is_not_finite_is_a_bad_pixel(self, dtype):
        values = (self.CELSIUS + 273.15).astype(dtype)
        good = ThermalScaler()
        expected = good(good.upright(values))
        values[40, 40], values[41, 90], values[42, 10], values[60:70, 60:70] = np.nan, np.inf, -np.inf, np.nan
        scaler = ThermalScaler()
        scaled = scaler(scaler.upright(values))
        np.testing.assert_allclose(scaled[:60], expected[:60].astype(int), atol=3)
        nothing = np.full((8, 8), np.nan, dtype)
        assert not scaler(scaler.upright(nothing)).any()

    def test_signed_counts(self):
        counts = with_span(6833, 333)
        scaler = ThermalScaler()
        np.testing.assert_array_equal(scaler(scaler.upright(counts.astype(np.int16))), ThermalScaler()(counts))

    def test_a_camera_that_changes_its_unit_begins_anew(self):
        options = ThermalOptions(mode="fixed", fixed_low=-5.0, fixed_high=46.0)
        scaler = ThermalScaler(options)
        scaler.upright(with_span(6833, 333))
        assert scaler.range == (-5, 46)
        scaler.upright(self.sent("kelvin 32"))
        np.testing.assert_allclose(scaler.range, (26_815, 31_915))


class TestMounting:
    IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, IMAGE),
            ({"rotate": 90}, np.rot90(IMAGE, -1)),
            ({"rotate": 180}, IMAGE[::-1, ::-1]),
            ({"rotate": 270}, np.rot90(IMAGE)),
            ({"flip": "horizontal"}, IMAGE[:, ::-1]),
            ({"flip": "vertical"}, IMAGE[::-1]),
            ({"rotate": 90, "flip": "horizontal"}, IMAGE.T),
            ({"rotate": 180, "crop_top": 1}, IMAGE[:0:-1, ::-1]),
        ],
        ids=str,
    )
    def test_the_image_is_brought_upright(self, options, expected):
        """After the telemetry, which is above what the camera sends, is cut off."""
        np.testing.assert_array_equal(ThermalScaler(ThermalOptions(**options)).upright(self.IMAGE), expected)

    def test_colours_too(self):
        image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
        turned = ThermalScaler(ThermalOptions(rotate=90)).upright(image)
        np.testing.assert_array_equal(turned, np.rot90(image, -1))


@pytest.mark.parametrize("shape", [(9, 7), (480, 640), (1080, 1920)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_sample_is_in_order_and_large_enough(shape, dtype):
    image = np.random.default_rng(0).integers(1, 256, shape, dtype)
    sample = live_sample(image)
    assert (np.diff(sample.astype(int)) >= 0).all()
    assert min(image.size, SAMPLES / 2) <= sample.size <= 4 * SAMPLES
