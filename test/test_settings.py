"""Parameter values become what they stand for."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import save_calibration
from mmcfusion_ros.fusion.palette import Palette
from mmcfusion_ros.resources import package_file
from mmcfusion_ros.stream.parameter_files import load_values
from mmcfusion_ros.stream.settings import Settings

SMALL = ["warm_up_width=64", "warm_up_height=64"]


def settings(*values: str) -> Settings:
    return Settings(load_values(None, [*SMALL, *values]))


@pytest.fixture
def opencv_threads():
    cv2.setNumThreads(-1)
    yield
    cv2.setNumThreads(-1)


@pytest.mark.usefixtures("opencv_threads")
def test_threads_bound_opencv_too():
    everything = cv2.getNumThreads()
    settings("threads=1").network()
    assert cv2.getNumThreads() == 1
    settings("threads=0").network()
    assert cv2.getNumThreads() == everything


def test_home_folder_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for file in ("models/lite.xml", "models/lite.bin", "config/simulated_rig.yaml"):
        shutil.copy(package_file(file), tmp_path)
    bar = Palette.from_name("rainbow").apply(np.arange(256, dtype=np.uint8)[None].repeat(8, axis=0))
    cv2.imwrite(str(tmp_path / "bar.png"), cv2.cvtColor(bar, cv2.COLOR_RGB2BGR))
    made = settings(
        *("model=~/lite.xml", "registration.file=~/simulated_rig.yaml"),
        *("thermal.palette=~/bar.png", "trace_file=~/trace.json"),
    )
    assert made.pipeline(made.network()).calibration.kind == "homography"
    trace = made.trace(print)
    assert trace
    trace.close()
    assert (tmp_path / "trace.json").exists()


def test_the_type_is_that_of_the_file_unless_one_is_given(tmp_path):
    homography, rig = package_file("config/simulated_rig.yaml"), tmp_path / "rig.yaml"
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    places = {"translation": np.array([0.1, 0, 0]), "depth_rotation": turn, "depth_translation": np.ones(3)}
    save_calibration(Calibration(rotation=np.eye(3), **places), rig)
    network = settings().network()
    for values, kind in (((), "identity"), ((f"registration.file={homography}",), "homography")):
        assert settings(*values).pipeline(network).calibration.kind == kind
    by_depth = settings("registration.type=depth", f"registration.file={rig}").pipeline(network)
    assert by_depth.depth
    np.testing.assert_allclose(by_depth.calibration.translation, [0.1, 0, 0])
    np.testing.assert_allclose(by_depth.calibration.depth_rotation, turn, atol=1e-12)
    with pytest.raises(ValueError, match=r"registration.type is depth, but .*simulated_rig.yaml is of type hom"):
        settings("registration.type=depth", f"registration.file={homography}").pipeline(network)
