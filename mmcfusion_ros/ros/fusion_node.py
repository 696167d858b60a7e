"""The lifecycle node: pairs two cameras, fuses them in one worker thread, publishes the fused image."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mmcfusion_ros.fusion.errors import FusionError
from mmcfusion_ros.fusion.pipeline import FusionPipeline, StageClock
from mmcfusion_ros.ros.health import Health, status_message
from mmcfusion_ros.ros.messages import (
    BadImage,
    compressed_message,
    image_message,
    rgb_from_message,
    thermal_from_message,
)
from mmcfusion_ros.ros.pair_filter import PairFilter
from mmcfusion_ros.ros.pairing import Pair, Stream
from mmcfusion_ros.ros.parameters import PARAMETERS
from mmcfusion_ros.ros.settings import Settings, declare_parameters, read_parameters
from mmcfusion_ros.ros.subscriber import Subscriber
from mmcfusion_ros.ros.worker import NewestPairWorker

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
STREAMS: tuple[Stream, Stream] = ("thermal", "rgb")


class FusionNode(LifecycleNode):
    """Subscribes to ``thermal/image_raw``, ``rgb/image_raw`` and ``rgb/camera_info``; publishes ``fused/image_raw``,
    ``fused/camera_info`` and, if asked, ``fused/image_raw/compressed``, with the stamp and frame of the RGB image."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("mmcfusion", **node_options)
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        self._pipeline: FusionPipeline | None = None
        self._worker: NewestPairWorker | None = None
        self._inputs: list[Any] = []
        self._camera_info: CameraInfo | None = None
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._outputs: dict[str, Any] = {}
        self._timer: Any = None

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Validates the parameters, loads and warms the model, creates the publishers."""
        try:
            self._settings = Settings(read_parameters(self))
            self._pairing_options = self._settings.pairing()
            self._pipeline = self._settings.pipeline()
            self._create_outputs()
        except Exception as error:
            self.get_logger().error(f"cannot configure: {error}")
            self._release()
            return FAILURE
        self.get_logger().info(f"configured: {self._pipeline.fuser}")
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes and starts to fuse."""
        try:
            self._health = Health()
            self._pairs = PairFilter(self._pairing_options, lambda: self.get_clock().now().nanoseconds)
            self._worker = NewestPairWorker(self._pairs, self._fuse, lambda pair: self._health.drop("superseded"))
            self._subscribe()
            self._worker.start()
        except Exception as error:
            self.get_logger().error(f"cannot activate: {error}")
            self._stop()
            return FAILURE
        self._active_since = time.monotonic()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribes; the pair at work is the last one published."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Releases the model and the publishers."""
        self._release()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state: releases everything."""
        self._stop(timeout_s=1.0)
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition failed badly: releases everything, so that the node can be configured again."""
        self._stop()
        self._release()
        return SUCCESS

    def _create_outputs(self) -> None:
        qos = self._settings.output_qos()
        self._outputs = {
            "image": self.create_lifecycle_publisher(Image, "fused/image_raw", qos),
            "camera_info": self.create_lifecycle_publisher(CameraInfo, "fused/camera_info", qos),
        }
        if self._settings.values["publish_compressed"]:
            self._outputs["compressed"] = self.create_lifecycle_publisher(
                CompressedImage, "fused/image_raw/compressed", qos
            )
        self._timer = self.create_timer(1.0, self._publish_diagnostics)

    def _subscribe(self) -> None:
        qos = self._settings.input_qos()
        for stream in STREAMS:
            compressed = self._settings.text(f"{stream}.transport") == "compressed"
            topic = f"{stream}/image_raw" + ("/compressed" if compressed else "")
            subscriber = Subscriber(self, CompressedImage if compressed else Image, topic, qos_profile=qos)
            subscriber.registerCallback(self._count, stream)
            self._inputs.append(subscriber)
        self._pairs.connectInput(*self._inputs)
        for subscriber in self._inputs:
            subscriber.registerCallback(self._wake)
        info = Subscriber(self, CameraInfo, "rgb/camera_info", qos_profile=qos)
        info.registerCallback(self._keep_camera_info)
        self._inputs.append(info)

    def _count(self, message: Image | CompressedImage, stream: Stream) -> None:
        self._health.count(f"{stream}_in")

    def _wake(self, message: Image | CompressedImage) -> None:
        if self._worker:
            self._worker.wake()

    def _keep_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _fuse(self, pair: Pair[Any]) -> None:
        """In the worker thread: one pair to one published image, or to a counted and logged drop."""
        assert self._pipeline is not None
        clock = StageClock()
        self._health.count("pairs")
        try:
            thermal, visible = thermal_from_message(pair.thermal), rgb_from_message(pair.rgb)
            clock.lap("decode")
            fused = self._pipeline(thermal, visible, clock)
            message = image_message(fused, self._settings.text("output_encoding"), pair.rgb.header)
            clock.lap("encode")
            self._outputs["image"].publish(message)
            self._publish_camera_info(message)
            if "compressed" in self._outputs:
                quality = self._settings.whole("jpeg_quality")
                self._outputs["compressed"].publish(compressed_message(fused, pair.rgb.header, quality=quality))
            clock.lap("publish")
        except BadImage as error:
            self._drop(error.reason, error)
        except FusionError as error:
            self._drop("backend_failed", error)
        except ValueError as error:
            self._drop("bad_pair", error)
        except Exception as error:
            self._drop("internal_error", error)
        else:
            self._health.fused(clock.finish(), pair.skew_ns / 1e6)

    def _drop(self, reason: str, error: Exception) -> None:
        self._health.drop(reason)
        self.get_logger().warning(f"dropped a pair ({reason}): {error}", throttle_duration_sec=5.0)

    def _publish_camera_info(self, image: Image) -> None:
        info = self._camera_info
        if info is None:
            return
        if (info.height, info.width) != (image.height, image.width):
            text = f"rgb/camera_info is {info.width}x{info.height}, the image {image.width}x{image.height}"
            self.get_logger().warning(f"{text}: fused/camera_info is not published", throttle_duration_sec=5.0)
            return
        info.header = image.header
        self._outputs["camera_info"].publish(info)

    def _publish_diagnostics(self) -> None:
        assert self._pipeline is not None
        backend = self._pipeline.fuser.backend
        values = {
            "model": backend.variant.name,
            "backend": backend.name,
            "device": backend.device,
            "precision": backend.precision,
            "backend_reason": self._pipeline.fuser.reason,
            "registration": self._settings.text("registration.type"),
        }
        problems = ["configured, not active"]
        if self._worker:
            values |= self._health.report(time.monotonic(), self._pairs.drops)
            problems = self._problems(values)
        status = status_message(self.get_fully_qualified_name(), backend.device, problems, values)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _problems(self, values: dict[str, str]) -> list[str]:
        """What keeps fused images from coming, in words."""
        now, timeout = time.monotonic(), float(self._settings.values["stall_timeout"])
        last = {stream: ns / 1e9 for stream, ns in self._pairs.last_arrival_ns.items()}
        problems = []
        for stream in STREAMS:
            silence = now - last.get(stream, self._active_since)
            if silence > timeout:
                problems.append(f"no message on {self.resolve_topic_name(f'{stream}/image_raw')} for {silence:.1f} s")
        if not problems and values["pairs"] == "0" and now - self._active_since > timeout:
            problems.append("both cameras send but no stamps are within pairing.slop; see the dropped.* counts")
        if not problems and self._camera_info is None and values["fused"] != "0":
            problems.append(f"no message on {self.resolve_topic_name('rgb/camera_info')} yet")
        return problems

    def _check_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        table = {parameter.name: parameter for parameter in PARAMETERS}
        for new in parameters:
            if new.name not in table:
                continue
            if self._pipeline is not None:
                reason = f"{new.name} takes effect at configure: deactivate and clean up the node first"
                return SetParametersResult(successful=False, reason=reason)
            try:
                table[new.name].check(new.value)
            except ValueError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _stop(self, timeout_s: float | None = None) -> None:
        for subscriber in self._inputs:
            self.destroy_subscription(subscriber.sub)
        self._inputs.clear()
        if self._worker and not self._worker.stop(timeout_s):
            self.get_logger().warning("the frame at work was given up")
        self._worker = None
        self._camera_info = None

    def _release(self) -> None:
        if self._timer:
            self.destroy_timer(self._timer)
            self._timer = None
        for publisher in self._outputs.values():
            self.destroy_publisher(publisher)
        self._outputs = {}
        self._pipeline = None


def main(args: list[str] | None = None) -> None:
    """Runs the node until SIGINT, SIGTERM or a shutdown of the ROS context; exit status 0 then."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = FusionNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    if node.get_parameter("autostart").value and node.trigger_configure() == SUCCESS:
        node.trigger_activate()
    while not stop.is_set() and rclpy.ok():
        try:
            executor.spin_once(timeout_sec=0.1)
        except ExternalShutdownException:
            break
        except Exception as error:
            node.get_logger().error(f"a callback failed: {error!r}")
    node.trigger_shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    # A frame given up may still be at work in native code, which the interpreter's own exit would crash.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
