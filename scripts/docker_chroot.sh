#!/usr/bin/env bash
# The RUN lines of Dockerfile, as root in a clean Debian 13, where there is no Docker. Needs debootstrap.
#     scripts/docker_chroot.sh ROSDISTRO [FOLDER]    # a git repository of ros/rosdistro; where the Debian is put
# apt, rosdep and pip are real; rosdep reads ROSDISTRO in place of GitHub, and for Ubuntu 24.04, whose packages of Python
# have the same names. Packages of ROS are named but not installed, since their server is another one. colcon is
# left to robot_walk.py --dockerfile. Not run: docker itself, the base image, ENTRYPOINT with a user of the host.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
rosdistro=$1 clean=${2:-$(mktemp --directory)/debian}
debootstrap --variant=minbase trixie "$clean" > "$clean.log" || { tail "$clean.log"; exit 1; }
mkdir -p "$clean"/{rosdistro,ros2_ws/src/mmcfusion_ros}
git -C "$rosdistro" archive HEAD | tar -x -C "$clean/rosdistro"
git -C "$root" archive HEAD | tar -x -C "$clean/ros2_ws/src/mmcfusion_ros"
cp /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt "$clean/etc"
mount --bind /dev "$clean/dev" && mount --types proc proc "$clean/proc"
trap 'umount "$clean/dev" "$clean/proc"' EXIT
{
    cat << 'END'
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive ROS_DISTRO=jazzy HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
export ROSDISTRO_INDEX_URL=file:///rosdistro/index-v4.yaml ROS_OS_OVERRIDE=ubuntu:24.04:noble
export PIP_CERT=/etc/ca-certificates.crt SSL_CERT_FILE=/etc/ca-certificates.crt
apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends python3-rosdep2 # ros-base has it
mkdir -p /etc/ros/rosdep/sources.list.d
printf 'yaml file:///rosdistro/rosdep/%s.yaml\n' base python > /etc/ros/rosdep/sources.list.d/20-default.list
of_ros=$(grep -ohP '(?<=depend>)(?!python3-)[^<]+' /ros2_ws/src/mmcfusion_ros/package.xml | tr '\n' ' ')
rosdep() {
    if [ "$1" = install ]; then
        command rosdep "$@" --simulate
        command rosdep "$@" --skip-keys "$of_ros"
    else
        command rosdep "$@"
    fi
}
cd /ros2_ws
END
    sed -e ':a;/\\$/{N;s/\\\n//;ba}' "$root/Dockerfile" | sed -n 's/^RUN //p' | grep -v colcon |
        while read -r line; do printf 'BACKEND=openvino\nset -x\n{ %s; } || exit 1\nset +x\n' "$line"; done
    cat << 'END'
cd src/mmcfusion_ros && python3 -c '
import numpy
from mmcfusion_ros.fusion import Fuser
print(Fuser.from_pretrained("detect")(numpy.zeros((480, 640), "uint8"), numpy.zeros((480, 640, 3), "uint8")).shape)'
PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --dry-run --quiet torch torchvision timm safetensors # the CUDA variant
echo "docker_chroot: the commands of Dockerfile work"
END
} | chroot "$clean" bash
