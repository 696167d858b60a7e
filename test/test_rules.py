"""Classic rules: the published figures of the same rules on real pairs, and cases that can be worked out by hand."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcfusion_ros.data.images import read_rgb, read_thermal
from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.evaluation.metrics import fusion_metrics
from mmcfusion_ros.evaluation.rules import RULES, guided_filter
from mmcfusion_ros.fusion.fuser import split_luminance

PEERS = {"average": "Average", "max": "Max", "laplacian": "LapPyr", "guided": "GFF"}
COLUMNS = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM", "SSIM_cdd", "CC")


@pytest.fixture(scope="module")
def night_streets(shared_data):
    pairs = find_pairs(shared_data / "msrs/test")
    return [(read_thermal(files.thermal), split_luminance(read_rgb(files.rgb))[0]) for files in pairs]


@pytest.mark.parametrize("rule", RULES)
def test_means_over_real_pairs_are_those_of_the_peers(night_streets, shared_data, rule):
    """To 0.1 %: the peers' borders of the guided filter and of Qabf differ by less."""
    with (shared_data.parent / "design/peers.csv").open(newline="") as file:
        (peer,) = (row for row in csv.DictReader(file) if (row["set"], row["method"]) == ("msrs/test", PEERS[rule]))
    rows = [fusion_metrics(a, b, RULES[rule](a, b)) for a, b in night_streets]
    means = [np.mean([row[name] for row in rows]) for name in COLUMNS]
    np.testing.assert_allclose(means, [float(peer[name]) for name in COLUMNS], rtol=1e-3)


def random_pair(seed, shape=(48, 61)):
    return np.random.default_rng(seed).integers(0, 256, (2, *shape), dtype=np.uint8)


@pytest.mark.parametrize("rule", RULES)
class TestEach:
    @settings(deadline=None, max_examples=20)
    @given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 999))
    def test_any_size_to_bytes_of_that_size_and_sources_untouched(self, rule, height, width, seed):
        thermal, luminance = random_pair(seed, (height, width))
        before = thermal.copy(), luminance.copy()
        fused = RULES[rule](thermal, luminance)
        assert (fused.shape, fused.dtype) == ((height, width), np.uint8)
        np.testing.assert_array_equal((thermal, luminance), before)

    def test_twice_the_same_image_is_that_image(self, rule):
        image = cv2.GaussianBlur(random_pair(0)[0], (0, 0), 2)
        np.testing.assert_array_equal(RULES[rule](image, image), image)

    def test_black_and_black_is_black(self, rule):
        black = np.zeros((64, 64), np.uint8)
        assert not RULES[rule](black, black).any()


def test_max_and_average_by_hand():
    a, b = np.array([[10, 200]], np.uint8), np.array([[30, 255]], np.uint8)
    np.testing.assert_array_equal(RULES["max"](a, b), [[30, 255]])
    np.testing.assert_array_equal(RULES["average"](a, b), [[20, 228]])


def test_laplacian_keeps_the_detail_of_each_on_the_mean_of_both():
    thermal, luminance = np.full((2, 128, 128), 100, np.uint8)
    luminance[:] = 60
    thermal[30:34, 30:34], luminance[90:94, 90:94] = 180, 140
    fused = RULES["laplacian"](thermal, luminance).astype(int)
    assert fused[64, 64] == pytest.approx(80, abs=3)
    for row in (32, 92):
        assert fused[row, row] - fused[64, 64] > 70


def test_guided_takes_each_half_from_the_source_with_detail_there():
    noise = random_pair(3, (128, 256))
    thermal, luminance = np.full((2, 128, 256), 128, np.uint8)
    thermal[:, :128], luminance[:, 128:] = noise[0, :, :128], noise[1, :, 128:]
    fused = RULES["guided"](thermal, luminance).astype(int)
    assert np.abs(fused - thermal)[16:-16, 16:96].mean() < 8
    assert np.abs(fused - luminance)[16:-16, 160:-16].mean() < 8


def test_guided_filter_keeps_the_edges_of_its_guide_and_smooths_the_rest():
    step = np.repeat([[0.0] * 30 + [1.0] * 30], 40, axis=0)
    noisy = step + np.random.default_rng(0).normal(0, 0.1, step.shape)
    smooth = guided_filter(step, noisy, 7, 1e-6)
    assert np.abs(smooth - step).max() < 0.1
    assert np.abs(smooth - step).mean() < 0.02
    assert guided_filter(np.ones_like(step), noisy, 7, 1e-6).std() < 0.5  # nothing to follow: a plain mean
