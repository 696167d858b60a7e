"""Darkness, glare, fog, blinded and frozen cameras: made ones, and on real pictures the share that is recognised."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmcfusion_ros.fusion.conditions import rgb_conditions, thermal_conditions
from mmcfusion_ros.simulation.degradations import add_fog, add_glare, darken

DAYLIGHT = np.random.default_rng(0).integers(60, 200, (240, 320, 3), np.uint8)


def test_daylight_is_nothing_special():
    assert rgb_conditions(DAYLIGHT) == rgb_conditions(DAYLIGHT[..., 0]) == set()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (DAYLIGHT // 8, {"dark"}),
        (np.zeros_like(DAYLIGHT), {"dark"}),
        (np.full_like(DAYLIGHT, 255), {"saturated"}),
        (np.full_like(DAYLIGHT, 128), {"fog"}),
        (np.where(np.arange(320)[:, None] < 80, 255, DAYLIGHT).astype(np.uint8), {"glare"}),
        (np.where(np.arange(320)[:, None] < 240, 255, DAYLIGHT).astype(np.uint8), {"saturated"}),
    ],
)
def test_made_conditions(image, expected):
    assert rgb_conditions(image) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_thermal(dtype):
    top = np.iinfo(dtype).max
    scene = np.random.default_rng(0).integers(top // 4, top // 2, (120, 160)).astype(dtype)
    assert thermal_conditions(scene) == set()
    assert thermal_conditions(np.full_like(scene, top // 3)) == {"flat"}
    assert thermal_conditions(np.full_like(scene, top)) == {"flat", "saturated"}
    scene[:40] = top
    assert thermal_conditions(scene) == {"saturated"}


@pytest.mark.parametrize("shape", [(1, 1), (32, 32), (1, 4096), (1080, 1920)])
def test_any_size(shape):
    assert rgb_conditions(np.zeros(shape, np.uint8)) == {"dark"}
    assert thermal_conditions(np.zeros(shape, np.uint16)) == {"flat"}


# Folder, condition of the picture as it is (None: none), least share of pictures as they are, darkened, in fog.
REAL = [("roadscene/test", 0.0, 1.0, 1.0), ("msrs/train", 0.7, 1.0, 1.0), ("llvip/train", 1.0, 1.0, 1.0)]


@pytest.mark.parametrize(("folder", "night", "darkened", "fog"), REAL)
def test_real_pictures(shared_data, folder, night, darkened, fog):
    rng = np.random.default_rng(0)
    pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted((shared_data / folder / "vi").iterdir())]

    def share(name, degrade=lambda image: image):
        spoilt = [(255 * degrade(image.astype(np.float32) / 255)).astype(np.uint8) for image in pictures]
        return np.mean([name in rgb_conditions(image) for image in spoilt])

    assert night <= share("dark") <= night + 0.15
    assert share("fog") == 0
    assert share("dark", lambda image: darken(image, rng)) >= darkened
    assert share("fog", add_fog) >= fog
    if folder.startswith("roadscene"):  # a veil over a night scene seldom clips
        assert share("glare", lambda image: add_glare(image, rng)) >= 0.8


def test_real_thermal_pictures_are_neither_flat_nor_saturated(shared_data):
    for folder in ("roadscene/test/ir", "msrs/test/ir", "radiometric/ir16"):
        for path in sorted((shared_data / folder).iterdir()):
            assert not thermal_conditions(cv2.imread(str(path), cv2.IMREAD_ANYDEPTH)), path
