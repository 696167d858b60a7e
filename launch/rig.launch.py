"""An example to copy: two cameras, the fusion node and a detector. Takes the arguments of fusion.launch.py too."""

import shlex
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from mmcfusion_ros.resources import package_file, transport_environment

FUSION = str(Path(__file__).with_name("fusion.launch.py"))
ARGUMENTS = (
    DeclareLaunchArgument(
        "drivers", default_value="", description="launch file of both cameras; empty: simulated ones"
    ),
    DeclareLaunchArgument(
        "detector",
        default_value="ros2 topic hz fused/image_raw",
        description="command of a node that subscribes to the fused image",
    ),
)


def with_profile(action: LaunchDescriptionEntity) -> GroupAction:
    """With the Fast DDS profile; in a group, so that arguments (``name``) and environment of a driver stay its own."""
    return GroupAction([*(SetEnvironmentVariable(*item) for item in transport_environment().items()), action])


def cameras(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The drivers, or the simulated cameras with their geometry."""
    if drivers := context.launch_configurations["drivers"]:
        return [with_profile(IncludeLaunchDescription(PythonLaunchDescriptionSource(drivers)))]
    namespace = context.launch_configurations.get("fusion_namespace", "")
    simulator = Node(package="mmcfusion_ros", executable="mmcfusion", arguments=["simulate"], namespace=namespace)
    geometry = str(package_file("config/simulated_rig.yaml"))
    return [with_profile(simulator), SetLaunchConfiguration("fusion_registration_file", geometry)]


def detector(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The command, without a shell."""
    command = shlex.split(context.launch_configurations["detector"])
    return [with_profile(ExecuteProcess(cmd=command, output="screen"))]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *ARGUMENTS,
            OpaqueFunction(function=cameras),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(FUSION)),
            OpaqueFunction(function=detector),
        ]
    )
