"""The nodes around the fusion node in a soak test: a camera that does wrong when told to, and an observer."""

from __future__ import annotations

import random
import sys
import threading
import time
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from mmcfusion_ros.stream.messages import fill_image
from mmcfusion_ros.stream.pairing import stamp_ns

CAMERA_FAULTS = ("stop", "wrong_encoding", "truncated", "stamp_jump", "burst", "loss", "freeze")
WRONG_ENCODINGS = ("", "nonsense", "32FC7", "rgb8\0", "bayer_rggb16")
STAMP_JUMPS_S = (-3600.0, -5.0, -1.5, -0.5, 0.5, 5.0, 3600.0)
BURST_FACTOR = 10
LOSS = 0.3
IMAGES = 8
NS = 1_000_000_000


class FaultyCamera:
    """Publishes 16-bit thermal or rgb8 images of ``width`` x ``height`` on the ticks of the system clock, so that two
    cameras are in step. ``fault`` is one of ``CAMERA_FAULTS``, or empty."""

    def __init__(self, node: Node, camera: str, width: int, height: int, rate_hz: float, seed: int) -> None:
        self.fault = ""
        self._rng = random.Random(seed)
        self._period_ns = round(NS / rate_hz)
        self._frame_id = f"{camera}_optical_frame"
        self._images = [self._image(camera, i, width, height) for i in range(IMAGES)]
        self.publisher = node.create_publisher(Image, f"{camera}/image_raw", 5)
        self._info = node.create_publisher(CameraInfo, f"{camera}/camera_info", 5)
        self._info_message = CameraInfo(width=width, height=height)
        self._set_fault = ""
        self._detail: Any = None

    @staticmethod
    def _image(camera: str, i: int, width: int, height: int) -> Image:
        noise = np.random.default_rng(i).integers(0, 60, (height, width))
        ramp = np.roll(np.linspace(20, 190, width), i * width // IMAGES)[None, :] + noise
        if camera == "thermal":
            return fill_image(Image(), (29000 + 10 * ramp).astype(np.uint16), "16UC1")
        return fill_image(Image(), np.dstack([ramp, 255 - ramp, ramp / 2]).astype(np.uint8), "rgb8")

    def run(self) -> None:
        """Publishes until the ROS context ends."""
        number = time.time_ns() // self._period_ns
        while rclpy.ok():
            number = max(number + 1, time.time_ns() // self._period_ns)
            time.sleep(max(0.0, (number * self._period_ns - time.time_ns()) / NS))
            self._tick(number)

    def _tick(self, number: int) -> None:
        fault = self.fault
        if fault != self._set_fault:
            choices = {"wrong_encoding": WRONG_ENCODINGS, "stamp_jump": STAMP_JUMPS_S}
            self._set_fault, self._detail = fault, self._rng.choice(choices.get(fault, (None,)))
        if fault == "stop":
            return
        repeats = BURST_FACTOR if fault == "burst" else 1
        for i in range(repeats):
            if fault != "loss" or self._rng.random() >= LOSS:
                self._publish(number, number * self._period_ns + i * self._period_ns // repeats)

    def _publish(self, number: int, at_ns: int) -> None:
        if self._set_fault == "stamp_jump":
            at_ns += round(self._detail * NS)
        image = self._images[0 if self._set_fault == "freeze" else number % IMAGES]
        if self._set_fault == "truncated":
            image = Image(
                encoding=image.encoding, width=image.width, height=image.height, step=image.step, data=image.data[::2]
            )
        elif self._set_fault == "wrong_encoding":
            image = Image(
                encoding=self._detail, width=image.width, height=image.height, step=image.step, data=image.data
            )
        image.header.frame_id = self._frame_id
        image.header.stamp.sec, image.header.stamp.nanosec = divmod(at_ns, NS)
        self._info_message.header = image.header
        self._info.publish(self._info_message)
        self.publisher.publish(image)


def camera_main(camera: str, width: int, height: int, rate_hz: float, seed: int) -> None:
    """The process of one camera: reads a fault, or an empty line, from each line of standard input and ends with it.
    Says ``ready`` when it has a subscriber."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node(f"{camera}_camera")
    faulty = FaultyCamera(node, camera, width, height, rate_hz, seed)

    def obey() -> None:
        while not faulty.publisher.get_subscription_count():
            time.sleep(0.01)
        print("ready", flush=True)
        for line in sys.stdin:
            faulty.fault = line.strip()
        rclpy.shutdown()

    threading.Thread(target=obey, daemon=True).start()
    faulty.run()


class Observer(Node):
    """What a detector and an operator see of the node: when fused images arrive and how late, its modes and since
    when, its diagnostics, its errors."""

    def __init__(self, node_name: str) -> None:
        super().__init__("soak_observer", enable_rosout=False)
        self.arrivals_s: list[float] = []
        self.latencies_ms: list[float] = []
        self.modes: list[tuple[float, str]] = []
        self.errors: list[str] = []
        self.values: dict[str, str] = {}
        self._name = node_name
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self.create_subscription(Image, "fused/image_raw", self._arrived, qos_profile_sensor_data)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 10)
        self.create_subscription(Log, "/rosout", self._logged, 100)
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, f"{node_name}/mode", self._told_mode, latched)
        self._change: Any = self.create_client(ChangeState, f"{node_name}/change_state")
        self._set: Any = self.create_client(SetParameters, f"{node_name}/set_parameters")

    def spin(self, seconds: float) -> None:
        """Receives for that long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def change(self, transition: int) -> None:
        """A lifecycle transition; one that fails is an error."""
        request = ChangeState.Request()
        request.transition.id = transition
        answer = self._call(self._change, request)
        if answer and not answer.success:
            self.errors.append(f"transition {transition} failed")

    def try_parameters(self, **values: Any) -> None:
        """Asks for values that the node must refuse; one that it takes is an error."""
        request = SetParameters.Request(
            parameters=[Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        )
        answer = self._call(self._set, request)
        self.errors += [f"parameter set: {values}" for result in answer.results if result.successful] if answer else []

    def _call(self, client: Any, request: Any, patience_s: float = 30.0) -> Any:
        end = time.monotonic() + patience_s
        while not client.service_is_ready() and time.monotonic() < end:  # an earlier request would be lost
            self._executor.spin_once(timeout_sec=0.1)
        future = client.call_async(request)
        while not future.done() and time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.1)
        if not future.done():
            self.errors.append(f"{client.srv_name} did not answer within {patience_s:g} s")
            return None
        return future.result()

    def _arrived(self, image: Image) -> None:
        self.arrivals_s.append(time.monotonic())
        self.latencies_ms.append((time.time_ns() - stamp_ns(image)) / 1e6)

    def _told_mode(self, message: String) -> None:
        self.modes.append((time.monotonic(), message.data))

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(self._name):
                self.values = {value.key: value.value for value in status.values}

    def _logged(self, log: Log) -> None:
        if log.name == self._name and log.level >= 40:
            self.errors.append(log.msg)
