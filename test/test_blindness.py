"""Thermal images that show nothing: recognised in what the network would get, and RGB in their place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from image_pairs import fuse

from mmcfusion_ros.data.images import read_thermal
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.conditions import Blindness
from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.stream.pipeline import FusionPipeline

HEIGHT, WIDTH = 480, 640
LEFT = np.s_[:, : WIDTH // 2]
REAL = (
    "msrs/*/ir",
    "llvip/train/ir",
    "roadscene/*/ir",
    "tno/test/ir",
    "video/*/ir",
    "radiometric/ir16",
    "unregistered/*/ir",
    "detection/*/ir",
    "misaligned/*/ir*",
)


def noise(deviation, level=0.0, shape=(HEIGHT, WIDTH), seed=0):
    return level + np.random.default_rng(seed).normal(0, deviation, shape)


def picture():
    """8 bits: a textured background with two people."""
    grey = 90 + 500 * cv2.GaussianBlur(noise(1.0), (0, 0), 9)
    for column in (200, 480):
        grey[180:330, column : column + 40] = 215
    return np.clip(cv2.GaussianBlur(grey, (0, 0), 1) + noise(2, seed=1), 0, 250).astype(np.uint8)


def with_white(part):
    image = picture()
    image[part] = 255
    return image


def with_disc(radius):
    return cv2.circle(picture(), (320, 120), radius, 255, -1)


def as_8_bits(values):
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("level", [0, 1, 100, 254, 255])
def test_a_flat_image(level):
    blindness = Blindness()
    assert blindness(np.full((HEIGHT, WIDTH), level, np.uint8))
    assert blindness.reason == ("saturated or dead" if level >= 252 else "flat")
    assert blindness.problems() == [f"the thermal image shows nothing ({blindness.reason}): RGB goes out in its place"]


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (512, 640), (120, 160), (60, 80), (48, 64), (1024, 1280)])
@pytest.mark.parametrize("deviation", [2, 13, 50])
def test_noise_alone(deviation, shape):
    """Of a warm shutter: 13 where its noise of 5 counts is spread over 255 levels per 100 counts."""
    assert Blindness()(as_8_bits(noise(deviation, 128, shape)))


def test_what_lens_housing_and_columns_add_to_noise():
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    stripes = noise(20, shape=(1, WIDTH), seed=3)
    for slow in (60 * columns, 50 * (rows**2 + columns**2), 30 * rows * columns, stripes):
        assert Blindness()(as_8_bits(noise(10, 120) + slow))
    assert not Blindness()(as_8_bits(noise(10, 120) + 110 * columns))


@pytest.mark.parametrize("name", ["one small person", "a person far away", "hills of 4 K"])
def test_a_cold_clear_night_is_seen(name):
    """With the noise of 5 counts that a range of 100 counts brings out."""
    counts = noise(5, 27_000)
    if name == "one small person":
        counts[200:240, 300:316] += 900
    elif name == "a person far away":
        counts[200:212, 300:305] += 900
    else:
        counts[300:] += 400 * np.abs(np.sin(np.arange(WIDTH) / 40))
    assert not Blindness()(ThermalScaler()(counts.astype(np.uint16)))


@pytest.mark.parametrize(
    "image",
    [
        picture(),
        with_white(np.s_[180:330, 200:520]),  # a group of people
        with_white(np.s_[200:400, 250:560]),  # an engine before the camera: a fifth of the image
        with_disc(100),  # the sun
    ],
    ids=["people", "a group", "an engine", "the sun"],
)
def test_hot_things_stay(image):
    blindness = Blindness()
    assert not blindness(image)
    assert blindness.weight is None
    assert blindness.problems() == []


@pytest.mark.parametrize(
    "part",
    [LEFT, np.s_[:160], np.s_[300:], np.s_[:, 500:], np.s_[:40], np.s_[100:400, 100:500]],
    ids=["half", "upper third", "lower third", "right fifth", "upper rows", "most of the middle"],
)
def test_a_saturated_part_is_left_out_with_a_soft_seam(part):
    blindness, image = Blindness(), with_white(part)
    assert not blindness(image)
    weight = blindness.weight
    assert (weight[part] == 0).all()
    assert 0.3 < (weight == 255).mean() < 1 - (image == 255).mean()
    assert np.abs(np.diff(weight.astype(int), axis=0)).max() <= 12
    assert np.abs(np.diff(weight.astype(int), axis=1)).max() <= 12
    assert blindness.problems()[0].endswith("% of the thermal image are saturated or dead: RGB goes out there")
    assert (blindness.frames, blindness.parts) == (0, 1)
    assert not blindness(picture())
    assert blindness.weight is None


def test_half_of_it_saturated_and_the_rest_noise_is_blind():
    image = as_8_bits(noise(10, 120))
    image[LEFT] = 255
    blindness = Blindness()
    assert blindness(image)
    assert blindness.reason == "saturated or dead"


def test_at_the_threshold_it_does_not_flutter():
    """Contrast that is enough at first is not enough to end blindness."""
    faint = np.full((HEIGHT, WIDTH), 100, np.uint8)
    faint[200:300, 200:300] = 118
    blindness = Blindness()
    assert not blindness(faint)
    assert blindness(np.full((HEIGHT, WIDTH), 100, np.uint8))
    assert blindness(faint)
    assert not blindness(picture())
    assert not blindness(faint)
    assert blindness.frames == 2


def test_no_real_image_is_blind(shared_data):
    """As it is, and of the size of a small camera; none is changed in part either."""
    seen = 0
    for pattern in REAL:
        for path in sorted(path for folder in shared_data.glob(pattern) for path in folder.iterdir()):
            image = read_thermal(path)
            for sent in (image, cv2.resize(image, (160, 120), interpolation=cv2.INTER_AREA)):
                blindness = Blindness()
                assert not blindness(ThermalScaler()(sent)), (path, sent.shape, blindness.reason)
                assert blindness.weight is None, (path, sent.shape, blindness.hidden)
                seen += 1
    assert seen > 1000


@pytest.fixture(scope="module", params=["lite", "detect"])
def fuser(request):
    return Fuser.from_pretrained(request.param, threads=1)


class TestPipeline:
    """With the shipped weights."""

    @pytest.fixture
    def rgb(self):
        """Without the cast of lamps, which ``detect`` takes out."""
        grey = 100 + 300 * cv2.GaussianBlur(noise(1.0, seed=5), (0, 0), 6)
        stripes = 20 * np.sin(np.arange(WIDTH) / 20)
        return as_8_bits(np.dstack([grey + stripes, grey, grey - stripes]))

    @staticmethod
    def fuse(pipeline, thermal, rgb):
        return fuse(pipeline, thermal, rgb).image

    @pytest.mark.parametrize(
        "image",
        [
            np.full((HEIGHT, WIDTH), 255, np.uint8),
            np.full((HEIGHT, WIDTH), 0, np.uint8),
            np.full((HEIGHT, WIDTH), 65_535, np.uint16),
            noise(5, 23_500).astype(np.uint16),
            as_8_bits(noise(1, 128)),
        ],
        ids=["white", "black", "saturated", "shutter", "shutter of 8 bits"],
    )
    def test_rgb_goes_out_until_the_first_good_frame(self, fuser, rgb, image):
        pipeline = FusionPipeline(fuser, ThermalScaler(), Registration())
        good = self.fuse(pipeline, picture(), rgb)
        for _ in range(3):
            result = fuse(pipeline, image, rgb)
            np.testing.assert_array_equal(result.image, rgb)
            assert (result.source, result.blind, result.weight.any()) == ("rgb", True, False)
            assert "RGB goes out in its place" in pipeline.problems()[0]
        np.testing.assert_array_equal(self.fuse(pipeline, picture(), rgb), good)
        assert pipeline.problems() == []
        assert pipeline.report()["thermal_blind_frames"] == "3"

    def test_a_saturated_half_shows_rgb(self, fuser, rgb):
        """The other one what it shows without."""
        beside = Calibration(homography=np.array([[1.0, 0, 20], [0, 1, 6], [0, 0, 1]]))
        pipeline = FusionPipeline(fuser, ThermalScaler(), Registration(beside))
        good, half = (self.fuse(pipeline, image, rgb).astype(int) for image in (picture(), with_white(LEFT)))
        np.testing.assert_array_equal(half[:, : WIDTH // 2 + 20], rgb[:, : WIDTH // 2 + 20])
        assert np.abs(half - good)[:, WIDTH // 2 + 100 :].mean() < 3
        assert np.abs(half - rgb)[:, WIDTH // 2 + 100 :].mean() > 10
        assert pipeline.report()["thermal_partly_blind_frames"] == "1"

    @pytest.mark.parametrize("dtype", [np.uint16, np.float32])
    def test_a_dead_half_shows_rgb(self, fuser, rgb, dtype):
        """Of zeros, or of NaN: as cold as can be for the network."""
        values = (28_000 + 20.0 * picture()).astype(dtype) / dtype(1 if dtype == np.uint16 else 100)
        values = values.astype(dtype)
        values[LEFT] = 0 if dtype == np.uint16 else np.nan
        pipeline = FusionPipeline(fuser, ThermalScaler(), Registration())
        half = self.fuse(pipeline, values, rgb).astype(int)
        np.testing.assert_array_equal(half[:, : WIDTH // 2 - 8], rgb[:, : WIDTH // 2 - 8])
        assert np.abs(half - rgb)[:, WIDTH // 2 + 100 :].mean() > 10

    @pytest.mark.parametrize("mode", ["auto", "equalize"])
    def test_no_white_out_after_a_jump(self, fuser, rgb, mode):
        """Gain switch, TLinear 0.1 K to 0.01 K, warm shutter: the very next frame is what it is without."""
        share = picture() / 255.0
        low, high = (np.rint(first + span * share).astype("u2") for first, span in ((6833, 333), (21_000, 1200)))
        coarse, fine = (np.rint((285 + 28 * share) / kelvin).astype("u2") for kelvin in (0.1, 0.01))
        shutter = [noise(5, 23_500, seed=seed).astype("u2") for seed in range(9)]
        for before, after in ((low, high), (high, low), (coarse, fine), (fine, coarse)):
            alone = FusionPipeline(fuser, ThermalScaler(ThermalOptions(mode=mode)), Registration())
            pipeline = FusionPipeline(fuser, ThermalScaler(ThermalOptions(mode=mode)), Registration())
            expected = self.fuse(alone, after, rgb)
            self.fuse(pipeline, before, rgb)
            np.testing.assert_array_equal(self.fuse(pipeline, after, rgb), expected)
            for image in shutter:
                np.testing.assert_array_equal(self.fuse(pipeline, image, rgb), rgb)
            np.testing.assert_array_equal(self.fuse(pipeline, after, rgb), expected)
