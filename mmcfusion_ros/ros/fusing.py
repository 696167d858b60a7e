"""All that lives while the node is active: inputs, pairing, mode, worker and their health."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mmcfusion_ros.fusion.network_thread import NetworkThread
from mmcfusion_ros.fusion.pipeline import FusionPipeline
from mmcfusion_ros.ros.display import Display
from mmcfusion_ros.ros.frame_watch import FrameWatch
from mmcfusion_ros.ros.inputs import STREAMS, Inputs
from mmcfusion_ros.ros.outputs import Outputs
from mmcfusion_ros.ros.processor import Processor
from mmcfusion_ros.ros.worker import LoneFrame, NewestPairWorker
from mmcfusion_ros.stream.camera_info import CameraInfoRegistration, CameraInfos
from mmcfusion_ros.stream.health import Health
from mmcfusion_ros.stream.mode import Mode, ModeSwitch
from mmcfusion_ros.stream.pair_filter import PairFilter, stamp_ns
from mmcfusion_ros.stream.pairing import Pair, Stream
from mmcfusion_ros.stream.settings import Settings


class Fusing:
    """Subscribes and fuses from its creation until ``close``.

    ``on_mode(new)`` is called with every mode, ``on_given_up(reason)`` when the backend is past help: both by any
    thread.
    """

    def __init__(
        self,
        node: Node,
        settings: Settings,
        pipeline: FusionPipeline,
        network: NetworkThread,
        outputs: Outputs,
        on_mode: Callable[[Mode], object],
        on_given_up: Callable[[str], object],
    ) -> None:
        self._settings, self._pipeline, self._network, self._outputs = settings, pipeline, network, outputs
        self._logger, self._on_mode = node.get_logger(), on_mode
        self._stuck_reported = False
        self._health = Health()
        self._modes = ModeSwitch(
            settings.number("stall_timeout"), settings.whole("recovery_pairs"), settings.pass_through(), self._tell_mode
        )
        self._pairs = PairFilter(settings.pairing(), lambda: node.get_clock().now().nanoseconds)
        self._pairs.registerPairCallback(self._note_pair)
        self._camera_infos = CameraInfoRegistration(pipeline.calibration)
        pipeline.use(self._camera_infos.registration)
        self._inputs = Inputs(node, settings, self._take_frame, self._take_camera_info)
        topics: dict[Stream, str] = {stream: self._inputs.topics[f"{stream}_in"] for stream in STREAMS}
        self._watch = FrameWatch(settings, topics, outputs.trace, self._logger.warning)
        self._display = Display(settings, outputs, self._logger.warning)
        self._processor = Processor(
            pipeline, outputs, self._modes, self._health, self._watch, self._display, on_given_up
        )
        self.worker = NewestPairWorker(self._pairs, self._processor, lambda job: self._health.drop("superseded"))
        on_mode(self._modes.mode)
        network.resume()
        self.worker.start()

    def close(self, timeout_s: float) -> None:
        """Unsubscribes. Nothing more is published: what the network is still at is thrown away."""
        self._inputs.close()
        self._processor.closed = True
        self._display.close()
        self._network.pause()
        if not self.worker.stop(timeout_s):
            self._logger.warning("the frame at work was given up")
        if self._pipeline.refiner:
            self._pipeline.refiner.stop()
        self._outputs.camera_infos = CameraInfos()
        self._on_mode("NONE")

    def watch(self) -> bool:
        """Ends what ends by the passing of time; True if it has just been found to be stuck."""
        self._modes.update()
        stuck = self._stuck()
        found = bool(stuck) and not self._stuck_reported
        self._stuck_reported = bool(stuck)
        if found:
            self._logger.error(stuck)
        return found

    def report(self) -> tuple[dict[str, str], list[str], str]:
        """For the diagnostics: values, problems, and a failure that is worse than those."""
        values = {"mode": self._modes.mode, **self._health.report(self._pairs.drops), **self._pipeline.report()}
        values |= {"subscribers": str(self._outputs.subscribers()), "fused_topic": self._outputs.fused_topic}
        values["display_images"] = str(self._display.published)
        stuck = self._stuck()
        problems = [self._network.problem(), "" if stuck else self._network.loading(), self._display.problem]
        problems = list(filter(None, problems))
        problems += self._health.problems(self._settings.number("stall_timeout"), self._inputs.topics)
        problems += self._inputs.problems() + self._camera_infos.problems() + self._pipeline.problems()
        return values, problems, stuck

    def input_statuses(self, node_name: str) -> list[DiagnosticStatus]:
        """For the diagnostics, one per camera."""
        return self._watch.statuses(node_name, self._pairs.drops)

    def _stuck(self) -> str:
        limit_s, busy_s = self._settings.number("watchdog_timeout"), self.worker.busy_s()
        worker = f"the worker has been at one frame for {busy_s:.1f} s" if busy_s > limit_s else ""
        return self._network.stuck(limit_s) or worker

    def _take_frame(self, message: Image | CompressedImage, stream: Stream) -> None:
        self._health.count(f"{stream}_in")
        self._watch.received(stream)
        if self._pairs.add(message, stream):
            self._modes.arrived(stream)
            if self._modes.wants(stream):
                offset_ns = self._settings.nanoseconds("pairing.thermal_offset") if stream == "thermal" else 0
                self.worker.put(LoneFrame(stream, message, stamp_ns(message) + offset_ns))
        self.worker.wake()

    def _note_pair(self, pair: Pair[Any]) -> None:
        self._health.count("pairs")
        self._modes.arrived("pair")

    def _take_camera_info(self, message: CameraInfo, stream: Stream) -> None:
        if stream == "rgb":
            self._health.count("camera_info_in")
        self._outputs.camera_infos.take(message, stream)
        if stream in self._camera_infos.cameras:
            self._camera_infos.take(message, stream)
            self._pipeline.use(self._camera_infos.registration)

    def _tell_mode(self, new: Mode, old: Mode) -> None:
        if not self._processor.closed:
            self._on_mode(new)
            self._logger.info(f"mode {new}, was {old}")
