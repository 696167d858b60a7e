"""A fusion node over real DDS, and a rig of nodes around it that plays cameras, detector and operator."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
pytest.importorskip("rclpy", reason="rclpy is not installed")

import rclpy
from camera_messages import HEIGHT, WIDTH, header, rgb_image, stamp_ns, thermal_image
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from mmcfusion_ros.resources import transport_environment
from mmcfusion_ros.ros.fusion_node import FusionNode

os.environ.update(transport_environment())

PROGRAM = ("-m", "mmcfusion_ros.ros.fusion_process")
NIGHTLY = bool(os.environ.get("MMCFUSION_NIGHTLY"))
ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 120.0
END_S = 20.0  # the node promises 2 s, but the machine may be busy
SMALL = {
    "warm_up_width": WIDTH,
    "warm_up_height": HEIGHT,
    "threads": 1,
    "watchdog_timeout": 120.0,
}
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "unconfigured shutdown": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    "inactive shutdown": Transition.TRANSITION_INACTIVE_SHUTDOWN,
    "active shutdown": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}
_numbers = itertools.count()


def new_namespace() -> str:
    """One that no other node on this machine has."""
    return f"/test_{os.getpid()}_{next(_numbers)}"


def unfrozen(message: Image) -> Image:
    """Unlike the one before it."""
    message.data[0] = next(_numbers) % 256
    return message


class RunningNode:
    """A ``FusionNode`` in a context of its own that a thread spins, as ``main`` does."""

    def __init__(self, domain_id: int, namespace: str, parameters: dict[str, Any]) -> None:
        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=domain_id)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = FusionNode(context=self.context, namespace=namespace, parameter_overrides=overrides)
        self.errors: list[BaseException] = []
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stop.is_set():
            try:
                self._executor.spin_once(timeout_sec=0.05)
            except Exception as error:
                self.errors.append(error)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
        assert not self.errors


class Rig:
    """Cameras, detector and operator for the node of this name and namespace. Spun by the thread of the test."""

    def __init__(self, domain_id: int, namespace: str, name: str = "mmcfusion", node_name: str = "rig") -> None:
        self.name, self.namespace = name, namespace
        self.full_name = f"{namespace}/{name}"
        self.fused: list[Image] = []
        self.infos: list[CameraInfo] = []
        self.compressed: list[CompressedImage] = []
        self.statuses: list[DiagnosticStatus] = []
        self.input_statuses: dict[str, DiagnosticStatus] = {}
        self.logs: list[Log] = []
        self.modes: list[str] = []
        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=domain_id)
        self.node = Node(node_name, context=self.context, namespace=namespace, enable_rosout=False)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Any] = {}
        create = self.node.create_publisher
        self.thermal = create(Image, "thermal/image_raw", 10)
        self.rgb = create(Image, "rgb/image_raw", 10)
        self.info = create(CameraInfo, "rgb/camera_info", 10)
        self.on_fused: Callable[[Image], object] = self.fused.append
        self.node.create_subscription(Image, "fused/image_raw", lambda message: self.on_fused(message), 50)
        self.node.create_subscription(CameraInfo, "fused/camera_info", self.infos.append, 50)
        self.node.create_subscription(CompressedImage, "fused/image_raw/compressed", self.compressed.append, 50)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 50)
        latched = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(String, f"{self.full_name}/mode", lambda m: self.modes.append(m.data), latched)
        self.node.create_subscription(Log, "/rosout", self._log, latched)

    def _diagnose(self, message: DiagnosticArray) -> None:
        self.statuses += [status for status in message.status if status.name == self.full_name]
        inputs = {f"{self.full_name}: {camera} input": camera for camera in ("thermal", "rgb")}
        self.input_statuses |= {inputs[s.name]: s for s in message.status if s.name in inputs}

    def _log(self, message: Log) -> None:
        if message.name == self.full_name[1:].replace("/", "."):
            self.logs.append(message)

    def close(self) -> None:
        if self.context.ok():
            self._executor.shutdown()
            self.node.destroy_node()
            rclpy.shutdown(context=self.context)

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def wait(self, condition: Callable[[], Any], meanwhile: Callable[[], object] = lambda: None) -> None:
        """Spins until the condition holds, and does something ten times a second meanwhile."""
        end, due = time.monotonic() + TIMEOUT_S, 0.0
        while not condition():
            now = time.monotonic()
            assert now < end, f"never happened; the node says {[log.msg for log in self.logs]} and {self.problem()!r}"
            if now >= due:
                meanwhile()
                due = now + 0.1
            self._executor.spin_once(timeout_sec=0.05)

    def call(self, service: str, service_type: Any, request: Any) -> Any:
        """The answer of one of the node's services."""
        while (answer := self._ask(service, service_type, request)) is None:
            pass
        return answer

    def _ask(self, service: str, service_type: Any, request: Any, patience_s: float = 5.0) -> Any:
        """The answer, or None: DDS may lose the first one, while the two sides are still finding each other."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(service_type, f"{self.full_name}/{service}")
        client = self._clients[service]
        self.wait(client.service_is_ready)
        future = client.call_async(request)
        end = time.monotonic() + patience_s
        self.wait(lambda: future.done() or time.monotonic() > end)
        return future.result() if future.done() else None

    def change(self, transition: str) -> bool:
        """Whether the transition succeeded."""
        before = self.state()
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[f"{before} {transition}" if transition == "shutdown" else transition]
        while (answer := self._ask("change_state", ChangeState, request, 60.0)) is None:
            if self.state() != before:
                return True
        return bool(answer.success)

    def try_change(self, transition: str) -> bool:
        """The same, whatever state the node is in."""
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        answer = self._ask("change_state", ChangeState, request, 60.0)
        return bool(answer and answer.success)

    def start(self) -> None:
        """Unconfigured to active."""
        assert self.change("configure"), [log.msg for log in self.logs]
        assert self.change("activate")

    def state(self) -> str:
        return str(self.call("get_state", GetState, GetState.Request()).current_state.label)

    def set_parameter(self, name: str, value: Any) -> str:
        """Why the node refused it; empty if it did not."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        result = self.call("set_parameters", SetParameters, request).results[0]
        assert result.successful == (not result.reason)
        return str(result.reason)

    def get_parameter(self, name: str) -> Any:
        answer = self.call("get_parameters", GetParameters, GetParameters.Request(names=[name]))
        return Parameter.from_parameter_msg(_named(name, answer.values[0])).value

    def describe_parameter(self, name: str) -> Any:
        answer = self.call("describe_parameters", DescribeParameters, DescribeParameters.Request(names=[name]))
        return answer.descriptors[0]

    def now_ns(self) -> int:
        return int(self.node.get_clock().now().nanoseconds)

    def publish(
        self, thermal: Any = None, rgb: Any = None, at_ns: int | None = None, skew_ns: int = 0, frame: str = "rgb_frame"
    ) -> int:
        """A pair; the stamp of its RGB image."""
        at_ns = self.now_ns() if at_ns is None else at_ns
        for publisher, message, stamp, frame_id in (
            (self.thermal, thermal or unfrozen(thermal_image()), at_ns - skew_ns, "thermal_frame"),
            (self.rgb, rgb or unfrozen(rgb_image()), at_ns, frame),
        ):
            message.header = header(stamp, frame_id)
            publisher.publish(message)
        return at_ns

    def publish_one(self, camera: str, at_ns: int | None = None) -> int:
        """An image of the ``thermal`` or the ``rgb`` camera, unlike the one before it; its stamp."""
        at_ns = self.now_ns() if at_ns is None else at_ns
        message = unfrozen({"thermal": thermal_image, "rgb": rgb_image}[camera]())
        message.header = header(at_ns, f"{camera}_frame")
        {"thermal": self.thermal, "rgb": self.rgb}[camera].publish(message)
        return at_ns

    def publish_info(self, height: int = HEIGHT, width: int = WIDTH) -> CameraInfo:
        k = [50.0, 0.0, width / 2, 0.0, 51.0, height / 2, 0.0, 0.0, 1.0]
        info = CameraInfo(header=header(self.now_ns(), "rgb_frame"), height=height, width=width, k=k)
        self.info.publish(info)
        return info

    def fuse(self, thermal: Any = None, rgb: Any = None) -> Image:
        """Publishes pairs until one comes back fused."""
        first = len(self.fused)
        sent: set[int] = set()
        self.wait(
            lambda: any(stamp_ns(fused) in sent for fused in self.fused[first:]),
            lambda: sent.add(self.publish(thermal, rgb)),
        )
        return next(fused for fused in self.fused[first:] if stamp_ns(fused) in sent)

    def thermal_alone(self, publish: Callable[[], object] | None = None) -> Image:
        """Publishes thermal images until one comes out alone."""
        publish = publish or (lambda: self.publish_one("thermal"))
        self.wait(lambda: self.modes[-1:] == ["THERMAL_ONLY"], publish)
        first = len(self.fused)
        self.wait(lambda: len(self.fused) > first, publish)
        return self.fused[-1]

    def values(self) -> dict[str, str]:
        """Of the last diagnostics."""
        return {value.key: value.value for value in self.statuses[-1].values} if self.statuses else {}

    def problem(self) -> str:
        return str(self.statuses[-1].message) if self.statuses else ""

    def warnings(self) -> list[str]:
        return [log.msg for log in self.logs if log.level == 30]

    def errors(self) -> list[str]:
        return [log.msg for log in self.logs if log.level == 40]

    def inputs(self) -> set[str]:
        """The topics that the node subscribes to, without the namespace."""
        topics = self.node.get_subscriber_names_and_types_by_node(self.name, self.namespace)
        return {name.removeprefix(f"{self.namespace}/") for name, _ in topics if name.startswith(f"{self.namespace}/")}


def _named(name: str, value: Any) -> Any:
    from rcl_interfaces.msg import Parameter as Message

    return Message(name=name, value=value)


def gap_s(rig: Rig, first: int) -> float:
    """The longest time between the stamps of two images that came out, from the one before ``first`` on."""
    stamps = np.array([stamp_ns(message) for message in rig.fused[max(first - 1, 0) :]])
    return float(np.diff(stamps).max() / 1e9)


class Bench:
    """A running node and its rig."""

    def __init__(self, **parameters: Any) -> None:
        domain_id, namespace = random.randint(1, 100), new_namespace()
        dotted = {name.replace("__", "."): value for name, value in parameters.items()}
        self.running = RunningNode(domain_id, namespace, {**SMALL, **dotted})
        self.node = self.running.node
        self.rig = Rig(domain_id, namespace)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.rig.close()
        self.running.close()


def camera_process(rig: Rig, rate: float, height: int = 480, width: int = 640) -> subprocess.Popen[bytes]:
    """Two cameras for the node of this rig."""
    arguments = [
        Path(__file__).with_name("cameras.py"),
        rate,
        height,
        width,
        "--ros-args",
        "-r",
        f"__ns:={rig.namespace}",
    ]
    places = {"ROS_DOMAIN_ID": str(rig.context.get_domain_id()), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment = {**os.environ, **places}
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=environment)


class NodeProcess:
    """``python -m mmcfusion_ros.ros.fusion_process`` in a session of its own, and its rig."""

    def __init__(
        self,
        *ros_args: str,
        small: bool = True,
        program: tuple[str, ...] = PROGRAM,
        executable: tuple[str, ...] = (sys.executable,),
        rig: Rig | None = None,
    ) -> None:
        domain_id, namespace = random.randint(1, 100), new_namespace()
        if rig:
            domain_id, namespace = rig.context.get_domain_id(), rig.namespace
        options = [f"-p {name}:={value}" for name, value in SMALL.items()] if small else []
        options += [f"-r __ns:={namespace}", *ros_args]
        self.process = subprocess.Popen(
            [*executable, *program, "--ros-args", *" ".join(options).split()],
            cwd=ROOT,
            env={**os.environ, "ROS_DOMAIN_ID": str(domain_id)},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._borrowed = rig is not None
        self.rig = rig or Rig(domain_id, namespace)

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._borrowed:
            self.rig.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.communicate(timeout=END_S)
        finally:
            self.process.kill()
