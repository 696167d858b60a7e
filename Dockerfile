# CPU:   docker build --tag mmcfusion .
# CUDA:  docker build --tag mmcfusion --build-arg BACKEND="torch torchvision timm safetensors" .
# Run, with the user and the shared memory of the camera drivers (add --gpus all for CUDA):
#   docker run --rm --network host --ipc host --user $(id -u):$(id -g) mmcfusion \
#       thermal_image:=/flir/image_raw rgb_image:=/camera/image_raw
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base
ARG BACKEND=openvino
WORKDIR /ros2_ws
COPY . src/mmcfusion_ros
RUN apt-get update && apt-get install --yes --no-install-recommends python3-pip \
    && rosdep update && rosdep install --from-paths src --ignore-src -y && rm -rf /var/lib/apt/lists/*
RUN PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --no-cache-dir ${BACKEND}
RUN . /opt/ros/${ROS_DISTRO}/setup.sh && colcon build --packages-select mmcfusion_ros
ENV HOME=/tmp
ENTRYPOINT ["bash", "-c", "source install/setup.bash && exec ros2 launch mmcfusion_ros fusion.launch.py \"$@\"", "mmcfusion"]
