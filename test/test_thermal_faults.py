"""What thermal cameras do besides images: bad pixels, shutter freezes, telemetry, palettes, hot things."""

from __future__ import annotations

from functools import cache, partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_pairs import as_message, fuse

from mmcfusion_ros.fusion.conditions import FRAMES_BETWEEN_LOOKS, LOOKS_TO_LEARN, BadPixels, CameraWatch
from mmcfusion_ros.fusion.errors import UnusableThermalError
from mmcfusion_ros.fusion.palette import PALETTES, Palette
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.stream.pairing import LoneFrame
from mmcfusion_ros.stream.pipeline import FusionPipeline

BACKGROUND, PERSON, NOISE = 29_000, 30_600, 5.0


@cache
def clean_frame(shape):
    """Counts of a textured background with a person 16 K warmer, blurred as a lens does."""
    rng = np.random.default_rng(7)
    counts = BACKGROUND + 1500 * cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), 8)
    counts[60:180, 100:130] = PERSON
    return cv2.GaussianBlur(counts, (0, 0), 0.8)


def frame(seed, shape=(240, 320)):
    """With a camera's noise."""
    counts = clean_frame(shape)
    return np.rint(counts + np.random.default_rng(seed).normal(0, NOISE, shape)).astype(np.uint16)


def noisy_picture(seed, shape=(61, 80)):
    """8 bits of blobs and noise."""
    rng = np.random.default_rng(seed)
    blobs = cv2.resize(rng.integers(0, 200, (6, 8), np.uint8), shape[::-1])
    return blobs + rng.integers(0, 50, shape, np.uint8)


def with_engine(counts):
    """A large thing 150 K hotter comes into view."""
    counts = counts.copy()
    counts[150:230, 180:310] += 15_000
    return counts


class TestHotThings:
    def contrast(self, scaler, counts):
        grey = scaler(counts).astype(int)
        return grey[80:160, 105:125].mean() - np.median(grey[:60])

    def shown(self, mode, counts, frames=60):
        scaler = ThermalScaler(ThermalOptions(mode=mode))
        for i in range(frames):
            scaler(counts(i))
        return self.contrast(scaler, counts(frames))

    def test_people_keep_their_contrast_beside_something_hot(self):
        linear = self.shown("percentile", lambda i: with_engine(frame(i)))
        equalized = self.shown("equalize", lambda i: with_engine(frame(i)))
        assert linear < 35
        assert equalized > 2.5 * linear

    @pytest.mark.parametrize("mode", ["percentile", "equalize"])
    def test_a_hot_object_that_entered_and_left_is_forgotten(self, mode):
        scaler = ThermalScaler(ThermalOptions(mode=mode))
        for i in range(20):
            scaler(frame(i))
        before = self.contrast(scaler, frame(20))
        for i in range(40):
            hot = scaler(with_engine(frame(i)))
            assert hot[160:220, 190:300].min() > hot[80:160, 105:125].mean()
        for i in range(60):
            scaler(frame(i))
        assert self.contrast(scaler, frame(20)) == pytest.approx(before, abs=8)

    @pytest.mark.parametrize("mode", ["percentile", "equalize"])
    def test_a_static_scene_does_not_flicker(self, mode):
        """The same temperature may change by one grey level from frame to frame, and less on the whole."""
        scaler = ThermalScaler(ThermalOptions(mode=mode, replace_bad_pixels=False))
        shown = [cv2.GaussianBlur(scaler(with_engine(frame(i))), (0, 0), 12).astype(int) for i in range(60)]
        assert np.abs(np.diff(shown[20:], axis=0)).max() <= 1
        assert np.abs(np.diff(np.mean(shown[20:], axis=(1, 2)))).max() < 0.3

    def test_equalize_does_not_raise_the_noise_of_a_flat_scene(self):
        rng = np.random.default_rng(0)
        flat = [np.rint(rng.normal(30_000, NOISE, (240, 320))).astype(np.uint16) for _ in range(10)]
        scaler = ThermalScaler(ThermalOptions(mode="equalize"))
        assert max(scaler(counts).std() for counts in flat) < 18

    @given(st.integers(0, 65_535), st.integers(1, 65_535), st.floats(1, 100))
    @settings(deadline=None, max_examples=50)
    def test_equalize_keeps_the_order(self, first, step, plateau):
        counts = np.minimum(first + step * np.arange(64, dtype=np.uint64) // 8, 65_535).astype(np.uint16).reshape(8, 8)
        scaler = ThermalScaler(ThermalOptions(mode="equalize", plateau=plateau))
        for _ in range(3):
            grey = scaler(counts)
        assert (np.diff(grey.ravel().astype(int)) >= 0).all()

    def test_a_saturated_frame_leaves_the_range_alone(self):
        scaler = ThermalScaler()
        scaler(frame(0))
        before = scaler.range
        saturated = frame(1)
        saturated[:200] = 65_535
        scaler(saturated)
        np.testing.assert_allclose(scaler.range, before, atol=0.1 * np.ptp(before))
        assert scaler(np.full((240, 320), 65_535, np.uint16)).min() == 255


class TestTemperatures:
    @pytest.mark.parametrize(("kelvin_per_count", "kelvin_at_zero"), [(0.01, 0.0), (0.04, 0.0), (0.1, 173.15)], ids=str)
    def test_a_range_in_celsius(self, kelvin_per_count, kelvin_at_zero):
        options = ThermalOptions(
            mode="fixed",
            fixed_low=-5.0,
            fixed_high=46.0,
            kelvin_per_count=kelvin_per_count,
            kelvin_at_zero=kelvin_at_zero,
        )
        celsius = np.linspace(-5, 46, 256)
        counts = np.rint((celsius + 273.15 - kelvin_at_zero) / kelvin_per_count).astype(np.uint16)
        grey = ThermalScaler(options)(np.tile(counts, (4, 1)))[0]
        np.testing.assert_allclose(grey, np.arange(256), atol=0.6 + 0.5 * kelvin_per_count * 5)

    def test_a_range_that_is_no_count_is_refused(self):
        with pytest.raises(ValueError, match=r"fixed range is 0.0 to 65535.0, counts 27315 to 6580815"):
            ThermalOptions(mode="fixed", kelvin_per_count=0.01)


class TestPolarity:
    def test_black_hot_is_turned_over(self):
        grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
        options = ThermalOptions(polarity="black_hot")
        np.testing.assert_array_equal(ThermalScaler(options)(grey), 255 - grey)
        counts = frame(0)
        np.testing.assert_array_equal(ThermalScaler(options)(counts), 255 - ThermalScaler()(counts))


class TestTelemetry:
    def test_rows_above_and_below_are_cut_off(self):
        image = np.arange(48, dtype=np.uint16).reshape(12, 4)
        scaler = ThermalScaler(ThermalOptions(crop_top=2, crop_bottom=1))
        np.testing.assert_array_equal(scaler.upright(image), image[2:11])
        assert ThermalScaler().upright(image).shape == image.shape

    def test_more_rows_than_the_image_has(self):
        with pytest.raises(ValueError, match="thermal image of 3 rows; crop_top 2 and crop_bottom 1 leave nothing"):
            ThermalScaler(ThermalOptions(crop_top=2, crop_bottom=1)).upright(np.zeros((3, 4), np.uint8))


class TestBadPixels:
    def learned(self, frames, repair=None):
        """After each of the frames was looked at."""
        repair = repair or BadPixels()
        for counts in frames:
            for _ in range(FRAMES_BETWEEN_LOOKS):
                repaired = repair(counts)
        return repair, repaired

    def broken(self, seed, places, value):
        counts = frame(seed)
        for place in places:
            counts[place] = value
        return counts

    @pytest.mark.parametrize("value", [0, 15_000, 40_000, 65_535])
    def test_dead_and_stuck_pixels_are_replaced(self, value):
        """Also on edges, in corners and inside of the person."""
        places = [(0, 0), (239, 319), (17, 0), (100, 110), (60, 100), (200, 250)]
        frames = [self.broken(seed, places, value) for seed in range(LOOKS_TO_LEARN)]
        repair, repaired = self.learned(frames)
        assert repair.count == len(places)
        truth = frame(LOOKS_TO_LEARN - 1)
        inner = [place for place in places if place != (60, 100)]
        np.testing.assert_allclose(
            [repaired[place] for place in inner], [truth[place].astype(float) for place in inner], atol=60
        )
        changed = np.argwhere(repaired != frames[-1])
        assert {tuple(place) for place in changed.tolist()} == set(places)

    def test_clusters_of_dead_pixels_are_replaced(self):
        places = [(50, 50), (50, 51), (51, 50), (120, 200), (120, 201)]
        repair, repaired = self.learned([self.broken(seed, places, 0) for seed in range(LOOKS_TO_LEARN)])
        assert repair.count == len(places)
        assert min(repaired[place] for place in places) > 27_000

    def test_a_small_hot_thing_that_a_lens_saw_is_kept(self):
        """A point, blurred as by the sharpest lens, that never moves."""
        frames = []
        for seed in range(3 * LOOKS_TO_LEARN):
            hot = np.zeros((240, 320))
            hot[30, 40] = 60_000
            frames.append(np.rint(np.minimum(frame(seed) + cv2.GaussianBlur(hot, (0, 0), 0.6), 65_535)).astype("u2"))
        repair, repaired = self.learned(frames)
        assert not repair.count
        assert repaired is frames[-1]

    def test_a_pixel_that_recovers_is_used_again(self):
        repair, _ = self.learned([self.broken(seed, [(9, 9)], 0) for seed in range(LOOKS_TO_LEARN)])
        assert repair.count == 1
        repair, _ = self.learned((frame(seed) for seed in range(LOOKS_TO_LEARN)), repair)
        assert not repair.count

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_noise_alone_has_no_bad_pixels(self, dtype):
        rng = np.random.default_rng(0)
        repair, _ = self.learned(rng.integers(0, 256, (20, 60, 80)).astype(dtype))
        assert not repair.count

    def test_a_frame_full_of_zeros_is_not_repaired(self):
        repair, _ = self.learned([np.zeros((60, 80), np.uint16)] * 20)
        assert not repair.count

    def test_another_size_begins_anew(self):
        repair, _ = self.learned([self.broken(seed, [(9, 9)], 0) for seed in range(LOOKS_TO_LEARN)])
        small = frame(0, (200, 256))
        assert repair(small) is small

    def test_the_scaler_replaces_them_before_it_scales(self):
        frames = [self.broken(seed, [(100, 50)], 60_000) for seed in range(LOOKS_TO_LEARN)]
        with_repair, without = ThermalScaler(), ThermalScaler(ThermalOptions(replace_bad_pixels=False))
        for counts in frames * FRAMES_BETWEEN_LOOKS:
            shown = with_repair(counts), without(counts)
        assert shown[1][100, 50] == 255
        assert shown[0][100, 50] < 200


class TestFrozen:
    def test_a_repeated_frame_is_frozen_after_a_while(self):
        frozen, images = CameraWatch(0.15), [frame(seed) for seed in range(3)]
        frozen(images[2], -1 / 30)
        told = [frozen(images[0].copy(), i / 30) for i in range(10)]
        assert told == [False] * 5 + [True] * 5
        assert not frozen(images[1], 10 / 30)
        assert (frozen.frames, frozen.freezes, frozen.is_frozen) == (5, 1, False)
        assert frozen(images[1].copy(), 1.0)
        assert (frozen.freezes, frozen.age_s) == (2, pytest.approx(1.0 - 10 / 30))

    def test_without_noise_nothing_is_frozen(self):
        """One picture for ever; a simulated scene in which a warm thing moves, stands still and moves on."""
        frozen, image = CameraWatch(0.15), frame(0)
        assert not any(frozen(image.copy(), i / 30) for i in range(60))
        assert frozen.repeats
        moving, columns = CameraWatch(0.15), [*range(10), *[10] * 30, *range(10, 20)]
        for i, column in enumerate(columns):
            scene = np.full((120, 160), 29_000, np.uint16)
            scene[30:100, 4 * column : 4 * column + 30] = 31_000
            assert not moving(scene, i / 30)

    def test_one_changed_pixel_is_a_new_frame(self):
        frozen, image = CameraWatch(0.15), frame(0)
        frozen(image, 0.0)
        other = image.copy()
        other[3, 5] += 1
        assert not frozen(other, 1.0)

    def test_a_slow_sensor_behind_a_fast_stream_is_not_frozen(self):
        """9 Hz sent at 30 Hz: each picture three or four times."""
        frozen = CameraWatch(0.15)
        assert not any(frozen(frame(int(i / 30 * 9)), i / 30) for i in range(60))

    def test_a_clock_that_jumps_back_begins_anew(self):
        frozen, image = CameraWatch(0.15), frame(0)
        frozen(frame(1), 99.9)
        frozen(image, 100.0)
        assert not frozen(image, 5.0)
        assert not frozen(image, 5.1)
        assert frozen(image, 5.2)

    def pipeline(self, policy):
        class Fuser:
            fused, denoises, steadiness = 0, False, None
            backend = SimpleNamespace(thermal_polarity="white_hot")

            def fuse(self, pair, moments):
                self.fused += 1
                return pair.thermal, pair.thermal

        scaler = ThermalScaler(ThermalOptions(crop_top=1))
        pipeline = FusionPipeline(Fuser(), scaler, Registration(), CameraWatch(0.15), policy)
        before = noisy_picture(2)
        fuse(pipeline, before, before[1:], -0.1)
        pipeline.fuser.fused = 0
        return pipeline

    def images(self, stamps, pipeline):
        """While row 0, the telemetry, goes on, the image stands still."""
        visible = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
        still = noisy_picture(1)
        for i, stamp_s in enumerate(stamps):
            still = still.copy()
            still[0] = i
            yield pipeline(still, visible, stamp_s), still[1:], visible

    def test_pass_through_gives_the_visible_image(self):
        pipeline = self.pipeline("pass_through")
        results = list(self.images((0.0, 0.1, 0.2), partial(fuse, pipeline)))
        for fused, thermal, _ in results[:2]:
            np.testing.assert_array_equal(fused.image, thermal)
            assert fused.source == "pair"
        frozen, _, visible = results[2]
        np.testing.assert_array_equal(frozen.image, visible)
        assert (frozen.source, frozen.weight.any()) == ("rgb", False)
        assert frozen.thermal_age_s == pytest.approx(0.2)
        assert pipeline.fuser.fused == 2
        assert pipeline.problems() == ["the thermal camera has sent the same frame for 0.2 s"]
        assert pipeline.report()["thermal_frozen_frames"] == "1"
        pipeline.reset()
        assert pipeline.problems() == []

    def test_fuse_goes_on_and_counts(self):
        pipeline = self.pipeline("fuse")
        for fused, thermal, _ in self.images((0.0, 0.1, 0.2), partial(fuse, pipeline)):
            np.testing.assert_array_equal(fused.image, thermal)
        assert pipeline.report()["thermal_frozen_frames"] == "1"
        assert pipeline.problems() == []

    def test_drop_raises(self):
        with pytest.raises(UnusableThermalError, match="has sent the same frame"):
            list(self.images((0.0, 0.1, 0.2), partial(fuse, self.pipeline("drop"))))

    @pytest.mark.parametrize("policy", ["pass_through", "fuse", "drop"])
    def test_alone(self, policy):
        """There is no visible image to give instead of an old one."""
        pipeline = self.pipeline(policy)

        def alone(image, _, stamp_s):
            return pipeline.alone(LoneFrame("thermal", as_message(image), round(stamp_s * 1e9), 0), None)

        results = self.images((0.0, 0.1, 0.2), alone)
        assert all((alone.image == still).all() for alone, still, _ in (next(results), next(results)))
        if policy == "fuse":
            next(results)
        else:
            with pytest.raises(UnusableThermalError, match=r"has sent the same frame for 0\.20 s"):
                next(results)
        assert pipeline.report()["thermal_frozen_frames"] == "1"

    def test_unknown_policy(self):
        with pytest.raises(ValueError, match="frozen_policy is 'wait'; it must be one of pass_through, fuse, drop"):
            self.pipeline("wait")


class TestPalette:
    @pytest.mark.parametrize("name", PALETTES)
    def test_there_and_back(self, name):
        palette = Palette.from_name(name)
        grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
        np.testing.assert_allclose(palette.luminance(palette.apply(grey)), grey.astype(int), atol=4)
        assert palette.distance(palette.apply(grey)) < 4

    @pytest.mark.parametrize(("name", "tolerance"), [("ironbow", 6), ("rainbow", 6)])
    def test_through_a_video(self, name, tolerance):
        """JPEG with its coarser colours, of a natural picture."""
        palette = Palette.from_name(name)
        grey = cv2.GaussianBlur(ThermalScaler(ThermalOptions(mode="equalize"))(frame(0)), (0, 0), 1.5)
        bgr = palette.apply(grey)[..., ::-1]
        decoded = cv2.imdecode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1], cv2.IMREAD_COLOR)
        error = palette.luminance(decoded[..., ::-1]).astype(int) - grey
        assert np.abs(error).mean() < tolerance
        grey_error = cv2.cvtColor(decoded, cv2.COLOR_BGR2GRAY).astype(int) - grey
        assert np.abs(error).mean() < 0.3 * np.abs(grey_error).mean()

    @pytest.mark.parametrize("upright", [False, True])
    def test_a_picture_of_the_colour_bar(self, tmp_path, upright):
        colours = Palette.from_name("rainbow").colours[::-1]
        bar = np.tile(
            colours[:, None, ::-1][::-1] if upright else colours[None, :, ::-1], (1, 9, 1) if upright else (9, 1, 1)
        )
        path = tmp_path / "bar.png"
        assert cv2.imwrite(str(path), bar)
        np.testing.assert_allclose(Palette.from_name(str(path)).colours, colours.astype(int), atol=1)

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [(None, "it must be white_hot, ironbow, rainbow or a picture file"), (b"x", "it must be"), ("tiny", "is 3x2;")],
    )
    def test_a_palette_that_is_none(self, tmp_path, content, complaint):
        path = tmp_path / "bar.png"
        if content == "tiny":
            cv2.imwrite(str(path), np.zeros((2, 3, 3), np.uint8))
        elif content:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=complaint):
            ThermalScaler(ThermalOptions(palette=str(path)))

    def test_the_wrong_palette_is_noticed(self):
        coloured = Palette.from_name("rainbow").apply(ThermalScaler()(frame(0)))
        for name in ("white_hot", "ironbow"):
            scaler = ThermalScaler(ThermalOptions(palette=name))
            scaler(coloured)
            assert f"away from thermal.palette {name}: choose another palette" in scaler.problems()[0]
        scaler = ThermalScaler(ThermalOptions(palette="rainbow"))
        scaler(coloured)
        assert scaler.problems() == []

    def test_a_colour_camera_in_place_of_the_thermal_one_is_noticed(self):
        grey = ThermalScaler()(frame(0))
        natural = np.dstack([grey, grey * 0.9, grey * 0.8 + 20]).astype(np.uint8)
        scaler = ThermalScaler()
        scaler(natural)
        assert "the cameras are exchanged" in scaler.problems()[0]

    def test_a_grey_image_in_colours_needs_no_palette(self):
        grey = ThermalScaler()(frame(0))
        scaler = ThermalScaler()
        np.testing.assert_array_equal(scaler(np.dstack([grey] * 3)), grey)
        assert scaler.problems() == []
