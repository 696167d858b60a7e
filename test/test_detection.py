"""Detectors from files, labels in each form, and what a detector scores."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmcfusion_ros.evaluation.detection.detectors import Found, join, load_detector
from mmcfusion_ros.evaluation.detection.labels import IGNORE, Labels, read_labels, read_yolo

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
    @pytest.fixture
    def yolo(self, tmp_path):
        """An ONNX file whose output has YOLO's form: one person at (20, 20), 16 x 32, whatever it sees."""
        onnx = pytest.importorskip("onnx")
        side = 64
        rows = np.zeros((1, 84, 64 + 16 + 4), np.float32)
        rows[0, :5, 3] = 20, 20, 16, 32, 0.75
        helper, numpy_helper = onnx.helper, onnx.numpy_helper
        image = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, side, side])
        output = helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, list(rows.shape))
        constants = [
            numpy_helper.from_array(rows, "rows"),
            numpy_helper.from_array(np.zeros((), np.float32), "zero"),
            numpy_helper.from_array(np.array([0, 1, 2, 3], np.int64), "axes"),
        ]
        nodes = [
            helper.make_node("ReduceSum", ["images", "axes"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Add", ["rows", "nothing"], ["output0"]),
        ]
        graph = helper.make_graph(nodes, "yolo", [image], [output], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.save(model, tmp_path / "yolo.onnx")
        return tmp_path / "yolo.onnx"

    def test_an_onnx_file_of_yolos_form(self, yolo):
        boxes = load_detector(yolo, threads=1)(np.zeros((32, 64, 3), np.uint8))  # letterboxed, 16 rows down
        np.testing.assert_allclose(boxes.corners, [[12, 0, 28, 20]])
        assert boxes.kinds.tolist() == [PERSON]
        np.testing.assert_allclose(boxes.scores, [0.75])

    def test_a_grey_image_is_taken_too(self, yolo):
        assert len(load_detector(yolo, threads=1)(np.zeros((64, 64), np.uint8)).scores) == 1

    def test_what_is_no_detector_is_one_line(self, tmp_path):
        for name in ("missing.onnx", "weights.pth", "broken.onnx"):
            if not name.startswith("missing"):
                (tmp_path / name).write_text("no detector")
            with pytest.raises((ValueError, FileNotFoundError)) as error:
                load_detector(tmp_path / name)
            assert name in str(error.value)
            assert "\n" not in str(error.value)
