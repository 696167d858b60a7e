"""The soak test: what it computes from what it saw, and a short real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from mmcfusion_ros.evaluation.soak_report import (
    Fault,
    cpu_seconds,
    machine_cpu_seconds,
    mode_shares,
    passed,
    recovery_s,
    sample_process,
    soak_report,
)

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")
ROOT = Path(__file__).resolve().parents[1]


def images(start_s: float, end_s: float, rate_hz: float = 30.0) -> list[float]:
    return list(np.arange(start_s, end_s, 1 / rate_hz))


FAULT = Fault("stop", 10.0, 12.0)


class TestRecovery:
    def test_is_the_first_image_after_the_fault_at_the_usual_rate(self):
        assert recovery_s([*images(0, 10), *images(12.4, 20)], FAULT, 20.0) == pytest.approx(0.4)

    def test_a_trickle_does_not_count(self):
        arrivals = [*images(0, 10), *images(12, 14, 5.0), *images(14, 20)]
        assert recovery_s(arrivals, FAULT, 20.0) == pytest.approx(1.7, abs=0.2)

    def test_three_quarters_of_the_rate_do(self):
        assert recovery_s([*images(0, 10), *images(12.1, 20, 23.0)], FAULT, 20.0) == pytest.approx(0.1)

    def test_images_that_go_on_during_the_fault(self):
        assert recovery_s(images(0, 20), FAULT, 20.0) == pytest.approx(0.0, abs=0.04)

    @pytest.mark.parametrize("arrivals", [images(0, 10), [*images(0, 10), *images(12, 20, 10.0)]])
    def test_never(self, arrivals):
        assert recovery_s(arrivals, FAULT, 20.0) is None

    def test_not_in_time_for_the_next_fault(self):
        assert recovery_s([*images(0, 10), *images(15, 20)], FAULT, 14.5) is None


class TestReport:
    def report(self, growth_mb_per_h=0.0, arrivals=None, errors=None, minutes=60):
        rng = np.random.default_rng(0)
        samples = [
            {"minute": minute, "rss_mb": 400, "own_mb": 300 + growth_mb_per_h * minute / 60 + rng.normal(0, 0.05)}
            for minute in range(1, minutes + 1)
        ]
        for sample in samples[:5]:
            sample["own_mb"] -= 50  # the start
        samples[minutes // 2]["own_mb"] += 80  # one outlier
        faults = [FAULT, Fault("kill", 20.0, 22.0)]
        arrivals = [*images(0, 10), *images(12.2, 20), *images(22.3, 40)] if arrivals is None else arrivals
        return soak_report(samples, faults, arrivals, errors or {}, minutes)

    def test_a_sound_run_passes(self):
        report = self.report()
        assert report["verdict"] == {"memory": True, "no_errors": True, "rate_back_within_1_s": True}
        assert passed(report)
        assert report["recovery_s"]["kill"] == {"judged": 1, "p50": 0.3, "max": 0.3}
        assert report["faults"] == {"kill": 1, "stop": 1}
        assert abs(report["slope_mb_per_h"]["own_mb"]) < 0.3

    def test_a_leak_fails(self):
        report = self.report(growth_mb_per_h=2.0)
        assert report["slope_mb_per_h"]["own_mb"] == pytest.approx(2.0, abs=0.3)
        assert not passed(report)

    def test_an_error_fails(self):
        report = self.report(errors={"traceback": 1})
        assert not report["verdict"]["no_errors"]
        assert not passed(report)

    def test_a_late_return_fails_and_is_listed(self):
        report = self.report(arrivals=[*images(0, 10), *images(13.5, 20), *images(22.3, 40)])
        assert not passed(report)
        (late,) = report["late"]
        assert (late["kind"], late["start_s"], late["recovery_s"]) == ("stop", 10.0, pytest.approx(1.5))

    def test_a_node_that_never_fuses_fails(self):
        assert not passed(self.report(arrivals=[]))

    def test_the_memory_of_a_short_run_is_not_judged(self):
        report = self.report(growth_mb_per_h=100.0, minutes=6)
        assert report["verdict"]["memory"] is None
        assert passed(report)


def test_mode_shares():
    changes = [(0.0, "STARTING"), (2.0, "FUSED"), (6.0, "RGB_ONLY"), (7.0, "FUSED")]
    whole = {"FUSED": 0.7, "RGB_ONLY": 0.1, "THERMAL_ONLY": 0.0, "NONE": 0.0, "STARTING": 0.2}
    assert mode_shares(changes, 0.0, 10.0) == whole
    part = mode_shares(changes, 5.0, 7.0)
    assert (part["FUSED"], part["RGB_ONLY"], part["STARTING"]) == (0.5, 0.5, 0.0)


def test_samples_of_a_process():
    before = sample_process(os.getpid())
    with open(os.devnull), open(os.devnull):
        during = sample_process(os.getpid())
    assert during["file_descriptors"] == before["file_descriptors"] + 2
    assert during["rss_mb"] > during["own_mb"] > 20
    assert during["threads"] >= 1
    assert 0 < cpu_seconds(os.getpid()) < machine_cpu_seconds()
    with pytest.raises(psutil.NoSuchProcess, match="999999999"):
        sample_process(999999999)


@pytest.mark.slow
def test_a_short_real_run(tmp_path):
    """Its verdict depends on how busy the machine is; that it ran, counted and drew does not."""
    command = [sys.executable, "-m", "mmcfusion_ros.cli", "soak", "--minutes", "0.25", "--size", "64x48"]
    command += ["--out", str(tmp_path), "--seed", "5"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert (tmp_path / "soak.json").exists(), result.stderr
    report = json.loads((tmp_path / "soak.json").read_text())
    assert result.returncode == (0 if passed(report) else 1), result.stderr
    assert not report["errors"]
    assert sum(report["faults"].values()) >= 1
    assert report["samples"]
    assert sum(report["modes"].values()) == pytest.approx(1, abs=1e-3)
    assert report["modes"]["FUSED"] > 0
    for sample in report["samples"]:
        assert sample["published_hz"] > 0
        assert sample["rss_mb"] > sample["own_mb"] > 50
        assert sum(sample[f"mode_{mode}"] for mode in report["modes"]) == pytest.approx(1, abs=1e-3)
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
