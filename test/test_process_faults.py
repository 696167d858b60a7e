"""Processes that are killed, disks and shared memory that are full, and any order of start."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ros_helpers import PROGRAM, NodeProcess, camera_process, gap_s

from mmcfusion_ros.cli import main

TEST = Path(__file__).resolve().parent
CAN_MOUNT = shutil.which("unshare") and not subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode
needs_mount = pytest.mark.skipif(not CAN_MOUNT, reason="needs the right to mount a small disk (unshare -m)")


def end(process: subprocess.Popen, number: signal.Signals = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.wait()


@pytest.mark.slow
def test_node_and_cameras_are_killed_and_restarted_in_any_order(figure):
    """SIGKILL of the node while it starts, in each state of its lifecycle and while it fuses; SIGINT, SIGTERM and
    SIGKILL of the cameras; the node before and after the cameras."""
    with NodeProcess() as first:
        rig = first.rig
        end(first.process)  # while it starts
        cameras = camera_process(rig, 30, 48, 64)
        try:
            for transitions in ([], ["configure"], ["configure", "activate"], ["shutdown"]):
                with NodeProcess("-p autostart:=false", rig=rig) as node:
                    assert rig.state() == "unconfigured"
                    assert all(map(rig.change, transitions))
                    end(node.process)
            with NodeProcess(rig=rig) as node:
                begin, published = time.monotonic(), len(rig.fused)
                rig.wait(lambda: len(rig.fused) > published + 3)
                figure("node restarted beside running cameras: fused after, s", time.monotonic() - begin)
                end(node.process)  # fusing
            with NodeProcess(rig=rig):
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                    rig.wait(lambda: rig.modes and rig.modes[-1] == "FUSED")
                    end(cameras, number)
                    rig.wait(lambda: rig.modes[-1] == "NONE")
                    begin = time.monotonic()
                    cameras = camera_process(rig, 30, 48, 64)
                    rig.wait(lambda: rig.modes[-1] == "FUSED")
                    figure(f"cameras restarted after {number.name}: fused after, s", time.monotonic() - begin)
        finally:
            end(cameras)


DETECTOR = """
import sys, rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
rclpy.init(args=sys.argv)
node = Node("detector")
node.create_subscription(Image, "fused/image_raw", lambda message: print("heard", flush=True), 5)
rclpy.spin(node)
"""


def detector(rig) -> subprocess.Popen:
    """A process that has heard a fused image."""
    command = [sys.executable, "-c", DETECTOR, "--ros-args", "-r", f"__ns:={rig.namespace}"]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(rig.context.get_domain_id())}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    rig.wait(lambda: select.select([process.stdout], [], [], 0)[0])
    return process


@pytest.mark.slow
def test_a_detector_that_stands_still_or_is_killed_holds_up_nobody(figure):
    """It asks for reliable delivery, as the node offers it."""
    with NodeProcess() as node:
        rig, cameras = node.rig, camera_process(node.rig, 30, 48, 64)
        first = detector(rig)
        try:
            first.send_signal(signal.SIGSTOP)
            published = len(rig.fused)
            rig.wait(lambda: len(rig.fused) > published + 100)
            figure("detector stands still: longest gap of the output, s", gap_s(rig, published))
            end(first)
            published = len(rig.fused)
            rig.wait(lambda: len(rig.fused) > published + 100)
            figure("detector killed: longest gap of the output, s", gap_s(rig, published))
            end(detector(rig))
            assert not rig.errors()
        finally:
            for process in (first, cameras):
                end(process)


def in_small_folder(folder: str, size: str, fill: str, *command: object, then: str = "true") -> tuple[str, ...]:
    """A command that runs where ``folder`` is a disk of this size, filled with so many kB, to which this is done."""
    script = f"mount -t tmpfs -o size={size} none {folder} && "
    script += f'{{ dd if=/dev/zero of={folder}/fill bs=1k count={fill} 2>/dev/null; {then}; exec "$@"; }}'
    return ("unshare", "-m", "sh", "-c", script, "sh", *map(str, command))


@pytest.mark.slow
@needs_mount
@pytest.mark.parametrize(
    ("then", "why"),
    [("true", "nothing was written to "), ("mount -o remount,ro {}", "Read-only file system")],
    ids=["full", "read-only"],
)
def test_the_disk_of_the_cache_is_full_or_read_only(then, why, tmp_path, monkeypatch, figure):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command = in_small_folder(str(tmp_path), "64k", "64", sys.executable, *PROGRAM, then=then.format(tmp_path))
    with NodeProcess(program=command, executable=()) as node:
        begin = time.monotonic()
        node.rig.fuse()
        figure(f"no cache ({why}): fused after, s", time.monotonic() - begin)
        node.rig.wait(node.rig.warnings, node.rig.publish)
        (warning,) = node.rig.warnings()
        assert warning.startswith("the compiled network is not kept, so the next start takes longer: ")
        assert why in warning
        assert str(tmp_path) in warning
        node.rig.wait(lambda: node.rig.values().get("backend_warning") == warning)
        assert not node.rig.errors()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_benchmark_on_a_full_disk_is_one_line():
    with pytest.raises(SystemExit, match=r"mmcfusion bench: .*No space left on device: '/dev/full'"):
        main(["bench", "--frames", "1", "--size", "64x64", "--json", "/dev/full"])


@pytest.mark.slow
@needs_mount
def test_a_recording_on_a_full_disk_is_one_line(tmp_path):
    record = (sys.executable, "-m", "mmcfusion_ros.cli", "record-demo", tmp_path / "bag", "--duration", "0.5")
    command = in_small_folder(str(tmp_path), "300k", "0", *record)
    done = subprocess.run(command, cwd=TEST.parent, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (
        1,
        f"mmcfusion record-demo: [Errno 28] No space left on device: '{tmp_path / 'bag'}'\n",
    )


@pytest.mark.slow
@needs_mount
def test_a_report_of_a_bag_on_a_full_disk_is_one_line(tmp_path):
    program, small = (sys.executable, "-m", "mmcfusion_ros.cli"), tmp_path / "small"
    small.mkdir()
    record = (*program, "record-demo", tmp_path / "bag", "--duration", "0.5")
    subprocess.run(record, cwd=TEST.parent, check=True, capture_output=True)
    evaluate = (*program, "evaluate-bag", tmp_path / "bag", "--out", small / "out", "--no-metrics")
    command = in_small_folder(str(small), "300k", "0", *evaluate)
    done = subprocess.run(command, cwd=TEST.parent, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"mmcfusion evaluate-bag: [Errno 28] No space left on device: '{small / 'out'}'",
    )
    assert "Traceback" not in done.stderr


FULL_MEMORY = """
import contextlib, os
from mmcfusion_ros.cli import main
from ros_helpers import Bench
with Bench() as bench:
    bench.rig.start()
    bench.rig.fuse()
    with open("/dev/shm/fill2", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    bench.rig.fuse()
    assert not bench.rig.errors()
    print("fused with", os.statvfs("/dev/shm").f_bavail, "blocks free", flush=True)
"""


@pytest.mark.slow
@needs_mount
@pytest.mark.parametrize(("size", "fill"), [("160M", "0"), ("64k", "40")], ids=["while it runs", "before it starts"])
def test_shared_memory_is_full(size, fill):
    """Fast DDS then goes over UDP. With not a byte left, LTTng inside rclpy dies before any code of ours runs."""
    command = in_small_folder("/dev/shm", size, fill, sys.executable, "-c", FULL_MEMORY)
    path = os.pathsep.join([str(TEST), str(TEST.parent)])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "fused with 0 blocks free" in done.stdout
