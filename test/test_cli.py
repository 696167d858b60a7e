"""The command line: each tool runs, and wrong input is one line and exit status 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from image_pairs import write_noise_pairs

from mmcfusion_ros.cli import main
from mmcfusion_ros.fusion.calibration_file import load_calibration
from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.network.checkpoint import authors_key
from mmcfusion_ros.network.mmcfusion import MMCFusion
from mmcfusion_ros.network.variants import get_variant
from mmcfusion_ros.network.weights import load_network, read_metadata
from mmcfusion_ros.training.config import TrainingConfig

REPOSITORY = Path(__file__).resolve().parents[1]


def exit_of(*arguments):
    """The exit status, or the message that goes to stderr with status 1."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


@pytest.fixture
def pairs(tmp_path):
    return write_noise_pairs(tmp_path / "pairs", "0123", (64, 72))


class TestTools:
    def test_simulate_writes_its_true_calibration(self, tmp_path):
        pytest.importorskip("rclpy", reason="rclpy is not installed")
        path = tmp_path / "truth.yaml"
        flags = "--duration 0.05 --baseline 0.1 --distorted --plane 8 --bad-pixels 9 --telemetry-rows 2 --ffc-period 5"
        assert exit_of("simulate", *flags.split(), "--calibration", path) == 0
        calibration = load_calibration(path)
        assert calibration.kind == "calibrated"
        assert calibration.plane_distance == 8
        np.testing.assert_allclose(calibration.translation, [0.1, 0, 0])

    def test_export_writes_a_graph_that_runs(self, random_lite, tmp_path, private_cache, capsys):
        target = tmp_path / "a.xml"
        assert exit_of("export", random_lite, target) == 0
        assert capsys.readouterr().out.strip() == str(target)
        assert Fuser.from_pretrained(target, threads=1)(*np.full((2, 64, 64), 99, np.uint8)).shape == (64, 64)

    def test_convert_checkpoint_writes_a_weights_file(self, tmp_path, capsys):
        network = MMCFusion(get_variant("b1"))
        tensors = {authors_key(name): tensor for name, tensor in network.state_dict().items()}
        torch.save(tensors, tmp_path / "theirs.pth")
        words = ("convert-checkpoint", tmp_path / "theirs.pth", tmp_path / "ours.safetensors")
        assert exit_of(*words) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / "ours.safetensors")
        converted = load_network(tmp_path / "ours.safetensors").state_dict()
        assert all(torch.equal(converted[name], tensor) for name, tensor in network.state_dict().items())
        assert "ours.safetensors exists already" in exit_of(*words)
        assert exit_of(*words, "--force") == 0

    @pytest.mark.parametrize("command", [(), ("train",), ("evaluate",)])  # which ask for more than that
    def test_version(self, command, capsys):
        assert exit_of(*command, "--version") == 0
        assert capsys.readouterr().out == "mmcfusion 0.1.0\n"

    def test_the_help_of_train_lists_every_key(self, capsys):
        assert exit_of("train", "--help") == 0
        text = capsys.readouterr().out
        keys = [field.name for field in fields(TrainingConfig) if field.name != "degradations"]
        assert [key for key in keys if f"\n  {key}=" not in text] == []
        assert "\n  steps=8000  int\n" in text
        assert "\n  batch=6  int; of all devices together\n" in text
        assert "\n  degradations.fog=0.0  float\n" in text

    def test_train_writes_weights_and_goes_on_where_it_stopped(self, pairs, tmp_path, capsys):
        run = tmp_path / "run"
        values = ("steps=2", "batch=1", "crop=128", "threads=1", "workers=0", "validate_minutes=0")
        assert exit_of("train", pairs, "--config", "lite", "--out", run, "--set", *values) == 0
        output = capsys.readouterr().out
        assert "step 1/2  loss " in output
        assert "step 2/2  loss " in output
        assert output.splitlines()[-1] == f"weights: {run}/last.safetensors, the best ones: {run}/best.safetensors"
        assert read_metadata(run / "last.safetensors")["step"] == "2"
        assert exit_of("train", "--out", run, "--resume") == 0
        assert "--resume" in exit_of("train", pairs, "--out", run, "--set", *values)
        message = exit_of("train", "--out", run, "--resume", "--set", "seed=3", "loss_weights.gradient=1")
        assert "'gradient': 60.0" in message.split("now")[0]
        assert "'gradient': 1.0" in message.split("now")[1]
        assert message.split("; resume")[0].endswith("seed was 0, now 3")

    def test_evaluate_prints_the_table_that_it_writes(self, pairs, tmp_path, capsys):
        models = ("max", "average", "laplacian", "guided")
        options = ("--stress", "noise", "--seed", 5, "--out", tmp_path / "out")
        assert exit_of("evaluate", pairs, "--model", *models[:3], "--model", models[3], *options) == 0
        output = capsys.readouterr().out
        assert output == (tmp_path / "out/summary.md").read_text()
        assert all(f"| **{model}** |" in output for model in models)
        summary = json.loads((tmp_path / "out/summary.json").read_text())
        assert (summary["options"]["stress"], summary["options"]["seed"]) == ("noise", 5)

    def test_bench_reports_the_machine_and_every_stage(self, random_lite_graph, tmp_path, private_cache, capsys):
        file = tmp_path / "bench.json"
        options = ("--size", "96x64", "--frames", 2, "--precision", "float32", "--threads", 1, "--rates", 20, 90)
        assert exit_of("bench", "--model", random_lite_graph, *options, "--json", file) == 0
        result = json.loads(file.read_text())
        assert json.loads(capsys.readouterr().out) == result
        assert {key: result[key] for key in ("variant", "backend", "device", "precision", "size", "frames")} == {
            "variant": "lite",
            "backend": "openvino",
            "device": "CPU",
            "precision": "float32",
            "size": "96x64",
            "frames": 2,
        }
        assert result["machine"]["cores"] == os.cpu_count()
        assert result["machine"]["processor"]
        assert {"thermal", "luminance", "registration", "network", "colour", "total"} <= result["stages"].keys()
        for times in result["stages"].values():
            assert 0 <= times["p50_ms"] <= times["p95_ms"]
        assert result["stages"]["network"]["p50_ms"] <= result["stages"]["total"]["p50_ms"]
        assert (result["model"], result["threads"]) == (str(random_lite_graph), 1)
        assert len(result["input_sha256"]) == 64
        assert [(rate["rate_hz"], rate["pairs"], rate["fused"] + rate["missed"]) for rate in result["fixed_rates"]] == [
            (20, 2, 2),
            (90, 2, 2),
        ]
        assert ("joules_per_image" in result["fixed_rates"][0]) == result["energy"].startswith("joules_per_image")


class TestWrongInput:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["bench", "--model", "light"], ["'light'", "b1, detect, lite"]),
            (["bench", "--model", "{tmp}/no.xml"], ["{tmp}/no.xml", "does not exist"]),
            (["bench", "--model", "{tmp}/junk.safetensors"], ["{tmp}/junk.safetensors", "not a safetensors file"]),
            (["bench", "--model", "{model}", "--size", "31x64"], ["31x64", "32 to 4096"]),
            (["bench", "--model", "{model}", "--size=-640x480"], ["-640x480", "32 to 4096"]),
            (["bench", "--model", "{model}", "--size", "999999x999999"], ["999999x999999", "32 to 4096"]),
            (["bench", "--model", "{model}", "--frames", "0"], ["0 frames"]),
            (["bench", "--model", "{model}", "--rates", "30", "0"], ["0 Hz", "above 0"]),
            (["bench", "--model", "{model}", "--threads", "-1"], ["-1 threads"]),
            (["bench", "--model", "{model}", "--backend", "torch"], ["'torch'", ".safetensors"]),
            (["train", "{tmp}/nowhere", "--out", "{tmp}/run"], ["{tmp}/nowhere", "not a folder"]),
            (["train", "--out", "{tmp}/run"], ["no training data"]),
            (["train", "{pairs}", "--out", "{tmp}/run", "--config", "b9"], ["b9.yaml", "b1, lite, paper"]),
            (["train", "{pairs}", "--out", "{tmp}/run", "--set", "crop=63"], ["crop is 63"]),
            (["train", "{pairs}", "--out", "{tmp}/run", "--set", "accelerator=tpu"], ["'tpu'"]),
            (
                ["train", "{pairs}", "--out", "{tmp}/run", "--set", "crop=128", "teacher=b2"],
                ["'b2'", "b1, detect, lite"],
            ),
            (["train", "--out", "{tmp}/run", "--set", "crop=128", "{pairs}"], ["--set {pairs}", "key=value"]),
            (["train", "{pairs}", "--out", "{tmp}/junk.pth", "--set", "crop=128", "workers=0"], ["{tmp}/junk.pth"]),
            (["train", "--out", "{tmp}/run", "--resume"], ["{tmp}/run", "leave out --resume"]),
            (["evaluate", "{tmp}/nowhere", "--out", "{tmp}/run"], ["{tmp}/nowhere", "not a folder"]),
            (["evaluate", "{tmp}", "--out", "{tmp}/run"], ["{tmp}", "ir + vi", "mri + pet"]),
            (["evaluate", "{pairs}", "--model", "maximum", "--out", "{tmp}/run"], ["'maximum'", "lite"]),
            (["evaluate", "{pairs}", "--out", "{tmp}/run", "--peers", "{tmp}/no.csv"], ["{tmp}/no.csv"]),
            (["evaluate", "{pairs}", "--out", "{tmp}/junk.pth", "--model", "max"], ["{tmp}/junk.pth"]),
            (
                ["evaluate", "{pairs}", "--out", "{tmp}/run", "--peers", "x.csv", "--stress", "fog"],
                ["peers were measured without stress"],
            ),
            (["export", "{tmp}/no.safetensors", "{tmp}/a.xml"], ["{tmp}/no.safetensors", "does not exist"]),
            (["export", "{tmp}/junk.safetensors", "{tmp}/a.xml"], ["{tmp}/junk.safetensors", "not a safetensors file"]),
            (["export", "{weights}", "{tmp}/no/a.xml"], ["{tmp}/no", "not a folder"]),
            (["export", "{weights}", "{tmp}/a.onnx", "--size", "63x64"], ["63x64", "multiples of 4"]),
            (["export", "{weights}", "{tmp}/a.txt"], [".xml", ".onnx"]),
            (["convert-checkpoint", "{tmp}/no.pth", "{tmp}/a.safetensors"], ["{tmp}/no.pth", "does not exist"]),
            (["convert-checkpoint", "{tmp}/junk.pth", "{tmp}/a.safetensors"], ["{tmp}/junk.pth", "plain tensors"]),
        ],
    )
    def test_one_line_names_the_command_and_the_fault(
        self, arguments, words, random_lite, random_lite_graph, pairs, tmp_path, private_cache
    ):
        for name in ("junk.pth", "junk.safetensors"):
            (tmp_path / name).write_bytes(b"junk")
        places = {"tmp": tmp_path, "model": random_lite_graph, "weights": random_lite, "pairs": pairs}
        message = exit_of(*(argument.format(**places) for argument in arguments))
        assert message.startswith(f"mmcfusion {arguments[0]}: ")
        assert "\n" not in message
        for word in words:
            assert word.format(**places) in message
        assert not list(tmp_path.glob("a.*"))

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            ([], "command"),
            (["fuse"], "fuse"),
            (["bench", "--size", "640"], "640x480"),
            (["bench", "--backend", "tpu"], "tpu"),
            (["bench", "--frames", "many"], "many"),
            (["evaluate", "x"], "--out"),
            (["evaluate", "x", "--out", "y", "--stress", "rain"], "rain"),
            (["evaluate", "x", "--out", "y", "--labels", "z@640"], "640x480"),
            (["evaluate", "x", "--out", "y", "--fused", "../z=w"], "NAME=FOLDER"),
            (["evaluate", "x", "--out", "y", "--limit", "-1"], "-1 is below 0"),
            (["evaluate", "x", "--out", "y", "--workers", "0"], "0 is below 1"),
            (["calibrate", "--frames", "0"], "0 is below 1"),
            (["calibrate", "--spacing", "-0.04"], "-0.04 is no number above 0"),
            (["record-demo", "x", "--duration", "0"], "0 is no number above 0"),
            (["demo", "--duration", "inf"], "inf is no number above 0"),
            (["soak", "--minutes", "nan"], "nan is no number above 0"),
            (["train", "x"], "--out"),
            (["train", "x", "--out", "y", "--set"], "--set"),
            (["export", "x"], "target"),
            (["convert-checkpoint"], "source"),
        ],
    )
    def test_wrong_usage_is_explained_with_status_2(self, arguments, word, capsys):
        assert exit_of(*arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("usage: mmcfusion")
        assert word in error.splitlines()[-1]

    def test_status_is_1_and_stdout_stays_empty(self, tmp_path):
        command = [sys.executable, "-m", "mmcfusion_ros.cli", "bench", "--model", str(tmp_path / "no.xml")]
        result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr == f"mmcfusion bench: model file {tmp_path / 'no.xml'} does not exist\n"
