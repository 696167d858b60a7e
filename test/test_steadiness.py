"""Still parts of the fused image hold still, and what moves is not late."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mmcfusion_ros.fusion.fuser import ROOM, Fuser, RegisteredPair, Steadiness

SHAPE = 40, 60


def noise(rng, level: int, amplitude: int) -> np.ndarray:
    return (level + rng.integers(-amplitude, amplitude + 1, SHAPE)).astype(np.uint8)


def grey(level: int) -> np.ndarray:
    return np.full(SHAPE, level, np.uint8)


def test_noise_is_held():
    """Sources that change by 1 and a network that makes 7 of it: nothing is left of them."""
    rng, steady = np.random.default_rng(0), Steadiness()
    frames = [steady(grey(90 + i % 2), grey(50 + i % 2), noise(rng, 120, 3)) for i in range(10)]
    assert all((frame == frames[0]).all() for frame in frames)


def test_no_further_than_the_band():
    rng, steady = np.random.default_rng(0), Steadiness()
    for _ in range(10):
        fused = noise(rng, 120, 40)
        assert np.abs(steady(grey(90), grey(50), fused).astype(int) - fused).max() <= ROOM


@pytest.mark.parametrize("moving", ["thermal", "luminance"])
def test_what_moves_is_not_late(moving):
    """A bright square goes a pixel further in each frame: the image is the network's where it was and where it is."""
    steady = Steadiness()
    for x in range(5, 30):
        images = {"thermal": grey(90), "luminance": grey(50)}
        images[moving][10:20, x : x + 8] += 40
        fused = images["thermal"] // 2 + images["luminance"] // 2
        np.testing.assert_array_equal(steady(**images, fused=fused), fused)


def test_slow_light_passes():
    """Half a level a frame, over a minute: never off by more than the band."""
    steady = Steadiness()
    for i in range(200):
        level = 20 + i // 2
        shown = steady(grey(level), grey(level), grey(level))
        assert abs(int(shown[0, 0]) - level) <= ROOM


@pytest.mark.parametrize("end", [0, 255])
def test_at_the_ends_of_the_range(end):
    steady = Steadiness()
    steady(grey(end), grey(end), grey(end))
    assert (steady(grey(end), grey(end), grey(end)) == end).all()
    other = 255 - end
    assert (steady(grey(other), grey(other), grey(other)) == other).all()


def test_another_size_or_a_reset_begins_again():
    steady = Steadiness()
    steady(grey(90), grey(50), grey(120))
    assert steady(*(grey(level)[:20] for level in (90, 50, 124))).max() == 124
    steady(grey(90), grey(50), grey(120))
    steady.reset()
    assert (steady(grey(90), grey(50), grey(124)) == 124).all()


def test_the_fuser_holds_the_frames_of_a_stream():
    """Real weights on a still scene with noise of 1 level: the fused luminance changes less than without."""
    rng, fuser = np.random.default_rng(0), Fuser.from_pretrained("detect", threads=1)
    scene = rng.integers(60, 180, (12, 16)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    pairs = [
        RegisteredPair(*(scene + rng.integers(0, 2, scene.shape, np.uint8) for _ in range(2)), scene) for _ in "1234"
    ]

    def change() -> float:
        fused = [fuser.fuse(pair, {})[0].astype(int) for pair in pairs]
        return float(np.mean([np.abs(b - a).mean() for a, b in pairwise(fused)]))

    without = change()
    fuser.steadiness = Steadiness()
    assert change() < 0.1 * without
