"""Detectors from files, labels in each form, and what a detector scores."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmcfusion_ros.data.pair_folder import PairFiles
from mmcfusion_ros.evaluation.detection.detectors import load_detector
from mmcfusion_ros.evaluation.detection.found import Found, join
from mmcfusion_ros.evaluation.detection.labels import IGNORE, Labels, LabelSource, read_labels, read_yolo

PERSON, VEHICLE = 0, 1


def found(*boxes):
    """Of rows: left, top, right, bottom, kind, score."""
    rows = np.array(boxes, float).reshape(-1, 6)
    return Found(rows[:, :4], rows[:, 4].astype(int), rows[:, 5])


def labels(*boxes):
    rows = np.array(boxes, float).reshape(-1, 5)
    return Labels(rows[:, :4], rows[:, 4].astype(int))


class TestLabels:
    def test_lists_by_name(self, tmp_path):
        file = tmp_path / "labels.json"
        file.write_text(json.dumps({"a": [["person", 1, 2, 11, 32], ["ignore", 0, 0, 9, 9]], "b": []}))
        read = read_labels(file)
        np.testing.assert_array_equal(read["a"].corners, [[1, 2, 11, 32], [0, 0, 9, 9]])
        assert read["a"].kinds.tolist() == [PERSON, IGNORE]
        assert read["b"].corners.shape == (0, 4)

    def test_coco(self, tmp_path):
        content = {
            "images": [{"id": 7, "file_name": "x/a.jpg"}],
            "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 4, "name": "dog"}],
            "annotations": [
                {"image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 40]},
                {"image_id": 7, "category_id": 4, "bbox": [0, 0, 5, 5]},
                {"image_id": 7, "category_id": 1, "bbox": [0, 0, 50, 60], "iscrowd": 1},
            ],
        }
        file = tmp_path / "coco.json"
        file.write_text(json.dumps(content))
        read = read_labels(file)["a"]
        np.testing.assert_array_equal(read.corners, [[10, 20, 40, 60], [0, 0, 50, 60]])
        assert read.kinds.tolist() == [VEHICLE, IGNORE]

    def test_yolo(self, tmp_path):
        file = tmp_path / "a.txt"
        file.write_text("0 0.5 0.5 0.1 0.2\n16 0.5 0.5 0.1 0.1\n7 0.25 0.5 0.5 1\n")
        read = read_yolo(file, 200, 100)
        np.testing.assert_allclose(read.corners, [[90, 40, 110, 60], [0, 0, 100, 100]])
        assert read.kinds.tolist() == [PERSON, VEHICLE]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[]", "neither COCO JSON nor"),
            ('{"a": [["cat", 0, 0, 1, 1]]}', "there is no kind 'cat'; known are person, vehicle and ignore"),
            ('{"a": [["person", 9, 0, 1, 1]]}', "a box whose right or bottom is left of or above the other side"),
        ],
    )
    def test_bad_labels_are_one_line(self, tmp_path, text, said):
        file = tmp_path / "labels.json"
        file.write_text(text)
        with pytest.raises(ValueError, match=r"labels\.json") as error:
            read_labels(file)
        assert said in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_class_that_coco_has_not(self, tmp_path):
        file = tmp_path / "a.txt"
        file.write_text("80 0.5 0.5 0.1 0.2\n")
        with pytest.raises(ValueError, match="COCO has no class 80"):
            read_yolo(file, 10, 10)


class TestLabelSource:
    @pytest.fixture
    def pairs(self, tmp_path):
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 200), np.uint8))
        return [PairFiles(name, tmp_path / "a.png", tmp_path / "a.png") for name in ("night/a", "night/b")]

    @pytest.mark.parametrize("name", ["a", "night/a"])
    def test_a_file_may_leave_out_the_sub_folder(self, pairs, tmp_path, name):
        (tmp_path / "labels.json").write_text(json.dumps({name: [["person", 1, 2, 11, 32]], "other": []}))
        read = LabelSource(tmp_path / "labels.json").read(pairs)
        assert list(read) == ["night/a"], "the other pair has no labels"

    @pytest.mark.parametrize(("size", "corners"), [(None, [90, 40, 110, 60]), ((100, 50), [45, 20, 55, 30])])
    def test_yolo_files_are_relative_to_the_size_at_which_pairs_are_taken(self, pairs, tmp_path, size, corners):
        (tmp_path / "labels" / "night").mkdir(parents=True)
        (tmp_path / "labels" / "night" / "a.txt").write_text("0 0.5 0.5 0.1 0.2\n")
        read = LabelSource(tmp_path / "labels", size).read(pairs)
        np.testing.assert_allclose(read["night/a"].corners, [corners])

    def test_labels_of_other_pairs_are_named(self, pairs, tmp_path):
        (tmp_path / "labels.json").write_text('{"c": []}')
        for path in (tmp_path / "labels.json", tmp_path):
            with pytest.raises(ValueError, match="has labels of no pair beside"):
                LabelSource(path).read(pairs)


class TestScores:
    @pytest.fixture
    def scores(self):
        pytest.importorskip("pycocotools", reason="average precision needs pycocotools")
        from mmcfusion_ros.evaluation.detection.scores import Scores

        return Scores

    def test_all_found_and_nothing_else_is_one(self, scores):
        table = scores([found((0, 0, 20, 40, PERSON, 0.9))], [labels((0, 0, 20, 40, PERSON))]).table()
        np.testing.assert_allclose(table[PERSON], 1)
        assert np.isnan(table[VEHICLE, 0]), "nothing to find"

    def test_a_false_box_of_a_higher_score_halves_it(self, scores):
        boxes = found((0, 0, 20, 40, PERSON, 0.5), (100, 0, 120, 40, PERSON, 0.9))
        table = scores([boxes], [labels((0, 0, 20, 40, PERSON))]).table()
        np.testing.assert_allclose(table[PERSON], (0.5, 0.5, 0.5, 1))

    @pytest.mark.parametrize("ignored", [(100, 0, 120, 40, IGNORE), (100, 0, 110, 15, PERSON)])
    def test_what_is_ignored_or_small_neither_counts_nor_punishes(self, scores, ignored):
        boxes = found((0, 0, 20, 40, PERSON, 0.5), (*ignored[:4], PERSON, 0.9))
        table = scores([boxes], [labels((0, 0, 20, 40, PERSON), ignored)]).table()
        np.testing.assert_allclose(table[PERSON], 1)

    def test_marks_are_what_precision_and_recall_count(self, scores):
        boxes = found(
            (0, 0, 20, 40, PERSON, 0.9),  # right
            (0, 50, 20, 90, PERSON, 0.2),  # too unsure
            (50, 0, 70, 40, VEHICLE, 0.8),  # nothing there
            (80, 0, 100, 40, PERSON, 0.8),  # ignored
        )
        marked = labels((1, 0, 20, 40, PERSON), (0, 50, 20, 90, PERSON), (80, 0, 100, 40, IGNORE))
        some = scores([found(), boxes], [labels(), marked])
        assert [(m.corners, m.kind, m.state, m.score) for m in some.marks(1)] == [
            ((0, 0, 20, 40), "person", "found", 0.9),
            ((0, 50, 20, 90), "person", "missed", 0),
            ((50, 0, 70, 40), "vehicle", "false", 0.8),
        ]
        np.testing.assert_allclose(some.table()[PERSON, 2:], (1, 0.5))
        assert some.marks(0) == []

    def test_the_interval_covers_the_value(self, scores):
        from mmcfusion_ros.evaluation.detection.scores import interval

        hit, miss = found((0, 0, 20, 40, PERSON, 0.9)), found()
        some = scores([hit, miss] * 10, [labels((0, 0, 20, 40, PERSON))] * 20)
        low, high = interval(some.bootstrap())[:, PERSON]
        assert low < some.table()[PERSON, 0] < high


def test_boxes_of_both_cameras_are_joined_each_object_once():
    both = join(found((0, 0, 20, 40, PERSON, 0.5)), found((1, 0, 20, 40, PERSON, 0.8), (50, 0, 70, 40, VEHICLE, 0.3)))
    assert sorted(both.scores.tolist()) == [0.3, 0.8]


class TestDetectors:
    def test_an_onnx_file_of_yolos_form(self, yolo_file):
        boxes = load_detector(yolo_file, threads=1)(np.zeros((32, 64, 3), np.uint8))  # letterboxed, 16 rows down
        np.testing.assert_allclose(boxes.corners, [[12, 0, 28, 20]])
        assert boxes.kinds.tolist() == [PERSON]
        np.testing.assert_allclose(boxes.scores, [0.75])

    def test_a_grey_image_is_taken_too(self, yolo_file):
        assert len(load_detector(yolo_file, threads=1)(np.zeros((64, 64), np.uint8)).scores) == 1

    def test_what_is_no_detector_is_one_line(self, tmp_path):
        for name in (
            "missing.onnx",
            "weights.pth",
            "ssdlite320_mobilenet_v3_large_coco.pth",
            "notes.txt",
            "broken.onnx",
        ):
            if not name.startswith("missing"):
                (tmp_path / name).write_text("no detector")
            with pytest.raises((ValueError, FileNotFoundError)) as error:
                load_detector(tmp_path / name)
            assert name in str(error.value)
            assert "\n" not in str(error.value)


class TestTorchvision:
    NAME = "ssdlite320_mobilenet_v3_large"

    @pytest.fixture(scope="class")
    def weights(self, tmp_path_factory):
        """Random ones: there is no network here to get trained ones from."""
        torch = pytest.importorskip("torch")
        models = pytest.importorskip("torchvision.models")
        torch.manual_seed(0)
        model = models.get_model(self.NAME, weights=None, weights_backbone=None, num_classes=91)
        for name, parameter in model.head.classification_head.named_parameters():
            if name.endswith("1.bias"):
                parameter.data[1::91] += 2  # it sees people everywhere
        path = tmp_path_factory.mktemp("torchvision") / f"{self.NAME}_coco-a79551df.pth"
        torch.save(model.state_dict(), path)
        return path

    def test_a_file_by_its_published_name(self, weights):
        image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
        boxes = load_detector(weights)(image)
        assert set(boxes.kinds) <= {PERSON, VEHICLE}
        assert len(boxes.corners) == len(boxes.scores) > 0
        assert (boxes.corners >= 0).all()
        assert (boxes.corners <= (160, 120, 160, 120)).all()
        grey = load_detector(weights)(image[..., 0])
        assert grey.corners.shape[1] == 4

    def test_safetensors(self, weights, tmp_path):
        import torch
        from safetensors.torch import save_file

        save_file(torch.load(weights, weights_only=True), tmp_path / f"{self.NAME}.safetensors")
        image = np.full((64, 64), 90, np.uint8)
        both = [load_detector(path)(image) for path in (weights, tmp_path / f"{self.NAME}.safetensors")]
        np.testing.assert_array_equal(both[0].corners, both[1].corners)

    def test_another_model_or_other_classes_are_one_line(self, weights, tmp_path):
        for name, said in (("ssd300_vgg16_coco.pth", "not the weights of ssd300_vgg16"), ("best.pth", "no name of")):
            (tmp_path / name).symlink_to(weights)
            with pytest.raises(ValueError, match=said) as error:
                load_detector(Path(tmp_path / name))
            assert "\n" not in str(error.value)
