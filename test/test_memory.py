"""The heap of the C library: how many a node's process has, and that what is free in it goes back to the system."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
from ros_helpers import Bench, NodeProcess

from mmcfusion_ros.ros import fusion_node
from mmcfusion_ros.ros.memory import shared_memory_warning

pytestmark = pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc")

HEAP_BYTES = 64 << 20  # glibc reserves so much for each heap but the first, at a multiple of it


def further_heaps(maps: str) -> int:
    """Heaps besides the one that every process has: a writable piece of memory, the rest of the reserve behind it."""
    lines = re.findall(r"^(\w+)-(\w+) (\S+) \S+ \S+ \d+ *(.*)$", maps, re.M)
    pieces = [(int(start, 16), int(end, 16), rights) for start, end, rights, file in lines if not file]
    reserves = {start: end for start, end, rights in pieces if rights == "---p"}
    return sum(
        start % HEAP_BYTES == 0 and rights == "rw-p" and reserves.get(end, 0) >= start + HEAP_BYTES
        for start, end, rights in pieces
    )


def memory_with_a_thread(limited: bool) -> str:
    """What lies in the memory of a process whose thread has allocated something."""
    code = f"""
import threading
from pathlib import Path
from mmcfusion_ros.ros.memory import share_one_heap
if {limited}:
    share_one_heap()
allocated, seen = threading.Event(), threading.Event()
def hold():
    block = bytes(2000)
    allocated.set()
    seen.wait()
threading.Thread(target=hold).start()
allocated.wait()
print(Path("/proc/self/maps").read_text())
seen.set()
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_all_threads_share_one_heap():
    with NodeProcess() as node:
        node.rig.wait(lambda: node.rig.state() == "active")
        assert len(list(Path(f"/proc/{node.process.pid}/task").iterdir())) > 10
        assert further_heaps(Path(f"/proc/{node.process.pid}/maps").read_text()) == 0
    assert further_heaps(memory_with_a_thread(limited=True)) == 0
    assert further_heaps(memory_with_a_thread(limited=False)) == 1


def test_what_is_free_between_blocks_in_use_goes_back():
    """Of 100 MB in blocks of 2 kB every hundredth is kept."""
    code = """
from pathlib import Path
from mmcfusion_ros.ros.memory import return_free_memory
def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
blocks = [bytes(2000) for _ in range(50_000)]
kept = blocks[::100]
del blocks
before = resident_mb()
return_free_memory()
print(before - resident_mb())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) > 50


def test_a_node_does_so_now_and_then(monkeypatch):
    calls = []
    monkeypatch.setattr(fusion_node, "MEMORY_PERIOD_S", 0.05)
    monkeypatch.setattr(fusion_node, "return_free_memory", lambda: calls.append(1))
    with Bench() as bench:
        bench.rig.wait(lambda: len(calls) > 2)


@pytest.mark.parametrize(
    ("free_mb", "profile", "words"), [(35, "a.xml", "has 35 MB free"), (36, "a.xml", ""), (35, None, "")]
)
def test_a_start_without_room_in_shared_memory_says_so(monkeypatch, free_mb, profile, words):
    for variable in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(variable, raising=False)
    if profile:
        monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", profile)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=256 * free_mb, f_frsize=4096))
    warning = shared_memory_warning()
    assert words in warning
    assert bool(words) == bool(warning)
