"""Weights files: what is saved is loaded, anything else is refused by name, and the shipped files are whole."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mmcfusion_ros.fusion.models import find_model
from mmcfusion_ros.fusion.openvino_backend import OpenVINOBackend
from mmcfusion_ros.network import hashes
from mmcfusion_ros.network.mmcfusion import MMCFusion
from mmcfusion_ros.network.variants import get_variant
from mmcfusion_ros.network.weights import load_network, read_metadata, save_weights

SHIPPED = Path(__file__).resolve().parents[1] / "models"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return MMCFusion(get_variant("lite"))


def one_line(caught, *words):
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def altered(source: Path, target: Path, change) -> Path:
    """A copy of a weights file after ``change(tensors, metadata)``."""
    tensors, metadata = load_file(source), read_metadata(source)
    change(tensors, metadata)
    save_file(tensors, target, metadata)
    return target


class TestRoundTrip:
    @pytest.mark.parametrize(("half", "dtype"), [(True, torch.float16), (False, torch.float32)])
    def test_network_comes_back_in_float32_and_evaluation_mode(self, network, tmp_path, half, dtype):
        save_weights(network, tmp_path / "a.safetensors", {}, half=half)
        loaded = load_network(tmp_path / "a.safetensors")
        assert not loaded.training
        assert loaded.variant == network.variant
        for name, tensor in network.state_dict().items():
            assert loaded.state_dict()[name].dtype == torch.float32
            torch.testing.assert_close(loaded.state_dict()[name], tensor.to(dtype).float(), rtol=0, atol=0)

    def test_metadata_names_variant_and_widths_beside_what_was_given(self, network, tmp_path):
        save_weights(network, tmp_path / "a.safetensors", {"training_data": "x/train", "variant": "b1"})
        metadata = read_metadata(tmp_path / "a.safetensors")
        assert metadata["variant"] == "lite"
        assert json.loads(metadata["widths"]) == [16, 32, 64, 96]
        assert metadata["training_data"] == "x/train"

    def test_file_is_readable_by_all_and_nothing_is_left_beside_it(self, network, tmp_path):
        save_weights(network, tmp_path / "a.safetensors", {})
        assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
        assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o644

    def test_folder_that_does_not_exist(self, network, tmp_path):
        with pytest.raises(OSError, match="nowhere") as caught:
            save_weights(network, tmp_path / "nowhere" / "a.safetensors", {})
        one_line(caught)

    def test_weights_too_large_for_float16_are_refused(self, tmp_path):
        network = MMCFusion(get_variant("lite"))
        torch.nn.init.constant_(network.head.to_mixture.bias, 1e5)
        with pytest.raises(ValueError, match=r"'head\.to_mixture\.bias'") as caught:
            save_weights(network, tmp_path / "a.safetensors", {})
        one_line(caught)
        assert list(tmp_path.iterdir()) == []


class TestStrictness:
    def refused(self, path, *words):
        with pytest.raises(ValueError, match=path.name) as caught:
            load_network(path)
        one_line(caught, *words)

    def test_missing_tensor(self, random_lite, tmp_path):
        path = altered(
            random_lite, tmp_path / "a.safetensors", lambda tensors, _: tensors.pop("decoder.2.enhance.sobel.weight")
        )
        self.refused(path, "'decoder.2.enhance.sobel.weight'", "missing")

    def test_tensor_that_does_not_belong(self, random_lite, tmp_path):
        path = altered(random_lite, tmp_path / "a.safetensors", lambda tensors, _: tensors.update(more=torch.zeros(1)))
        self.refused(path, "'more'", "does not belong")

    def test_tensor_of_another_shape(self, random_lite, tmp_path):
        wrong = torch.zeros(16, 16, 3, 3)
        path = altered(
            random_lite, tmp_path / "a.safetensors", lambda tensors, _: tensors.update({"stem_thermal.weight": wrong})
        )
        self.refused(path, "'stem_thermal.weight'", "(16, 16, 3, 3)", "(16, 16, 1, 1)")

    def test_weights_of_another_variant(self, random_lite, tmp_path):
        path = altered(random_lite, tmp_path / "a.safetensors", lambda _, metadata: metadata.update(variant="b0"))
        self.refused(path, "b0")

    def test_unknown_variant(self, random_lite, tmp_path):
        path = altered(random_lite, tmp_path / "a.safetensors", lambda _, metadata: metadata.update(variant="b9"))
        self.refused(path, "'b9'", "lite")

    @pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
    def test_file_without_a_variant(self, tmp_path, metadata):
        save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata)
        self.refused(tmp_path / "a.safetensors", "variant")

    @pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\xff" * 100])
    def test_file_that_is_not_safetensors(self, tmp_path, content):
        (tmp_path / "a.safetensors").write_bytes(content)
        self.refused(tmp_path / "a.safetensors", "not a safetensors file")

    def test_truncated_file(self, random_lite, tmp_path):
        content = random_lite.read_bytes()
        (tmp_path / "a.safetensors").write_bytes(content[: len(content) // 2])
        self.refused(tmp_path / "a.safetensors", "not a safetensors file")

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"a\.safetensors does not exist"):
            load_network(tmp_path / "a.safetensors")


class TestHashes:
    @pytest.fixture
    def folder(self, random_lite_graph, tmp_path):
        """A folder of listed model files."""
        names = [random_lite_graph.with_suffix(suffix).name for suffix in (".safetensors", ".xml", ".bin")]
        for name in names:
            (tmp_path / name).write_bytes((random_lite_graph.parent / name).read_bytes())
        hashes.write_hashes(tmp_path, names)
        return tmp_path

    def load(self, folder, suffix):
        if suffix == ".safetensors":
            return load_network(folder / "random.safetensors")
        return OpenVINOBackend(find_model(folder / "random.xml"))

    def test_list_is_that_of_sha256sum(self, folder):
        lines = (folder / "SHA256SUMS").read_text().splitlines()
        assert [line[64:] for line in lines] == ["  random.bin", "  random.safetensors", "  random.xml"]
        assert hashes.read_hashes(folder)["random.bin"] == hashes.sha256_of(folder / "random.bin")

    def test_whole_files_are_taken(self, folder, private_cache):
        assert self.load(folder, ".safetensors").variant.name == "lite"
        assert self.load(folder, ".xml").variant.name == "lite"

    @pytest.mark.parametrize("suffix", [".safetensors", ".xml", ".bin"])
    def test_tampered_file_is_refused_by_name(self, folder, private_cache, suffix):
        path = folder / f"random{suffix}"
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged or was replaced") as caught:
            self.load(folder, suffix)
        one_line(caught, str(path), "SHA256SUMS")

    @pytest.mark.parametrize("mark", ["*", " "])
    def test_both_forms_of_sha256sum_lists_count(self, folder, mark):
        (folder / "SHA256SUMS").write_text(f"{'0' * 64} {mark}random.safetensors\n")
        with pytest.raises(ValueError, match="damaged or was replaced"):
            self.load(folder, ".safetensors")

    def test_unreadable_list_is_named(self, folder):
        (folder / "SHA256SUMS").write_text("<<<<<<<\n")
        with pytest.raises(ValueError, match="SHA256SUMS") as caught:
            self.load(folder, ".safetensors")
        one_line(caught, "<<<<<<<")

    def test_unlisted_file_is_taken(self, folder):
        hashes.write_hashes(folder, ["random.xml"])
        assert self.load(folder, ".safetensors").variant.name == "lite"


class TestShippedModels:
    @pytest.fixture(scope="class")
    def names(self):
        suffixes = (".safetensors", ".xml", ".bin", ".onnx")
        names = {path.name for path in SHIPPED.glob("*") if path.suffix in suffixes}
        if not names:
            pytest.skip(f"no models in {SHIPPED}")
        return names

    def test_every_model_file_is_listed_and_every_listed_file_is_there(self, names):
        assert set(hashes.read_hashes(SHIPPED)) == names

    def test_every_hash_is_right(self, names):
        for name, digest in hashes.read_hashes(SHIPPED).items():
            assert hashes.sha256_of(SHIPPED / name) == digest, name

    def test_weights_say_how_they_were_made(self, names):
        for name in names:
            if name.endswith(".safetensors"):
                with safe_open(SHIPPED / name, framework="pt") as file:
                    assert {"variant", "widths", "training_data"} <= file.metadata().keys()
