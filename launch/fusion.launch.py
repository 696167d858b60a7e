"""The fusion node with its parameter file, topic remaps and the Fast DDS profile for large images.

The arguments have names of their own, since those of a launch file that was included before (``name``, ``params_file``,
``model`` of a driver) keep their values in the launch files after it.
"""

import posixpath

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.events.process import ProcessExited
from launch.substitutions import EnvironmentVariable, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription
from mmcfusion_ros.resources import transport_environment

PARAMETER_FILE = PathJoinSubstitution([FindPackageShare("mmcfusion_ros"), "config", "fusion.yaml"])
BOOLEAN = ["true", "false"]
ARGUMENTS = (
    DeclareLaunchArgument("fusion_namespace", default_value="", description="namespace of the node and its topics"),
    DeclareLaunchArgument("fusion_name", default_value="mmcfusion", description="name of the node"),
    DeclareLaunchArgument(
        "fusion_params_file", default_value=PARAMETER_FILE, description="YAML file with the node's parameters"
    ),
    DeclareLaunchArgument("fusion_log_level", default_value="info", description="debug, info, warn, error or fatal"),
    DeclareLaunchArgument(
        "fusion_respawn",
        default_value="false",
        choices=BOOLEAN,
        description="true: start the node again 2 s after it died; false: end the launch with an error",
    ),
)
PARAMETERS = {
    "use_sim_time": ("use_sim_time", "true: take the time from /clock"),
    "fusion_autostart": ("autostart", "false: a lifecycle manager configures and activates the node"),
    "fusion_model": ("model", "weights: name or path"),
    "fusion_device": ("device", "cpu, cuda"),
    "fusion_backend": ("backend", "openvino, torch"),
    "fusion_registration_file": ("registration.file", "calibration, a YAML file"),
}
IMAGES = {
    "thermal_image": ("thermal/image_raw", "thermal image topic"),
    "rgb_image": ("rgb/image_raw", "RGB image topic"),
    "depth_image": ("depth/image_raw", "depth image topic, for registration.type depth"),
    "depth_points": ("depth/points", "point cloud topic of a lidar, for registration.type depth"),
    "fused_image": ("fused/image_raw", "fused image topic; camera_info and the compressed images go with it"),
    "display_image": ("display/image_raw", "topic of the image fused for eyes"),
}
INFOS = {
    "thermal_camera_info": ("thermal/camera_info", "camera_info topic of the thermal camera"),
    "rgb_camera_info": ("rgb/camera_info", "camera_info topic of the RGB camera"),
    "depth_camera_info": ("depth/camera_info", "camera_info topic of the depth camera"),
}
DECLARATIONS = (
    *ARGUMENTS,
    *(
        DeclareLaunchArgument(name, default_value="", description=f"{text}; empty: as in the parameter file")
        for name, (_, text) in PARAMETERS.items()
    ),
    *(DeclareLaunchArgument(name, default_value=topic, description=text) for name, (topic, text) in IMAGES.items()),
    *(
        DeclareLaunchArgument(name, default_value="", description=f"{text}; empty: beside its images")
        for name, (_, text) in INFOS.items()
    ),
)


def remappings(value: dict[str, str]) -> list[tuple[str, str]]:
    """Each image topic takes its compressed images and, as image_transport finds it, its camera_info along."""
    pairs = []
    for name, (topic, _) in IMAGES.items():
        pairs += [(topic, value[name]), (f"{topic}/compressed", f"{value[name]}/compressed")]
    for camera in ("thermal", "rgb", "depth", "fused"):
        beside = posixpath.join(posixpath.dirname(value[f"{camera}_image"]), "camera_info")
        pairs.append((f"{camera}/camera_info", value.get(f"{camera}_camera_info") or beside))
    return pairs


def end(event: ProcessExited, context: LaunchContext) -> None:
    """Ends the launch with an error where the node died or could not be configured."""
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f"the fusion node ended with status {event.returncode}; its log says why")


def start(context: LaunchContext) -> list[Node]:
    """The node. Only parameters that are given override the file and ``SetParameter`` of a parent launch file."""
    value = context.launch_configurations
    parameters = {parameter: value[name] for name, (parameter, _) in PARAMETERS.items() if value[name]}
    parameters |= {name: text == "true" for name, text in parameters.items() if text in BOOLEAN}
    respawn = value["fusion_respawn"] == "true"
    node = Node(
        package="mmcfusion_ros",
        executable="fusion_node",
        namespace=value["fusion_namespace"],
        name=value["fusion_name"],
        parameters=[value["fusion_params_file"], *([parameters] if parameters else [])],
        remappings=remappings(value),
        arguments=["--ros-args", "--log-level", value["fusion_log_level"]],
        additional_env={
            name: EnvironmentVariable(name, default_value=file) for name, file in transport_environment().items()
        },
        output="screen",
        emulate_tty=True,
        respawn=respawn,
        respawn_delay=2.0,
        on_exit=None if respawn else end,
    )
    return [node]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*DECLARATIONS, OpaqueFunction(function=start)])
