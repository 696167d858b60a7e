"""The fusion node with its parameter file, topic remaps and the Fast DDS profile for large images."""

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription
from mmcfusion_ros.resources import transport_environment

PARAMETER_FILE = PathJoinSubstitution([FindPackageShare("mmcfusion_ros"), "config", "fusion.yaml"])
ARGUMENTS = {
    "namespace": ("", "namespace of the node and its topics"),
    "name": ("mmcfusion", "name of the node"),
    "params_file": (PARAMETER_FILE, "YAML file with the node's parameters"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "use_sim_time": ("false", "take the time from /clock"),
}
IMAGES = {
    "thermal_image": ("thermal/image_raw", "thermal image topic"),
    "rgb_image": ("rgb/image_raw", "RGB image topic"),
    "fused_image": ("fused/image_raw", "fused image topic"),
}
TOPICS = {
    **IMAGES,
    "thermal_camera_info": ("thermal/camera_info", "camera_info topic of the thermal camera, for a calibrated rig"),
    "rgb_camera_info": ("rgb/camera_info", "camera_info topic of the RGB camera"),
    "depth_image": ("depth/image_raw", "depth image topic, for registration.type depth"),
    "depth_camera_info": ("depth/camera_info", "camera_info topic of the depth camera"),
    "depth_points": ("depth/points", "point cloud topic of a lidar, for registration.type depth"),
    "fused_camera_info": ("fused/camera_info", "camera_info topic of the fused image"),
    "display_image": ("display/image_raw", "topic of the image fused for eyes"),
}


def generate_launch_description() -> LaunchDescription:
    arguments = {**ARGUMENTS, **TOPICS}
    value = {name: LaunchConfiguration(name) for name in arguments}
    remappings = [(topic, value[name]) for name, (topic, _) in TOPICS.items()]
    remappings += [(f"{topic}/compressed", [value[name], "/compressed"]) for name, (topic, _) in IMAGES.items()]
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value=d, description=text) for name, (d, text) in arguments.items()),
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
