"""The fusion node with its parameter file, topic remaps and the Fast DDS profile for large images."""

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription
from mmcfusion_ros.resources import transport_environment

ARGUMENTS = {
    "namespace": ("", "namespace of the node and its topics"),
    "name": ("mmcfusion", "name of the node"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "use_sim_time": ("false", "take the time from /clock"),
    "thermal_image": ("thermal/image_raw", "thermal image topic"),
    "rgb_image": ("rgb/image_raw", "RGB image topic"),
    "rgb_camera_info": ("rgb/camera_info", "camera_info topic of the RGB camera"),
    "fused_image": ("fused/image_raw", "fused image topic"),
    "fused_camera_info": ("fused/camera_info", "camera_info topic of the fused image"),
}


def generate_launch_description() -> LaunchDescription:
    config = PathJoinSubstitution([FindPackageShare("mmcfusion_ros"), "config"])
    value = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    topics = ("thermal/image_raw", "rgb/image_raw", "rgb/camera_info", "fused/image_raw", "fused/camera_info")
    remappings = [(topic, value[topic.replace("/image_raw", "_image").replace("/", "_")]) for topic in topics]
    for camera in ("thermal", "rgb", "fused"):
        compressed = [value[f"{camera}_image"], "/compressed"]
        remappings.append((f"{camera}/image_raw/compressed", compressed))
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file",
                default_value=PathJoinSubstitution([config, "fusion.yaml"]),
                description="YAML file with the node's parameters",
            ),
            *(DeclareLaunchArgument(name, default_value=d, description=text) for name, (d, text) in ARGUMENTS.items()),
            *(SetEnvironmentVariable(name, file) for name, file in transport_environment().items()),
            Node(
                package="mmcfusion_ros",
                executable="fusion_node",
                namespace=value["namespace"],
                name=value["name"],
                parameters=[
                    value["params_file"],
                    {"use_sim_time": ParameterValue(value["use_sim_time"], value_type=bool)},
                ],
                remappings=remappings,
                arguments=["--ros-args", "--log-level", value["log_level"]],
                output="screen",
                emulate_tty=True,
            ),
        ]
    )
