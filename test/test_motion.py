"""Thermal frames that are used again go along with the turning camera."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmcfusion_ros.data.images import read_rgb, read_thermal
from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.fusion.motion import CameraMotion

CLIPS = Path(__file__).resolve().parents[2] / "shared/data/video"
WIDE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (300, 500)).astype(np.uint8), (0, 0), 3)
WIDE = cv2.normalize(WIDE, None, 0, 255, cv2.NORM_MINMAX)


def view(right: int = 0, down: int = 0) -> np.ndarray:
    """240 x 320 of it: what was at (x, y) is at (x + right, y + down)."""
    return WIDE[30 - down : 270 - down, 90 - right : 410 - right]


@pytest.mark.parametrize(("right", "down"), [(3, 0), (-8, 2), (25, -12), (-60, 20)])
def test_the_thermal_image_moves_as_the_rgb_image_does(right, down):
    motion, thermal = CameraMotion(), view()
    assert motion(thermal, None, view(), 1) == (pytest.approx(thermal), None)
    moved, weight = motion(thermal, None, view(right, down), 1)
    inside = np.s_[25:-25, 65:-65]
    left, before = (np.abs(image.astype(int) - view(right, down))[inside].mean() for image in (moved, thermal))
    assert left < 0.25 * before
    assert (weight[inside] == 255).all()
    column = weight[120]
    assert (column[: right - 1] == 0).all() if right > 0 else (column[right + 1 :] == 0).all()


def test_a_new_thermal_frame_is_where_it_is():
    motion = CameraMotion()
    motion.shift(view(), 1)
    assert motion.shift(view(10), 1) == (pytest.approx(10, abs=0.7), pytest.approx(0, abs=0.7))
    assert motion.shift(view(20), 2) == (0, 0)
    assert motion.shift(view(24), 2) == (pytest.approx(4, abs=0.7), pytest.approx(0, abs=0.7))


def test_the_weight_goes_along():
    motion, weight = CameraMotion(), np.full((240, 320), 255, np.uint8)
    weight[:, 100:] = 0
    motion(view(), weight, view(), 1)
    _, moved = motion(view(), weight, view(20), 1)
    assert (moved[120, 25:115] == 255).all()
    assert (moved[120, 125:] == 0).all()
    assert (moved[120, :18] == 0).all()


def still(rng):
    return (view() // 2 + rng.integers(0, 12, (240, 320))).astype(np.uint8)


def other_scene(rng):
    return np.flipud(view())


def walker(rng):
    picture = view().copy()
    picture[80:160, 140:180] = 30
    return picture


@pytest.mark.parametrize("change", [still, other_scene, walker])
def test_what_is_no_turn_of_the_camera_moves_nothing(change):
    rng, motion = np.random.default_rng(1), CameraMotion()
    motion.shift(still(rng) if change is still else view(), 1)
    assert motion.shift(change(rng), 1) == (0, 0)


@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"{CLIPS} is absent")
@pytest.mark.parametrize("clip", ["140746", "140815"])
def test_of_a_flying_camera_half_of_the_error_is_left(clip):
    """Thermal at 7.5 Hz beside RGB at 30 Hz: the held frame against the one that should have been there."""
    motion, held, moved = CameraMotion(), [], []
    for i, files in enumerate(find_pairs(CLIPS / clip)[:60]):
        thermal, rgb = read_thermal(files.thermal), read_rgb(files.rgb)
        if i % 4 == 0:
            used = thermal
        there, _ = motion(used, None, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), i // 4)
        inside = np.s_[24:-24, 24:-24]
        held.append(np.abs(used[inside].astype(int) - thermal[inside]).mean())
        moved.append(np.abs(there[inside].astype(int) - thermal[inside]).mean())
    assert np.mean(moved) < 0.6 * np.mean(held)
