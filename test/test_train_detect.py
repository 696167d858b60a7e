"""The script that trains weights for detectors: labels that two detectors agree on, crops, targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("pycocotools", reason="pycocotools is not installed")

from torch_detector import NO_LABEL
from train_detect import Crops, Sample, agreed, target

from mmcfusion_ros.evaluation.detection.found import Found
from mmcfusion_ros.evaluation.detection.labels import IGNORE, Labels
from mmcfusion_ros.training.config import TrainingConfig


def found(*boxes):
    corners, kinds, scores = zip(*boxes, strict=True)
    return Found(np.array(corners, float), np.array(kinds), np.array(scores))


def test_boxes_that_two_detectors_share_are_labels():
    person, near, car, other = [10, 10, 30, 60], [11, 10, 31, 60], [100, 40, 160, 80], [200, 40, 260, 80]
    one = found((person, 0, 0.8), (car, 1, 0.9), (other, 1, 0.2))
    two = found((near, 0, 0.5), (car, 0, 0.9), (other, 1, 0.9))
    labels = agreed(one, two)
    np.testing.assert_array_equal(labels.corners, [person, car, other])
    np.testing.assert_array_equal(labels.kinds, [0, IGNORE, IGNORE])


@pytest.fixture
def sample():
    """A white disc of 60 pixels on black in both images, and its box."""
    rows, columns = np.mgrid[:400, :500]
    disc = (255 * ((rows - 200) ** 2 + (columns - 250) ** 2 < 900)).astype(np.uint8)
    return Sample(disc, np.dstack([disc] * 3), Labels(np.array([[220.0, 170, 280, 230]]), np.array([0])))


def test_boxes_follow_the_crop(sample):
    crops = Crops([[sample]], TrainingConfig(batch=2, crop=256))
    for step in range(8):
        thermal_in, visible_in, thermal, visible, rgb, corners, kinds, night = crops[step]
        assert all(images.shape == (3, 1, 256, 256) for images in (thermal_in, visible_in, thermal, visible))
        assert rgb.shape == (2, 3, 256, 256)
        assert night.flatten().tolist() == [1, 1]
        for image, (corner, *_), (kind, *others) in zip(thermal, corners, kinds.tolist(), strict=False):
            assert set(others) == {NO_LABEL}
            if kind == 0:
                ys, xs = torch.nonzero(image[0] < 0.5, as_tuple=True)  # black hot
                seen = torch.stack((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)).float()
                torch.testing.assert_close(seen, corner, atol=3, rtol=0)


def test_target_is_half_of_both_by_day_and_mostly_thermal_by_night():
    rows = torch.arange(128.0).reshape(1, 1, 128, 1).expand(1, 1, 128, 128)
    thermal, visible = 0.2 + 0.1 * (rows % 2), 0.4 + 0.1 * (rows % 2)
    for night, share in ((0.0, 0.5), (1.0, 0.85)):
        wanted, sky = target(thermal, visible, torch.full((1, 1, 1, 1), night))
        assert not sky.any()
        torch.testing.assert_close(wanted, share * thermal + (1 - share) * visible)


def test_a_lamp_in_the_dark_is_thermal_and_a_plain_bright_sky_is_rgb():
    thermal, visible = torch.full((1, 1, 128, 128), 0.4), torch.full((1, 1, 128, 128), 0.1)
    visible[..., 60:68, 60:68] = 1.0
    wanted, _ = target(thermal, visible, torch.ones(1, 1, 1, 1))
    assert wanted[0, 0, 64, 64].item() == pytest.approx(0.95 * 0.4 + 0.05 * 1.0, abs=0.01)
    cold_sky, bright = torch.full((1, 1, 128, 128), 0.8), torch.full((1, 1, 128, 128), 0.95)  # black hot
    wanted, sky = target(cold_sky, bright, torch.zeros(1, 1, 1, 1))
    assert sky.min() == 1
    torch.testing.assert_close(wanted, bright)
