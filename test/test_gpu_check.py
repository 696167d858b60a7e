"""The check of a machine with a GPU, where there is none: the same code on the CPU, at a small size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


def gpu_check(*arguments):
    command = [ROOT / "scripts" / "gpu_check.sh", *map(str, arguments)]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_networks_and_profile_on_the_cpu(random_lite, tmp_path):
    options = ("--device", "cpu", "--size", "160x128", "--frames", 2, "--models", random_lite)
    run = gpu_check("--out", tmp_path, *options, "--steps", "networks", "profile")
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    assert report["environment"]["torch"] == torch.__version__
    assert (report["size"], report["precision"], report["frames"]) == ("160x128", "float32", 2)
    modes = report["networks"][str(random_lite)]
    assert modes.pop("gflop") > 0
    eager = modes.pop("eager")
    assert 0 < eager["p50_ms"] <= eager["p99_ms"]
    assert eager["largest_error"] == pytest.approx(0, abs=0.1)
    assert modes == {mode: {"skipped": "needs a CUDA device"} for mode in ("cuda_graph", "compile", "tensorrt")}
    assert "tensorrt: {'skipped': 'needs a CUDA device'}" in run.stdout
    assert report["profile"]["cpu_ms"] > 0
    table = Path(report["profile"]["table"]).read_text()
    assert table.count("aten::") == 20


def test_what_fails_is_told_and_the_rest_is_done(tmp_path):
    options = ("--device", "cpu", "--size", "160x128", "--frames", 1, "--steps", "networks", "tests")
    run = gpu_check("--out", tmp_path, *options, "--models", "light")
    assert run.returncode == 1
    assert "networks: {'failed': \"ValueError: model 'light' is neither" in run.stdout
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    assert set(report["networks"]) == {"failed"}
    assert "skipped" in report["tests"]["pytest"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_without_a_cuda_device_it_is_an_error(tmp_path):
    run = gpu_check("--out", tmp_path / "out")
    assert run.returncode == 1
    assert "finds no CUDA device here; nothing was run" in run.stderr
    assert not (tmp_path / "out").exists()
