"""Arrays in, the fused array out: sizes, types, backends and their choice, and what goes wrong."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import openvino
import pytest
import torch
from image_pairs import as_message, fuse
from safetensors.torch import load_file

from mmcfusion_ros.alignment.refinement import RefinementOptions, Refiner
from mmcfusion_ros.fusion import backends
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.fusion.errors import BackendError, FusionError
from mmcfusion_ros.fusion.fuser import Fuser, merge_luminance, split_luminance
from mmcfusion_ros.fusion.models import find_model
from mmcfusion_ros.fusion.openvino_backend import COMPILED_SIZES
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.network.variants import get_variant
from mmcfusion_ros.stream.health import milliseconds
from mmcfusion_ros.stream.pairing import LoneFrame
from mmcfusion_ros.stream.pipeline import FusionPipeline

SIZES = [(32, 32), (33, 57), (64, 64), (101, 203), (32, 4096)]


def scene(height, width, seed=0):
    """Thermal ``H x W`` and RGB ``H x W x 3`` of muted colours, uint8."""
    rng = np.random.default_rng((height, width, seed))
    rows, columns = np.mgrid[:height, :width]
    thermal = 70 + 120 * ((columns - width / 3) ** 2 + (rows - height / 2) ** 2 < (min(height, width) / 4) ** 2)
    grey = 120 + 40 * np.sin(columns / 9) * np.cos(rows / 7)
    rgb = grey[..., None] + np.array([12, 0, -14]) * np.sin(rows / 11)[..., None]
    noise = rng.normal(0, 2, (height, width))
    return tuple(np.clip(image, 0, 255).astype(np.uint8) for image in (thermal + noise, rgb + noise[..., None]))


@pytest.fixture(scope="module")
def openvino_fuser(random_lite_graph):
    return Fuser.from_pretrained(random_lite_graph, "openvino", precision="float32", threads=1)


@pytest.fixture(scope="module")
def torch_fuser(random_lite):
    return Fuser.from_pretrained(random_lite, "torch", device="cpu")


@pytest.fixture(params=["openvino", "torch"])
def fuser(request, openvino_fuser, torch_fuser):
    return {"openvino": openvino_fuser, "torch": torch_fuser}[request.param]


class Recorder:
    """A backend that keeps what it was given and returns the thermal image."""

    name, device, precision, variant = "recorder", "CPU", "float32", get_variant("lite")
    thermal_polarity = "white_hot"

    def __call__(self, thermal, luminance):
        self.images = thermal, luminance
        return thermal.copy()


class TestImages:
    @pytest.mark.parametrize("size", SIZES)
    def test_any_size_gives_that_size(self, openvino_fuser, size):
        thermal, rgb = scene(*size)
        fused = openvino_fuser(thermal, rgb)
        assert fused.shape == rgb.shape
        assert fused.dtype == np.uint8
        grey = openvino_fuser(thermal, rgb[..., 0])
        assert grey.shape == thermal.shape
        assert grey.dtype == np.uint8
        assert grey.std() > 5

    @pytest.mark.parametrize("size", SIZES[:4])
    def test_backends_agree_within_one_grey_level(self, openvino_fuser, torch_fuser, size):
        """But for the few pixels with two equal gradients, where rounding picks the stronger."""
        thermal, rgb = scene(*size)
        a, b = (fuser(thermal, rgb[..., 1]).astype(int) for fuser in (openvino_fuser, torch_fuser))
        assert (np.abs(a - b) > 1).mean() < 1e-3

    @pytest.mark.parametrize(
        ("size", "padded"), [((32, 32), (128, 128)), ((127, 199), (128, 200)), ((128, 200), (128, 200))]
    )
    def test_backend_sees_the_edges_repeated_to_a_size_it_takes(self, size, padded):
        thermal, rgb = scene(*size)
        recorder = Recorder()
        np.testing.assert_array_equal(Fuser(recorder, denoises=False)(thermal, rgb[..., 0]), thermal)
        for image, seen in zip((thermal, rgb[..., 0]), recorder.images, strict=True):
            margin = [(0, a - b) for a, b in zip(padded, size, strict=True)]
            np.testing.assert_array_equal(seen, np.pad(image, margin, mode="edge"))

    def test_size_may_change_between_frames_and_come_back(self, fuser):
        first = fuser(*scene(64, 80))
        for size in ((66, 64), (90, 70), (64, 96), (70, 64), (80, 64)):
            assert fuser(*scene(*size)).shape == (*size, 3)
        np.testing.assert_array_equal(fuser(*scene(64, 80)), first)

    def test_luminance_is_fused_and_colour_put_back(self, fuser):
        thermal, rgb = scene(80, 96)
        fused = fuser(thermal, rgb)
        luminance = fuser(thermal, split_luminance(rgb)[0])
        np.testing.assert_array_equal(fused, merge_luminance(luminance, rgb))
        np.testing.assert_allclose(split_luminance(fused)[0].astype(int), luminance, atol=1)

    def test_red_comes_first(self):
        thermal = np.full((64, 64), 76, np.uint8)
        red = np.zeros((64, 64, 3), np.uint8)
        red[..., 0] = 255
        recorder = Recorder()
        fused = Fuser(recorder)(thermal, red)
        assert (recorder.images[1] == 76).all()
        np.testing.assert_allclose(fused.astype(int), red, atol=2)

    def test_both_sources_black_give_exactly_black(self, fuser):
        thermal, rgb = scene(64, 96)
        thermal[10:40, 20:70] = rgb[10:40, 20:70] = 0
        fused = fuser(thermal, rgb)
        assert not fused[10:40, 20:70].any()
        assert fused.any()

    def test_views_and_read_only_arrays_are_taken_and_left_as_they_were(self, fuser):
        thermal, rgb = scene(80, 96)
        expected = fuser(thermal, rgb)
        big_thermal, big_rgb = np.zeros((160, 100), np.uint8), np.zeros((85, 192, 4), np.uint8)
        thermal_view, rgb_view = big_thermal[::-2, 2:98], big_rgb[5:, ::2, 2::-1]
        thermal_view[:], rgb_view[:] = thermal, rgb
        before = big_thermal.copy(), big_rgb.copy()
        big_thermal.flags.writeable = big_rgb.flags.writeable = False
        np.testing.assert_array_equal(fuser(big_thermal[::-2, 2:98], big_rgb[5:, ::2, 2::-1]), expected)
        np.testing.assert_array_equal(fuser(thermal_view, rgb_view[..., 1]), fuser(thermal, rgb[..., 1].copy()))
        for image, old in zip((big_thermal, big_rgb), before, strict=True):
            np.testing.assert_array_equal(image, old)

    @pytest.mark.parametrize("size", [(64, 64), (65, 65)])
    def test_result_belongs_to_the_caller(self, fuser, size):
        thermal, rgb = scene(*size)
        luminance = rgb[..., 0].copy()
        first = fuser(thermal, luminance)
        kept = first.copy()
        second = fuser(255 - thermal, 255 - luminance)
        np.testing.assert_array_equal(first, kept)
        assert (second != first).any()
        first[:] = 7
        np.testing.assert_array_equal(fuser(thermal, luminance), kept)
        assert not np.shares_memory(first, thermal)
        assert not np.shares_memory(first, luminance)


class TestWrongImages:
    @pytest.mark.parametrize(
        ("thermal", "visible", "complaint"),
        [
            ((31, 64), (31, 64), "64x31: sides must be 32 to 4096"),
            ((64, 31), (64, 31, 3), "31x64: sides must be 32 to 4096"),
            ((32, 4097), (32, 4097), "4097x32: sides must be 32 to 4096"),
            ((0, 0), (0, 0, 3), "0x0: sides must be 32 to 4096"),
            ((64, 64), (64, 65), r"thermal \(64, 64\) and luminance \(64, 65\)"),
            ((64, 65), (64, 64, 3), r"thermal \(64, 65\) and luminance \(64, 64\)"),
            ((64, 64, 1), (64, 64), r"thermal \(64, 64, 1\)"),
            ((64, 64, 3), (64, 64, 3), r"thermal \(64, 64, 3\)"),
            ((64, 64), (64, 64, 4), r"shape \(64, 64, 4\)"),
            ((64, 64), (64, 64, 1), r"shape \(64, 64, 1\)"),
            ((64, 64), (2, 64, 64, 3), r"shape \(2, 64, 64, 3\)"),
            ((64, 64), (64,), r"shape \(64,\)"),
            ((64, 64), (), r"shape \(\)"),
        ],
    )
    def test_shape(self, thermal, visible, complaint):
        with pytest.raises(ValueError, match=complaint):
            Fuser(Recorder())(np.zeros(thermal, np.uint8), np.zeros(visible, np.uint8))

    @pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64, np.int8, np.int64, bool, object])
    @pytest.mark.parametrize("shape", [(64, 64), (64, 64, 3)])
    def test_type(self, dtype, shape):
        good = np.zeros((64, 64), np.uint8)
        with pytest.raises(ValueError, match=f"visible image of {np.dtype(dtype)}"):
            Fuser(Recorder())(good, np.zeros(shape, dtype))
        with pytest.raises(ValueError, match=f"thermal image of {np.dtype(dtype)}"):
            Fuser(Recorder())(good.astype(dtype), np.zeros(shape, np.uint8))


class TestChoiceOfBackend:
    @pytest.mark.parametrize("option", ["backend", "device", "precision"])
    def test_unknown_name_is_refused_with_the_known_ones(self, random_lite, option):
        with pytest.raises(ValueError, match="'tpu7' is not one of auto, "):
            Fuser.from_pretrained(random_lite, **{option: "tpu7"})

    def test_auto_takes_openvino_on_a_cpu_and_says_why(self, random_lite_graph, monkeypatch):
        monkeypatch.setattr(backends, "has_nvidia_driver", lambda: False)
        weights = random_lite_graph.with_suffix(".safetensors")
        fuser = Fuser(*backends.create_backend(backends.ModelFiles("random", weights, random_lite_graph)))
        assert fuser.backend.name == "openvino"
        text = str(fuser)
        assert text.startswith("lite, thermal white hot, on openvino (CPU, ")
        assert "no CUDA device" in text

    def test_auto_takes_torch_where_there_is_cuda(self, random_lite, monkeypatch):
        monkeypatch.setattr(backends, "has_nvidia_driver", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Imaginary 9")
        assert backends.choose_backend(find_model(random_lite), "auto") == ("torch", "found Imaginary 9")

    def test_auto_takes_openvino_for_an_exported_graph_even_beside_a_gpu(self, random_lite_graph, monkeypatch):
        monkeypatch.setattr(backends, "has_nvidia_driver", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Imaginary 9")
        fuser = Fuser.from_pretrained(random_lite_graph)
        assert fuser.backend.name == "openvino"
        assert "OpenVINO only" in fuser.reason

    def test_chosen_by_hand_it_says_so(self, openvino_fuser, torch_fuser):
        assert str(openvino_fuser) == "lite, thermal white hot, on openvino (CPU, float32): as configured"
        assert str(torch_fuser) == "lite, thermal white hot, on torch (CPU, float32): as configured"

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
    @pytest.mark.parametrize("backend", ["auto", "torch"])
    def test_cuda_where_there_is_none_fails_at_once(self, random_lite, backend):
        with pytest.raises(BackendError, match=r"'cuda' was asked for but .*'auto' or 'cpu'"):
            Fuser.from_pretrained(random_lite, backend, device="cuda")

    def test_openvino_on_cuda(self, random_lite_graph):
        with pytest.raises(BackendError, match="'openvino' runs on the CPU"):
            Fuser.from_pretrained(random_lite_graph, "openvino", device="cuda")

    def test_torch_with_an_exported_graph(self, random_lite_graph):
        with pytest.raises(BackendError, match=r"needs the \.safetensors file"):
            Fuser.from_pretrained(random_lite_graph, "torch")

    def test_precision_that_the_processor_lacks(self, random_lite_graph):
        capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        lacking = [name for name, word in (("float16", "FP16"), ("bfloat16", "BF16")) if word not in capabilities]
        if not lacking:
            pytest.skip("this processor has every precision")
        for precision in lacking:
            with pytest.raises(BackendError, match=f"no {precision} in OpenVINO.*'float32'"):
                Fuser.from_pretrained(random_lite_graph, "openvino", precision=precision)

    @pytest.mark.parametrize(
        ("missing", "backend", "complaint"),
        [
            ("torch", "torch", "needs PyTorch"),
            ("torch", "openvino", "PyTorch"),
            ("openvino", "openvino", "needs the package openvino"),
        ],
    )
    def test_package_that_is_not_installed(self, random_lite, monkeypatch, missing, backend, complaint):
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(BackendError, match=complaint):
            Fuser.from_pretrained(random_lite, backend)

    @pytest.mark.parametrize("precision", ["bfloat16", "float16"])
    def test_half_precision_on_torch_is_close_to_float32(self, random_lite, torch_fuser, precision):
        half = Fuser.from_pretrained(random_lite, "torch", device="cpu", precision=precision)
        assert half.backend.precision == precision
        a, b = (fuser(*scene(64, 80)).astype(float) for fuser in (half, torch_fuser))
        assert np.abs(a - b).mean() < 2


class TestModels:
    def test_unknown_name_is_refused_with_the_known_ones(self):
        with pytest.raises(
            ValueError, match=r"'light' is neither one of b1, detect, lite nor a \.safetensors or \.xml file"
        ):
            Fuser.from_pretrained("light")

    @pytest.mark.parametrize("name", ["weights.pth", "weights.onnx", "weights"])
    def test_file_of_another_kind(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match="is neither"):
            Fuser.from_pretrained(tmp_path / name)

    @pytest.mark.parametrize("name", ["a.safetensors", "a.xml"])
    def test_missing_file(self, tmp_path, name):
        with pytest.raises(FileNotFoundError, match=f"{name} does not exist"):
            Fuser.from_pretrained(tmp_path / name)

    def test_graph_without_its_bin_file(self, random_lite_graph, tmp_path):
        (tmp_path / "a.xml").write_bytes(random_lite_graph.read_bytes())
        with pytest.raises(FileNotFoundError, match=r"a\.bin is missing"):
            Fuser.from_pretrained(tmp_path / "a.xml")

    @pytest.mark.parametrize(
        ("xml", "bin_"),
        [(b"", b""), (b"<net", b"x"), (None, b""), (None, bytes(1000))],
        ids=["empty", "cut xml", "empty bin", "cut bin"],
    )
    def test_damaged_graph_is_one_line_that_names_it(self, random_lite_graph, tmp_path, xml, bin_):
        path = tmp_path / "a.xml"
        path.write_bytes(random_lite_graph.read_bytes() if xml is None else xml)
        path.with_suffix(".bin").write_bytes(bin_)
        with pytest.raises(ValueError, match="not a readable OpenVINO model") as caught:
            Fuser.from_pretrained(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("old", "new", "complaint"),
        [("<variant ", "<nothing ", "does not name its network variant"), ('value="lite"', 'value="b9"', "'b9'")],
    )
    def test_graph_of_no_known_variant(self, random_lite_graph, tmp_path, old, new, complaint):
        path = tmp_path / "a.xml"
        path.write_text(random_lite_graph.read_text().replace(old, new))
        path.with_suffix(".bin").write_bytes(random_lite_graph.with_suffix(".bin").read_bytes())
        with pytest.raises(ValueError, match=complaint) as caught:
            Fuser.from_pretrained(path)
        assert str(path) in str(caught.value)


class TestFailures:
    def test_output_that_is_not_finite_is_an_error_and_the_next_frame_is_fused(self, random_lite, monkeypatch):
        from mmcfusion_ros.fusion import torch_backend

        network = torch_backend.load_network(random_lite)
        monkeypatch.setattr(torch_backend, "load_network", lambda _: network)
        fuser = Fuser.from_pretrained(random_lite, "torch", device="cpu")
        expected = fuser(*scene(64, 80))
        bias = network.stem_thermal.bias
        healthy = bias.clone()
        for poison in (float("nan"), float("inf")):
            bias.data[0] = poison
            with pytest.raises(FusionError, match="float32 is not finite"):
                fuser(*scene(64, 80))
            bias.data.copy_(healthy)
            np.testing.assert_array_equal(fuser(*scene(64, 80)), expected)

    @pytest.mark.parametrize("backend", ["torch", "openvino"])
    def test_backend_that_fails_names_the_frame_and_goes_on(self, random_lite, random_lite_graph, monkeypatch, backend):
        fuser = Fuser.from_pretrained(random_lite if backend == "torch" else random_lite_graph, backend, threads=1)
        expected = fuser(*scene(64, 80))
        with monkeypatch.context() as patch:

            def fail(*_, **__):
                raise RuntimeError("out of memory")

            patch.setattr(*((torch, "empty") if backend == "torch" else (openvino.Core, "compile_model")), fail)
            with pytest.raises(FusionError, match="frame of 200x140: out of memory"):
                fuser(*scene(140, 200))
        np.testing.assert_array_equal(fuser(*scene(64, 80)), expected)
        assert fuser(*scene(140, 200)).shape == (140, 200, 3)


def test_openvino_keeps_the_last_sizes_compiled(random_lite_graph, private_cache, monkeypatch):
    compiled, compile_model = [], openvino.Core.compile_model
    monkeypatch.setattr(openvino.Core, "compile_model", lambda *a: compiled.append(a) or compile_model(*a))
    fuser = Fuser.from_pretrained(random_lite_graph, "openvino", threads=1)
    sizes = [(128, 128 + 16 * i) for i in range(COMPILED_SIZES + 1)]
    for size in [*sizes, *sizes[1:], sizes[0]]:
        fuser(*scene(*size))
    assert len(compiled) == COMPILED_SIZES + 2


class TestCache:
    def test_folder_is_private_and_the_second_start_reads_it(self, random_lite_graph, private_cache):
        expected = Fuser.from_pretrained(random_lite_graph, "openvino", threads=1)(*scene(64, 64))
        folder = private_cache / "mmcfusion_ros"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        blobs = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert blobs
        again = Fuser.from_pretrained(random_lite_graph, "openvino", threads=1)(*scene(64, 64))
        np.testing.assert_array_equal(again, expected)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == blobs

    @pytest.mark.parametrize("damage", [b"", b"junk", None])
    def test_damaged_cache_does_no_harm(self, random_lite_graph, private_cache, damage):
        """As after a power cut in the middle of writing."""
        expected = Fuser.from_pretrained(random_lite_graph, "openvino", threads=1)(*scene(64, 64))
        for path in (private_cache / "mmcfusion_ros").iterdir():
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2] if damage is None else damage)
        again = Fuser.from_pretrained(random_lite_graph, "openvino", threads=1)(*scene(64, 64))
        np.testing.assert_array_equal(again, expected)

    def test_new_weights_in_the_same_file_are_not_taken_from_the_cache(
        self, random_lite, random_lite_graph, tmp_path, private_cache
    ):
        path, old = tmp_path / "a.xml", random_lite_graph.with_suffix(".bin").read_bytes()
        path.write_bytes(random_lite_graph.read_bytes())
        head = load_file(random_lite)["head.to_mixture.weight"].numpy()
        new = old.replace(head.tobytes(), (-head).tobytes())
        fused = []
        for content in (old, new, old):
            path.with_suffix(".bin").write_bytes(content)
            fused.append(Fuser.from_pretrained(path, "openvino", precision="float32", threads=1)(*scene(64, 64)))
        assert (fused[0] != fused[1]).mean() > 0.5
        np.testing.assert_array_equal(fused[0], fused[2])

    def test_each_precision_has_entries_of_its_own(self, random_lite_graph, private_cache):
        thermal, rgb = scene(64, 64)
        grey = split_luminance(rgb)[0]
        fused = [
            Fuser.from_pretrained(random_lite_graph, "openvino", precision=precision, threads=1)(thermal, grey)
            for precision in ("float32", "auto", "float32")
        ]
        np.testing.assert_array_equal(fused[0], fused[2])
        np.testing.assert_allclose(fused[1], fused[0].astype(int), atol=4)

    def test_without_a_folder_there_is_no_cache(self, random_lite_graph, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        image = np.zeros((64, 64), np.uint8)
        assert Fuser.from_pretrained(random_lite_graph, "openvino")(image, image).shape == (64, 64)


def test_openvino_path_imports_no_torch(random_lite_graph):
    program = f"""
import sys
import numpy as np
from mmcfusion_ros.fusion import Fuser
from mmcfusion_ros.stream.pairing import LoneFrame, Pair
from mmcfusion_ros.stream.pipeline import FusionPipeline
fused = Fuser.from_pretrained({str(random_lite_graph)!r}, threads=1)(*np.full((2, 64, 64), 90, np.uint8))
assert fused.shape == (64, 64)
print(sorted({{"torch", "timm", "safetensors", "rclpy"}} & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


class TestPipeline:
    def pipeline(self, homography=None, fuser=None, **options):
        return FusionPipeline(
            fuser or Fuser(Recorder()), ThermalScaler(ThermalOptions(**options)), Registration(homography)
        )

    def test_aligned_8_bit_pair_is_what_the_fuser_gives(self, openvino_fuser):
        thermal, rgb = scene(80, 96)
        fused = fuse(self.pipeline(fuser=openvino_fuser), thermal, rgb).image
        np.testing.assert_array_equal(fused, openvino_fuser(thermal, rgb))

    def test_the_plane_moves_between_two_pairs(self):
        lens = Intrinsics(96, 80, np.array([[100.0, 0, 47.5], [0, 100, 39.5], [0, 0, 1]]))
        rig = Calibration(rotation=np.eye(3), translation=np.array([0.1, 0, 0]), thermal=lens, rgb=lens)
        pipeline = FusionPipeline(Fuser(Recorder()), ThermalScaler(ThermalOptions()), Registration(rig))
        thermal, rgb = scene(80, 96)
        far = fuse(pipeline, thermal, rgb).registered
        pipeline.change(pipeline.scaler, True, None, replace(rig, plane_distance=1.0))
        near = fuse(pipeline, thermal, rgb).registered
        np.testing.assert_array_equal(near[:, 30:-10], far[:, 20:-20])  # 100 px * 0.1 m / 1 m

    def test_16_bit_thermal_is_scaled_first(self):
        thermal, rgb = scene(80, 96)
        raw = 20000 + 10 * thermal.astype(np.uint16)
        fused = fuse(self.pipeline(mode="fixed", fixed_low=20000, fixed_high=22550), raw, rgb[..., 0]).image
        np.testing.assert_allclose(fused.astype(int), thermal, atol=1)

    def test_thermal_of_another_size_is_brought_to_the_rgb_grid(self):
        thermal, rgb = scene(80, 96)
        fused = fuse(self.pipeline(), thermal[::2, ::2], rgb[..., 0]).image
        np.testing.assert_array_equal(fused, cv2.resize(thermal[::2, ::2], (96, 80)))

    def test_outside_of_the_thermal_view_the_rgb_image_passes(self, openvino_fuser):
        thermal, rgb = scene(40, 48)[0], scene(80, 96)[1]
        shifted = np.array([[1, 0, 20], [0, 1, 30], [0, 0, 1]])
        fused = fuse(self.pipeline(shifted, openvino_fuser), thermal, rgb).image
        inside = np.zeros((80, 96), bool)
        inside[30:70, 20:68] = True
        assert fused.shape == rgb.shape
        np.testing.assert_allclose(fused[~inside].astype(int), rgb[~inside], atol=2)
        assert np.abs(fused[inside].astype(int) - rgb[inside]).mean() > 5
        grey = fuse(self.pipeline(shifted, openvino_fuser), thermal, rgb[..., 0]).image
        np.testing.assert_array_equal(grey[~inside], rgb[..., 0][~inside])

    def test_thermal_alone_lies_where_the_refiner_has_moved_it(self):
        thermal, _ = scene(80, 96)
        pipeline = self.pipeline()
        pipeline.refiner = Refiner(Registration(), RefinementOptions("correct"))
        pipeline.refiner.registration = Registration().corrected(np.array([[1, 0, 20], [0, 1, 30], [0, 0, 1]]))
        alone = pipeline.alone(LoneFrame("thermal", as_message(thermal), 0, 0), (96, 80))
        np.testing.assert_array_equal(alone.image[34:, 24:], thermal[4:-30, 4:-20])
        assert not alone.image[:30].any()
        assert alone.weight is not None
        assert not alone.weight[:30].any()
        assert alone.weight[30:, 20:].all()

    def test_stages_are_timed_and_sum_up(self):
        times = milliseconds(fuse(self.pipeline(), *scene(64, 64)).moments)
        assert list(times) == ["decode", "thermal", "luminance", "registration", "network", "colour", "total"]
        assert times.pop("total") == pytest.approx(sum(times.values()))
        assert min(times.values()) >= 0

    @pytest.mark.parametrize(("height", "width"), [(20, 64), (64, 31), (32, 4100)])
    def test_images_of_a_size_that_no_network_takes(self, height, width):
        with pytest.raises(ValueError, match=f"image of {width}x{height}: sides must be 32 to 4096"):
            fuse(self.pipeline(), np.zeros((64, 64), np.uint8), np.zeros((height, width), np.uint8))
