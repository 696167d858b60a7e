"""Wrong parameters, models and files: configure fails with one clear line, and works once they are corrected."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from ros_helpers import TIMEOUT_S, Bench, NodeProcess

from mmcfusion_ros.network.hashes import write_hashes
from mmcfusion_ros.resources import package_file
from mmcfusion_ros.stream.parameters import LIVE, PARAMETERS, READ_ONLY

HAS_GPU = any(Path("/dev").glob("nvidia[0-9]*"))

WRONG = {
    "out of range": ({"jpeg_quality": 101}, "jpeg_quality is 101; it must be from 1 to 100", {"jpeg_quality": 90}),
    "wrong type": ({"threads": "two"}, "threads must be of type integer, not 'two'", {"threads": 1}),
    "number for a switch": ({"publish_compressed": 1}, "must be of type bool", {"publish_compressed": False}),
    "double for an integer": ({"qos.input_depth": 2.0}, "must be of type integer", {"qos.input_depth": 2}),
    "list": ({"model": ["lite"]}, "model must be of type string", {"model": "lite"}),
    "not a number": ({"pairing.slop": float("nan")}, "pairing.slop is nan", {"pairing.slop": 0.05}),
    "unknown choice": (
        {"output_encoding": "rgb16"},
        "output_encoding is 'rgb16'; it must be one of rgb8, bgr8, mono8",
        {"output_encoding": "mono8"},
    ),
    "values that contradict": (
        {"thermal.low_percentile": 60.0, "thermal.high_percentile": 40.0},
        "the low one must be below the high one",
        {"thermal.low_percentile": 1.0},
    ),
    "unknown model": ({"model": "large"}, "model 'large' is neither one of", {"model": "lite"}),
    "missing model": ({"model": "/no/such.xml"}, "model file /no/such.xml does not exist", {"model": "lite"}),
    "no registration file": (
        {"registration.type": "homography"},
        "registration.file is empty; name the YAML file",
        {"registration.type": "identity"},
    ),
    "registration of another type": (
        {"registration.type": "calibrated", "registration.file": str(package_file("config/simulated_rig.yaml"))},
        "simulated_rig.yaml is of type homography; correct one",
        {"registration.type": "auto"},
    ),
    "unknown palette": (
        {"thermal.palette": "lava"},
        "thermal palette is 'lava'; it must be white_hot, ironbow, rainbow or a picture file",
        {"thermal.palette": "ironbow"},
    ),
    "a file that the type does not use": (
        {"registration.type": "identity", "registration.file": str(package_file("config/simulated_rig.yaml"))},
        "registration.type is identity, but registration.file is ",
        {"registration.type": "auto"},
    ),
    "missing registration file": (
        {"registration.type": "homography", "registration.file": "/no/such.yaml"},
        "calibration file /no/such.yaml does not exist",
        {"registration.type": "auto", "registration.file": ""},
    ),
}


def fails_with(rig, text):
    assert not rig.change("configure")
    rig.wait(rig.errors)
    rig.spin(0.2)
    (error,) = rig.errors()
    assert error.startswith("cannot configure: ")
    assert text in error
    assert "\n" not in error
    assert rig.state() == "unconfigured"


@pytest.mark.parametrize(("parameters", "text", "correction"), WRONG.values(), ids=WRONG.keys())
def test_wrong_parameters(parameters, text, correction):
    with Bench(**parameters) as bench:
        fails_with(bench.rig, text)
        for name, value in correction.items():
            assert bench.rig.set_parameter(name, value) == ""
        assert bench.rig.change("configure")


@pytest.mark.skipif(HAS_GPU, reason="this machine has a CUDA device")
def test_cuda_where_there_is_none():
    with Bench(device="cuda") as bench:
        fails_with(bench.rig, "cuda" if importlib.util.find_spec("torch") else "needs PyTorch")
        assert bench.rig.set_parameter("device", "cpu") == ""
        assert bench.rig.change("configure")


def test_a_tampered_model(tmp_path):
    for name in ("lite.xml", "lite.bin"):
        shutil.copy(package_file("models") / name, tmp_path)
    write_hashes(tmp_path, ["lite.xml", "lite.bin"])
    weights = tmp_path / "lite.bin"
    good = weights.read_bytes()
    weights.write_bytes(good[:1000] + bytes([good[1000] ^ 1]) + good[1001:])
    with Bench(model=str(tmp_path / "lite.xml")) as bench:
        fails_with(bench.rig, "lite.bin is damaged or was replaced: its SHA-256 is")
        weights.write_bytes(good)
        bench.rig.start()
        bench.rig.fuse()


def test_a_model_file_of_rubbish(tmp_path):
    (tmp_path / "rubbish.xml").write_text("<rubbish/>")
    (tmp_path / "rubbish.bin").write_bytes(b"")
    with Bench(model=str(tmp_path / "rubbish.xml")) as bench:
        fails_with(bench.rig, "rubbish.xml is not a readable OpenVINO model")


def test_weights_of_another_variant(random_lite, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    file = tmp_path / "weights.safetensors"
    with Bench(model=str(file), backend="torch", device="cpu") as bench:
        safetensors.save_file(safetensors.load_file(random_lite), file, {"variant": "b1"})
        fails_with(bench.rig, "of variant b1 is missing")
        shutil.copy(random_lite, file)
        bench.rig.start()
        bench.rig.fuse()


def test_a_singular_homography(tmp_path):
    file = tmp_path / "calibration.yaml"
    file.write_text("homography: [1, 2, 3, 2, 4, 6, 0, 0, 1]\nthermal_size: [64, 48]\nrgb_size: [64, 48]\n")
    with Bench(**{"registration.file": str(file)}) as bench:
        fails_with(bench.rig, f"{file}: homography is singular")
        file.write_text("homography: [1, 0, 0, 0, 1, 0, 0, 0, 1]\nthermal_size: [64, 48]\nrgb_size: [64, 48]\n")
        bench.rig.start()
        bench.rig.fuse()


@pytest.mark.skipif(importlib.util.find_spec("tf2_msgs") is not None, reason="tf2_msgs is installed")
def test_extrinsics_of_tf_without_its_messages(tmp_path):
    (tmp_path / "rig.yaml").write_text("extrinsics: tf\n")
    with Bench(**{"registration.file": str(tmp_path / "rig.yaml")}) as bench:
        assert bench.rig.change("configure")
        assert not bench.rig.change("activate")
        bench.rig.wait(bench.rig.errors)
        assert "/tf_static needs tf2_msgs/msg/TFMessage: sudo apt install ros-" in bench.rig.errors()[0]


def test_an_integer_is_a_double():
    with Bench(**{"pairing.slop": 1, "stall_timeout": 2}) as bench:
        assert bench.rig.set_parameter("pairing.max_wait", 0) == ""
        assert bench.rig.change("configure")


def test_wrong_values_are_refused_with_a_reason():
    with Bench() as bench:
        rig = bench.rig
        assert "Min: 1, Max: 100" in rig.set_parameter("jpeg_quality", 0)
        assert "must be of type string" in rig.set_parameter("model", 3)
        assert "must be one of" in rig.set_parameter("backend", "abacus")
        assert rig.set_parameter("autostart", False) != ""
        assert rig.set_parameter("trace_file", "/tmp/other") != ""
        assert rig.get_parameter("jpeg_quality") == 90
        assert rig.change("configure")


def test_parameters_are_refused_while_configured_unless_they_are_live_and_taken_after_cleanup():
    with Bench() as bench:
        rig = bench.rig
        assert rig.change("configure")
        for parameter in PARAMETERS:
            if parameter.name not in (*READ_ONLY, *LIVE):
                reason = rig.set_parameter(parameter.name, parameter.default)
                assert reason == f"{parameter.name} takes effect at configure: deactivate and clean up the node first"
        assert rig.change("cleanup")
        for parameter in PARAMETERS:
            if parameter.name not in READ_ONLY:
                assert rig.set_parameter(parameter.name, parameter.default) == ""
        assert rig.set_parameter("use_sim_time", False) == ""


def test_a_file_with_a_wrong_type_does_not_kill_the_node(tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text("/**:\n  ros__parameters:\n    jpeg_quality: high\n    pairing:\n      slop: 1\n")
    with NodeProcess(f"--params-file {file} -p autostart:=false") as process:
        rig = process.rig
        assert not rig.change("configure")
        rig.wait(rig.errors)
        assert rig.errors() == ["cannot configure: parameter jpeg_quality must be of type integer, not 'high'"]
        assert rig.state() == "unconfigured"
        assert rig.set_parameter("jpeg_quality", 80) == ""
        rig.start()
        rig.fuse()
        assert rig.get_parameter("pairing.slop") == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("registration.tpye", "no parameter registration.tpye (is it registration.type?); "),
        ("pairing.slopp", "no parameter pairing.slopp (is it pairing.slop?); "),
        ("exposure_time", "no parameter exposure_time; "),
    ],
)
def test_parameters_that_the_node_does_not_have(name, text):
    with Bench(**{name: 0.02}) as bench:
        fails_with(bench.rig, text)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("/**:\n  ros__parameters: {registration: {tpye: homography}}", "no parameter registration.tpye (is it regis"),
        ("/**:\n  ros__parameters: {gain: 1.5, camera_name: boson}", "no parameter camera_name, gain; "),
        ("/boson_driver:\n  ros__parameters: {gain: 1.5}", "it is for another node, or the names differ"),
    ],
    ids=["misspelt", "of another node", "section of another node"],
)
def test_parameter_files_that_are_not_for_this_node(tmp_path, content, text):
    file = tmp_path / "parameters.yaml"
    file.write_text(content)
    with NodeProcess(f"--params-file {file}") as process:
        _, log = process.process.communicate(timeout=TIMEOUT_S)
        assert process.process.returncode == 1
        (error,) = [line for line in log.splitlines() if "[ERROR]" in line]
        assert "cannot configure: " in error
        assert text in error


def test_a_parameter_file_for_many_nodes(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text(
        "/boson_driver:\n  ros__parameters: {gain: 1.5}\n/**/mmcfusion:\n  ros__parameters: {pairing: {slop: 0.02}}\n"
    )
    with NodeProcess(f"--params-file {file}") as process:
        process.rig.wait(lambda: process.rig.state() == "active")
        assert process.rig.get_parameter("pairing.slop") == 0.02


def test_wrong_ros_arguments_end_the_process_with_one_line(tmp_path):
    with NodeProcess(f"--params-file {tmp_path}/missing.yaml") as process:
        _, errors = process.process.communicate(timeout=60)
        assert process.process.returncode == 1
        assert errors.splitlines()[-1].startswith("fusion_node: ")
        assert "missing.yaml" in errors
        assert "Traceback" not in errors
