"""Fusion metrics: published check values on real pairs, and cases that can be worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmcfusion_ros.data.images import read_rgb, read_thermal
from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.evaluation.metrics import (
    average_gradient,
    correlation,
    edges_kept,
    entropy,
    fusion_metrics,
    mutual_information,
    spatial_frequency,
    visual_information_fidelity,
)
from mmcfusion_ros.fusion.fuser import split_luminance

NAMES = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM")
SUMS = ("EN", "SD", "SF", "AG", "MI", "SCD", "CC", "VIF", "Qabf", "SSIM", "SSIM_cdd")


def brighter(a, b):
    return np.maximum(a, b)


def thermal_alone(a, b):
    return a


@pytest.mark.parametrize(
    ("folder", "rule", "expected"),
    [
        ("roadscene/test", brighter, (6.9999, 43.6435, 11.6727, 4.1397, 5.1186, 1.4229, 0.8641, 0.6138, 1.3790)),
        ("roadscene/test", thermal_alone, (7.4222, 51.1835, 12.2064, 4.7253, 5.8053, 0.8007, 1.0534, 0.6668, 1.3682)),
        ("msrs/test", brighter, (6.4422, 44.3453, 11.2421, 3.5149, 4.4359, 1.6776, 1.0424, 0.7095, 1.4045)),
        ("pet_mri/test", brighter, (4.6970, 88.3611, 33.3828, 10.2206, 3.5923, 1.3884, 0.8691, 0.7458, 1.3983)),
    ],
)
def test_means_over_real_pairs_are_the_check_values(shared_data, folder, rule, expected):
    rows = []
    for files in find_pairs(shared_data / folder):
        a, (b, _) = read_thermal(files.thermal), split_luminance(read_rgb(files.rgb))
        metrics = fusion_metrics(a, b, rule(a, b))
        rows.append([metrics[name] for name in NAMES])
    np.testing.assert_allclose(np.mean(rows, axis=0), expected, atol=1e-3)


def texture(seed=0, shape=(64, 80)):
    image = np.random.default_rng(seed).normal(128, 60, shape)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.5) * 3 - 256, 0, 255).astype(np.uint8)


class TestByHand:
    @pytest.mark.parametrize("levels", [1, 2, 16, 256])
    def test_entropy_of_equally_many_pixels_of_n_levels_is_log2_n(self, levels):
        image = np.repeat(np.arange(levels, dtype=np.uint8), 512).reshape(-1, 64)
        assert entropy(image) == pytest.approx(np.log2(levels))

    def test_entropy_of_a_quarter_and_three_quarters(self):
        image = np.array([[9, 200], [200, 200]], np.uint8)
        assert entropy(image) == pytest.approx(0.25 * 2 + 0.75 * np.log2(4 / 3))

    def test_ramp_has_the_frequency_and_gradient_of_its_slopes(self):
        rows, columns = np.mgrid[:50.0, :60.0]
        ramp = 3 * columns + 4 * rows
        assert spatial_frequency(ramp) == pytest.approx(5)
        assert average_gradient(ramp) == pytest.approx(5 / np.sqrt(2))

    def test_mutual_information_with_itself_is_the_entropy_in_nats(self):
        image = texture()
        assert mutual_information(image, image) == pytest.approx(entropy(image) * np.log(2))
        assert mutual_information(image, 255 - image) == pytest.approx(entropy(image) * np.log(2))

    def test_independent_images_share_no_information(self):
        rows, columns = np.mgrid[:64, :64].astype(np.uint8)
        assert mutual_information(rows, columns) == pytest.approx(0, abs=1e-12)

    def test_correlation(self):
        x = texture().astype(float)
        assert correlation(x, 0.3 * x + 7) == pytest.approx(1)
        assert correlation(x, -x) == pytest.approx(-1)
        assert correlation(x, np.full_like(x, 3)) == 0
        y = texture(1).astype(float)
        assert correlation(x, y) == pytest.approx(np.corrcoef(x.ravel(), y.ravel())[0, 1])

    def test_information_fidelity_grows_with_contrast_and_falls_with_blur(self):
        image = texture().astype(float)
        assert visual_information_fidelity(image, image) == pytest.approx(1)
        assert visual_information_fidelity(image, 1.5 * image) > 1.01
        assert visual_information_fidelity(image, cv2.GaussianBlur(image, (0, 0), 2)) < 0.5
        assert visual_information_fidelity(image, np.zeros_like(image)) == pytest.approx(0, abs=1e-6)

    def test_edges_kept_whole_give_the_largest_value_and_lost_ones_nearly_none(self):
        image = texture().astype(float)
        whole = 0.9994 / (1 + np.exp(-15 * 0.5)) * 0.9879 / (1 + np.exp(-22 * 0.2))
        kept, present = edges_kept(image, image)
        assert kept / present == pytest.approx(whole)
        kept, present = edges_kept(image, np.zeros_like(image))
        assert kept / present < 0.01


class TestAllTogether:
    def test_three_identical_images(self):
        image = texture()
        metrics = fusion_metrics(image, image, image)
        assert list(metrics) == [*SUMS, "VIF_min", "SSIM_min", "Qabf_min"]
        assert metrics["SD"] == pytest.approx(image.std())
        assert metrics["MI"] == pytest.approx(2 * metrics["EN"] * np.log(2))
        assert metrics["SCD"] == 0
        assert metrics["CC"] == pytest.approx(1)
        assert metrics["VIF"] == pytest.approx(2)
        assert metrics["SSIM"] == pytest.approx(2)
        assert metrics["SSIM_cdd"] == pytest.approx(2)
        assert (metrics["VIF_min"], metrics["SSIM_min"]) == pytest.approx((1, 1))
        assert metrics["Qabf_min"] == pytest.approx(metrics["Qabf"])

    def test_the_smaller_value_is_that_of_the_source_that_was_left_out(self):
        a, b = texture(9), texture(10)
        metrics, of_each = fusion_metrics(a, b, a), [fusion_metrics(x, x, a) for x in (a, b)]
        for name in ("VIF", "SSIM"):
            assert metrics[name] == pytest.approx(sum(each[name] for each in of_each) / 2)
            assert metrics[f"{name}_min"] == pytest.approx(of_each[1][name] / 2)
        assert metrics["Qabf_min"] == pytest.approx(of_each[1]["Qabf"])
        assert metrics["Qabf_min"] < metrics["Qabf"] < of_each[0]["Qabf"]

    def test_qabf_weighs_both_sources_by_the_strength_of_their_edges(self):
        a, b, f = texture(11), texture(12) // 4, texture(11)
        kept = np.array([edges_kept(x.astype(float), f.astype(float)) for x in (a, b)])
        assert fusion_metrics(a, b, f)["Qabf"] == pytest.approx(kept[:, 0].sum() / kept[:, 1].sum())

    @pytest.mark.parametrize("level", [0, 77, 255])
    def test_constant_images_have_finite_metrics(self, level):
        flat = np.full((64, 64), level, np.uint8)
        for images in ((flat, flat, flat), (texture(0, (64, 64)), flat, flat), (flat, texture(0, (64, 64)), flat)):
            metrics = fusion_metrics(*images)
            assert all(np.isfinite(list(metrics.values()))), metrics
            assert metrics["EN"] == metrics["SD"] == metrics["SF"] == metrics["AG"] == 0
            assert metrics["MI"] == pytest.approx(0)

    def test_a_sum_of_two_sources_has_all_their_differences(self):
        a, b = texture(4) // 2, texture(5) // 2
        metrics = fusion_metrics(a, b, a + b)
        assert metrics["SCD"] == pytest.approx(2)

    def test_sources_may_be_exchanged(self):
        a, b, f = texture(6), texture(7), texture(8)
        assert fusion_metrics(a, b, f) == pytest.approx(fusion_metrics(b, a, f))

    def test_images_stay_as_they_were(self):
        images = [texture(seed) for seed in range(3)]
        before = [image.copy() for image in images]
        fusion_metrics(*images)
        assert all(map(np.array_equal, images, before))


class TestWrongImages:
    @pytest.mark.parametrize("position", range(3))
    @pytest.mark.parametrize(
        "wrong",
        [
            np.zeros((64, 81), np.uint8),
            np.zeros((64, 80, 3), np.uint8),
            np.zeros((64, 80, 1), np.uint8),
            np.zeros((64, 80)),
            np.zeros((64, 80), np.uint16),
            np.zeros((64, 80), bool),
        ],
        ids=lambda image: f"{image.dtype}{image.shape}",
    )
    def test_shape_or_type_that_differs(self, position, wrong):
        images = [texture()] * 3
        images[position] = wrong
        with pytest.raises(ValueError, match="three uint8 grey images of one shape"):
            fusion_metrics(*images)

    @pytest.mark.parametrize("shape", [(0, 0), (40, 64), (64, 40), (7, 7)])
    def test_images_without_all_four_scales_of_vif(self, shape):
        image = np.zeros(shape, np.uint8)
        with pytest.raises(ValueError, match="at least 41"):
            fusion_metrics(image, image, image)

    def test_smallest_image_with_all_four_scales(self):
        image = texture(0, (41, 41))
        assert fusion_metrics(image, image, image)["VIF"] == pytest.approx(2)
