"""All that lives while the node is active: subscriptions, worker, mode, and what they report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from mmcfusion_ros.fusion.network import Network
from mmcfusion_ros.ros.diagnostics import status_message
from mmcfusion_ros.ros.display import Display
from mmcfusion_ros.ros.node_parameters import qos_profile
from mmcfusion_ros.ros.outputs import Outputs
from mmcfusion_ros.ros.subscriptions import (
    STATIC,
    CameraInfoSubscription,
    Subscriber,
    message_type,
    static_frames_type,
)
from mmcfusion_ros.ros.worker import FrameWorker
from mmcfusion_ros.stream.health import Health
from mmcfusion_ros.stream.mode import Mode, ModeSwitch
from mmcfusion_ros.stream.pairing import Stream
from mmcfusion_ros.stream.pipeline import FusionPipeline
from mmcfusion_ros.stream.settings import Settings

if TYPE_CHECKING:  # loaded only where a manager wants it
    from mmcfusion_ros.ros.bond import Bond

STREAMS: tuple[Stream, Stream] = ("thermal", "rgb")
PERIODS_TO_STALL = 2.5


def image_topic(settings: Settings, stream: Stream) -> str:
    """That of a camera, by its transport, as image_transport names it."""
    transport = settings.text(f"{stream}.transport")
    return f"{stream}/image_raw" + ("" if transport == "raw" else f"/{transport}")


class Session:
    """Subscribes and fuses from its creation until ``close``.

    ``on_mode(new)`` is called with every mode, ``on_given_up(reason)`` once the backend will not be tried again: both
    by any thread.
    """

    def __init__(
        self,
        node: Node,
        settings: Settings,
        pipeline: FusionPipeline,
        network: Network,
        outputs: Outputs,
        on_mode: Callable[[Mode], object],
        on_given_up: Callable[[str], object],
    ) -> None:
        self._node, self._settings, self._pipeline, self._network = node, settings, pipeline, network
        self._outputs, self._logger, self._on_mode = outputs, node.get_logger(), on_mode
        self._qos = qos_profile(settings, "input")
        self._stuck_reported = self._closed = False
        topics = {f"{stream}_in": image_topic(settings, stream) for stream in STREAMS}
        topics["camera_info_in"] = "rgb/camera_info"
        self._topics = {name: node.resolve_topic_name(topic) for name, topic in topics.items()}
        timeout_s = settings.number("stall_timeout")
        self._health = Health(timeout_s, self._topics, self._logger.warning, outputs.trace)
        self._modes = ModeSwitch(timeout_s, settings.whole("recovery_pairs"), settings.pass_through(), self._tell_mode)
        self._display = Display(settings, outputs, pipeline.fuser, self._logger.warning)
        self._worker = FrameWorker(
            *(settings.pairing(), node.get_clock(), pipeline, outputs, self._modes, self._health, self._display),
            on_given_up,
        )
        self._images: list[Subscriber] = []
        self._infos: list[CameraInfoSubscription] = []
        try:
            self._subscribe()
        except Exception:
            self._unsubscribe()
            raise
        on_mode(self._modes.mode)
        network.resume()
        self._worker.start()
        self._bond: Bond | None = None
        if period_s := settings.number("bond_heartbeat_period"):
            from mmcfusion_ros.ros.bond import Bond

            self._bond = Bond(node, period_s)

    def change(self, settings: Settings, change: Callable[[], object]) -> None:
        """Goes on with other settings, from the next frame on; ``change`` does so in the pipeline."""
        self._settings = settings
        self._worker.use(settings.pairing())
        self._worker.before_next_frame(change)
        self._worker.before_next_frame(partial(self._outputs.use, settings))

    def close(self, timeout_s: float) -> None:
        """Unsubscribes. Nothing more is published: what the network is still at is thrown away."""
        if self._bond:
            self._bond.close()
        self._unsubscribe()
        self._closed = True
        self._worker.stop()
        self._display.close()
        self._network.pause()
        if not self._worker.join(timeout_s):
            self._logger.warning("the frame at work was given up")
        if self._pipeline.refiner:
            self._pipeline.refiner.stop()
        self._on_mode("NONE")

    def watch(self) -> bool:
        """Ends what ends by the passing of time; True if it has just been found to be stuck."""
        slow_s = PERIODS_TO_STALL * self._worker.period_s()  # a slow camera is not silent between two frames
        self._modes.timeout_s = self._health.timeout_s = max(self._settings.number("stall_timeout"), slow_s)
        self._modes.note()
        stuck = self._stuck()
        found = bool(stuck) and not self._stuck_reported
        self._stuck_reported = bool(stuck)
        if found:
            self._logger.error(stuck)
        return found

    def report(self) -> tuple[dict[str, str], list[str], str]:
        """For the diagnostics: values, problems, and a failure that is worse than those."""
        values = {"mode": self._modes.mode, **self._health.report(self._worker.drops()), **self._pipeline.report()}
        listeners = sum(publisher.get_subscription_count() for publisher in self._outputs.publishers.values())
        values |= {"subscribers": str(listeners), "fused_topic": self._outputs.fused_topic}
        values["display_images"] = str(self._display.published)
        stuck = self._stuck()
        problems = [self._network.problem, "" if stuck else self._network.loading(), self._display.problem]
        set_s, used_s = self._settings.number("stall_timeout"), self._health.timeout_s
        if used_s > set_s:
            problems.append(f"stall_timeout {set_s:g} s is too short for the slower camera: {used_s:.1f} s are waited")
        problems = (
            list(filter(None, problems)) + self._worker.problems() + self._health.problems(self._pipeline.unchanged_s())
        )
        return values, problems + self._unheard() + self._pipeline.problems(), stuck

    def input_statuses(self) -> list[DiagnosticStatus]:
        """For the diagnostics, one per camera, as Autoware's topic_state_monitor tells it."""
        min_rates_hz = {stream: self._settings.number(f"{stream}.min_rate") for stream in STREAMS}
        states = self._health.input_states(self._worker.drops(), min_rates_hz)
        name = self._node.get_fully_qualified_name()
        return [
            status_message(f"{name}: {stream} input", level, text, values)
            for stream, (level, text, values) in states.items()
        ]

    def _subscribe(self) -> None:
        """To the images and ``camera_info`` of both cameras, to depth if the registration is by it, and to
        ``/tf_static`` where the calibration does not say where a camera is."""
        for stream in STREAMS:
            topic = image_topic(self._settings, stream)
            take: Callable[[Any], object] = partial(self._worker.take, stream=stream)
            if self._settings.text(f"{stream}.transport") != "raw":
                from mmcfusion_ros.stream.video import VideoDecoder

                take = partial(self._worker.take_encoded, stream=stream, decoder=VideoDecoder(stream))
            self._hear(message_type(topic), topic, take)
            take_info = partial(self._take_camera_info, stream=stream)
            self._infos.append(CameraInfoSubscription(self._node, f"{stream}/camera_info", take_info, self._qos))
        if depth := self._pipeline.depth:
            self._hear(Image, "depth/image_raw", depth.take)
            self._hear(PointCloud2, "depth/points", depth.take)
            self._infos.append(CameraInfoSubscription(self._node, "depth/camera_info", depth.take, self._qos))
        calibration = self._pipeline.calibration
        wanted = calibration.from_frames or (depth and calibration.depth_rotation is None)
        if wanted and (kind := static_frames_type(required=calibration.from_frames)):
            self._hear(kind, "/tf_static", self._pipeline.take_geometry, STATIC)

    def _hear(
        self, message_type: type, topic: str, take: Callable[[Any], object], qos: QoSProfile | None = None
    ) -> None:
        subscriber = Subscriber(self._node, message_type, topic, qos_profile=qos or self._qos)
        subscriber.registerCallback(take)
        self._images.append(subscriber)

    def _unsubscribe(self) -> None:
        while self._infos:
            self._infos.pop().close()
        while self._images:
            self._node.destroy_subscription(self._images.pop().sub)

    def _unheard(self) -> list[str]:
        """Publishers that cannot be heard, and cameras that share a topic, by name."""
        problems = []
        for topic in (*(images.sub.topic_name for images in self._images), *(info.topic for info in self._infos)):
            publishers = self._node.get_publishers_info_by_topic(topic)
            names = [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in publishers]
            for info, publisher in zip(publishers, names, strict=True):
                compatibility, reason = qos_check_compatible(info.qos_profile, self._qos)
                if compatibility == QoSCompatibility.ERROR:
                    problems.append(f"{publisher} cannot be heard on {topic}: {reason.strip().rstrip(';')}")
            if len(names) > 1 and topic in (self._topics["thermal_in"], self._topics["rgb_in"]):
                problems.append(f"{len(names)} publishers on {topic}: {', '.join(sorted(names))}")
        return problems

    def _stuck(self) -> str:
        limit_s, busy_s = self._settings.number("watchdog_timeout"), self._worker.busy_s()
        worker = f"the worker has been at one frame for {busy_s:.1f} s" if busy_s > limit_s else ""
        return self._network.stuck(limit_s) or worker

    def _take_camera_info(self, message: CameraInfo, stream: Stream) -> None:
        if stream == "rgb":
            self._health.count("camera_info_in")
        self._worker.take_camera_info(message, stream)
        self._pipeline.take_camera_info(message, stream)

    def _tell_mode(self, new: Mode, old: Mode) -> None:
        if not self._closed:
            self._on_mode(new)
            self._logger.info(f"mode {new}, was {old}")
