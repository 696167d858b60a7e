"""The authors' checkpoints: read safely, converted strictly, and the converted network gives the authors' image."""

from __future__ import annotations

import pickle
import zlib
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from pickles import Bomb
from safetensors.torch import load_file

from mmcfusion_ros.network.checkpoint import convert_checkpoint
from mmcfusion_ros.network.weights import load_network, read_metadata

WIDTHS, DEPTH, MLP_RATIOS = (64, 128, 320, 512), 2, (8, 8, 4, 4)
UNUSED = {
    "fuse3.conv",
    *(f"pure{n}.{part}" for n in range(1, 5) for part in ("pre_process", "conv1", "sltfeature.conv1x1")),
}


def authors_shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the authors' state dict with its shape."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(key, *weight, bias=True):
        shapes[f"{key}.weight"] = weight
        if bias:
            shapes[f"{key}.bias"] = weight[:1]

    for stem in ("pre_x", "pre_y"):
        layer(stem, WIDTHS[0], 1, 3, 3)
    for stream in ("un_x", "un_y"):
        for n, (width, ratio) in enumerate(zip(WIDTHS, MLP_RATIOS, strict=True), start=1):
            layer(f"{stream}.patch_embed{n}.proj", width, WIDTHS[max(n - 2, 0)], 3, 3)
            layer(f"{stream}.patch_embed{n}.norm", width)
            layer(f"{stream}.norm{n}", width)
            for i in range(DEPTH):
                block = f"{stream}.block{n}.{i}"
                layer(f"{block}.norm1", width)
                layer(f"{block}.norm2", width)
                layer(f"{block}.attn.q", width, width)
                layer(f"{block}.attn.kv", 2 * width, width)
                layer(f"{block}.attn.proj", width, width)
                layer(f"{block}.attn.sr", width, width, 1, 1)
                layer(f"{block}.attn.norm", width)
                layer(f"{block}.mlp.fc1", ratio * width, width)
                layer(f"{block}.mlp.dwconv.dwconv", ratio * width, 1, 3, 3)
                layer(f"{block}.mlp.fc2", width, ratio * width)
    for i, width in enumerate(WIDTHS):
        layer(f"fuse{i}.conv", width, WIDTHS[min(i + 1, 3)], 3, 3)
        layer(f"fuse{i}.cov", width, 2 * width, 1, 1)
    for n, (coarse, width) in enumerate(zip(WIDTHS, (64, *WIDTHS[:3]), strict=True), start=1):
        layer(f"pure{n}.conv", width, coarse, 1, 1)
        layer(f"pure{n}.conv1", width, width, 1, 1)
        layer(f"pure{n}.sltfeature.conv1x1", width, width, 1, 1)
        layer(f"pure{n}.sltfeature.conv1", width, 2 * width, 1, 1)
        layer(f"pure{n}.sltfeature.sobel.sobel", width, 1, 3, 3, bias=False)
        for key in ("pre_process", "pre_process1", "conv3x3_leakyrelu.0", "sltfeature.conv3x3_leakyrelu.0"):
            layer(f"pure{n}.{key}", width, width, 3, 3)
    layer("last.0", 1, WIDTHS[0], 3, 3)
    return shapes


def reproducible_tensor(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Random numbers that depend on the key alone, such that activations neither vanish nor saturate."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if len(shape) > 1:
        gain = 0.1 if key.startswith("last") else 0.7
        values = rng.standard_normal(shape) * gain / np.sqrt(prod(shape[1:]))
    else:
        values = rng.uniform(-0.1, 0.1, shape) + (1 if "norm" in key and key.endswith("weight") else 0)
    return torch.from_numpy(values.astype(np.float32))


def is_unused(key: str) -> bool:
    return key.rpartition(".")[0] in UNUSED


def hollow() -> dict[str, torch.Tensor]:
    """All tensors in their shapes, with one number behind each, so that the file is small."""
    return {key: torch.zeros(1).expand(shape) for key, shape in authors_shapes().items()}


def waves(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = np.mgrid[:height, :width]
    thermal = 0.5 + 0.5 * np.sin(columns / 7) * np.cos(rows / 5)
    visible = 0.5 + 0.5 * np.cos(columns / 3 + rows / 11)
    return tuple(torch.from_numpy(image.astype(np.float32))[None, None] for image in (thermal, visible))


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authors")
    tensors = {key: reproducible_tensor(key, shape) for key, shape in authors_shapes().items()}
    torch.save(tensors, folder / "authors.pth")
    convert_checkpoint(folder / "authors.pth", folder / "converted.safetensors")
    (folder / "authors.pth").unlink()
    return folder / "converted.safetensors"


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrappers_of_a_state_dict_are_taken_off(tmp_path, converted, wrapper):
    tensors = {f"module.{key}": reproducible_tensor(key, shape) for key, shape in authors_shapes().items()}
    torch.save({wrapper: tensors, "epoch": 7}, tmp_path / "a.pth")
    convert_checkpoint(tmp_path / "a.pth", tmp_path / "a.safetensors")
    one, two = (load_file(path) for path in (converted, tmp_path / "a.safetensors"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_authors_file_has_as_many_numbers_as_published():
    sizes = {key: prod(shape) for key, shape in authors_shapes().items()}
    unused = sum(size for key, size in sizes.items() if is_unused(key))
    assert sum(sizes.values()) / 1e6 == pytest.approx(35.2, abs=0.05)
    assert (sum(sizes.values()) - unused) / 1e6 == pytest.approx(31.5, abs=0.05)


# What the authors' own module gives for ``reproducible_tensor`` weights and ``waves`` images: (row, column): value,
# and the mean and standard deviation of the whole image. Recorded once by running their released code, class
# ``system``, in float32 on a CPU with torch 2.14.
AUTHORS_OUTPUT = {
    (64, 96): (
        {
            (0, 0): -0.0375951,
            (0, 95): -0.1011939,
            (21, 19): 0.6069191,
            (32, 48): 0.6935446,
            (63, 7): 0.5357855,
            (63, 95): 0.3944217,
        },
        (0.6135371, 0.1371608),
    ),
    (75, 109): (
        {
            (0, 0): -0.0405009,
            (0, 108): -0.0482768,
            (25, 21): 0.6747859,
            (37, 54): 0.6868582,
            (74, 7): 0.5516407,
            (74, 108): 0.4152081,
        },
        (0.6256720, 0.1287694),
    ),
}


class TestConversion:
    @pytest.mark.parametrize("size", AUTHORS_OUTPUT)
    def test_converted_network_gives_the_authors_image(self, converted, size):
        network = load_network(converted)
        with torch.inference_mode():
            fused = network(*waves(*size))[0, 0]
        values, statistics = AUTHORS_OUTPUT[size]
        for position, value in values.items():
            assert fused[position].item() == pytest.approx(value, abs=1e-5), position
        assert (fused.mean().item(), fused.std().item()) == pytest.approx(statistics, abs=1e-5)

    def test_file_says_what_it_is_and_whence(self, converted):
        metadata = read_metadata(converted)
        assert metadata["variant"] == "b1"
        assert "authors' checkpoint, sha256 " in metadata["converted_from"]

    def test_unused_tensors_may_be_absent(self, tmp_path):
        used = {key: tensor for key, tensor in hollow().items() if not is_unused(key)}
        torch.save(used, tmp_path / "used.pth")
        convert_checkpoint(tmp_path / "used.pth", tmp_path / "out.safetensors")
        assert read_metadata(tmp_path / "out.safetensors")["variant"] == "b1"


class Wrapped:
    """A class that no reader of plain tensors knows."""

    def __init__(self, tensors):
        self.tensors = tensors


def without(key):
    tensors = hollow()
    del tensors[key]
    return tensors


class TestRefusal:
    """Each is one line that names the file and what is wrong, and nothing is written."""

    def refused(self, path, error=ValueError):
        target = path.with_name("out.safetensors")
        with pytest.raises(error) as caught:
            convert_checkpoint(path, target)
        text = str(caught.value)
        assert str(path) in text
        assert "\n" not in text
        assert len(text) < 500
        assert not target.exists()
        return text

    @pytest.mark.parametrize(
        "key", ["un_x.block2.1.mlp.dwconv.dwconv.weight", "pure1.sltfeature.sobel.sobel.weight", "last.0.bias"]
    )
    def test_missing_key(self, tmp_path, key):
        torch.save(without(key), tmp_path / "a.pth")
        assert f"{key!r} is missing" in self.refused(tmp_path / "a.pth")

    @pytest.mark.parametrize("key", ["un_x.norm5.weight", "pure5.pre_process.weight", "fuse3.conv.extra"])
    def test_key_of_another_network(self, tmp_path, key):
        torch.save({**hollow(), key: torch.zeros(3)}, tmp_path / "a.pth")
        assert f"{key!r} does not belong" in self.refused(tmp_path / "a.pth")

    @pytest.mark.parametrize("key", ["pre_x.weight", "fuse1.cov.bias"])
    def test_tensor_of_another_shape(self, tmp_path, key):
        shape = authors_shapes()[key]
        torch.save({**hollow(), key: torch.zeros(9, *shape[1:])}, tmp_path / "a.pth")
        text = self.refused(tmp_path / "a.pth")
        assert repr(key) in text
        assert str((9, *shape[1:])) in text
        assert str(shape) in text

    def test_weights_that_are_not_finite(self, tmp_path):
        torch.save({**hollow(), "last.0.bias": torch.tensor([float("nan")])}, tmp_path / "a.pth")
        assert "'last.0.bias' is not finite" in self.refused(tmp_path / "a.pth")

    @pytest.mark.parametrize(
        "content",
        [[torch.zeros(3)], torch.zeros(3), {**hollow(), "epoch": 7}, {}, None],
        ids=["list", "tensor", "number", "empty", "none"],
    )
    def test_no_state_dict(self, tmp_path, content):
        torch.save(content, tmp_path / "a.pth")
        self.refused(tmp_path / "a.pth")

    def test_it_says_what_the_file_holds(self, tmp_path):
        torch.save({"weights": [1], "epoch": 7}, tmp_path / "a.pth")
        assert "holds a dictionary with the keys weights, epoch, no state dict" in self.refused(tmp_path / "a.pth")

    def test_a_target_of_another_kind(self, tmp_path):
        torch.save(hollow(), tmp_path / "a.pth")
        with pytest.raises(ValueError, match=r"b\.pth must be named \.safetensors"):
            convert_checkpoint(tmp_path / "a.pth", tmp_path / "b.pth")

    def test_tensors_wrapped_in_an_object(self, tmp_path):
        torch.save(Wrapped(hollow()), tmp_path / "a.pth")
        assert "plain tensors" in self.refused(tmp_path / "a.pth")

    @pytest.mark.parametrize("zipped", [True, False])
    def test_pickle_bomb_does_not_go_off(self, tmp_path, zipped):
        crater = tmp_path / "crater"
        torch.save({**hollow(), "bomb": Bomb(crater)}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
        assert "plain tensors" in self.refused(tmp_path / "a.pth")
        assert not crater.exists()

    def test_bare_pickle_bomb_does_not_go_off(self, tmp_path):
        crater = tmp_path / "crater"
        (tmp_path / "a.pth").write_bytes(pickle.dumps(Bomb(crater), protocol=2))
        self.refused(tmp_path / "a.pth")
        assert not crater.exists()
        pickle.loads((tmp_path / "a.pth").read_bytes())
        assert crater.exists(), "the bomb was a dud"

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.3, 0.9, 0.999])
    def test_truncated_file(self, tmp_path, zipped, share):
        path = tmp_path / "a.pth"
        torch.save(hollow(), path, _use_new_zipfile_serialization=zipped)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        self.refused(path)

    @pytest.mark.parametrize("seed", range(20))
    def test_noise(self, tmp_path, seed):
        (tmp_path / "a.pth").write_bytes(np.random.default_rng(seed).bytes(1 + 30 * seed))
        self.refused(tmp_path / "a.pth")

    @pytest.mark.parametrize("name", ["missing.pth", "."])
    def test_missing_file(self, tmp_path, name):
        assert "does not exist" in self.refused(tmp_path / name, FileNotFoundError)
