"""Counts the functions and modules of this package that one frame passes, from the DDS callbacks to the publication,
and what the node imports.

    PYTHONPATH=. python scripts/frame_calls.py [--frames 20] [name=value ...]

A node with these parameters runs in this process over real DDS; ``sys.setprofile`` notes each call in its threads.
Of the pairs that are sent one by one the one with the fewest calls counts: others were disturbed by a deadline.
Comprehensions are no functions here; the timers of the node are left out.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import cv2
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

import mmcfusion_ros
from mmcfusion_ros.ros.fusion_node import SUCCESS, FusionNode
from mmcfusion_ros.stream.messages import fill_image
from mmcfusion_ros.stream.parameter_files import load_values

PACKAGE = str(Path(mmcfusion_ros.__file__).parent) + os.sep
TIMERS = {"_watch", "_publish_diagnostics", "return_free_memory", "_look"}
SIZE, WARM_UP, PATIENCE_S, SETTLE_S = (480, 640), 5, 30.0, 0.2
Call = tuple[str, str, str]  # thread, module, function


class CallCounter:
    """A profiler for ``threading.setprofile``: ``calls`` are those of this package since :meth:`clear`."""

    def __init__(self) -> None:
        self.calls: Counter[Call] = Counter()

    def clear(self) -> None:
        """Begins again."""
        self.calls = Counter()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PACKAGE) or code.co_name.endswith("comp>"):
            return
        if code.co_name == "<genexpr>" or _outermost(frame) in TIMERS:
            return
        module = code.co_filename.removeprefix(PACKAGE).removesuffix(".py").replace(os.sep, ".")
        self.calls[threading.current_thread().name, module, code.co_qualname] += 1


def _outermost(frame: FrameType | None) -> str:
    """The first function of the package on the stack."""
    name = ""
    while frame:
        if frame.f_code.co_filename.startswith(PACKAGE):
            name = frame.f_code.co_name
        frame = frame.f_back
    return name


class Cameras(Node):
    """Sends pairs that differ, and waits until each is back."""

    def __init__(self) -> None:
        super().__init__("cameras")
        self._publishers_of = [self.create_publisher(Image, f"{name}/image_raw", 5) for name in ("thermal", "rgb")]
        self._rng = np.random.default_rng(0)
        self.arrived = 0
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self.create_subscription(Image, "fused/image_raw", self._count, 5)

    def tell_size(self) -> None:
        """The camera_info that goes out with each fused image."""
        publisher = self.create_publisher(CameraInfo, "rgb/camera_info", 5)
        end = time.monotonic() + PATIENCE_S
        while not publisher.get_subscription_count() and time.monotonic() < end:
            time.sleep(0.05)
        publisher.publish(CameraInfo(height=SIZE[0], width=SIZE[1]))

    def _count(self, image: Image) -> None:
        self.arrived += 1

    def exchange(self) -> None:
        """One pair, or more until the two sides know each other; ``TimeoutError`` if nothing comes back."""
        before, end = self.arrived, time.monotonic() + PATIENCE_S
        while self.arrived == before:
            if time.monotonic() > end:
                raise TimeoutError(f"no fused image within {PATIENCE_S:g} s")
            header = Header(stamp=self.get_clock().now().to_msg())
            for publisher, channels in zip(self._publishers_of, ((), (3,)), strict=True):
                shapes = self._rng.integers(0, 240, (6, 8, *channels), dtype=np.uint8)  # noise alone shows nothing
                pixels = cv2.resize(shapes, SIZE[::-1]) + self._rng.integers(0, 16, (*SIZE, *channels), dtype=np.uint8)
                publisher.publish(fill_image(Image(header=header), pixels, "rgb8" if channels else "mono8"))
            wait_end = time.monotonic() + 1.0
            while self.arrived == before and time.monotonic() < wait_end:
                self._executor.spin_once(timeout_sec=0.05)
        time.sleep(SETTLE_S)


def measure(frames: int, assignments: list[str]) -> Counter[Call]:
    """The calls of the frame that had the fewest."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init(args=[], domain_id=random.randint(1, 100))
    counter = CallCounter()
    threading.setprofile(counter)
    values = load_values(None, assignments)
    node = FusionNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])
    if node.trigger_configure() != SUCCESS or node.trigger_activate() != SUCCESS:
        sys.exit("the node cannot be activated; its log says why")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin, name="executor", daemon=True)
    spinner.start()
    cameras = Cameras()
    cameras.tell_size()
    counts = []
    for _ in range(WARM_UP + frames):
        counter.clear()
        cameras.exchange()
        counts.append(counter.calls)
    executor.shutdown()
    return min(counts[WARM_UP:], key=lambda calls: sum(calls.values()))


def imported() -> list[int]:
    """The lines of each file of the package that a new process loads with the node."""
    code = "import sys, mmcfusion_ros.ros.fusion_node\nfor m in [*sys.modules.values()]: print(vars(m).get('__file__'))"
    files = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    return [len(Path(file).read_text().splitlines()) for file in files if file.startswith(PACKAGE)]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("parameters", nargs="*", metavar="name=value")
    options = parser.parse_args()
    calls = measure(options.frames, options.parameters)
    print("| thread | module | function | calls |\n|---|---|---|---|")
    for (thread, module, function), number in sorted(calls.items()):
        print(f"| {thread} | {module} | {function} | {number} |")
    threads, modules, functions = {c[0] for c in calls}, {c[1] for c in calls}, {c[1:] for c in calls}
    print(f"\n{sum(calls.values())} calls of {len(functions)} functions of {len(modules)} modules in", end=" ")
    print(f"{len(threads)} threads: {', '.join(sorted(threads))}")
    lines = imported()
    print(f"the node imports {len(lines)} files with {sum(lines)} lines", flush=True)
    os._exit(0)  # a thread may still be in native code


if __name__ == "__main__":
    main()
