"""What the worker does with a pair or a lone frame: one published image, or one counted and logged drop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rclpy.time import Time
from std_msgs.msg import Header

from mmcfusion_ros.fusion.conditions import rgb_conditions, thermal_conditions
from mmcfusion_ros.fusion.errors import BackendGivenUp, FrozenThermalError, one_line
from mmcfusion_ros.fusion.frozen import FrozenDetector
from mmcfusion_ros.fusion.pipeline import FusionPipeline, RegisteredPair, StageClock
from mmcfusion_ros.ros.display import Display
from mmcfusion_ros.ros.frame_watch import FrameWatch
from mmcfusion_ros.ros.outputs import Outputs
from mmcfusion_ros.ros.worker import Job, LoneFrame, source_of
from mmcfusion_ros.stream.health import Health
from mmcfusion_ros.stream.messages import BadImage, BitDepth, drop_reason, rgb_from_message, thermal_from_message
from mmcfusion_ros.stream.mode import ModeSwitch, Source
from mmcfusion_ros.stream.pair_filter import stamp_ns
from mmcfusion_ros.stream.pairing import MAX_BACKWARD_NS, Pair, Stream

CONDITIONS: dict[Stream, Callable[[np.ndarray], set[str]]] = {"thermal": thermal_conditions, "rgb": rgb_conditions}


class Result(NamedTuple):
    """An image (``H x W [x 3]`` uint8), the share of thermal in it (``H x W`` uint8, None: all), and its header, with a
    stamp of the RGB camera's clock."""

    source: Source
    image: np.ndarray
    weight: np.ndarray | None
    header: Header


class Processor:
    """Called with one job at a time. ``on_given_up(reason)`` when the backend is past help.

    While nobody subscribes to an output, images are only looked at, for the diagnostics and the mode."""

    def __init__(
        self,
        pipeline: FusionPipeline,
        outputs: Outputs,
        modes: ModeSwitch,
        health: Health,
        watch: FrameWatch,
        display: Display,
        on_given_up: Callable[[str], object],
    ) -> None:
        self._pipeline, self._outputs, self._modes, self._health = pipeline, outputs, modes, health
        self._watch, self._display, self._on_given_up = watch, display, on_given_up
        self._rgb_frozen = FrozenDetector()
        self._readers: dict[Stream, Callable[[Any], np.ndarray]] = {
            "thermal": partial(thermal_from_message, colour=True),
            "rgb": partial(rgb_from_message, depth=BitDepth()),
        }
        self._wanted = False
        self.closed = False  # once set, nothing more is published
        self._last: tuple[Source | None, int] = (None, 0)  # from what the last image was made, and its stamp

    def __call__(self, job: Job) -> None:
        """Never raises."""
        clock = StageClock()
        rested, self._wanted = not self._wanted, self._outputs.subscribers() > 0
        if rested and self._wanted:
            self._pipeline.scaler.reset()  # the scene may have changed
        try:
            result = self._fuse(job, clock) if isinstance(job, Pair) else self._alone(job)
            published = self._wanted and self._publish(job, result, clock)
        except Exception as error:
            if not self.closed:
                self._modes.failed(source_of(job))
                if isinstance(error, FrozenThermalError):
                    self._modes.failed("thermal")
                self._drop(job, drop_reason(error), error)
            return
        if not self._wanted:
            self._health.rested()
            self._watch.used(job)
            return
        if not published:
            self._health.drop("superseded")
            return
        stages_ms = clock.finish()
        self._watch.published(job, stages_ms)
        if isinstance(job, Pair) and result.source == "pair":
            self._health.fused(stages_ms, job.skew_ns / 1e6)
        else:
            self._health.count("passed_through")

    def _fuse(self, pair: Pair[Any], clock: StageClock) -> Result:
        visible, thermal = self._rgb(pair.rgb), self._read("thermal", pair.thermal)
        clock.lap("decode")
        if self._wanted:
            image = self._pipeline(thermal, visible, clock)
        else:
            image = visible
            self._pipeline.check_age()
        if self._pipeline.passes_through:
            self._modes.frozen()
            return Result("rgb", image, self._pipeline.weight, pair.rgb.header)
        self._modes.succeeded("thermal")
        self._modes.succeeded("pair")
        return Result("pair", image, self._pipeline.weight, pair.rgb.header)

    def _alone(self, frame: LoneFrame) -> Result:
        if frame.stream == "rgb":
            image = self._rgb(frame.message)
            return Result("rgb", image, np.zeros(image.shape[:2], np.uint8), frame.message.header)
        grid = self._outputs.camera_infos.grid
        shape = (grid.height, grid.width) if grid else None
        image = self._pipeline.thermal_alone(self._read("thermal", frame.message), shape)
        self._modes.succeeded("thermal")
        stamp = Time(nanoseconds=frame.time_ns).to_msg()
        header = Header(stamp=stamp, frame_id=(grid or frame.message.header).frame_id)
        return Result("thermal", image, self._pipeline.weight, header)

    def _publish(self, job: Job, result: Result, clock: StageClock) -> bool:
        """False, and nothing published, if the mode forbids it, it is not newer than what was made of something else
        (a pair, or frames of one camera), or all is over."""
        last_source, last_ns = self._last
        stamp = job.rgb_stamp_ns if isinstance(job, Pair) else job.time_ns
        late = source_of(job) != last_source and 0 <= last_ns - stamp <= MAX_BACKWARD_NS
        if late or self.closed or not self._modes.publishes(result.source):
            return False
        self._last = (source_of(job), stamp)
        self._outputs.publish(result.image, result.weight, result.header, clock)
        if self._display.is_due():
            self._display.show(self._for_eyes(result), result.header)
        return True

    def _for_eyes(self, result: Result) -> RegisteredPair | np.ndarray:
        if result.source == "pair" and self._pipeline.pair:
            return self._pipeline.pair
        return self._pipeline.fuser.as_expected(result.image) if result.source == "thermal" else result.image

    def _rgb(self, message: Any) -> np.ndarray:
        image = self._read("rgb", message)
        self._modes.succeeded("rgb")
        self._outputs.camera_infos.saw_rgb(image.shape, message.header.frame_id)
        return image

    def _read(self, stream: Stream, message: Any) -> np.ndarray:
        try:
            image = self._readers[stream](message)
        except BadImage:
            self._modes.failed(stream)
            raise
        stamp_s, frozen = stamp_ns(message) / 1e9, self._pipeline.frozen if stream == "thermal" else self._rgb_frozen
        if stream == "thermal":
            image = self._pipeline.look(image, stamp_s)
        else:
            self._rgb_frozen(image, stamp_s)
        self._health.see(stream, CONDITIONS[stream](image), frozen.age_s if frozen.repeats else 0.0)
        return image

    def _drop(self, job: Job, reason: str, error: Exception) -> None:
        self._health.drop(reason)
        self._watch.dropped(job, reason, error)
        if isinstance(error, BackendGivenUp):
            self._on_given_up(one_line(error))
