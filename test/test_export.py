"""The exported graphs compute what the network computes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch

from mmcfusion_ros.cli import main
from mmcfusion_ros.fusion.models import find_model
from mmcfusion_ros.fusion.openvino_backend import OpenVINOBackend
from mmcfusion_ros.fusion.torch_backend import TorchBackend
from mmcfusion_ros.network.export import PoolingMatrices, export_onnx, export_openvino, to_bytes
from mmcfusion_ros.network.hashes import sha256_of
from mmcfusion_ros.network.mmcfusion import MMCFusion
from mmcfusion_ros.network.variants import get_variant
from mmcfusion_ros.network.weights import load_network, save_weights
from mmcfusion_ros.resources import package_file

REPOSITORY = Path(__file__).resolve().parents[1]


def scene(height, width, seed=0):
    """Thermal and luminance, ``H x W`` uint8: smooth shapes with edges and a little noise."""
    rng = np.random.default_rng((height, width, seed))
    rows, columns = np.mgrid[:height, :width]
    thermal = 60 + 180 * ((columns - width / 3) ** 2 + (rows - height / 2) ** 2 < (height / 4) ** 2)
    visible = 128 + 100 * np.sin(columns / 9) * np.cos(rows / 7)
    return tuple(
        np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8) for image in (thermal, visible)
    )


def assert_same_image(a, b):
    """Within one grey level, but for the few pixels with two equal gradients, where rounding picks the stronger."""
    difference = np.abs(a.astype(int) - b.astype(int))
    assert (difference > 1).mean() < 1e-3
    assert difference.max() < 8


nightly = pytest.mark.skipif(not os.environ.get("MMCFUSION_NIGHTLY"), reason="half a minute: MMCFUSION_NIGHTLY=1")


class TestPoolingMatrices:
    @pytest.mark.parametrize("height", [1, 2, 3, 5, 6, 7, 8, 13, 14, 15, 30, 50, 61])
    def test_equals_adaptive_average_pooling(self, height):
        pool = torch.nn.AdaptiveAvgPool2d(7)
        for width in (*range(1, 24), 40, 83, 128):
            x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(width))
            torch.testing.assert_close(PoolingMatrices()(x), pool(x))


def test_to_bytes_rounds_and_clips():
    values = torch.tensor([-5.0, -0.001, 0.0, 0.5 / 255, 1.51 / 255, 0.5, 1.0, 1.3, 300.0])
    assert to_bytes(values).tolist() == [0, 0, 0, 0, 2, 128, 255, 255, 255]


class TestOpenVINO:
    @pytest.fixture
    def backends(self, random_lite, random_lite_graph, private_cache):
        openvino_backend = OpenVINOBackend(find_model(random_lite_graph), "float32", threads=1)
        return openvino_backend, TorchBackend(find_model(random_lite), "cpu", "float32")

    def test_one_graph_reshapes_to_any_size_and_back(self, backends):
        exported, network = backends
        for size in ((128, 128), (144, 192), (164, 252), (128, 128), (132, 400)):
            images = scene(*size)
            fused = network(*images)
            assert fused.std() > 10
            assert_same_image(exported(*images), fused)

    def test_graph_is_bytes_to_bytes_with_names_and_dynamic_size(self, random_lite_graph):
        graph = openvino.Core().read_model(random_lite_graph)
        assert [port.any_name for port in graph.inputs] == ["thermal", "luminance"]
        assert [port.any_name for port in graph.outputs] == ["fused"]
        for port in (*graph.inputs, *graph.outputs):
            assert port.element_type == openvino.Type.u8
            assert port.partial_shape[2].is_dynamic
            assert port.partial_shape[3].is_dynamic

    def test_graph_names_its_variant_and_the_weights_it_came_from(self, random_lite, random_lite_graph):
        graph = openvino.Core().read_model(random_lite_graph)
        assert graph.get_rt_info(["mmcfusion", "variant"]).astype(str) == "lite"
        assert graph.get_rt_info(["mmcfusion", "weights_sha256"]).astype(str) == sha256_of(random_lite)

    def test_weights_are_stored_in_16_bits(self, random_lite, random_lite_graph):
        numbers = sum(p.numel() for p in load_network(random_lite).parameters())
        assert random_lite_graph.with_suffix(".bin").stat().st_size < 2.2 * numbers

    def test_folder_that_does_not_exist(self, random_lite, tmp_path):
        with pytest.raises(OSError, match="nowhere") as caught:
            export_openvino(random_lite, tmp_path / "nowhere" / "a.xml")
        assert "\n" not in str(caught.value)


class TestShippedLite:
    @pytest.fixture(scope="class")
    def models(self):
        weights = package_file("models") / "lite.safetensors"
        graph = weights.with_suffix(".xml")
        if not (weights.is_file() and graph.is_file()):
            pytest.skip("models/lite.safetensors and models/lite.xml are not both there")
        return weights, graph

    def test_graph_was_made_from_the_weights(self, models):
        weights, graph = models
        info = openvino.Core().read_model(graph).get_rt_info(["mmcfusion", "weights_sha256"])
        assert info.astype(str) == sha256_of(weights)

    def test_graph_agrees_with_the_weights(self, models, private_cache):
        weights, graph = models
        exported = OpenVINOBackend(find_model(graph), "float32", threads=1)
        network = TorchBackend(find_model(weights), "cpu", "float32")
        for size in ((128, 128), (164, 252)):
            assert_same_image(exported(*scene(*size)), network(*scene(*size)))


class TestNothingIsLost:
    @pytest.mark.parametrize("name", ["a.xml", "a.onnx"])
    def test_a_file_is_overwritten_with_force_alone(self, random_lite, tmp_path, name):
        (tmp_path / name).write_text("mine")
        words = ["export", str(random_lite), str(tmp_path / name), "--size", "128x128"]
        with pytest.raises(SystemExit, match=f"{name} exists already.*--force"):
            main(words)
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]
        with pytest.raises(SystemExit) as end:
            main([*words, "--force"])
        assert end.value.code == 0
        assert (tmp_path / name).stat().st_size > 1000
        assert not [*tmp_path.glob("*.partial*")]

    @pytest.mark.parametrize("name", ["a.xml", "a.onnx"])
    def test_a_full_disk_keeps_the_file_of_before(self, random_lite, tmp_path, name):
        """Files of at most 100 kB stand for the disk."""
        (tmp_path / name).write_text("mine")
        small = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        small += "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        small += "from mmcfusion_ros.cli import main; main(sys.argv[1:])"
        words = ["export", str(random_lite), str(tmp_path / name), "--size", "128x128", "--force"]
        done = subprocess.run([sys.executable, "-c", small, *words], cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 1
        assert f"{name} could not be written" in done.stderr.splitlines()[-1]
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


class TestONNX:
    @pytest.fixture
    def run(self, tmp_path):
        """Exports, and gives what onnxruntime makes of images."""
        runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

        def export(weights, *options, **named):
            export_onnx(weights, tmp_path / "a.onnx", *options, **named)
            assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
            session = runtime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
            return lambda thermal, luminance: session.run(
                ["fused"], {"thermal": thermal[None, None], "luminance": luminance[None, None]}
            )[0][0, 0]

        return export

    @pytest.fixture(scope="class")
    def random_b1(self, tmp_path_factory):
        torch.manual_seed(7)
        path = tmp_path_factory.mktemp("random_b1") / "b1.safetensors"
        save_weights(MMCFusion(get_variant("b1")), path, {})
        return path

    @nightly
    def test_lite_of_any_size(self, random_lite, run):
        fuse, network = run(random_lite), TorchBackend(find_model(random_lite), "cpu", "float32")
        for size in ((128, 128), (144, 252), (132, 400)):
            assert_same_image(fuse(*scene(*size)), network(*scene(*size)))

    def test_b1_of_one_size(self, random_b1, run):
        fused = run(random_b1, (83, 65))(*scene(65, 83))
        assert_same_image(fused, TorchBackend(find_model(random_b1), "cpu", "float32")(*scene(65, 83)))

    @nightly
    def test_b1_of_any_size(self, random_b1, run):
        fuse, network = run(random_b1), TorchBackend(find_model(random_b1), "cpu", "float32")
        for size in ((32, 32), (65, 83)):
            assert_same_image(fuse(*scene(*size)), network(*scene(*size)))

    def test_one_size_in_half_precision_with_another_opset(self, random_lite, run, tmp_path, tmp_path_factory):
        onnx = pytest.importorskip("onnx", reason="onnx is not installed")
        dark = tmp_path_factory.mktemp("dark") / "dark.safetensors"
        save_weights(load_network(random_lite), dark, {"thermal_polarity": "black_hot"})
        fused = run(dark, (176, 144), opset=20, precision="float16")(*scene(144, 176))
        expected = TorchBackend(find_model(random_lite), "cpu", "float32")(*scene(144, 176))
        assert np.abs(fused.astype(int) - expected).mean() < 1
        model = onnx.load(tmp_path / "a.onnx")
        assert {weight.data_type for weight in model.graph.initializer if len(weight.dims) == 4} == {
            onnx.TensorProto.FLOAT16
        }
        assert [entry.version for entry in model.opset_import if not entry.domain] == [20]
        texts = {entry.key: entry.value for entry in model.metadata_props}
        assert (texts["variant"], texts["thermal_polarity"]) == ("lite", "black_hot")
        assert "0 to 255" in texts["scaling"]
        assert "F" in texts["colour"]

    @pytest.mark.parametrize("size", [(146, 176), (144, 124)])
    def test_size_that_the_variant_does_not_take(self, random_lite, tmp_path, size):
        with pytest.raises(ValueError, match=f"{size[1]}x{size[0]}.*lite.*multiples of 4.*128") as caught:
            export_onnx(random_lite, tmp_path / "a.onnx", size[::-1])
        assert "\n" not in str(caught.value)

    def test_folder_that_does_not_exist(self, random_lite, tmp_path):
        with pytest.raises(OSError, match="nowhere"):
            export_onnx(random_lite, tmp_path / "nowhere" / "a.onnx")
