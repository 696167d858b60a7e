"""The way of a frame through the node: paired by the thread that spins it, fused and published by another one."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.clock import Clock
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from mmcfusion_ros.fusion.errors import BackendGivenUp, UnusableThermalError, one_line
from mmcfusion_ros.ros.display import Display
from mmcfusion_ros.ros.outputs import Outputs
from mmcfusion_ros.ros.subscriptions import with_header
from mmcfusion_ros.stream.camera_info import CameraInfos
from mmcfusion_ros.stream.health import Health
from mmcfusion_ros.stream.messages import BadImage, drop_reason, fill_compressed, fill_image
from mmcfusion_ros.stream.mode import ModeSwitch, Source
from mmcfusion_ros.stream.pairing import (
    MAX_BACKWARD_NS,
    LoneFrame,
    Pair,
    Pairer,
    PairingOptions,
    Stream,
)
from mmcfusion_ros.stream.pipeline import FusionPipeline, Result

if TYPE_CHECKING:  # loaded only where a transport encodes
    from mmcfusion_ros.stream.video import VideoDecoder

Job = Pair[Any] | LoneFrame[Any]


class FrameWorker:
    """One thread that fuses the newest pair, and the newest frame of each camera that goes out alone: in turns, if they
    come faster than they are processed. What a newer one replaces before its turn is superseded.

    While nobody subscribes to an output, images are only looked at, for the diagnostics and the mode. ``clock`` is that
    of the stamps; ``on_given_up(reason)`` is called once the backend will not be tried again.
    """

    def __init__(
        self,
        pairing: PairingOptions,
        clock: Clock,
        pipeline: FusionPipeline,
        outputs: Outputs,
        modes: ModeSwitch,
        health: Health,
        display: Display,
        on_given_up: Callable[[str], object],
    ) -> None:
        self._pairer: Pairer[Any] = Pairer(pairing)
        self._clock, self._pipeline, self._outputs, self._modes = clock, pipeline, outputs, modes
        self._health, self._display, self._on_given_up = health, display, on_given_up
        self._condition = threading.Condition()  # for the pairer and what waits
        self._waiting: dict[Source, Job] = {}
        self._stopping = self._wanted = False
        self._busy_since_s: float | None = None
        self._last: tuple[Source | None, int] = (None, 0)  # from what the last image was made, and its stamp
        self._infos = CameraInfos()
        self._changes: deque[Callable[[], object]] = deque()
        self._thread = threading.Thread(target=self._run, name="fusion", daemon=True)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def stop(self) -> None:
        """Nothing more is published; the thread ends after the work at hand."""
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def join(self, timeout_s: float | None = None) -> bool:
        """Waits for that; False if it takes longer than the timeout."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def busy_s(self) -> float:
        """For how long it has been at the work at hand; 0 if there is none."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def drops(self) -> Counter[str]:
        """Frames that the pairing dropped, by name, as of now."""
        with self._condition:
            return self._pairer.drops.copy()

    def problems(self) -> list[str]:
        """What is wrong with the clocks of the cameras, and with the limits of the pairing, in words."""
        with self._condition:
            return self._pairer.problems()

    def period_s(self) -> float:
        """Of the slower camera; 0 while too little is known."""
        with self._condition:
            return self._pairer.period_s()

    def before_next_frame(self, change: Callable[[], object]) -> None:
        """Has the worker's thread call it then, or at its end."""
        self._changes.append(change)

    def use(self, pairing: PairingOptions) -> None:
        """Goes on with other limits of the pairing."""
        with self._condition:
            self._pairer.use(pairing)

    def take(self, message: Any, stream: Stream) -> None:
        """An image message of one camera, of any transport."""
        now = self._clock.now()
        now_ns = now.nanoseconds
        if self._pairer.options.stamps == "arrival":
            message.header.stamp = now.to_msg()
        stamp = Time.from_msg(message.header.stamp).nanoseconds
        with self._condition:
            deadline_ns = self._pairer.deadline_ns
            pairs = self._pairer.add(stream, stamp, message, time.monotonic_ns(), now_ns)
            accepted = self._pairer.newest.get(stream) is message
            superseded = len(pairs) - 1 + ("pair" in self._waiting)
            if pairs:
                self._waiting["pair"] = pairs[-1]
            if pairs or deadline_ns != self._pairer.deadline_ns:
                self._condition.notify()
        self._health.received(stream, len(pairs))
        sources: tuple[Source, ...] = (stream, "pair") if pairs else (stream,)
        self._modes.note(arrived=sources if accepted else sources[1:])
        if pairs and superseded:
            self._health.lost("superseded", superseded)
        if accepted and self._modes.mode != "FUSED" and self._modes.wants(stream):
            self._take_alone(message, stream, stamp)

    def take_encoded(self, message: Any, stream: Stream, decoder: VideoDecoder) -> None:
        """A message of a transport that encodes: an image, or the next packet of the video that ``decoder`` follows."""
        message = with_header(message)
        try:
            images = decoder(message)
        except BadImage as error:
            self._health.received(stream, 0)
            stamp = Time.from_msg(message.header.stamp).nanoseconds
            self._health.dropped(error.reason, str(error), {stream: stamp}, stream, unusable=True)
            return
        for image in images:
            self.take(image, stream)

    def take_camera_info(self, info: CameraInfo, stream: Stream) -> None:
        """A ``camera_info`` message of one camera."""
        self._infos.take(info, stream)

    def _take_alone(self, message: Any, stream: Stream, stamp: int) -> None:
        offset_ns = self._pairer.options.thermal_offset_ns if stream == "thermal" else 0
        with self._condition:
            replaced = stream in self._waiting
            self._waiting[stream] = LoneFrame(stream, message, stamp, stamp + offset_ns)
            self._condition.notify()
        if replaced:
            self._health.lost("superseded")

    def _run(self) -> None:
        while not self._stopping:
            with self._condition:
                while not self._waiting and not self._stopping:
                    deadline_ns = self._pairer.deadline_ns
                    left_s = None if deadline_ns is None else (deadline_ns - time.monotonic_ns()) / 1e9
                    if left_s is not None and left_s <= 0:
                        break
                    self._condition.wait(left_s)
                source = next(iter(self._waiting), None)
                job = self._waiting.pop(source) if source else None
            if self._stopping:
                self._make_changes()
                return
            if source and job:
                self._busy_since_s = time.monotonic()
                self._process(source, job)
                self._busy_since_s = None
            else:
                self._end_waits()

    def _make_changes(self) -> None:
        while self._changes:
            self._changes.popleft()()

    def _end_waits(self) -> None:
        with self._condition:
            pairs = self._pairer.poll(time.monotonic_ns())
            superseded = len(pairs) - 1 + ("pair" in self._waiting)
            if pairs:
                self._waiting["pair"] = pairs[-1]
        if pairs:
            self._health.count("pairs", len(pairs))
            self._health.lost("superseded", superseded)
            self._modes.note(arrived=["pair"])

    def _process(self, source: Source, job: Job) -> None:
        """Never raises."""
        # The message whose header goes out, and its time by the RGB camera's clock.
        message, time_ns = (job.rgb, job.rgb_stamp_ns) if isinstance(job, Pair) else (job.item, job.time_ns)
        skew_ms = None
        try:
            if self._changes:
                self._make_changes()
            publishers = self._outputs.publishers
            listened = {name for name, publisher in publishers.items() if publisher.get_subscription_count()}
            rested, self._wanted = not self._wanted, bool(listened)
            if rested and self._wanted:
                self._pipeline.scaler.reset()  # the scene may have changed
            if isinstance(job, LoneFrame):
                grid = self._infos.grid
                result = self._pipeline.alone(job, (grid.width, grid.height) if grid else None)
                self._modes.note(good=[job.stream])
            else:
                if self._pipeline.depth:
                    self._pipeline.depth.wait(time_ns)
                result = self._pipeline.fuse(job, self._wanted)
                if result.source == "pair":
                    skew_ms = job.skew_ns / 1e6
                    self._modes.note(good=["rgb", "thermal", "pair"])
                else:
                    self._modes.note(good=["rgb"])
                    self._modes.frozen(blind=result.blind)
            (height, width), turned = result.image.shape[:2], self._pipeline.scaler.options.turns
            seen = width, height, message.header.frame_id, result.source == "thermal", turned
            if seen != self._infos.seen:
                self._infos.saw(*seen)
            age_ns = self._clock.now().nanoseconds - time_ns
            if self._wanted and 0 < self._pairer.options.max_age_ns < age_ns:  # as after a stop of the process
                self._health.lost("too_old")
                return
            published = self._wanted and self._publish(source, time_ns, message.header, result, listened)
        except Exception as error:
            if not self._stopping:
                self._drop(job, error)
            return
        if published:
            self._health.published(result.stamps_ns, result.moments, skew_ms, age_ns / 1e6)
        elif self._wanted:
            self._health.lost("superseded")
        else:
            self._health.rested(result.stamps_ns)

    def _drop(self, job: Job, error: Exception) -> None:
        bad: list[Stream] = [error.stream] if isinstance(error, BadImage) else []
        if isinstance(job, Pair):
            stamps_ns: dict[Stream, int] = {"thermal": job.thermal_stamp_ns, "rgb": job.rgb_stamp_ns}
            self._modes.note(good=[] if "rgb" in bad else ["rgb"], bad=["pair", *bad])
        else:
            stamps_ns = {job.stream: job.stamp_ns}
            self._modes.note(bad=[job.stream])
        if isinstance(error, UnusableThermalError):
            self._modes.note(bad=["thermal"])
        stream = [*stamps_ns, *bad][-1]
        self._health.dropped(drop_reason(error), one_line(error), stamps_ns, stream, unusable=bool(bad))
        if isinstance(error, BackendGivenUp):
            self._on_given_up(one_line(error))

    def _publish(self, source: Source, time_ns: int, header: Header, result: Result, listened: Collection[str]) -> bool:
        """False, and nothing published, if the mode forbids it, it is not newer than what was made of something else
        (a pair, or frames of one camera), or all is over."""
        late = source != self._last[0] and 0 <= self._last[1] - time_ns <= MAX_BACKWARD_NS
        if late or self._stopping or result.source != self._modes.source:
            return False
        self._last = source, time_ns
        if source == "thermal":
            frame_id = (self._infos.grid or header).frame_id
            header = Header(stamp=Time(nanoseconds=time_ns).to_msg(), frame_id=frame_id)
        outputs, publishers = self._outputs, self._outputs.publishers
        message = fill_image(Image(header=header), result.image, outputs.encoding)
        result.moments["encode"] = time.perf_counter()
        if publishers:  # not closed meanwhile
            publishers["image"].publish(message)
            if info := self._infos.outgoing:
                info.header = header
                publishers["camera_info"].publish(info)
            elif problem := self._infos.problem:
                text = f"camera_info {problem}: fused/camera_info is not published"
                self._health.warn(f"camera_info {problem[:3]}", text, "camera_info_in", time_ns)
            if "valid_mask" in listened:
                valid = np.full(result.image.shape[:2], 255, np.uint8)
                if result.weight is not None:
                    valid[result.weight == 0] = 0
                publishers["valid_mask"].publish(fill_image(Image(header=header), valid, "mono8"))
            if "overlay" in listened and result.registered.size:
                from mmcfusion_ros.fusion.overlay import thermal_edges

                overlay = thermal_edges(result.visible, result.registered, result.weight)
                publishers["overlay"].publish(fill_image(Image(header=header), overlay, "rgb8"))
            if "compressed" in publishers:
                jpeg = fill_compressed(CompressedImage(header=header), result.image, outputs.jpeg_quality)
                publishers["compressed"].publish(jpeg)
            if "display" in listened:
                self._display.show(result, header)
        result.moments["publish"] = time.perf_counter()
        return True
