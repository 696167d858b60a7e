"""``mmcfusion evaluate --detector``: rows, subsets, tables, page, and the figures that others measured."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_pairs import write_noise_pairs
from report_runs import page_data

from mmcfusion_ros.cli import main

pytest.importorskip("pycocotools", reason="average precision needs pycocotools")

from mmcfusion_ros.data.images import read_rgb
from mmcfusion_ros.data.pair_folder import find_pairs, read_pair
from mmcfusion_ros.evaluation.detection.found import Found
from mmcfusion_ros.evaluation.detection.judge import INPUTS, TWO_PASSES, Judge, subsets
from mmcfusion_ros.evaluation.detection.labels import LabelSource
from mmcfusion_ros.evaluation.evaluate import evaluate
from mmcfusion_ros.evaluation.folders import EvaluationOptions

LITE = Path(__file__).resolve().parents[1] / "models" / "lite.xml"
# Person / vehicle AP50 of three detectors on the ten pairs of M3FD, as measured by others (detection.md).
MEASURED = {
    "thermal, white hot": (0.220, 0.520),
    "thermal, black hot": (0.353, 0.535),
    "RGB": (0.155, 0.637),
    "average, white hot": (0.201, 0.609),
    "average, black hot": (0.302, 0.676),
    "two passes, black hot": (0.359, 0.724),
}
SEEN = [15, 0, 35, 64 * 30 / 51]  # where the detector of the file always sees a person, in an image of 80 x 64


def run(*arguments) -> object:
    with pytest.raises(SystemExit) as exit:
        main(["evaluate", *map(str, arguments)])
    return exit.value.code


@pytest.fixture
def folder(tmp_path):
    """In a is somebody where the detector sees somebody, in b elsewhere, c has no labels."""
    folder = write_noise_pairs(tmp_path / "set" / "test", "abc")
    (folder / "labels.json").write_text(json.dumps({"a": [["person", *SEEN]], "b": [["person", 50, 10, 70, 40]]}))
    return folder


@pytest.fixture
def options(folder, yolo_file):
    return EvaluationOptions(detectors=(yolo_file,), labels=(LabelSource(folder / "labels.json"),))


def rows_of(path, **wanted):
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if wanted.items() <= row.items()]


class TestTables:
    def test_a_row_for_each_input_and_kind(self, folder, options, tmp_path):
        (result,) = evaluate([folder], ["max"], tmp_path / "out", options)
        assert [files.name for files in result.folder.pairs] == ["a", "b"], "c has no labels"
        rows = rows_of(tmp_path / "out/detection.csv", kind="person")
        assert [row["input"] for row in rows] == [*INPUTS, "max", *TWO_PASSES]
        for row in rows:
            assert (row["subset"], row["pairs"], row["objects"], row["detector"]) == ("set/test", "2", "2", "yolo")
            assert float(row["AP50"]) == pytest.approx(0.5, abs=0.01)  # of two people the first is found
            assert (float(row["precision"]), float(row["recall"])) == (0.5, 0.5)
            assert float(row["AP50 low"]) <= float(row["AP50"]) <= float(row["AP50 high"])
            assert [float(row[f"max minus this{end}"]) for end in ("", " low", " high")] == [0, 0, 0]
        assert {row["AP50"] for row in rows_of(tmp_path / "out/detection.csv", kind="vehicle")} == {""}
        summary = json.loads((tmp_path / "out/summary.json").read_text())
        assert len(summary["detection"]) == 2 * len(rows)
        assert list(summary["detectors"]) == ["yolo"]
        text = (tmp_path / "out/summary.md").read_text()
        assert "### set/test: 2 pairs, 2 person and 0 vehicle labels" in text
        assert "| **max** | 0.50" in text

    def test_folders_pooled_and_apart_by_day_and_night(self, folder, yolo_file, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        for part in ("ir", "vi"):
            (other / part).symlink_to(folder / part)
        (tmp_path / "night.json").write_text('["b"]')
        (other / "labels.json").write_text(json.dumps({"a": [["person", *SEEN]]}))
        labels = (LabelSource(folder / "labels.json"), LabelSource(other / "labels.json"))
        options = EvaluationOptions(detectors=(yolo_file,), labels=labels, night=tmp_path / "night.json")
        evaluate([folder, other], ["max"], tmp_path / "out", options)
        rows = rows_of(tmp_path / "out/detection.csv", kind="person", input="RGB")
        recalls = {row["subset"]: (row["pairs"], float(row["recall"])) for row in rows}
        assert recalls == {
            "all": ("3", pytest.approx(2 / 3, abs=1e-4)),
            "set/test": ("2", 0.5),
            "set/test, day": ("1", 1),
            "set/test, night": ("1", 0),
            f"{tmp_path.name}/other": ("1", 1),
        }

    def test_several_detectors_and_their_mean(self, folder, options, yolo_file, tmp_path):
        blind = yolo_file.with_name("blind.onnx")
        blind.write_bytes(yolo_file.read_bytes().replace(np.float32(0.75).tobytes(), np.float32(0.001).tobytes()))
        both = EvaluationOptions(detectors=(yolo_file, blind), labels=options.labels)
        evaluate([folder], ["max"], tmp_path / "out", both)
        rows = rows_of(tmp_path / "out/detection.csv", kind="person", input="max")
        assert [row["detector"] for row in rows] == ["yolo", "blind", "mean"]
        values = [float(row["AP50"]) for row in rows]
        assert values[1] == 0
        assert values[2] == pytest.approx(values[0] / 2, abs=1e-4)
        assert "| mean of 2 | person AP50 (95 %) |" in (tmp_path / "out/summary.md").read_text()

    def test_detectors_see_what_stress_left(self, folder, options, tmp_path, monkeypatch):
        seen = []
        nothing = Found(np.empty((0, 4)), np.empty(0, int), np.empty(0))
        monkeypatch.setattr(
            "mmcfusion_ros.evaluation.detection.judge.load_detector",
            lambda _: lambda image: seen.append(image) or nothing,
        )
        evaluate([folder], ["max"], tmp_path / "out", replace(options, stress="dark"))
        rgb, fused = (seen[[*INPUTS, "max"].index(name)] for name in ("RGB", "max"))  # of the first pair
        assert rgb.mean() < cv2.imread(str(folder / "vi" / "a.png")).mean() / 2
        np.testing.assert_array_equal(fused, read_rgb(tmp_path / "out/set/test/max/fused/a.png"))
        assert "## What detectors find under dark" in (tmp_path / "out/summary.md").read_text()

    def test_pairs_are_taken_at_the_size_of_their_labels(self, folder, yolo_file, tmp_path):
        for part in ("ir", "vi"):
            for path in (folder / part).iterdir():
                cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (160, 128)))
        command = [folder, "--model", "max", "--detector", yolo_file, "--out", tmp_path / "out"]
        assert run(*command, "--labels", f"{folder}/labels.json@80x64") == 0
        assert cv2.imread(str(tmp_path / "out/set/test/max/fused/a.png")).shape == (64, 80, 3)
        (row,) = rows_of(tmp_path / "out/detection.csv", kind="person", input="RGB")
        assert row["recall"] == "0.5"


class TestPage:
    def test_boxes_by_image_input_and_detector(self, folder, options, tmp_path):
        evaluate([folder], ["average", "max"], tmp_path / "out", options)
        data = page_data(tmp_path / "out/set/test/index.html")
        assert set(data["boxes"]) == {"a", "b"}
        assert set(data["boxes"]["a"]) == {*INPUTS, *TWO_PASSES, "average", "max"}
        seen = [round(side, 4) for side in (15 / 80, 0, 35 / 80, 30 / 51)]
        assert data["boxes"]["a"]["RGB"] == {"yolo": [[*seen, "found", "person", 0.75]]}
        there = [50 / 80, round(10 / 64, 4), 70 / 80, 40 / 64]
        assert data["boxes"]["b"]["max"] == {
            "yolo": [[*seen, "false", "person", 0.75], [*there, "missed", "person", 0]],
        }
        assert data["runs"][1]["seenAs"] == {"thermal": "thermal, white hot", "rgb": "RGB", "fused": "max"}
        assert dict(data["runs"][0]["values"])["missed"] == [0, 1]
        assert dict(data["runs"][0]["values"])["false"] == [0, 1]


class TestMeasured:
    def test_real_detectors_on_real_pairs(self, shared_data):
        pytest.importorskip("ncnn", reason="yolox-nano and nanodet-m are ncnn files")
        names = ("yolo11n.xml", "yolox-nano.param", "nanodet-m-416.param")
        files = [shared_data / "../detectors" / name for name in names]
        pairs = find_pairs(shared_data / "detection/m3fd")
        labels = LabelSource(shared_data / "detection/m3fd/labels.json").read(pairs)
        judge = Judge(files, {"m3fd": [pair.name for pair in pairs]})
        for pair in pairs:
            judge.add(*read_pair(pair), {}, labels[pair.name])
        found = {
            (row["input"], row["kind"]): (row["AP50"], row["objects"])
            for row in judge.result().rows
            if row["detector"] == "mean"
        }
        for name, values in MEASURED.items():
            for kind, value, objects in zip(("person", "vehicle"), values, (81, 35), strict=True):
                assert found[name, kind] == (pytest.approx(value, abs=0.03), objects), (name, kind)


class TestSubsets:
    def test_day_and_night_only_where_the_list_names_pairs(self, tmp_path):
        night = tmp_path / "night.json"
        night.write_text('["a", "x"]')
        assert subsets({"one": ["a", "b"], "two": ["c"]}, night) == {
            "all": [0, 1, 2],
            "one": [0, 1],
            "one, day": [1],
            "one, night": [0],
            "two": [2],
        }
        assert subsets({"one": ["a", "b"]}, None) == {"one": [0, 1]}


class TestWrongInput:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--detector", "{yolo}"], "--detector and --labels"),
            (["--labels", "{labels}"], "--detector and --labels"),
            (["--night", "{labels}"], "--night needs --detector"),
            (["--detector", "{yolo}", "--labels", "{labels}", "{labels}"], "2 labels for 1 folders"),
            (["--detector", "{yolo}", "{yolo}", "--labels", "{labels}"], "several detectors are called 'yolo'"),
            (["--detector", "{yolo}", "--labels", "{tmp}/no.json"], "no.json does not exist"),
            (["--detector", "{yolo}", "--labels", "{tmp}"], "has labels of no pair beside"),
            (["--detector", "{yolo}", "--labels", "{tmp}/cats.json"], "there is no kind 'cat'"),
            (["--detector", "{yolo}", "--labels", "{tmp}/coco.json"], "no category is called person, vehicle, car"),
            (["--detector", "{yolo}", "--labels", "{tmp}/far.json"], "a label lies outside its 80x64"),
            (["--detector", "{yolo}", "--labels", "{labels}", "--night", "{tmp}/z.json"], "names none of the 2"),
            (["--detector", "{yolo}", "--labels", "{labels}", "--night", "{yolo}"], "not a JSON list of names"),
            (["--detector", "{tmp}/no.onnx", "--labels", "{labels}"], "no.onnx does not exist"),
            (["--detector", "{labels}", "--labels", "{labels}"], "labels.json: no detector"),
            (["--detector", "{lite}", "--labels", "{labels}"], "lite.xml: no detector with an input of"),
        ],
    )
    def test_is_one_line(self, folder, yolo_file, tmp_path, arguments, said):
        (tmp_path / "cats.json").write_text('{"a": [["cat", 0, 0, 1, 1]]}')
        (tmp_path / "far.json").write_text('{"z": [], "a": [["person", 100, 100, 120, 140]]}')
        (tmp_path / "z.json").write_text('["z"]')
        coco = {"images": [], "categories": [{"id": 1, "name": "cat"}], "annotations": []}
        (tmp_path / "coco.json").write_text(json.dumps(coco))
        places = {"yolo": yolo_file, "labels": folder / "labels.json", "tmp": tmp_path, "lite": LITE}
        message = run(
            folder, "--model", "max", "--out", tmp_path / "out", *(word.format(**places) for word in arguments)
        )
        assert message.startswith("mmcfusion evaluate: ")
        assert said in message
        assert "\n" not in message

    def test_outputs_of_an_unknown_form(self, folder, yolo_file, tmp_path):
        onnx = pytest.importorskip("onnx")
        model = onnx.load(yolo_file)
        (rows,) = (constant for constant in model.graph.initializer if constant.name == "rows")
        rows.CopyFrom(onnx.numpy_helper.from_array(np.zeros((1, 24, 84), np.float32), "rows"))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 24  # one with 20 classes
        onnx.save(model, tmp_path / "voc.onnx")
        labels = folder / "labels.json"
        message = run(folder, "--detector", tmp_path / "voc.onnx", "--labels", labels, "--out", tmp_path / "out")
        assert "voc.onnx: outputs of an unknown form; known are YOLOv8" in message

    def test_a_missing_package_is_named_with_what_to_install(self, folder, yolo_file, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "ncnn", None)
        (tmp_path / "net.param").write_text("7767517")
        detectors = ("--detector", tmp_path / "net.param", "--labels", folder / "labels.json")
        message = run(folder, *detectors, "--model", "max", "--out", tmp_path / "out")
        assert message == "mmcfusion evaluate: these detectors need the package ncnn: pip install ncnn"
