"""Processes that are killed, disks and shared memory that are full, and any order of start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ros_helpers import PROGRAM, NodeProcess, camera_process

from mmcfusion_ros.cli import main

TEST = Path(__file__).resolve().parent
CAN_MOUNT = shutil.which("unshare") and not subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode
needs_mount = pytest.mark.skipif(not CAN_MOUNT, reason="needs the right to mount a small disk (unshare -m)")


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_node_and_cameras_are_killed_and_restarted_in_any_order(figure):
    """SIGKILL of the node while it starts, is inactive and fuses; SIGKILL of the cameras; the node before and after
    the cameras."""
    with NodeProcess() as first:
        rig = first.rig
        kill(first.process)  # while it starts
        cameras = camera_process(rig, 30, 48, 64)
        try:
            with NodeProcess("-p autostart:=false", rig=rig) as node:
                assert rig.change("configure")
                kill(node.process)  # inactive
            with NodeProcess(rig=rig) as node:
                begin = time.monotonic()
                rig.wait(lambda: len(rig.fused) > 3)
                figure("node restarted beside running cameras: fused after, s", time.monotonic() - begin)
                kill(node.process)  # fusing
            with NodeProcess(rig=rig):
                rig.wait(lambda: rig.modes and rig.modes[-1] == "FUSED")
                kill(cameras)
                rig.wait(lambda: rig.modes[-1] == "NONE")
                begin = time.monotonic()
                cameras = camera_process(rig, 30, 48, 64)
                rig.wait(lambda: rig.modes[-1] == "FUSED")
                figure("cameras restarted: fused after, s", time.monotonic() - begin)
        finally:
            kill(cameras)


def in_small_folder(folder: str, size: str, fill: str, *command: object, then: str = "true") -> tuple[str, ...]:
    """A command that runs where ``folder`` is a disk of this size, filled with so many kB, to which this is done."""
    script = f"mount -t tmpfs -o size={size} none {folder} && "
    script += f'{{ dd if=/dev/zero of={folder}/fill bs=1k count={fill} 2>/dev/null; {then}; exec "$@"; }}'
    return ("unshare", "-m", "sh", "-c", script, "sh", *map(str, command))


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
def test_a_report_on_a_full_disk_is_one_line():
    with pytest.raises(SystemExit, match=r"mmcfusion bench: .*No space left on device"):
        main(["bench", "--frames", "1", "--size", "64x64", "--json", "/dev/full"])


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


@needs_mount
@pytest.mark.parametrize(("size", "fill"), [("160M", "0"), ("64k", "40")], ids=["while it runs", "before it starts"])
def test_shared_memory_is_full(size, fill):
    """Fast DDS then goes over UDP. With not a byte left, LTTng inside rclpy dies before any code of ours runs."""
    command = in_small_folder("/dev/shm", size, fill, sys.executable, "-c", FULL_MEMORY)
    path = os.pathsep.join([str(TEST), str(TEST.parent)])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "fused with 0 blocks free" in done.stdout
