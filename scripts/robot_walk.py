"""README's robot section, run as it stands, and what an operator does next: lifecycle, parameters, topics, the doctor,
``colcon test`` on this installation, which lacks what only training and development need.

    python scripts/robot_walk.py TOOLS
    python scripts/robot_walk.py TOOLS --distribution jazzy --python python3.12
    python scripts/robot_walk.py TOOLS --dockerfile        # the commands of Dockerfile in place of README's
    python scripts/robot_walk.py TOOLS --tests "test -m 'not slow'"

To be run before each release. TOOLS is a folder with git repositories of ROS 2 that PyPI lacks: launch, launch_ros,
message_filters, ros2cli, rosdistro, rosidl_runtime_py. They, colcon and the wheels of the distribution are installed
into TOOLS/DISTRIBUTION, which stands for /opt/ros and is kept. The home folder is a new one. Not run: apt; rosdep, in
place of which each key of package.xml is looked up; camera drivers, in place of which runs ``mmcfusion simulate``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import yaml

ROOT = Path(__file__).resolve().parents[1]
BRANCHES = {"humble": "humble", "jazzy": "jazzy", "kilted": "rolling", "rolling": "rolling"}
WHEELS = "rclpy rmw-fastrtps-cpp sensor-msgs std-msgs std-srvs diagnostic-msgs lifecycle-msgs rosgraph-msgs"
OTHERS = (
    "setuptools>=58,<80 wheel numpy opencv-python-headless<5 PyYAML typing_extensions empy lark-parser pytest<9 psutil "
    "packaging argcomplete osrf-pycommon colcon-common-extensions"
)
FETCHED = {
    "launch": ("launch", "launch_xml", "launch_yaml"),
    "launch_ros": ("launch_ros", "ros2launch"),
    "ros2cli": ("ros2cli", "ros2lifecycle", "ros2node", "ros2param", "ros2pkg", "ros2run", "ros2service", "ros2topic"),
    "rosidl_runtime_py": (".",),
}
OPERATOR = r"""
say() { echo "$ $*"; "$@"; }
expect() { pattern=$1; shift; echo "$ $*"; for i in $(seq 10); do timeout 40 "$@" &> answer || true
    if grep -qE "$pattern" answer; then grep -m1 -E "$pattern" answer; return; fi; sleep 1; done
    cat answer; echo "robot_walk: no '$pattern' from: $*"; exit 1; }
mmcfusion simulate --thermal-rate 5 --rgb-rate 5 --ros-args \
    -r thermal/image_raw:=/flir/image_raw -r rgb/image_raw:=/camera/image_raw \
    -r rgb/camera_info:=/camera/camera_info &> cameras.log & cameras=$!
trap 'kill -INT -- -$cameras -$launch 2> stopped || true; ros2 daemon stop > stopped' EXIT
expect '^active \[3\]' ros2 lifecycle get /mmcfusion
expect 'type: sensor_msgs/msg/Image|sensor_msgs/msg/Image' ros2 topic type /fused/image_raw
expect 'frame_id: .+' ros2 topic echo --once --field header /fused/image_raw
expect '^width: 640' ros2 topic echo --once /fused/camera_info
expect 'FUSED' ros2 topic echo --once /mmcfusion/mode
expect 'average rate: ' timeout -s INT 20 ros2 topic hz /fused/image_raw
expect 'Boolean value is: True' ros2 param get /mmcfusion denoise
expect 'largest stamp difference' ros2 param describe /mmcfusion pairing.slop
expect 'Setting parameter failed' ros2 param set /mmcfusion jpeg_quality 500
expect '^OK ' mmcfusion doctor
expect 'Transitioning successful' ros2 lifecycle set /mmcfusion deactivate
expect '^inactive \[2\]' ros2 lifecycle get /mmcfusion
expect 'Transitioning successful' ros2 lifecycle set /mmcfusion activate
expect '^active \[3\]' ros2 lifecycle get /mmcfusion
kill -INT -- -$cameras -$launch
wait $launch
"""
TESTS = """
python3 -m pip install --quiet --user rosbags mcap tqdm zstandard  # as docs/install.md says, to replay bags
say colcon test --packages-select mmcfusion_ros --event-handlers console_direct+ --pytest-args -q {tests}
say colcon test-result --verbose
"""


def run(*command: object, **options: object) -> None:
    """As the shell would, without ``set -e``'s doubts."""
    print("$", *command, flush=True)
    subprocess.run(list(map(str, command)), check=True, **options)  # type: ignore[call-overload]


def install_distribution(tools: Path, distribution: str, python: str) -> Path:
    """TOOLS/DISTRIBUTION, with ``bin/ros2`` and ``bin/colcon``."""
    prefix = tools / distribution
    if (prefix / "complete").exists():
        return prefix
    # Packages of the system and of the user are seen, as on a robot.
    run(python, "-m", "venv", "--clear", "--system-site-packages", prefix)
    pip = (prefix / "bin" / "python", "-m", "pip", "install", "--quiet")
    run(*pip, *(f"ros-{distribution}-{name}" for name in WHEELS.split()), *OTHERS.split())
    for repository, packages in {**FETCHED, "message_filters": ()}.items():
        sources = prefix / "src" / repository
        sources.mkdir(parents=True)
        archive = ["git", "-C", str(tools / repository), "archive", BRANCHES[distribution]]
        run("tar", "-x", "-C", sources, input=subprocess.run(archive, check=True, capture_output=True).stdout)
        if packages:
            run(*pip, "--no-deps", "--no-build-isolation", *(sources / package for package in packages))
    site = next((prefix / "lib").glob("python*/site-packages"))
    run("cp", "-r", prefix / "src/message_filters/src/message_filters", site)
    # launch_ros imports these messages for component containers; no wheel has them.
    (site / "composition_interfaces").mkdir()
    (site / "composition_interfaces/__init__.py").touch()
    (site / "composition_interfaces/srv.py").write_text("class LoadNode:\n    Request = Response = None\n")
    (prefix / "setup.sh").touch()
    (prefix / "complete").touch()
    return prefix


def unknown_keys(tools: Path, distribution: str) -> list[str]:
    """Keys of package.xml that rosdep would not find."""

    def read(path: str) -> dict[str, object]:
        text = subprocess.run(
            ["git", "-C", tools / "rosdistro", "show", f"HEAD:{path}"], check=True, capture_output=True
        )
        return yaml.load(text.stdout, Loader=yaml.CSafeLoader)

    known = {*read("rosdep/base.yaml"), *read("rosdep/python.yaml")}
    for name, repository in read(f"{distribution}/distribution.yaml")["repositories"].items():  # type: ignore[attr-defined]
        known |= {name, *repository.get("release", {}).get("packages", ())}
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    return sorted({str(tag.text) for tag in package if tag.tag.endswith("depend")} - known)


def readme_commands() -> str:
    """Those of the section for robots, the launch in the background."""
    section = (ROOT / "README.md").read_text().split("## On a robot")[1].split("\n## ")[0]
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL))
    commands = commands.replace("<this repository>", str(ROOT))
    return re.sub(r"^(ros2 launch(?:.*\\\n)*.*)$", r"\1 &> launch.log & launch=$!", commands, flags=re.MULTILINE)


def docker_commands(prefix: Path) -> str:
    """Those of Dockerfile, in a folder of the home."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    launch = json.loads(re.findall(r"^ENTRYPOINT (.*)$", lines, re.MULTILINE)[0])
    arguments = ["thermal_image:=/flir/image_raw", "rgb_image:=/camera/image_raw"]
    commands = [
        "BACKEND=openvino; mkdir ros2_ws; cd ros2_ws",
        f"git clone --quiet {ROOT} src/mmcfusion_ros",
        *(f"{{ {command}; }} || exit 1" for command in re.findall(r"^RUN (.*)$", lines, re.MULTILINE)),
        f"{shlex.join([*launch, *arguments])} &> launch.log & launch=$!",
        "source install/setup.bash",
    ]
    return (
        "\n".join(commands)
        .replace("rm -rf /var/lib/apt/lists/*", "true")
        .replace("/opt/ros/${ROS_DISTRO}", str(prefix))
    )


def main() -> None:
    """Exit status 0 if every command did what it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=Path)
    parser.add_argument("--distribution", choices=("jazzy", "kilted"), default="kilted")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--dockerfile", action="store_true")
    parser.add_argument("--tests", default="test/test_launch.py", help="for colcon test; test: all of them")
    options = parser.parse_args()
    tools = options.tools.resolve()
    for distribution in ("humble", "jazzy", "kilted", "lyrical", "rolling"):
        if unknown := unknown_keys(tools, distribution):
            sys.exit(f"robot_walk: rosdep has no key of {distribution} for {', '.join(unknown)}")
    prefix = install_distribution(tools, options.distribution, options.python)
    commands = docker_commands(prefix) if options.dockerfile else readme_commands()
    then = OPERATOR if options.dockerfile else OPERATOR + TESTS.format(tests=options.tests)
    script = f"set -emo pipefail\nrosdep() {{ :; }}\napt-get() {{ :; }}\n{commands}\n{then}"
    with tempfile.TemporaryDirectory(prefix="robot_walk_", ignore_cleanup_errors=True) as home:
        environment = {
            "HOME": home,
            "PATH": f"{prefix}/bin:/usr/bin:/bin",
            "AMENT_PREFIX_PATH": str(prefix),
            "ROS_DISTRO": options.distribution,
            "ROS_DOMAIN_ID": str(random.randint(1, 100)),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "PIP_USER": "1",
            "PYTHONUNBUFFERED": "1",
            **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "LANG"))},
        }
        done = subprocess.run(["bash", "-c", script], cwd=home, env=environment)
        if done.returncode:
            for log in sorted(Path(home).glob("ros2_ws/*.log")):
                print(f"--- {log.name}", *log.read_text().splitlines()[-30:], sep="\n")
            sys.exit("robot_walk: failed")
    print(f"robot_walk: README's robot section works on {options.distribution}")


if __name__ == "__main__":
    main()
