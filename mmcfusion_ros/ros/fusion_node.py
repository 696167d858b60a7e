"""The lifecycle node: pairs two cameras, fuses them in one worker thread, publishes the fused image."""

from __future__ import annotations

import faulthandler
import functools
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Collection
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

from mmcfusion_ros.fusion.errors import one_line
from mmcfusion_ros.fusion.network import Network
from mmcfusion_ros.ros.diagnostics import node_status
from mmcfusion_ros.ros.memory import give_back, return_free_memory, shared_memory_warning
from mmcfusion_ros.ros.node_parameters import check_changes, declare_parameters, read_parameters
from mmcfusion_ros.ros.outputs import Outputs
from mmcfusion_ros.ros.session import STREAMS, Session, image_topic
from mmcfusion_ros.ros.subscriptions import LATCHED, message_type
from mmcfusion_ros.stream.mode import Mode
from mmcfusion_ros.stream.pipeline import FusionPipeline
from mmcfusion_ros.stream.settings import Settings

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
PATIENCE_S, SHORT_PATIENCE_S = 0.8, 0.1
STOP_PERIOD_S = 0.2
LONGEST_END_S = 4.5  # after which the process ends, with status 1 and the stacks of its threads; ros2 launch waits 5 s
DIAGNOSTICS_PERIOD_S, WATCH_PERIOD_S, MEMORY_PERIOD_S = 1.0, 0.1, 10.0

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
    """Subscribes to ``image_raw`` and ``camera_info`` of ``thermal`` and ``rgb``; publishes ``fused/image_raw``,
    ``fused/camera_info`` and, if asked, ``fused/image_raw/compressed`` and ``~/debug/*``, with the stamp and
    frame of the RGB image, and what it does in ``~/mode`` (latched) and ``/diagnostics``."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("mmcfusion", **node_options)
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        self._pipeline: FusionPipeline | None = None
        self._network: Network | None = None
        self._released: Callable[[], Network | None] = lambda: None
        self._outputs: Outputs | None = None
        self._session: Session | None = None
        self._failure = ""  # why the node is not configured, or will not be again
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._mode = self.create_publisher(String, "~/mode", LATCHED)
        self._tell_mode("NONE")
        self._given_up = self.create_guard_condition(self._give_up)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        self.create_timer(WATCH_PERIOD_S, self._watch, clock=steady)
        self.create_timer(MEMORY_PERIOD_S, return_free_memory, clock=steady)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Validates the parameters, loads and warms the model, creates the publishers."""
        if released := self._released():
            released.close(PATIENCE_S)  # two networks at once would take twice the memory
            del released
        try:
            self._settings = Settings(read_parameters(self))
            self._settings.pairing()
            for stream in STREAMS:
                message_type(image_topic(self._settings, stream))
            if self._settings.number("bond_heartbeat_period"):
                message_type("bond")
            self._network = self._settings.network()
            self._pipeline = self._settings.pipeline(self._network)
            self._network.frame_limit_s = self._settings.number("watchdog_timeout")
            self._network.loading_limit_s = self._settings.number("stall_timeout")
            self._outputs = Outputs(self, self._settings)
        except Exception as error:
            self._failure = f"cannot configure: {one_line(error)}"
            self.get_logger().error(self._failure)
            self._release()
            return FAILURE
        self._failure = ""
        give_back()
        self.get_logger().info(f"configured: model {self._settings.model}: {self._pipeline.fuser}")
        if self._network.warning:
            self.get_logger().warning(self._network.warning)
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes and starts to fuse."""
        assert self._pipeline
        assert self._network
        assert self._outputs
        try:
            super().on_activate(state)
            self._pipeline.reset()
            self._session = Session(
                self,
                self._settings,
                self._pipeline,
                self._network,
                self._outputs,
                self._tell_mode,
                self._note_failure,
            )
        except Exception as error:
            self.get_logger().error(f"cannot activate: {one_line(error)}")
            super().on_deactivate(state)
            return FAILURE
        return SUCCESS

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribes; the pair at work is dropped. An error if the backend was given up."""
        self._stop(self._settings.number("watchdog_timeout"))
        if self._failure:
            self.get_logger().error(self._failure)
            return TransitionCallbackReturn.ERROR
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

    def start(self) -> bool:
        """Configures and activates it; whether it succeeded."""
        return self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS

    def destroy_node(self) -> None:
        """From any state: releases everything."""
        self._stop(PATIENCE_S)
        self._release(PATIENCE_S)
        # rclpy forgets it, and with it the DDS participant and its shared memory.
        self._state_machine.destroy_when_not_in_use()
        super().destroy_node()

    def _stop(self, timeout_s: float) -> None:
        if self._session:
            self._session.close(timeout_s)  # where it raises, on_error tries again
            self._session = None

    def _release(self, patience_s: float = SHORT_PATIENCE_S) -> None:
        """A network that is still at a frame after that time is freed when its thread is done with it."""
        if network := self._network:
            network.close(patience_s)  # meanwhile, in the other thread, a configure may fail and release it too
            self._released = weakref.ref(network)
        if self._outputs:
            self._outputs.close()
        self._outputs = None
        self._pipeline = self._network = None
        give_back()

    def _tell_mode(self, mode: Mode) -> None:
        self._mode.publish(String(data=mode))

    def _note_failure(self, reason: str) -> None:
        """In the worker's thread: has the thread that spins the node give up."""
        self._failure = reason
        self._given_up.trigger()

    def _give_up(self) -> None:
        if self._session:
            self._publish_diagnostics()
            self.trigger_deactivate()

    def _watch(self) -> None:
        if self._session and self._session.watch():
            self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        values: dict[str, str] = {}
        problems, failure, device = ["not configured"], self._failure, ""
        if self._pipeline:
            values = {"model": self._settings.model, **self._pipeline.state()}
            device, problems = values["device"], ["configured, not active"]
        if self._session:
            more, problems, stuck = self._session.report()
            values, failure = values | more, failure or stuck
        status = node_status(self.get_fully_qualified_name(), device, problems, values, failure)
        inputs = self._session.input_statuses() if self._session else []
        message = DiagnosticArray(status=[status, *inputs])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        result = check_changes(changes, configured=self._pipeline is not None)
        if self._pipeline and result.successful:
            try:
                self._use({change.name: change.value for change in changes})
            except Exception as error:
                return SetParametersResult(successful=False, reason=one_line(error))
        return result

    def _use(self, changes: dict[str, Any]) -> None:
        """Goes on with new values of parameters; where it raises, with the old ones."""
        assert self._pipeline
        assert self._outputs
        settings = self._settings.with_values(changes)
        settings.pairing()
        change = settings.change(self._pipeline, changes)
        self._settings = settings
        if self._session:
            self._session.change(settings, change)
        else:
            change()
            self._outputs.use(settings)


def run(stop_signals: Collection[int]) -> None:
    """Runs the node until one of the signals, which all threads block, or a shutdown of the ROS context; exit status 0
    then, 1 if it died, or could not start where it starts itself."""
    stop, died = threading.Event(), threading.Event()
    try:
        warning = shared_memory_warning()
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = FusionNode()
    except Exception as error:
        sys.exit(f"fusion_node: {one_line(error)}")
    if warning:
        node.get_logger().warning(warning)
    # This thread stays free for signals, also while a model is loaded.
    spinner = threading.Thread(target=_spin, args=(node, stop, died), name="spin", daemon=True)
    spinner.start()
    while not stop.is_set():
        if signal.sigtimedwait(stop_signals, STOP_PERIOD_S):
            stop.set()
    faulthandler.dump_traceback_later(LONGEST_END_S, exit=True)  # also where native code holds the interpreter
    spinner.join(PATIENCE_S)
    node.destroy_node()
    rclpy.try_shutdown()
    # A frame may still be at work in native code, which the interpreter's own exit would crash.
    os._exit(int(died.is_set()))


def _spin(node: FusionNode, stop: threading.Event, died: threading.Event) -> None:
    try:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.get_parameter("autostart").value and not node.start():
            died.set()
            return
        while not stop.is_set() and rclpy.ok():
            try:
                executor.spin_once(timeout_sec=0.1)
            except ExternalShutdownException:
                break
            except Exception as error:
                node.get_logger().error(f"a callback failed: {error!r}", throttle_duration_sec=5.0)
    except BaseException as error:
        died.set()
        node.get_logger().fatal(f"the node has died: {error!r}")
    finally:
        stop.set()
