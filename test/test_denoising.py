"""How much noise an image has, and what is left of it, and of the image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from image_pairs import fuse
from test_fuser import Recorder

from mmcfusion_ros.data.pair_folder import find_pairs, read_pair
from mmcfusion_ros.evaluation.metrics import fusion_metrics
from mmcfusion_ros.evaluation.stress import degrade
from mmcfusion_ros.fusion.conditions import WINDOW, denoise, noise_level
from mmcfusion_ros.fusion.fuser import Fuser, split_luminance
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalScaler
from mmcfusion_ros.stream.parameter_files import load_values
from mmcfusion_ros.stream.pipeline import FusionPipeline
from mmcfusion_ros.stream.settings import Settings


def house(height=120, width=160):
    """A bright wall before a dark sky, with bricks as texture."""
    rows, columns = np.mgrid[:height, :width]
    bricks = 12 * ((rows // 6 + columns // 9) % 2)
    return np.where(columns < width // 2, 60, 150 + bricks).astype(np.uint8)


def noisy(image, sigma, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def error(image, truth):
    return float(np.sqrt(np.mean((image.astype(float) - truth) ** 2)))


@pytest.mark.parametrize("sigma", [2, 5, 10, 20])
def test_the_level_is_that_of_the_noise_whatever_the_texture(sigma):
    assert noise_level(noisy(house(), sigma)) == pytest.approx(sigma, rel=0.15)


def test_there_is_no_noise_in_a_clean_image_one_of_one_colour_and_a_tiny_one():
    levels = [noise_level(image) for image in (house(), np.full((64, 64), 9, np.uint8), noisy(house(15, 40), 9))]
    assert levels == [0, 0, 0]


def test_noise_goes_and_edges_stay():
    truth = house()
    image = noisy(truth, 12)
    cleaned = denoise(image)
    assert error(cleaned, truth) < 0.6 * error(image, truth)
    edge = cleaned[:, 78:82].mean(axis=0)  # between columns 79 and 80
    assert edge[2] - edge[1] > 0.8 * (truth[:, 80].mean() - truth[:, 79].mean())


@pytest.mark.parametrize("sigma", [0, 0.5, 2])
def test_an_image_with_little_noise_is_the_same_object(sigma):
    image = noisy(house(), sigma)
    assert denoise(image) is image


def test_it_sets_in_bit_by_bit():
    images = {sigma: noisy(house(), sigma) for sigma in (2, 4, 5, 6, 8)}
    removed = [error(denoise(image), image) / sigma for sigma, image in images.items()]
    assert removed == sorted(removed)
    assert removed[0] == 0 < removed[1] < removed[-1]


def test_a_large_image_is_filtered_without_seams():
    """The same as the local Wiener filter of the image as a whole."""
    image = noisy(cv2.resize(house(), (700, 330)), 20)
    mean, mean_square = (cv2.boxFilter(power, -1, WINDOW) for power in (image.astype(float), image.astype(float) ** 2))
    variance = mean_square - mean**2
    noise = noise_level(image) ** 2
    expected = image + noise / np.maximum(variance, noise) * (mean - image)
    np.testing.assert_allclose(denoise(image), expected, atol=0.51)


def test_black_stays_black():
    image = noisy(house(), 12)
    image[:60] = 0
    assert not denoise(image)[:58].any()


@pytest.mark.parametrize("denoises", [True, False])
def test_the_network_gets_both_images_denoised(denoises):
    thermal, luminance = noisy(house(), 10), noisy(house()[:, ::-1], 10, seed=1)
    expected = [denoise(image) if denoises else image for image in (thermal, luminance)]
    recorder = Recorder()
    fuser = Fuser(recorder, denoises=denoises)
    fuser(thermal, luminance)
    np.testing.assert_array_equal([image[:120] for image in recorder.images], expected)
    fuse(FusionPipeline(fuser, ThermalScaler(), Registration()), thermal, luminance)
    np.testing.assert_array_equal([image[:120] for image in recorder.images], expected)


def test_a_small_thermal_image_is_denoised_before_it_is_enlarged():
    small = noisy(house(), 10)
    recorder = Recorder()
    pipeline = FusionPipeline(Fuser(recorder), ThermalScaler(), Registration())
    fuse(pipeline, small, np.zeros((480, 640), np.uint8))
    truth = cv2.resize(house(), (640, 480))
    assert error(recorder.images[0], truth) < 0.7 * error(cv2.resize(small, (640, 480)), truth)


@pytest.mark.parametrize("value", ["true", "false"])
def test_the_parameter_of_the_node_decides(value):
    settings = Settings(load_values(None, [f"denoise={value}", "warm_up_width=64", "warm_up_height=64"]))
    assert settings.pipeline(settings.network()).fuser.denoises == (value == "true")


class TestRealPairs:
    @pytest.fixture(scope="class")
    def fusers(self):
        return [Fuser.from_pretrained("lite", denoises=denoises) for denoises in (False, True)]

    @pytest.mark.parametrize("stress", ["noise", "dark"])
    @pytest.mark.parametrize("folder", ["roadscene/train", "msrs/train"])
    def test_more_of_the_clean_pair_is_in_what_comes_out(self, fusers, shared_data, folder, stress):
        rows = [[], []]
        for files in find_pairs(shared_data / folder)[:3]:
            thermal, rgb = read_pair(files)
            luminance, _ = split_luminance(rgb)
            spoilt = degrade(stress, thermal, luminance, 0, files.name)
            for row, fuser in zip(rows, fusers, strict=True):
                row.append(fusion_metrics(thermal, luminance, fuser(*spoilt)))
        before, after = ({name: np.mean([m[name] for m in row]) for name in row[0]} for row in rows)
        assert after["VIF"] > before["VIF"]
        assert after["Qabf"] > before["Qabf"]
        assert after["SSIM_cdd"] > before["SSIM_cdd"]

    @pytest.mark.parametrize("folder", ["roadscene/train", "msrs/train", "llvip/train", "pet_mri/train"])
    def test_clean_pairs_stay_as_they_are(self, shared_data, folder):
        for files in find_pairs(shared_data / folder)[::4]:
            thermal, rgb = read_pair(files)
            for image in (thermal, split_luminance(rgb)[0]):
                assert denoise(image) is image, files.name
