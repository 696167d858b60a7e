"""What eyes see, measured on images whose right values are known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from appearance import FAR, RADIUS, dimming, disc_centres, sky_area, texture_kept, with_disc

from mmcfusion_ros.data.pair_folder import find_pairs, read_pair
from mmcfusion_ros.evaluation.rules import average, maximum
from mmcfusion_ros.fusion.fuser import split_luminance

HEIGHT, WIDTH = 480, 640
PERSON = np.array([[300, 200, 340, 300]])


@pytest.fixture
def night():
    """A dark scene with one warm person, and RGB with next to nothing."""
    thermal = np.full((HEIGHT, WIDTH), 20, np.uint8)
    thermal[200:300, 300:340] = 150
    return thermal, np.full((HEIGHT, WIDTH), 10, np.uint8)


class TestDisc:
    @pytest.mark.parametrize("rule", [maximum, average])
    def test_changes_nothing_far_away_for_a_rule_of_each_pixel(self, rule, night):
        assert dimming(rule, *night, PERSON) == {"person": 0, "people": 0, "any": 0}

    def test_a_stretch_by_the_mean_of_the_image_dims_people(self, night):
        def lifted(thermal, luminance):
            return np.rint(thermal * (100 / (100 + thermal.mean()))).astype(np.uint8)

        thermal, luminance = night
        found = dimming(lifted, thermal, luminance, PERSON)
        means = [thermal.mean(), with_disc(thermal, (WIDTH // 4, HEIGHT // 4))[0].mean()]
        before, after = (round(150 * 100 / (100 + mean)) for mean in means)
        assert found["person"] == found["people"] == found["any"]
        assert found["person"] == pytest.approx(before - after, abs=2)
        assert before - after > 10

    def test_without_people_any_pixel_counts(self, night):
        found = dimming(lambda thermal, luminance: thermal // 2 + int(thermal.max() > 250), *night, np.empty((0, 4)))
        assert found == {"person": 0, "people": 0, "any": 1}

    def test_is_hot_round_and_soft(self, night):
        disc, outside = with_disc(night[0], (320, 240))
        assert (disc[outside < -2] == 255).all()
        np.testing.assert_array_equal(disc[outside > 2], night[0][outside > 2])
        assert int(disc[240, 320 + RADIUS]) == pytest.approx((20 + 255) / 2, abs=1)
        assert outside[240, 320 + RADIUS + FAR] == FAR

    def test_stands_away_from_people(self):
        people = np.zeros((HEIGHT, WIDTH), bool)
        people[150:300, 560:600] = True
        rows, columns = np.indices(people.shape)
        for x, y in disc_centres(people):
            near = np.hypot(columns - x, rows - y) < RADIUS + FAR
            assert people[near].sum() <= 0.02 * people.sum()


class TestSky:
    @pytest.fixture
    def day(self):
        """A bright sky, colder than the ground below, with a warm balloon; texture on the ground."""
        rng = np.random.default_rng(0)
        luminance = rng.integers(40, 200, (HEIGHT, WIDTH), dtype=np.uint8)
        luminance[:200] = 235
        thermal = np.full((HEIGHT, WIDTH), 120, np.uint8)
        thermal[:200] = 15
        thermal[60:120, 300:400] = 200
        return thermal, luminance

    def test_is_what_is_bright_flat_and_cold(self, day):
        area = sky_area(*day)
        assert area[10:190, 10:290].all()
        assert not area[60:120, 300:400].any()
        assert not area[200:].any()

    def test_a_bright_wall_is_none(self, day):
        thermal, luminance = day
        assert not sky_area(255 - thermal, luminance)[:50].any()
        assert not sky_area(np.flipud(thermal), np.flipud(luminance)).any()

    def test_dark_or_textured_sky_is_none(self, day):
        thermal, luminance = day
        assert not sky_area(thermal, luminance // 2).any()
        luminance[:200] -= (np.indices((200, WIDTH)).sum(0) // 4 % 2 * 40).astype(np.uint8)
        assert not sky_area(thermal, luminance).any()

    @pytest.mark.parametrize(("folder", "name", "bright"), [("tno", "13", 223), ("msrs", "00095D", 255)])
    def test_of_real_pairs(self, shared_data, folder, name, bright):
        (files,) = (files for files in find_pairs(shared_data / folder / "test") if files.name == name)
        thermal, rgb = read_pair(files)
        luminance, _ = split_luminance(rgb)
        area = sky_area(thermal, luminance)
        assert area.mean() > 0.05
        assert luminance[area].mean() == pytest.approx(bright, abs=0.5)
        np.testing.assert_array_equal(maximum(thermal, luminance)[area], luminance[area])


class TestTexture:
    @pytest.fixture
    def ground(self):
        """Paving in RGB under smooth thermal, which is the brighter one in the right half."""
        rng = np.random.default_rng(1)
        luminance = np.clip(60 + cv2.GaussianBlur(rng.normal(0, 25, (HEIGHT, WIDTH)), (0, 0), 1), 0, 255).astype(
            np.uint8
        )
        thermal = np.full((HEIGHT, WIDTH), 20, np.uint8)
        thermal[:, WIDTH // 2 :] = 140
        return thermal, luminance

    def test_share_that_the_rules_keep(self, ground):
        luminance = ground[1]
        assert texture_kept(*ground, luminance) == pytest.approx((1, 1))
        assert texture_kept(*ground, average(*ground)) == pytest.approx((0.5, 0.5), abs=0.02)
        assert texture_kept(*ground, maximum(*ground)) == pytest.approx((0.5, 0), abs=0.03)
        assert texture_kept(*ground, 255 - luminance) == pytest.approx((-1, -1))

    def test_where_thermal_has_texture_it_is_not_asked_for(self, ground):
        thermal, luminance = ground
        assert np.isnan(texture_kept(luminance, luminance, luminance)).all()
        thermal[:, WIDTH // 2 :] = 0
        assert np.isnan(texture_kept(thermal, luminance, luminance)[1])


def test_the_table_of_the_maximum_rule(shared_data):
    """It dims nothing, leaves skies and black alone, and hides texture under what is warm."""
    script = Path(__file__).parents[1] / "scripts" / "seen.py"
    command = [sys.executable, str(script), str(shared_data), "--model", "max"]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": "."},
        cwd=script.parents[1],
    )
    (row,) = (line for line in run.stdout.splitlines() if line.startswith("| max "))
    _, *values = row.strip("| ").split(" | ")
    assert [float(value) for value in values] == pytest.approx(
        [0, 0, 0, 0, 0, 222.9, 255, 254.9, 0.62, 0.21, 0], abs=0.06
    )
