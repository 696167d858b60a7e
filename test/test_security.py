"""Nothing in a file is executed, no header is believed, and the cache is private."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
import stat
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pickles import Bomb

from mmcfusion_ros.data.images import read_rgb, read_thermal
from mmcfusion_ros.fusion import model_cache
from mmcfusion_ros.fusion.calibration_file import load_calibration
from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.fusion.model_cache import LOCK, filling_cache, open_cache, seal_cache
from mmcfusion_ros.network.checkpoint import convert_checkpoint
from mmcfusion_ros.network.hashes import HASHES
from mmcfusion_ros.network.weights import load_network, read_header
from mmcfusion_ros.training.config import load_config

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [*(ROOT / "mmcfusion_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py"), ROOT / "setup.py"]
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "tempfile.mktemp",
    "torch.hub.load",
}
FORBIDDEN_CALLS |= {f"yaml.{name}" for name in ("load", "load_all", "full_load", "unsafe_load", "full_load_all")}


def offences(source: str) -> list[str]:
    """What in a program could execute what a file or a user says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name, options = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if name in FORBIDDEN_CALLS or options.get("allow_pickle") == "True" or options.get("shell") == "True":
                found.append(ast.unparse(node))
            if name in ("torch.load", "fabric.load") and options.get("weights_only") != "True":
                found.append(ast.unparse(node))
    return found


def test_the_package_executes_no_data():
    assert len(SOURCES) > 50
    assert {str(path): found for path in SOURCES if (found := offences(path.read_text()))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "yaml.load(file, Loader=yaml.Loader)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_and_would_be_caught_at_it(line):
    assert offences(f"def f():\n    {line}")
    assert not offences("network.eval(); yaml.safe_load(f); torch.load(p, weights_only=True); np.load(p)")


LOADERS = {
    "safetensors": lambda path: load_network(path),
    "pth": lambda path: convert_checkpoint(path, path.with_suffix(".out")),
    "xml": lambda path: Fuser.from_pretrained(path, "openvino"),
    "png": lambda path: read_thermal(path),
    "jpg": lambda path: read_rgb(path),
    "yaml": lambda path: load_calibration(path),
    "config.yaml": lambda path: load_config(path),
}


@pytest.mark.parametrize("suffix", LOADERS)
@pytest.mark.parametrize("protocol", [0, 5])
def test_a_malicious_pickle_is_refused_by_every_loader(suffix, protocol, tmp_path, private_cache):
    content = pickle.dumps(Bomb(tmp_path / "mark"), protocol)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    path.with_suffix(".bin").write_bytes(content)
    with pytest.raises(ValueError, match="a\\."):
        LOADERS[suffix](path)
    assert not (tmp_path / "mark").exists()
    pickle.loads(content)
    assert (tmp_path / "mark").exists(), "the pickle is harmless"


@pytest.mark.parametrize("load", [load_calibration, load_config])
def test_yaml_makes_no_objects(load, tmp_path):
    (tmp_path / "a.yaml").write_text(f"homography: !!python/object/apply:os.mkdir ['{tmp_path}/mark']\n")
    with pytest.raises(ValueError, match=r"a\.yaml"):
        load(tmp_path / "a.yaml")
    assert not (tmp_path / "mark").exists()


def safetensors(path: Path, header: object, data: bytes = b"", claimed: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if claimed is None else claimed) + text + data)
    return path


def tensor(begin: object, end: object, dtype: object = "F32", shape: object = (1,)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


class TestSafetensorsHeader:
    def test_a_file_as_it_should_be(self, tmp_path):
        header = {
            "__metadata__": {"variant": "x"},
            "b": tensor(4, 8),
            "a": tensor(0, 4),
            "none": tensor(8, 8, shape=(0,)),
        }
        assert read_header(safetensors(tmp_path / "a", header, b"x" * 8)) == {"variant": "x"}

    @pytest.mark.parametrize(
        "header",
        [
            {"a": tensor(0, 4), "b": tensor(2, 6)},
            {"a": tensor(0, 4), "b": tensor(0, 4)},
            {"a": tensor(4, 8)},
            {"a": tensor(0, 4)},
            {"a": tensor(0, 12, shape=(3,))},
            {"a": tensor(0, 8, shape=(2**62,))},
            {"a": tensor(0, 8, shape=(-1, -2))},
            {"a": tensor(0, 8, shape=(True, 2))},
            {"a": tensor(-8, 0, shape=(2,))},
            {"a": tensor(0.0, 8, shape=(2,))},
            {"a": tensor(0, 8, dtype="object", shape=(2,))},
            {"a": tensor(0, 8, dtype=["F32"], shape=(2,))},
            {"a": tensor(0, 8, dtype="F64", shape=(2,))},
            {"a": tensor(0, 8, shape=None)},
            {"a": {"dtype": "F32", "shape": [2]}},
            {"a": 3},
            {"__metadata__": {"variant": 3}, "a": tensor(0, 8, shape=(2,))},
            [],
            b"{",
            b"[" * 100_000,
        ],
    )
    def test_headers_that_lie(self, header, tmp_path):
        with pytest.raises(ValueError, match="a is not a safetensors file") as caught:
            read_header(safetensors(tmp_path / "a", header, b"x" * 8))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("claimed", [0, 3, 2**31, 2**63, 2**64 - 1])
    def test_a_wrong_length(self, claimed, tmp_path):
        with pytest.raises(ValueError, match="is not a safetensors file"):
            read_header(safetensors(tmp_path / "a", {"a": tensor(0, 4)}, b"x" * 4, claimed))

    def test_weights_that_are_no_numbers_of_the_right_kind(self, random_lite, tmp_path):
        import torch
        from safetensors.torch import load_file, save_file

        tensors = load_file(random_lite)
        for wrong in (torch.ones_like(tensors["head.to_mixture.bias"], dtype=torch.int64), torch.full((1,), torch.nan)):
            changed = tensors | {"head.to_mixture.bias": wrong.expand_as(tensors["head.to_mixture.bias"]).contiguous()}
            save_file(changed, tmp_path / "a.safetensors", {"variant": "lite", "graph": "2"})
            with pytest.raises(ValueError, match=r"'head\.to_mixture\.bias' .* must hold finite floating-point"):
                load_network(tmp_path / "a.safetensors")


class TestCache:
    @pytest.fixture
    def folder(self, private_cache):
        """A cache with two entries."""
        folder = open_cache()
        for name in ("a.blob", "b.blob"):
            (folder / name).write_bytes(name.encode())
            (folder / name).chmod(0o440)
        seal_cache(folder)
        return folder

    def names(self, folder):
        return {path.name for path in folder.iterdir()} - {LOCK}

    def test_sound_entries_stay(self, folder):
        assert open_cache() == folder
        assert self.names(folder) == {"a.blob", "b.blob", HASHES}

    def test_a_folder_open_to_others_is_closed(self, folder):
        folder.chmod(0o777)
        open_cache()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_one_changed_bit_costs_the_entry(self, folder):
        (folder / "a.blob").chmod(0o600)
        (folder / "a.blob").write_bytes(b"b.blob")
        open_cache()
        assert self.names(folder) == {"b.blob", HASHES}

    def test_what_is_not_an_own_sealed_file_goes(self, folder, tmp_path):
        (tmp_path / "elsewhere").write_bytes(b"a.blob")
        (folder / "a.blob").unlink()
        (folder / "a.blob").symlink_to(tmp_path / "elsewhere")
        (folder / "b.blob").chmod(0o666)
        (folder / "planted.blob").write_bytes(b"x")
        open_cache()
        assert self.names(folder) == {HASHES}
        assert (tmp_path / "elsewhere").exists()

    def test_a_list_that_was_tampered_with_costs_all(self, folder):
        (folder / HASHES).write_text("nonsense\n")
        open_cache()
        assert self.names(folder) == {HASHES}

    def test_it_does_not_grow_for_ever(self, folder, monkeypatch):
        """Not while a node runs either: the oldest ones go when one comes."""
        monkeypatch.setattr(model_cache, "MAX_BYTES", 300)
        for number in range(5):
            (folder / f"{number}.blob").write_bytes(bytes(100))
            os.utime(folder / f"{number}.blob", (number + 2e9, number + 2e9))
        seal_cache(folder)
        assert self.names(folder) == {"2.blob", "3.blob", "4.blob", HASHES}
        open_cache()
        assert self.names(folder) == {"2.blob", "3.blob", "4.blob", HASHES}

    def test_a_fifo_in_place_of_the_lock_holds_up_nobody(self, folder):
        (folder / LOCK).unlink()
        os.mkfifo(folder / LOCK)
        with filling_cache(folder):
            (folder / "3.blob").write_bytes(b"third")
            seal_cache(folder)
        open_cache()
        assert self.names(folder) == {"a.blob", "b.blob", "3.blob", HASHES}

    def test_a_user_without_home_and_name_has_one_too(self, monkeypatch, tmp_path):
        """As in a container that runs under any number."""
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # KeyError, as for a number without an entry
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        assert open_cache() == tmp_path / f"mmcfusion_ros-{os.getuid()}"

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can make links of others")
    def test_a_link_of_another_user_is_refused(self, folder):
        folder.rename(folder.with_name("mine"))
        folder.symlink_to("mine")
        os.lchown(folder, 1234, 1234)
        with pytest.raises(PermissionError, match="belongs to another user"):
            open_cache()

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
    def test_a_folder_of_another_user_is_refused(self, folder):
        os.chown(folder, 1234, 1234)
        with pytest.raises(PermissionError, match="belongs to another user"):
            open_cache()

    def test_an_entry_that_another_process_is_writing_is_waited_for(self, folder):
        """A lock belongs to an open file: a second opening is as good as a second process."""
        with ThreadPoolExecutor() as pool:
            with filling_cache(folder):
                (folder / "3.blob").write_bytes(b"third")
                opened = pool.submit(open_cache)
                time.sleep(0.2)
                assert not opened.done()
                seal_cache(folder)
            assert (opened.result(10) / "3.blob").exists()

    def test_an_entry_that_is_written_for_too_long_is_left_alone(self, folder, monkeypatch):
        monkeypatch.setattr(model_cache, "PATIENCE_S", 0.1)
        with filling_cache(folder):
            (folder / "3.blob").write_bytes(b"third")
            seal_cache(folder)
            with pytest.raises(BlockingIOError):
                open_cache()
        assert (open_cache() / "3.blob").exists()

    def test_a_damaged_network_is_compiled_anew(self, random_lite_graph, private_cache):
        image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
        expected = Fuser.from_pretrained(random_lite_graph, "openvino", threads=1)(image, image)
        (blob,) = (private_cache / "mmcfusion_ros").glob("*.blob")
        content = bytearray(blob.read_bytes())
        content[len(content) // 2] ^= 0xFF
        blob.chmod(0o600)
        blob.write_bytes(content)
        again = Fuser.from_pretrained(random_lite_graph, "openvino", threads=1)(image, image)
        np.testing.assert_array_equal(again, expected)
        assert blob.read_bytes() != bytes(content)

    def test_a_cache_that_cannot_be_kept_is_said_once_and_does_without(
        self, random_lite_graph, private_cache, monkeypatch
    ):
        image = np.zeros((64, 64), np.uint8)
        kept = Fuser.from_pretrained(random_lite_graph, "openvino", threads=1)
        kept(image, image)
        assert kept.backend.warning == ""
        again = Fuser.from_pretrained(random_lite_graph, "openvino", threads=1)
        again(image, image)
        assert again.backend.warning == "", "loaded from the cache, nothing needs to be written"
        shutil.rmtree(private_cache)
        again(np.zeros((96, 64), np.uint8), np.zeros((96, 64), np.uint8))
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
        fuser = Fuser.from_pretrained(random_lite_graph, "openvino", threads=1)
        assert fuser(image, image).shape == (64, 64)
        warning = fuser.backend.warning
        assert warning.startswith("the compiled network is not kept, so the next start takes longer: ")
        assert "Not a directory: '/dev/null/mmcfusion_ros'" in warning


def test_a_decompression_bomb_in_a_folder_of_pairs_is_not_unpacked(tmp_path):
    """In a process of its own, which loads OpenCV as the commands do."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 16, 6, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    program = f"""
from pathlib import Path
from mmcfusion_ros.data.images import read_thermal
try:
    read_thermal(Path({str(tmp_path / "a.png")!r}))
except ValueError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "a.png: not a readable image: " in result.stdout, result.stderr
    assert "CV_IO_MAX_IMAGE_PIXELS" in result.stdout
