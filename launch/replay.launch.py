"""A recorded bag, played to the fusion node; ends when the bag ends. Takes the arguments of fusion.launch.py too."""

import posixpath
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from mmcfusion_ros.yaml_files import read_yaml

INFORMATION, IMAGES = "rosbag2_bagfile_information", ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
FUSION = str(Path(__file__).with_name("fusion.launch.py"))
ARGUMENTS = (
    DeclareLaunchArgument("bag", description="folder or file of the bag"),
    DeclareLaunchArgument("rate", default_value="1.0", description="times as fast as recorded"),
    DeclareLaunchArgument("loop", default_value="false", choices=["true", "false"], description="play it for ever"),
    DeclareLaunchArgument("record", default_value="", description="new bag for the fused images; empty: none"),
)


def has_ros2_bag() -> bool:
    """Whether ``ros2 bag`` is installed; ``mmcfusion play`` stands in for its player, not for its recorder."""
    try:
        get_package_prefix("ros2bag")
    except PackageNotFoundError:
        return False
    return True


def topic_of(value: Mapping[str, str], name: str) -> str:
    """The full name of one of the node's topics."""
    return posixpath.join("/", value["fusion_namespace"], value[name])


def check_topics(context: LaunchContext) -> None:
    """``RuntimeError`` if the bag has no images on the node's topics, as in a namespace that it was not recorded in.

    Before the node is started: launch would leave it behind.
    """
    images = {"thermal_image": "thermal/image_raw", "rgb_image": "rgb/image_raw"}
    value = {"fusion_namespace": "", **images, **context.launch_configurations}
    file = Path(value["bag"]) / "metadata.yaml"
    if not file.is_file():
        return
    topics = [topic["topic_metadata"] for topic in read_yaml(file)[INFORMATION]["topics_with_message_count"]]
    there = sorted(topic["name"] for topic in topics if topic["type"] in IMAGES)
    for name in images:
        topic = topic_of(value, name)
        if not {topic, f"{topic}/compressed"} & set(there):
            raise RuntimeError(f"{value['bag']} has no images on {topic}, but on {', '.join(there)}; set {name}:=")


def record_command(value: Mapping[str, str]) -> list[str]:
    """Humble's recorder has no ``--topics``; since Lyrical there is nothing else."""
    shown = subprocess.run(["ros2", "bag", "record", "--help"], capture_output=True, text=True).stdout
    option = ["--topics"] if "--topics" in shown else []
    fused = topic_of(value, "fused_image")
    topics = [fused, posixpath.join(posixpath.dirname(fused), "camera_info"), "/diagnostics"]
    return ["ros2", "bag", "record", "--use-sim-time", "-o", value["record"], *option, *topics]


def play(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The recorder, if one is asked for, and the player, whose end is the end of all."""
    value = context.launch_configurations
    options = [value["bag"], "--clock", "--rate", value["rate"], *(["--loop"] if value["loop"] == "true" else [])]
    if has_ros2_bag():
        command = ["ros2", "bag", "play", *options]
    else:
        command = [sys.executable, "-m", "mmcfusion_ros.cli", "play", *options, "--subscribers", "1"]
    player = ExecuteProcess(cmd=command, output="screen")
    after_the_last_frame = TimerAction(period=1.0, actions=[EmitEvent(event=Shutdown(reason="the bag has ended"))])
    end = RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[after_the_last_frame]))
    recorder = [ExecuteProcess(cmd=record_command(value), output="screen")] if value["record"] else []
    return [*recorder, player, end]


def begin(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Waits for the node to be active, then plays; a node that cannot be configured ends all by itself."""
    value = context.launch_configurations
    name = topic_of(value, "fusion_name")
    wait = ExecuteProcess(cmd=[sys.executable, "-m", "mmcfusion_ros.tools.wait_active", name], output="screen")

    def go_on(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        return play(context) if event.returncode == 0 else [EmitEvent(event=Shutdown(reason="the node is not active"))]

    return [wait, RegisterEventHandler(OnProcessExit(target_action=wait, on_exit=go_on))]


def generate_launch_description() -> LaunchDescription:
    fusion = PythonLaunchDescriptionSource(FUSION)
    return LaunchDescription(
        [
            *ARGUMENTS,
            OpaqueFunction(function=check_topics),
            IncludeLaunchDescription(fusion, launch_arguments={"use_sim_time": "true"}.items()),
            OpaqueFunction(function=begin),
        ]
    )
