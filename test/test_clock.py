"""The clock offset of two cameras from the motion that both see."""

from __future__ import annotations

import numpy as np
import pytest

from mmcfusion_ros.calibration.clock import clock_offset, motion_energy
from mmcfusion_ros.calibration.recording import FolderRecording

RATE_HZ = 30.0


def film(stamps, inverted=False, seed=3):
    """A bright disc that moves irregularly over a textured ground."""
    rng = np.random.default_rng(seed)
    phases, speeds = rng.uniform(0, 6, (2, 3)), rng.uniform(1, 9, (2, 3))
    rows, columns = np.mgrid[:60, :80]
    for stamp in stamps:
        x, y = ((0.5 + 0.13 * np.sin(speeds * stamp + phases).sum(axis=1)) * (80, 60)).tolist()
        disc = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 75)
        image = 60 + 120 * disc + 10 * np.sin(columns / 2.5) + rng.normal(0, 1, disc.shape)
        yield stamp, (255 - image if inverted else image).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("offset_s", [0.0, 0.0123, -0.2, 0.4])
def test_offset_of_two_free_running_cameras(offset_s):
    thermal_times, rgb_times = np.arange(0.017, 8, 1 / 25), np.arange(0, 8, 1 / RATE_HZ)
    thermal = motion_energy((stamp - offset_s, image) for stamp, image in film(thermal_times, inverted=True))
    found = clock_offset(thermal, motion_energy(film(rgb_times)))
    assert not found.problem
    assert found.offset_s == pytest.approx(offset_s, abs=0.01)
    assert found.deviation_s < 0.02


def test_repeated_frames_are_left_out():
    frames = list(film(np.arange(0, 4, 1 / RATE_HZ)))
    frozen = [*frames[:50], *((stamp, frames[49][1]) for stamp, _ in frames[50:60]), *frames[60:]]
    motion = motion_energy(frozen)
    assert len(motion.times) == len(frames) - 1 - 10
    assert np.isfinite(motion.energy).all()


def test_what_cannot_be_known_is_said():
    times = np.arange(0, 6, 1 / RATE_HZ)
    rgb = motion_energy(film(times))
    assert "agree by" in clock_offset(motion_energy(film(times, seed=8)), rgb).problem
    with pytest.raises(ValueError, match="record longer"):
        clock_offset(motion_energy(film(times[:40])), rgb)
    with pytest.raises(ValueError, match="1 different frames"):
        motion_energy((stamp, np.zeros((60, 80), np.uint8)) for stamp in times)


@pytest.mark.parametrize("clip", ["140746", "140815"])
@pytest.mark.parametrize("offset_s", [0.0, 0.037, -0.1, 0.3])
def test_clips_with_shifted_stamps(shared_data, clip, offset_s):
    thermal, rgb = FolderRecording(shared_data / "video" / clip, rate_hz=RATE_HZ).streams()
    shifted = motion_energy((stamp - offset_s, image) for stamp, image in thermal)
    assert clock_offset(shifted, motion_energy(rgb), 0.5).offset_s == pytest.approx(offset_s, abs=0.01)
