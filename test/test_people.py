"""The people test: check values on real pairs, and counts and contrasts that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmcfusion_ros.data.pair_folder import find_pairs, read_thermal
from mmcfusion_ros.evaluation.people import PeopleTest, contrast_to_noise, count_hits, find_people, read_labels

NOBODY = np.empty((0, 4))


def boxes(*rows):
    return np.array(rows, float)


def test_thermal_images_of_llvip_give_the_check_values(shared_data):
    folder, test = shared_data / "llvip/train", PeopleTest()
    for files in find_pairs(folder):
        image = read_thermal(files.thermal)
        test.add(image, read_labels(folder / "labels" / f"{files.name}.txt", image.shape[1], image.shape[0]))
    result = test.result()
    assert (result["labelled"], result["true"], result["false"]) == (129, 70, 23)
    assert result["F1"] == pytest.approx(0.631, abs=5e-4)
    assert result["contrast"] == pytest.approx(4.35, abs=0.01)


class TestHits:
    def test_a_box_on_its_label_is_true(self):
        assert count_hits(boxes((0, 0, 10, 20)), boxes((1, 1, 10, 20))) == (1, 0)

    def test_overlap_must_exceed_four_tenths(self):
        label = boxes((0, 0, 10, 10))
        assert count_hits(boxes((0, 0, 10, 4)), label) == (0, 1)  # IoU 0.4
        assert count_hits(boxes((0, 0, 10, 4.1)), label) == (1, 0)

    def test_a_label_is_taken_once(self):
        assert count_hits(boxes((0, 0, 10, 20), (0, 1, 10, 20)), boxes((0, 0, 10, 20))) == (1, 1)

    def test_a_box_goes_to_its_best_label_only(self):
        labels = boxes((0, 0, 10, 20), (2, 0, 12, 20))
        assert count_hits(boxes((0, 0, 10, 20), (0, 0, 10, 19)), labels) == (1, 1)

    def test_nothing_found_or_nobody_there(self):
        assert count_hits(NOBODY, boxes((0, 0, 1, 1))) == (0, 0)
        assert count_hits(boxes((0, 0, 1, 1)), NOBODY) == (0, 1)

    @settings(max_examples=50)
    @given(corners=arrays(float, (6, 2), elements=st.integers(0, 30)), split=st.integers(1, 5))
    def test_never_more_true_boxes_than_boxes_or_labels(self, corners, split):
        all_boxes = np.hstack((corners, corners + 10))
        found, labelled = all_boxes[:split], all_boxes[split:]
        true, false = count_hits(found, labelled)
        assert true + false == len(found)
        assert true <= len(labelled)
        assert count_hits(labelled, labelled)[0] == len(np.unique(labelled, axis=0))


class TestContrast:
    def test_by_hand(self):
        """A person of 100 in a ring of half 40 and half 60: |100 - 50| / 10."""
        image = np.full((40, 40), 40, np.uint8)
        image[:, 20:] = 60
        image[10:30, 15:25] = 100
        assert contrast_to_noise(image, boxes((15, 10, 25, 30))) == pytest.approx([5])

    def test_ring_is_half_a_box_wide_and_leaves_out_other_people(self):
        image = np.random.default_rng(0).integers(0, 50, (60, 60), dtype=np.uint8)
        labels = boxes((20, 20, 30, 40), (32, 20, 40, 40))
        ring = np.ones((60, 60), bool)
        ring[20:40, 20:30] = ring[20:40, 32:40] = False
        ring = image[10:50, 15:35][ring[10:50, 15:35]]
        expected = abs(image[20:40, 20:30].mean() - ring.mean()) / ring.std()
        assert contrast_to_noise(image, labels)[0] == pytest.approx(expected)

    def test_person_at_the_border(self):
        image = np.random.default_rng(0).integers(0, 50, (30, 30), dtype=np.uint8)
        (contrast,) = contrast_to_noise(image, boxes((-5, -5, 10, 10)))
        assert np.isfinite(contrast)

    def test_flat_surroundings_say_nothing(self):
        image = np.zeros((30, 30), np.uint8)
        image[10:20, 10:20] = 200
        assert contrast_to_noise(image, boxes((10, 10, 20, 20))) == []


class TestResult:
    def test_counts_add_up_over_images(self):
        test = PeopleTest()
        grey = np.full((160, 160), 90, np.uint8)
        test.add(grey, boxes((10, 10, 20, 40), (60, 10, 70, 40)))
        test.add(grey, NOBODY)
        assert test.result() == {"labelled": 2, "true": 0, "false": 0, "F1": 0, "contrast": 0}

    def test_no_image_at_all(self):
        assert PeopleTest().result()["F1"] == 0


def test_detector_finds_nobody_in_an_image_smaller_than_its_window():
    assert find_people(np.zeros((64, 48), np.uint8)).shape == (0, 4)


class TestLabels:
    def test_boxes_in_pixels_people_only(self, tmp_path):
        file = tmp_path / "a.txt"
        file.write_text("0 0.5 0.5 0.2 0.4\n\n1 0.1 0.1 0.1 0.1\n")
        np.testing.assert_allclose(read_labels(file, 100, 50), [[40, 15, 60, 35]])

    def test_an_empty_file_is_an_image_without_people(self, tmp_path):
        (tmp_path / "a.txt").touch()
        assert read_labels(tmp_path / "a.txt", 100, 50).shape == (0, 4)

    def test_missing_file_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"a\.txt does not exist; .*labels/NAME\.txt"):
            read_labels(tmp_path / "a.txt", 100, 50)

    @pytest.mark.parametrize("text", ["0 0.5 0.5 0.2", "person 0.5 0.5 0.2 0.4", "0 1 1 1 1\n0 1 1 1"])
    def test_other_lines_are_refused(self, tmp_path, text):
        (tmp_path / "a.txt").write_text(text)
        with pytest.raises(ValueError, match=r"a\.txt: not a YOLO file"):
            read_labels(tmp_path / "a.txt", 100, 50)
