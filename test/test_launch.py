"""The launch file: its arguments, and a real ``ros2 launch``."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

LAUNCH_FILES = Path(__file__).resolve().parents[1] / "launch"
ARGUMENTS = {
    "params_file",
    "namespace",
    "name",
    "log_level",
    "use_sim_time",
    "thermal_image",
    "rgb_image",
    "thermal_camera_info",
    "rgb_camera_info",
    "fused_image",
    "fused_camera_info",
    "display_image",
}
OF_REPLAY = {"bag", "rate", "loop", "record"}

pytest.importorskip("launch_ros", reason="launch_ros is not installed; it comes with a ROS 2 distribution")


def installed() -> bool:
    """Whether ``ros2 launch`` finds the package."""
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        get_package_share_directory("mmcfusion_ros")
    except PackageNotFoundError:
        return False
    return shutil.which("ros2") is not None


needs_installation = pytest.mark.skipif(not installed(), reason="mmcfusion_ros is not installed by colcon")


@pytest.mark.parametrize(("file", "names"), [("fusion", ARGUMENTS), ("replay", ARGUMENTS | OF_REPLAY)])
def test_every_argument_is_documented_and_has_a_default(file, names):
    spec = importlib.util.spec_from_file_location(f"{file}_launch", LAUNCH_FILES / f"{file}.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = module.generate_launch_description().get_launch_arguments()
    assert {argument.name for argument in arguments} == names
    for argument in arguments:
        assert argument.default_value is not None or argument.name == "bag"
        assert argument.description
        assert argument.description != "no description given"


@needs_installation
def test_show_args():
    command = ["ros2", "launch", "mmcfusion_ros", "fusion.launch.py", "--show-args"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    for name in ARGUMENTS:
        assert f"'{name}':" in shown


@needs_installation
def test_launch_with_every_argument(tmp_path):
    from camera_messages import stamp_ns
    from ros_helpers import Rig, new_namespace
    from sensor_msgs.msg import Image

    domain_id, namespace = random.randint(1, 100), new_namespace()
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text(
        "/**:\n  ros__parameters:\n    warm_up_width: 64\n    warm_up_height: 48\n    output_encoding: mono8\n"
    )
    arguments = {
        "namespace": namespace,
        "name": "eyes",
        "params_file": parameters,
        "log_level": "warn",
        "use_sim_time": "false",
        "thermal_image": "ir/image",
        "rgb_image": "colour/image",
        "thermal_camera_info": "ir/info",
        "rgb_camera_info": "colour/info",
        "fused_image": "eyes/image",
        "fused_camera_info": "eyes/info",
    }
    process = subprocess.Popen(
        ["ros2", "launch", "mmcfusion_ros", "fusion.launch.py", *(f"{name}:={v}" for name, v in arguments.items())],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain_id)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    rig = Rig(domain_id, namespace, name="eyes")
    try:
        rig.wait(lambda: rig.state() == "active")
        assert rig.get_parameter("use_sim_time") is False
        rig.thermal = rig.node.create_publisher(Image, "ir/image", 10)
        rig.rgb = rig.node.create_publisher(Image, "colour/image", 10)
        rig.node.create_subscription(Image, "eyes/image", rig.fused.append, 50)
        assert rig.fuse().encoding == "mono8"
        assert rig.inputs() >= {"ir/image", "colour/image", "colour/info"}
        assert stamp_ns(rig.fused[0])
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    finally:
        rig.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0
    assert "process has finished cleanly" in output
    assert "configured: model detect" not in output
    assert "Traceback" not in output


@needs_installation
def test_replay_ends_with_the_bag(tmp_path):
    from bag_files import drive, write_bag

    bag = write_bag(tmp_path / "drive", drive(20))
    command = ["ros2", "launch", "mmcfusion_ros", "replay.launch.py", f"bag:={bag}"]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(random.randint(1, 100))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "configured: model detect" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@needs_installation
def test_replay_ends_where_the_node_cannot_be_configured(tmp_path):
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    model: none.xml\n")
    command = ["ros2", "launch", "mmcfusion_ros", "replay.launch.py", "bag:=none", f"params_file:={parameters}"]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(random.randint(1, 100))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert "none.xml does not exist" in done.stdout + done.stderr
