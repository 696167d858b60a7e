"""The demo as a user runs it: real processes over real DDS."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from mmcfusion_ros.fusion.calibration_file import load_calibration
from mmcfusion_ros.resources import own_domain, package_file
from mmcfusion_ros.simulation.optics import THERMAL_TO_RGB


@pytest.fixture
def pairs(tmp_path):
    """A folder of ten small moving pairs."""
    rng = np.random.default_rng(0)
    background = rng.integers(0, 120, (120, 160, 3), dtype=np.uint8)
    for spectrum in ("ir", "vi"):
        (tmp_path / spectrum).mkdir()
    for i in range(10):
        thermal = cv2.circle(np.full((120, 160), 60, np.uint8), (20 + 10 * i, 60), 12, 230, -1)
        cv2.imwrite(str(tmp_path / "ir" / f"{i}.png"), thermal)
        cv2.imwrite(str(tmp_path / "vi" / f"{i}.png"), np.roll(background, i, axis=1))
    return tmp_path


def run_demo(*arguments):
    command = [sys.executable, "-m", "mmcfusion_ros.cli", "demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.mark.skipif(not package_file("models").joinpath("lite.xml").exists(), reason="no weights of lite in models/")
def test_demo_on_a_folder_writes_report_sheet_and_video(pairs, tmp_path):
    out = tmp_path / "out"
    result = run_demo("--data", pairs, "--out", out, "--duration", 4)
    report = json.loads((out / "demo.json").read_text())
    beyond_speed = [fault for fault in report["faults"] if "at this processor's rate" not in fault]
    assert not beyond_speed, result.stdout + result.stderr
    assert (result.returncode == 0) == (not report["faults"])
    assert report["fused"] > 0
    assert report["node"]["seconds_to_first_image"] > 0
    assert report["node"]["peak_memory_mb"] > 50
    assert report["received"]["thermal"] <= report["published"]["thermal"]["published"]
    assert not re.search(r"fused +0 ", result.stdout), "it reported before there was an image"
    assert {"decode", "network", "total"} <= report["stages_ms"].keys()
    assert cv2.imread(str(out / "contact_sheet.jpg")).shape == (28 + 5 * 240, 960, 3)
    video = cv2.VideoCapture(str(out / "fused.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) > 0


@pytest.mark.parametrize("domain", ["", "0", "57"])
def test_the_domain_is_never_the_users(monkeypatch, domain):
    """39 of 181 fused images that a robot's detector got were demo pictures."""
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    domains = {own_domain()["ROS_DOMAIN_ID"] for _ in range(2000)}
    assert len(domains) > 90
    assert not domains & {domain, "0"}
    assert own_domain()["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_demo_names_a_wrong_model_and_fails(tmp_path):
    result = run_demo("--model", tmp_path / "none.safetensors", "--out", tmp_path, "--duration", 1)
    assert result.returncode == 1
    assert "the fusion node ended with status 1" in result.stderr
    assert "none.safetensors does not exist" in result.stderr
    assert "Traceback" not in result.stderr


def test_demo_names_a_wrong_folder_before_it_starts_anything(tmp_path):
    result = run_demo("--data", tmp_path / "nowhere", "--out", tmp_path)
    assert result.returncode == 1
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr
    assert "starting" not in result.stdout


def test_shipped_calibration_is_the_geometry_of_the_rig():
    shipped = load_calibration(package_file("config/simulated_rig.yaml"))
    np.testing.assert_allclose(shipped.homography, THERMAL_TO_RGB, rtol=1e-9)
