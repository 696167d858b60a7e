"""The launch files: their arguments, and a real ``ros2 launch``."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import save_calibration
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.resources import transport_environment

LAUNCH_FILES = Path(__file__).resolve().parents[1] / "launch"
OF_FUSION = {
    *("fusion_namespace", "fusion_name", "fusion_params_file", "fusion_log_level", "fusion_respawn"),
    *("fusion_autostart", "fusion_model", "fusion_device", "fusion_backend", "fusion_registration_file"),
    *("use_sim_time", "thermal_image", "rgb_image", "fused_image", "display_image"),
    *("thermal_camera_info", "rgb_camera_info"),
    *("depth_image", "depth_points", "depth_camera_info"),
}
ARGUMENTS = {
    "fusion": OF_FUSION,
    "replay": OF_FUSION | {"bag", "rate", "loop", "record"},
    "rig": OF_FUSION | {"drivers", "detector"},
}
SMALL = "/**:\n  ros__parameters:\n    warm_up_width: 64\n    warm_up_height: 48\n    threads: 1\n"
PROFILE = next(iter(transport_environment()))

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


@pytest.fixture
def domain() -> int:
    return random.randint(1, 100)


@pytest.fixture
def small(tmp_path) -> Path:
    """Parameters of a node for small images."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    return file


class Launch:
    """A running ``ros2 launch``, and what it wrote, once it has ended."""

    def __init__(self, domain: int, *command: object) -> None:
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        self.output = ""
        self.process = subprocess.Popen(
            ["ros2", "launch", *map(str, command)],
            env={name: value for name, value in environment.items() if name != PROFILE},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait(self) -> int:
        """Its exit status."""
        self.output += self.process.communicate(timeout=120)[0]
        return self.process.returncode

    def read_until(self, text: str) -> None:
        """Reads until a line of the output has the text."""
        while text not in (line := self.process.stdout.readline()):
            assert line, f"{text!r} never came in {self.output}"
            self.output += line

    def interrupt(self) -> int:
        """Ends it as Ctrl-C does."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.wait()


@contextmanager
def launched(domain: int, *command: object) -> Iterator[Launch]:
    launch = Launch(domain, *command)
    try:
        yield launch
    finally:
        if launch.process.poll() is None:
            os.killpg(launch.process.pid, signal.SIGKILL)
            launch.process.communicate()


@contextmanager
def rig_in(domain: int, namespace: str = "", name: str = "mmcfusion"):
    from ros_helpers import Rig

    rig = Rig(domain, namespace, name=name)
    try:
        yield rig
    finally:
        rig.close()


@pytest.mark.parametrize("file", ARGUMENTS)
def test_every_argument_is_documented_and_has_a_default(file):
    spec = importlib.util.spec_from_file_location(f"{file}_launch", LAUNCH_FILES / f"{file}.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = module.generate_launch_description().get_launch_arguments()
    assert {argument.name for argument in arguments} == ARGUMENTS[file]
    for argument in arguments:
        assert argument.default_value is not None or argument.name == "bag"
        assert argument.description
        assert argument.description != "no description given"


@needs_installation
def test_show_args():
    command = ["ros2", "launch", "mmcfusion_ros", "fusion.launch.py", "--show-args"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    for name in OF_FUSION:
        assert f"'{name}':" in shown


@needs_installation
def test_launch_with_every_argument(domain, small, tmp_path):
    from camera_messages import stamp_ns
    from ros_helpers import new_namespace
    from sensor_msgs.msg import CameraInfo, Image

    namespace = new_namespace()
    own = "output_encoding: mono8", "publish_compressed: true", "model: none.xml", "registration: {type: depth}"
    small.write_text("\n    ".join([SMALL.rstrip(), *own]))
    calibration = tmp_path / "rig.yaml"
    lens = Intrinsics(64, 48, np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]]))
    save_calibration(Calibration(rotation=np.eye(3), translation=np.zeros(3), thermal=lens, rgb=lens), calibration)
    arguments = {
        "fusion_namespace": namespace,
        "fusion_name": "eyes",
        "fusion_params_file": small,
        "fusion_log_level": "warn",
        "fusion_model": "lite",
        "fusion_device": "cpu",
        "fusion_backend": "openvino",
        "fusion_registration_file": calibration,
        "thermal_image": "ir/image",
        "rgb_image": "colour/image",
        "thermal_camera_info": "elsewhere/info",
        "fused_image": "eyes/image",
    }
    command = "mmcfusion_ros", "fusion.launch.py", *(f"{name}:={value}" for name, value in arguments.items())
    with launched(domain, *command) as launch, rig_in(domain, namespace, "eyes") as rig:
        rig.wait(lambda: rig.state() == "active")
        assert rig.get_parameter("use_sim_time") is False
        assert rig.get_parameter("registration.type") == "depth"  # the launch argument leaves it as it is
        assert rig.get_parameter("registration.file") == str(calibration)
        rig.thermal = rig.node.create_publisher(Image, "ir/image", 10)
        rig.rgb = rig.node.create_publisher(Image, "colour/image", 10)
        rig.info = rig.node.create_publisher(CameraInfo, "colour/camera_info", 10)
        rig.node.create_subscription(Image, "eyes/image", rig.fused.append, 50)
        rig.node.create_subscription(CameraInfo, "eyes/camera_info", rig.infos.append, 50)
        assert rig.fuse().encoding == "mono8"
        rig.wait(lambda: rig.infos, lambda: (rig.publish_info(), rig.publish()))
        assert rig.inputs() >= {"ir/image", "colour/image", "colour/camera_info", "elsewhere/info"}
        assert rig.node.count_publishers("eyes/image/compressed") == 1
        assert stamp_ns(rig.fused[0])
        assert launch.interrupt() == 0
    assert "process has finished cleanly" in launch.output
    assert "configured: model lite" not in launch.output
    assert "Traceback" not in launch.output


PARENT = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import SetParameter

LEAKED = {leaked}

def generate_launch_description():
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=value) for name, value in LEAKED.items()),
        SetParameter("use_sim_time", True),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource("{file}"), launch_arguments={{"fusion_params_file": "{parameters}"}}.items()
        ),
        ExecuteProcess(cmd=["sh", "-c", "echo profile ${{{variable}:-none}}"], output="screen"),
    ])
"""


@needs_installation
def test_arguments_of_a_parent_do_not_leak_in_nor_the_profile_out(domain, small, tmp_path):
    leaked = dict.fromkeys(("name", "namespace", "params_file", "model", "device", "output", "log_level"), "oak")
    parent = tmp_path / "parent.launch.py"
    parent.write_text(
        PARENT.format(leaked=leaked, file=LAUNCH_FILES / "fusion.launch.py", parameters=small, variable=PROFILE)
    )
    with launched(domain, parent) as launch, rig_in(domain) as rig:
        rig.wait(lambda: rig.state() == "active")
        assert rig.get_parameter("use_sim_time") is True
        assert (rig.get_parameter("model"), rig.get_parameter("device")) == ("auto", "auto")
        assert rig.inputs() >= {"thermal/image_raw", "rgb/image_raw"}
        assert launch.interrupt() == 0
    assert "profile none" in launch.output
    assert "profile" not in launch.output.replace("profile none", "")


@needs_installation
def test_launch_ends_with_an_error_where_the_node_cannot_be_configured(domain):
    with launched(domain, "mmcfusion_ros", "fusion.launch.py", "fusion_model:=none.xml") as launch:
        assert launch.wait() == 1
    assert "none.xml does not exist" in launch.output
    assert "the fusion node ended with status 1" in launch.output


@needs_installation
def test_respawn(domain, small):
    command = "mmcfusion_ros", "fusion.launch.py", "fusion_respawn:=true", "fusion_model:=none.xml"
    with launched(domain, *command) as launch:
        launch.read_until("none.xml does not exist")
        launch.read_until("none.xml does not exist")


@needs_installation
def test_rig_with_simulated_cameras(domain):
    with launched(domain, "mmcfusion_ros", "rig.launch.py") as launch:
        launch.read_until("mode FUSED")
        launch.read_until("average rate")
        assert launch.interrupt() == 0


@needs_installation
def test_rig_with_drivers_and_a_detector(domain, small, tmp_path):
    drivers = tmp_path / "drivers.launch.py"
    drivers.write_text(
        PARENT.format(leaked={"fusion_name": "oak"}, file=LAUNCH_FILES / "none", parameters=small, variable=PROFILE)
    )
    text = drivers.read_text()
    begin, end = text.index("        SetParameter("), text.index("        ExecuteProcess(")
    drivers.write_text(text[:begin] + text[end:])
    arguments = f"drivers:={drivers}", "detector:=echo a detector", f"fusion_params_file:={small}"
    with launched(domain, "mmcfusion_ros", "rig.launch.py", *arguments) as launch, rig_in(domain) as rig:
        rig.wait(lambda: rig.state() == "active")
        assert launch.interrupt() == 0
    assert "fastdds.xml" in launch.output
    assert "a detector" in launch.output


class TestReplay:
    @pytest.fixture
    def bag(self, tmp_path) -> Path:
        pytest.importorskip("rosbags", reason="rosbags is not installed")
        from bag_files import drive, write_bag

        return write_bag(tmp_path / "drive", drive(20))

    @needs_installation
    @pytest.mark.parametrize("namespace", ["", "/robot"])
    def test_ends_with_the_bag(self, bag, namespace, domain):
        topics = "thermal_image:=/thermal/image_raw", "rgb_image:=/rgb/image_raw"
        more = (f"fusion_namespace:={namespace}", *topics) if namespace else ()
        with launched(domain, "mmcfusion_ros", "replay.launch.py", f"bag:={bag}", *more) as launch:
            assert launch.wait() == 0, launch.output
        assert "configured: model detect" in launch.output
        assert "mode FUSED" in launch.output
        assert "Traceback" not in launch.output

    @needs_installation
    def test_refuses_a_namespace_that_the_bag_does_not_have(self, bag, domain):
        with launched(domain, "mmcfusion_ros", "replay.launch.py", f"bag:={bag}", "fusion_namespace:=/robot") as launch:
            assert launch.wait() == 1
        assert "has no images on /robot/thermal/image_raw, but on /rgb/image_raw, /thermal/image_raw" in launch.output

    @needs_installation
    def test_ends_where_the_node_cannot_be_configured(self, domain):
        command = "mmcfusion_ros", "replay.launch.py", "bag:=none", "fusion_model:=none.xml"
        with launched(domain, *command) as launch:
            assert launch.wait() == 1
        assert "none.xml does not exist" in launch.output
