"""The lifecycle node: pairs two cameras, fuses them in one worker thread, publishes the fused image."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mmcfusion_ros.fusion.errors import FusionError, one_line
from mmcfusion_ros.fusion.pipeline import FusionPipeline, StageClock
from mmcfusion_ros.ros.frame_watch import FrameWatch
from mmcfusion_ros.ros.health import Health, status_message
from mmcfusion_ros.ros.memory import give_back, limit_arenas
from mmcfusion_ros.ros.messages import (
    BadImage,
    compressed_message,
    image_message,
    rgb_from_message,
    thermal_from_message,
)
from mmcfusion_ros.ros.pair_filter import PairFilter
from mmcfusion_ros.ros.pairing import Pair, Stream
from mmcfusion_ros.ros.settings import Settings, check_changes, declare_parameters, read_parameters
from mmcfusion_ros.ros.subscriber import Subscriber
from mmcfusion_ros.ros.trace import FrameTrace
from mmcfusion_ros.ros.worker import NewestPairWorker

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
STREAMS: tuple[Stream, Stream] = ("thermal", "rgb")
PATIENCE_S = 0.8

TransitionCallback = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def _logged(transition: TransitionCallback) -> TransitionCallback:
    """Logs what a transition raises, which rclpy keeps to itself, and leads to ``on_error``."""

    @functools.wraps(transition)
    def logged(self: FusionNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except Exception as error:
            self.get_logger().error(f"{transition.__name__} failed: {error!r}")
            return TransitionCallbackReturn.ERROR

    return logged


class FusionNode(LifecycleNode):
    """Subscribes to ``thermal/image_raw``, ``rgb/image_raw`` and ``rgb/camera_info``; publishes ``fused/image_raw``,
    ``fused/camera_info`` and, if asked, ``fused/image_raw/compressed``, with the stamp and frame of the RGB image."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("mmcfusion", **node_options)
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        self._pipeline: FusionPipeline | None = None
        self._worker: NewestPairWorker | None = None
        self._inputs: dict[str, Any] = {}
        self._trace: FrameTrace | None = None
        self._camera_info: CameraInfo | None = None
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._outputs: dict[str, Any] = {}
        self._timer: Any = None

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Validates the parameters, loads and warms the model, creates the publishers."""
        try:
            self._settings = Settings(read_parameters(self))
            self._pairing_options = self._settings.pairing()
            self._trace = self._settings.trace(self.get_logger().warning)
            self._pipeline = self._settings.pipeline()
            self._create_outputs()
        except Exception as error:
            self.get_logger().error(f"cannot configure: {one_line(error)}")
            self._release()
            return FAILURE
        give_back()
        self.get_logger().info(f"configured: {self._pipeline.fuser}")
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes and starts to fuse."""
        assert self._pipeline is not None
        try:
            self._pipeline.scaler.reset()
            self._health = Health()
            self._pairs = PairFilter(self._pairing_options, lambda: self.get_clock().now().nanoseconds)
            self._pairs.registerPairCallback(lambda pair: self._health.count("pairs"))
            self._worker = NewestPairWorker(self._pairs, self._fuse, lambda pair: self._health.drop("superseded"))
            super().on_activate(state)
            self._subscribe()
            self._worker.start()
        except Exception as error:
            self.get_logger().error(f"cannot activate: {one_line(error)}")
            self._stop()
            return FAILURE
        return SUCCESS

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribes; the pair at work is the last one published."""
        self._stop()
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Releases the model and the publishers."""
        self._release()
        return SUCCESS

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state: releases everything."""
        self._stop(PATIENCE_S)
        self._release()
        return SUCCESS

    @_logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition failed badly: releases everything, so that the node can be configured again."""
        self._stop(PATIENCE_S)
        self._release()
        return SUCCESS

    def destroy_node(self) -> None:
        """From any state: releases everything."""
        self._stop(PATIENCE_S)
        self._release()
        # rclpy forgets it, and with it the DDS participant and its shared memory.
        self._state_machine.destroy_when_not_in_use()
        super().destroy_node()

    def _create_outputs(self) -> None:
        qos = self._settings.output_qos()
        topics = {"image": (Image, "fused/image_raw"), "camera_info": (CameraInfo, "fused/camera_info")}
        if self._settings.values["publish_compressed"]:
            topics["compressed"] = (CompressedImage, "fused/image_raw/compressed")
        for name, (message_type, topic) in topics.items():
            self._outputs[name] = self.create_lifecycle_publisher(message_type, topic, qos)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(1.0, self._publish_diagnostics, clock=steady)

    def _subscribe(self) -> None:
        qos = self._settings.input_qos()
        for stream in STREAMS:
            compressed = self._settings.text(f"{stream}.transport") == "compressed"
            topic = f"{stream}/image_raw" + ("/compressed" if compressed else "")
            subscriber = Subscriber(self, CompressedImage if compressed else Image, topic, qos_profile=qos)
            subscriber.registerCallback(self._count, f"{stream}_in")
            self._inputs[f"{stream}_in"] = subscriber
        topics = {stream: self._inputs[f"{stream}_in"].sub.topic_name for stream in STREAMS}
        self._frame_watch = FrameWatch(self._settings, topics, self._trace, self.get_logger().warning)
        for stream in STREAMS:
            self._inputs[f"{stream}_in"].registerCallback(self._frame_watch.received, stream)
        self._pairs.connectInput(*self._inputs.values())
        for subscriber in self._inputs.values():
            subscriber.registerCallback(self._wake)
        info = self._inputs["camera_info_in"] = Subscriber(self, CameraInfo, "rgb/camera_info", qos_profile=qos)
        info.registerCallback(self._count, "camera_info_in")
        info.registerCallback(self._keep_camera_info)

    def _count(self, message: Image | CompressedImage | CameraInfo, name: str) -> None:
        self._health.count(name)

    def _wake(self, message: Image | CompressedImage) -> None:
        if self._worker:
            self._worker.wake()

    def _keep_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _fuse(self, pair: Pair[Any]) -> None:
        """In the worker thread: one pair to one published image, or to a counted and logged drop."""
        clock = StageClock()
        try:
            fused = self._compute(pair, clock)
            message = image_message(fused, self._settings.text("output_encoding"), pair.rgb.header)
            clock.lap("encode")
            if self._pipeline is None:
                return  # given up at shutdown
            self._publish(message, fused)
            clock.lap("publish")
        except BadImage as error:
            self._drop(pair, error.reason, error)
        except FusionError as error:
            self._drop(pair, "backend_failed", error)
        except ValueError as error:
            self._drop(pair, "bad_pair", error)
        except Exception as error:
            self._drop(pair, "internal_error", error)
        else:
            self._health.fused(clock.finish(), pair.skew_ns / 1e6)
            self._frame_watch.fused(pair, clock.finish())

    def _compute(self, pair: Pair[Any], clock: StageClock) -> np.ndarray:
        assert self._pipeline is not None
        thermal, visible = thermal_from_message(pair.thermal), rgb_from_message(pair.rgb)
        clock.lap("decode")
        return self._pipeline(thermal, visible, clock)

    def _publish(self, message: Image, fused: np.ndarray) -> None:
        self._outputs["image"].publish(message)
        self._publish_camera_info(message)
        if "compressed" in self._outputs:
            quality = self._settings.whole("jpeg_quality")
            self._outputs["compressed"].publish(compressed_message(fused, message.header, quality=quality))

    def _drop(self, pair: Pair[Any], reason: str, error: Exception) -> None:
        self._health.drop(reason)
        self._frame_watch.dropped(pair, reason, error)

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
            values |= self._health.report(self._pairs.drops)
            topics = {name: subscriber.sub.topic_name for name, subscriber in self._inputs.items()}
            problems = self._health.problems(self._settings.number("stall_timeout"), topics)
        status = status_message(self.get_fully_qualified_name(), backend.device, problems, values)
        message = DiagnosticArray(status=[status])
        if self._worker:
            message.status += self._frame_watch.statuses(self.get_fully_qualified_name(), self._pairs.drops)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        return check_changes(changes, configured=self._pipeline is not None)

    def _stop(self, timeout_s: float | None = None) -> None:
        for subscriber in self._inputs.values():
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
            self.destroy_lifecycle_publisher(publisher)
        self._outputs = {}
        self._pipeline = None
        if self._trace:
            self._trace.close()
            self._trace = None


def main(args: list[str] | None = None) -> None:
    """Runs the node until SIGINT, SIGTERM or a shutdown of the ROS context; exit status 0 then."""
    limit_arenas()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = FusionNode()
    except Exception as error:
        sys.exit(f"fusion_node: {one_line(error)}")
    # This thread stays free for signals, also while a model is loaded.
    spinner = threading.Thread(target=_spin, args=(node, stop), name="spin", daemon=True)
    spinner.start()
    stop.wait()
    spinner.join(PATIENCE_S)
    node.destroy_node()
    rclpy.try_shutdown()
    # A frame may still be at work in native code, which the interpreter's own exit would crash.
    os._exit(0)


def _spin(node: FusionNode, stop: threading.Event) -> None:
    try:
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
                node.get_logger().error(f"a callback failed: {error!r}", throttle_duration_sec=5.0)
    finally:
        stop.set()


if __name__ == "__main__":
    main()
