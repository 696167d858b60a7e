"""A running fusion node as seen from outside: what the graph, its services and its topics tell of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from mmcfusion_ros.ros.subscriptions import message_type, with_header
from mmcfusion_ros.stream.messages import BadImage, image_from_message
from mmcfusion_ros.stream.pairing import Stream, stamp_ns
from mmcfusion_ros.stream.video import VideoDecoder

STREAMS: tuple[Stream, Stream] = ("thermal", "rgb")
DISCOVERY_S = 5.0  # in which DDS makes nodes and topics known to each other
KEPT_STAMPS = 300
WARN = 30


class Input:
    """What comes on one input topic: by how much each stamp was behind ``now_ns`` on arrival, and why the last unusable
    image was so."""

    def __init__(self, node: Node, stream: Stream, topic: str, now_ns: Callable[[], int]) -> None:
        self.topic, self._now_ns = topic, now_ns
        self.behind_ns: list[int] = []
        self.problem: BadImage | None = None
        self._stream: Stream = stream
        self._decoder = VideoDecoder(stream)
        node.create_subscription(message_type(topic), topic, self._hear, qos_profile_sensor_data)

    def _hear(self, message: Any) -> None:
        message = with_header(message)
        self.behind_ns = [*self.behind_ns[1 - KEPT_STAMPS :], self._now_ns() - stamp_ns(message)]
        try:
            for image in self._decoder(message):
                image_from_message(image, self._stream)
        except BadImage as error:
            self.problem = error


class Patient:
    """The fusion node of this name and namespace. ``node`` is the doctor's own, which lives as long."""

    def __init__(self, node: Node, name: str, namespace: str) -> None:
        self.node, self.name, self.namespace = node, name, "/" + namespace.strip("/")
        self.full_name = f"{self.namespace.rstrip('/')}/{name}"
        self.topics: dict[Stream, str] = {}
        self.inputs: dict[Stream, Input] = {}
        self.reports: list[dict[str, str]] = []
        self.message = ""
        self.mode = ""
        self.logs: list[str] = []
        self.clock_ns: list[int] = []
        self.settings: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 10)
        node.create_subscription(String, f"{self.full_name}/mode", self._told_mode, latched)
        node.create_subscription(Log, "/rosout", self._logged, latched)
        node.create_subscription(Clock, "/clock", self._ticked, qos_profile_sensor_data)

    def is_there(self) -> bool:
        """Whether the node shows up in the graph within ``DISCOVERY_S``."""
        who = (self.name, self.namespace)
        return self._wait(lambda: who in self.node.get_node_names_and_namespaces(), DISCOVERY_S)

    def state(self) -> str:
        """Of its lifecycle; empty if it does not answer."""
        answer = self._ask(GetState, "get_state", GetState.Request())
        return str(answer.current_state.label) if answer else ""

    def ask_parameters(self, names: tuple[str, ...]) -> None:
        """Fills ``settings``."""
        answer = self._ask(GetParameters, "get_parameters", GetParameters.Request(names=list(names)))
        values: list[Any] = [parameter_value_to_python(value) for value in answer.values] if answer else []
        self.settings = dict(zip(names, values, strict=False))

    def tells_its_topics(self, seconds: float) -> bool:
        """Whether it names its input topics on ``/diagnostics`` within that time."""
        return self._wait(lambda: len(self.topics) == len(STREAMS), seconds)

    def observe(self, seconds: float) -> None:
        """Listens to its inputs, once both are heard or ``DISCOVERY_S`` are over, and to two reports of its own.

        Subscribes to the fused images, which the node makes only for subscribers.
        """
        if topic := self.reports[-1].get("fused_topic"):
            self.node.create_subscription(Image, topic, lambda image: None, qos_profile_sensor_data)
        self.inputs = {stream: Input(self.node, stream, topic, self.now_ns) for stream, topic in self.topics.items()}
        self._wait(lambda: all(heard.behind_ns for heard in self.inputs.values()), DISCOVERY_S)
        self.reports.clear()
        self.listen(seconds)
        self._wait(lambda: len(self.reports) >= 2, 5.0)

    def listen(self, seconds: float) -> None:
        """Takes what comes."""
        self._wait(lambda: False, seconds)

    def new(self, key: str) -> int:
        """By how much a count of its reports grew."""
        return int(self.reports[-1].get(key, 0)) - int(self.reports[0].get(key, 0)) if self.reports else 0

    def new_drops(self) -> dict[str, int]:
        """Frames that it dropped meanwhile, by reason."""
        keys = [key for key in (self.reports[-1] if self.reports else {}) if key.startswith("dropped.")]
        return {key.removeprefix("dropped."): n for key in keys if (n := self.new(key)) > 0}

    def owns(self, endpoint: Any) -> bool:
        """Whether a publisher or subscription of the graph is the node's."""
        return (endpoint.node_name, endpoint.node_namespace) == (self.name, self.namespace)

    def now_ns(self) -> int:
        """By the clock that the node follows."""
        if self.settings.get("use_sim_time"):
            return self.clock_ns[-1] if self.clock_ns else 0
        return time.time_ns()

    def _wait(self, condition: Callable[[], Any], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)
        return bool(condition())

    def _ask(self, service_type: Any, service: str, request: Any) -> Any:
        """The answer, or None. DDS may lose a first request, while the two sides are still finding each other."""
        client: Any = self.node.create_client(service_type, f"{self.full_name}/{service}")
        for _ in range(2):
            if self._wait(client.service_is_ready, DISCOVERY_S):
                future = client.call_async(request)
                if self._wait(future.done, 3.0):
                    return future.result()
        return None

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            if status.name == self.full_name:
                self.reports.append(values)
                self.message = status.message
            for stream in STREAMS:
                if status.name == f"{self.full_name}: {stream} input":
                    self.topics[stream] = values["topic"]

    def _logged(self, log: Log) -> None:
        if log.name == self.full_name.strip("/").replace("/", ".") and log.level >= WARN:
            self.logs.append(log.msg)

    def _told_mode(self, message: String) -> None:
        self.mode = message.data

    def _ticked(self, message: Clock) -> None:
        self.clock_ns.append(message.clock.sec * 1_000_000_000 + message.clock.nanosec)
