"""Fixtures that several test files share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmcfusion_ros  # noqa: F401  # bounds OpenCV, which the tests may load first

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when a test first imports it
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"  # read by messages when they are first imported

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


MISSING = re.compile(r"ModuleNotFoundError: No module named '(?!mmcfusion_ros)([\w.]+)'")


def _skipped_on_a_robot(report: Any, path: Path) -> Any:
    """There, not all the packages of requirements-dev.txt are installed: what needs another one is skipped. With
    ``make test`` (``CI``) they are."""
    missing = MISSING.search(str(report.longrepr)) if report.failed and "CI" not in os.environ else None
    if missing:
        report.outcome, report.longrepr = "skipped", (str(path), 0, f"Skipped: {missing[1]} is not installed")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    return _skipped_on_a_robot((yield), collector.path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    return _skipped_on_a_robot((yield), item.path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real image pairs beside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared data in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def random_lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of variant ``lite`` with seeded random weights."""
    import torch

    from mmcfusion_ros.network.mmcfusion import MMCFusion
    from mmcfusion_ros.network.variants import get_variant
    from mmcfusion_ros.network.weights import save_weights

    torch.manual_seed(7)
    network = MMCFusion(get_variant("lite"))
    torch.nn.init.normal_(network.head.to_mixture.weight, std=0.1)
    path = tmp_path_factory.mktemp("random_lite") / "random.safetensors"
    save_weights(network, path, {"training_data": "none"})
    return path


@pytest.fixture(scope="session")
def random_lite_graph(random_lite: Path) -> Path:
    """The same, exported to OpenVINO."""
    from mmcfusion_ros.network.export import export_openvino

    path = random_lite.with_suffix(".xml")
    export_openvino(random_lite, path)
    return path


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Notes a measured value, for ``results/faults.md``: appended to the file ``$MMCFUSION_FIGURES``, if set."""

    def note(name: str, value: float) -> None:
        if file := os.environ.get("MMCFUSION_FIGURES"):
            with open(file, "a", encoding="utf-8") as out:
                out.write(f"{request.node.name}: {name}: {value:.3g}\n")

    return note


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder in place of ``~/.cache``, in which a model is compiled once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, of one test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def yolo_file(tmp_path: Path) -> Path:
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
