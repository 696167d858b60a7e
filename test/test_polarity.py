"""Weights say which way round they expect thermal images; everyone else has them white hot."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from bag_files import HEIGHT, WIDTH, drive, rgb_pixels, thermal_pixels, write_bag
from image_pairs import as_message, fuse, write_pairs
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mmcfusion_ros.data.pair_folder import find_pairs, read_pair
from mmcfusion_ros.evaluation.bags.evaluate_bag import evaluate_bag
from mmcfusion_ros.evaluation.bags.measures import METRICS
from mmcfusion_ros.evaluation.bags.options import BagOptions
from mmcfusion_ros.evaluation.evaluate import evaluate
from mmcfusion_ros.evaluation.folders import EvaluationOptions
from mmcfusion_ros.evaluation.methods import load_method
from mmcfusion_ros.evaluation.metrics import fusion_metrics
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.fuser import Fuser, split_luminance
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.network.export import export_openvino
from mmcfusion_ros.stream.pairing import LoneFrame
from mmcfusion_ros.stream.parameter_files import load_values
from mmcfusion_ros.stream.pipeline import FusionPipeline
from mmcfusion_ros.stream.settings import Settings
from mmcfusion_ros.training.config import Folder, TrainingConfig
from mmcfusion_ros.training.data import PairSampler
from mmcfusion_ros.training.learner import Learner, launch_fabric
from mmcfusion_ros.training.run import Run
from mmcfusion_ros.training.train import train

BESIDE = Calibration(homography=np.array([[1.0, 0, 20], [0, 1, 6], [0, 0, 1]]))


def with_metadata(source: Path, target: Path, **texts: str) -> Path:
    """A copy of weights that says something else of itself."""
    with safe_open(source, framework="pt") as file:
        save_file(load_file(source), target, file.metadata() | texts)
    return target


@pytest.fixture(scope="module")
def black_hot(random_lite, tmp_path_factory):
    """The random weights, said to be for black-hot images; beside them the exported graph."""
    folder = tmp_path_factory.mktemp("black_hot")
    path = with_metadata(random_lite, folder / "dark.safetensors", thermal_polarity="black_hot")
    export_openvino(path, path.with_suffix(".xml"))
    return path


@pytest.fixture(scope="module")
def fusers(random_lite_graph, black_hot):
    """The same network for white-hot and for black-hot images."""
    graphs = random_lite_graph, black_hot.with_suffix(".xml")
    return [Fuser.from_pretrained(graph, "openvino", precision="float32", threads=1) for graph in graphs]


def pair(height=64, width=96):
    """Thermal ``H x W`` with a warm disc, and RGB."""
    rows, columns = np.mgrid[:height, :width]
    thermal = 40 + 180 * ((columns - 50) ** 2 + (rows - 30) ** 2 < 150)
    rgb = np.dstack([120 + 60 * np.sin((columns + 9 * i) / 5) for i in range(3)])
    return thermal.astype(np.uint8), rgb.astype(np.uint8)


def pipeline(fuser, calibration=None):
    return FusionPipeline(fuser, ThermalScaler(ThermalOptions()), Registration(calibration or Calibration()))


class TestFuser:
    def test_turns_thermal_over_for_weights_that_expect_black_hot(self, random_lite, black_hot, fusers):
        """On either backend, which OpenVINO reads from weights as from a graph."""
        thermal, rgb = pair()
        torch_fusers = [Fuser.from_pretrained(path, "torch", "cpu", threads=1) for path in (random_lite, black_hot)]
        of_weights = Fuser.from_pretrained(black_hot, "openvino", precision="float32", threads=1)
        for white, dark in (fusers, torch_fusers, (fusers[0], of_weights)):
            assert (white.backend.thermal_polarity, dark.backend.thermal_polarity) == ("white_hot", "black_hot")
            np.testing.assert_array_equal(dark(thermal, rgb), white(255 - thermal, rgb))
            assert (dark(thermal, rgb) != white(thermal, rgb)).mean() > 0.1
            assert "thermal black hot" in str(dark)

    def test_detectors_do_not_get_the_colours_of_lamps(self, fusers):
        thermal, rgb = pair()
        by_lamps = (rgb * [1.0, 0.8, 0.3]).astype(np.uint8)
        white, dark = (fuser(thermal, by_lamps).astype(int) for fuser in fusers)
        assert np.ptp(dark, axis=2).max() == 0
        assert np.ptp(white, axis=2).max() > 30
        assert np.ptp(fusers[1](thermal, rgb).astype(int), axis=2).max() > 30


class TestPipeline:
    def test_registered_is_what_the_network_got(self, fusers):
        thermal, rgb = pair()
        white, dark = (pipeline(fuser, BESIDE) for fuser in fusers)
        fused, expected = fuse(dark, thermal, rgb), fuse(white, 255 - thermal, rgb)
        np.testing.assert_allclose(fused.registered.astype(int), expected.registered, atol=1)
        assert np.abs(fused.image.astype(int) - expected.image).max() <= 3
        inside, outside = fused.weight == 255, fused.weight == 0
        assert np.corrcoef(fused.registered[inside], 255 - fused.pair.thermal[inside])[0, 1] == pytest.approx(1)
        np.testing.assert_array_equal(fused.registered[outside], split_luminance(rgb)[0][outside])

    def test_its_pair_is_for_any_fuser(self, fusers):
        """So the display image is fused from what was registered for detection."""
        thermal, rgb = pair()
        white, dark = (pipeline(fuser, BESIDE) for fuser in fusers)
        fused, _ = fusers[0].fuse(fuse(dark, thermal, rgb).pair, {})
        np.testing.assert_array_equal(fused, fuse(white, thermal, rgb).image)

    @pytest.mark.parametrize("shape", [None, (64, 96)])
    def test_thermal_alone_is_as_the_weights_expect_it(self, fusers, shape):
        thermal, _ = pair()
        size = shape and shape[::-1]
        frame = LoneFrame("thermal", as_message(thermal), 0, 0)
        white, dark = (pipeline(fuser, BESIDE).alone(frame, size).image for fuser in fusers)
        np.testing.assert_array_equal(dark, 255 - white)
        assert white.max() == 220


class TestMetadata:
    @pytest.mark.parametrize(
        ("texts", "complaint"),
        [
            ({"thermal_polarity": "pink"}, "thermal_polarity is 'pink'; it must be one of white_hot, black_hot"),
            ({"graph": "99"}, "is made for graph 99 of variant lite, this version has graph"),
        ],
    )
    @pytest.mark.parametrize("suffix", [".safetensors", ".xml"])
    def test_what_this_version_cannot_use_is_one_line_that_names_the_file(
        self, random_lite, black_hot, tmp_path, texts, complaint, suffix
    ):
        path = with_metadata(random_lite, tmp_path / "a.safetensors", **texts)
        if suffix == ".xml":
            path = path.with_suffix(suffix)
            path.write_text(_replaced(black_hot.with_suffix(suffix).read_text(), texts))
            path.with_suffix(".bin").write_bytes(black_hot.with_suffix(".bin").read_bytes())
        with pytest.raises(ValueError, match=complaint) as caught:
            Fuser.from_pretrained(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def _replaced(graph: str, texts: dict[str, str]) -> str:
    """The text of an exported graph with other metadata."""
    for name, value in texts.items():
        graph, count = re.subn(f'<{name} value="[^"]*"', f'<{name} value="{value}"', graph)
        assert count == 1
    return graph


class TestTraining:
    @pytest.fixture(scope="class")
    def config(self, tmp_path_factory):
        data = [Folder(str(write_pairs(tmp_path_factory.mktemp("pairs"))))]
        return TrainingConfig(data=data, steps=1, batch=2, crop=128, workers=0, accelerator="cpu", white_sky=1.0)

    def test_black_hot_turns_thermal_inputs_targets_and_what_is_held_out(self, config):
        white, dark = PairSampler(config), PairSampler(replace(config, thermal_polarity="black_hot"))
        for index, (a, b) in enumerate(zip(white[0], dark[0], strict=True)):
            torch.testing.assert_close(b, 1 - a if index in (0, 2) else a)
        for a, b in zip(white.validation, dark.validation, strict=True):
            np.testing.assert_array_equal(b, (255 - a[0], a[1]))

    def test_weights_say_what_they_were_trained_on(self, config, tmp_path):
        run = Run(tmp_path / "run")
        train(replace(config, thermal_polarity="black_hot"), run, fusion_metrics)
        assert Fuser.from_pretrained(run.last, "torch", device="cpu").backend.thermal_polarity == "black_hot"

    def test_unknown_polarity(self, config):
        with pytest.raises(ValueError, match="thermal_polarity is 'pink'; it must be one of white_hot, black_hot"):
            replace(config, thermal_polarity="pink")

    def test_teacher_for_the_other_polarity(self, config, random_lite):
        config = replace(config, teacher=str(random_lite), thermal_polarity="black_hot")
        with pytest.raises(ValueError, match=r"random\.safetensors' is for white_hot images, the run for black_hot"):
            Learner(config, launch_fabric(config))


class TestEvaluation:
    @pytest.mark.parametrize("sub_folders", [("ir", "vi"), ("MRI", "PET")])
    def test_measures_against_what_the_network_got(self, black_hot, tmp_path, sub_folders):
        written = write_pairs(tmp_path / "written", 2)
        folder = tmp_path / "set"
        for old, new in zip(("ir", "vi"), sub_folders, strict=True):
            (folder / new).parent.mkdir(exist_ok=True)
            (written / old).rename(folder / new)
        model = str(black_hot.with_suffix(".xml"))
        (result,) = evaluate([folder], [model, "max"], tmp_path / "out", EvaluationOptions(precision="float32"))
        method = load_method(model, EvaluationOptions(precision="float32"))
        files = find_pairs(folder)[0]
        thermal, luminance = read_pair(files)[0], split_luminance(read_pair(files)[1])[0]
        if files.functional:
            sources = thermal, 255 - luminance
            fused = method.fuse(luminance, thermal)
        else:
            sources = 255 - thermal, luminance
            fused = method.fuse(thermal, luminance)
        assert result.rows[method.name][0] == fusion_metrics(*sources, fused)
        assert result.rows["max"][0] == fusion_metrics(thermal, luminance, cv2.max(thermal, luminance))
        lines = (tmp_path / "out/summary.md").read_text().splitlines()
        assert any(line.startswith(f"| **{method.name}** | black hot |") for line in lines)
        assert any(line.startswith("| **max** | white hot |") for line in lines)

    def test_so_are_bags(self, black_hot, tmp_path):
        assignments = [f"model={black_hot.with_suffix('.xml')}", "precision=float32", "threads=1"]
        values = load_values(None, [*assignments, f"warm_up_width={WIDTH}", f"warm_up_height={HEIGHT}"])
        bag = write_bag(tmp_path / "drive", drive(1))
        result = evaluate_bag(bag, values, tmp_path / "out", BagOptions(report=False))
        node = Settings(values).pipeline(Settings(values).network())
        fused = split_luminance(fuse(node, thermal_pixels(0), rgb_pixels(0)).image)[0]
        white = ThermalScaler(node.scaler.options)(thermal_pixels(0))
        metrics = fusion_metrics(255 - white, split_luminance(rgb_pixels(0))[0], fused)
        assert result.summary["metrics"] == pytest.approx({name: metrics[name] for name in METRICS}, rel=1e-5, abs=1e-6)
        assert "thermal black hot" in result.summary["fuser"]
