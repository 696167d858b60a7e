"""The process of the fusion node ends by itself and cleanly at SIGINT and SIGTERM, whatever it is doing."""

from __future__ import annotations

import re
import signal
import threading
import time
from pathlib import Path

import pytest
from camera_messages import rgb_image, thermal_image
from ros_helpers import END_S, TIMEOUT_S, NodeProcess, Rig

SIGNALS = {
    "SIGINT": (signal.SIGINT,),
    "two SIGINTs": (signal.SIGINT, signal.SIGINT),
    "SIGTERM": (signal.SIGTERM,),
    "SIGINT and SIGTERM": (signal.SIGINT, signal.SIGTERM),
}
each_signal = pytest.mark.parametrize("signals", SIGNALS.values(), ids=SIGNALS.keys())


class Load:
    """Publishes 640x480 pairs at 30 Hz in a thread of its own."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish)

    def _publish(self) -> None:
        thermal, rgb = thermal_image(480, 640), rgb_image(480, 640)
        while not self._stop.wait(1 / 30):
            self._rig.publish(thermal, rgb)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def end(node: NodeProcess, signals: tuple[signal.Signals, ...]) -> None:
    for number in signals:
        node.process.send_signal(number)
        time.sleep(0.05)
    _, errors = node.process.communicate(timeout=END_S)
    assert node.process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "[ERROR]" not in errors


def mapped_memory(process_id: int) -> set[Path]:
    """Shared-memory segments of Fast DDS that the process has mapped: its own, and those of peers in any domain."""
    maps = Path(f"/proc/{process_id}/maps").read_text()
    return set(map(Path, re.findall(r"/dev/shm/fast(?:dds|rtps)_[0-9a-f]{16}\b", maps)))


@each_signal
def test_idle(signals):
    with NodeProcess() as node:
        node.rig.wait(lambda: node.rig.state() == "active")
        end(node, signals)


@each_signal
def test_fusing_under_load(signals):
    with NodeProcess(small=False) as node, Load(node.rig):
        node.rig.wait(lambda: len(node.rig.fused) > 3)
        end(node, signals)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("transitions", [[], ["configure"], ["shutdown"]])
def test_other_states(transitions, number):
    with NodeProcess("-p autostart:=false") as node:
        assert node.rig.state() == "unconfigured"
        for transition in transitions:
            assert node.rig.change(transition)
        end(node, (number,))


def test_after_a_failed_configure():
    with NodeProcess("-p autostart:=false -p model:=/no/such.xml") as node:
        assert not node.rig.change("configure")
        node.process.send_signal(signal.SIGINT)
        node.process.communicate(timeout=END_S)
        assert node.process.returncode == 0


def test_a_process_that_cannot_start_by_itself_ends_with_an_error():
    with NodeProcess("-p model:=/no/such.xml") as node:
        _, log = node.process.communicate(timeout=TIMEOUT_S)
        assert node.process.returncode == 1
        assert "model file /no/such.xml does not exist" in log


def test_while_a_model_is_loaded(tmp_path):
    """That may take long, in native code that knows no signals."""
    code = f"""
import pathlib, time
from mmcfusion_ros.ros import fusion_process
from mmcfusion_ros.stream import settings
def load(self, backend):
    pathlib.Path({str(tmp_path)!r}, "loading").touch()
    time.sleep(600)
settings.Settings.pipeline = load
fusion_process.main()
"""
    with NodeProcess(program=("-c", code)) as node:
        node.rig.wait((tmp_path / "loading").exists)
        end(node, (signal.SIGINT,))


def test_beside_a_library_that_takes_the_signals():
    """As something in CUDA does: no handler of Python's is called."""
    code = """
import ctypes
from mmcfusion_ros.ros import fusion_node, fusion_process
configure = fusion_node.FusionNode.on_configure
def take(self, state):
    for number in 2, 15:
        ctypes.CDLL(None).signal(number, ctypes.c_void_p(1))
    return configure(self, state)
fusion_node.FusionNode.on_configure = take
fusion_process.main()
"""
    with NodeProcess(program=("-c", code)) as node:
        node.rig.wait(lambda: node.rig.state() == "active")
        end(node, (signal.SIGINT,))


def test_what_hangs_at_the_end_is_told():
    code = """
import time
from mmcfusion_ros.ros import fusion_node, fusion_process
fusion_node.LONGEST_END_S = 0.5
fusion_node.FusionNode.destroy_node = lambda self: time.sleep(600)
fusion_process.main()
"""
    with NodeProcess(program=("-c", code)) as node:
        node.rig.wait(lambda: node.rig.state() == "active")
        node.process.send_signal(signal.SIGINT)
        _, errors = node.process.communicate(timeout=END_S)
        assert node.process.returncode == 1
        assert "most recent call first" in errors


def test_a_node_whose_thread_died_has_another_exit_status():
    code = """
from mmcfusion_ros.ros import fusion_node, fusion_process
fusion_node.FusionNode.trigger_configure = lambda self: 1 / 0
fusion_process.main()
"""
    with NodeProcess(program=("-c", code)) as node:
        _, errors = node.process.communicate(timeout=60)
        assert node.process.returncode == 1
        assert "the node has died: ZeroDivisionError" in errors


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_no_shared_memory_is_left():
    others = set(Path("/dev/shm").iterdir())
    with NodeProcess() as node:
        node.rig.wait(lambda: node.rig.state() == "active")
        node.rig.close()
        segments = mapped_memory(node.process.pid) - others
        assert segments
        end(node, (signal.SIGINT,))
        assert not [segment for segment in segments if segment.exists()]
