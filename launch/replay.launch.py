"""A recorded bag, played to the fusion node; ends when the bag ends. Takes the arguments of fusion.launch.py too."""

import posixpath
import sys
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
    if not value["record"]:
        return [player, end]
    topics = [posixpath.join("/", value["namespace"], value[name]) for name in ("fused_image", "fused_camera_info")]
    record = ["ros2", "bag", "record", "--use-sim-time", "-o", value["record"], *topics, "/diagnostics"]
    return [ExecuteProcess(cmd=record, output="screen"), player, end]


def begin(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Waits for the node to be active, then plays; ends all where it could not be configured."""
    name = posixpath.join("/", context.launch_configurations["namespace"], context.launch_configurations["name"])
    wait = ExecuteProcess(cmd=[sys.executable, "-m", "mmcfusion_ros.tools.wait_active", name], output="screen")

    def go_on(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        return play(context) if event.returncode == 0 else [EmitEvent(event=Shutdown(reason="the node is not active"))]

    return [wait, RegisterEventHandler(OnProcessExit(target_action=wait, on_exit=go_on))]


def generate_launch_description() -> LaunchDescription:
    fusion = PythonLaunchDescriptionSource(FUSION)
    return LaunchDescription(
        [
            *ARGUMENTS,
            IncludeLaunchDescription(fusion, launch_arguments={"use_sim_time": "true"}.items()),
            OpaqueFunction(function=begin),
        ]
    )
