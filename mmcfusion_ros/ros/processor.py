"""What the worker does with a pair or a lone frame: one published image, or one counted and logged drop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mmcfusion_ros.fusion.conditions import rgb_conditions, thermal_conditions
from mmcfusion_ros.fusion.errors import BackendGivenUp, one_line
from mmcfusion_ros.fusion.frozen import FrozenDetector
from mmcfusion_ros.fusion.fuser import LARGEST_SIDE, SMALLEST_SIDE
from mmcfusion_ros.fusion.pipeline import FusionPipeline, StageClock
from mmcfusion_ros.ros.frame_watch import FrameWatch
from mmcfusion_ros.ros.health import Health
from mmcfusion_ros.ros.messages import BadImage, drop_reason, rgb_from_message, thermal_from_message
from mmcfusion_ros.ros.mode import ModeSwitch, Source
from mmcfusion_ros.ros.outputs import Outputs
from mmcfusion_ros.ros.pair_filter import stamp_ns
from mmcfusion_ros.ros.pairing import MAX_BACKWARD_NS, Pair, Stream
from mmcfusion_ros.ros.worker import Job, LoneFrame

READERS: dict[Stream, Callable[[Any], np.ndarray]] = {
    "thermal": partial(thermal_from_message, colour=True),
    "rgb": rgb_from_message,
}
CONDITIONS: dict[Stream, Callable[[np.ndarray], set[str]]] = {"thermal": thermal_conditions, "rgb": rgb_conditions}


class Processor:
    """Called with one job at a time. ``on_given_up(reason)`` when the backend is past help."""

    def __init__(
        self,
        pipeline: FusionPipeline,
        outputs: Outputs,
        modes: ModeSwitch,
        health: Health,
        watch: FrameWatch,
        on_given_up: Callable[[str], object],
    ) -> None:
        self._pipeline, self._outputs, self._modes, self._health = pipeline, outputs, modes, health
        self._watch, self._on_given_up = watch, on_given_up
        self._frozen: dict[Stream, FrozenDetector] = {"thermal": FrozenDetector(), "rgb": FrozenDetector()}
        self.closed = False  # set when the job at hand was given up: it must not publish any more
        self._last: tuple[str, int] = ("", 0)  # what was published last, and its stamp

    def __call__(self, job: Job) -> None:
        """Never raises."""
        source = job.stream if isinstance(job, LoneFrame) else "pair"
        clock = StageClock()
        try:
            published = self._fuse(job, clock) if isinstance(job, Pair) else self._pass_through(job, clock)
        except Exception as error:
            self._modes.failed(source)
            self._drop(job, drop_reason(error), error)
            return
        self._modes.succeeded(source)
        if not published:
            self._health.drop("superseded")
            return
        stages_ms = clock.finish()
        self._watch.published(job, stages_ms)
        if isinstance(job, LoneFrame):
            self._health.count("passed_through")
        else:
            self._health.fused(stages_ms, job.skew_ns / 1e6)

    def _fuse(self, pair: Pair[Any], clock: StageClock) -> bool:
        thermal, visible = self._read("thermal", pair.thermal), self._read("rgb", pair.rgb)
        clock.lap("decode")
        fused = self._pipeline(thermal, visible, clock, stamp_ns(pair.thermal) / 1e9)
        return self._publish("pair", fused, self._pipeline.weight, pair.rgb, clock)

    def _pass_through(self, frame: LoneFrame, clock: StageClock) -> bool:
        image = self._read(frame.stream, frame.message)
        if frame.stream == "rgb":
            return self._publish("rgb", image, np.zeros(image.shape[:2], np.uint8), frame.message, clock)
        image = self._pipeline.thermal_alone(image, self._rgb_size())
        return self._publish("thermal", image, self._pipeline.weight, frame.message, clock)

    def _publish(
        self, source: Source, image: np.ndarray, weight: np.ndarray | None, message: Any, clock: StageClock
    ) -> bool:
        """False, and nothing published, if the mode forbids it, it is not newer than what another source has put out,
        or it was given up."""
        last_source, last_ns = self._last
        stamp = stamp_ns(message)
        late = source != last_source and 0 <= last_ns - stamp <= MAX_BACKWARD_NS
        if late or self.closed or not self._modes.publishes(source):
            return False
        self._last = (source, stamp)
        self._outputs.publish(image, weight, message.header, clock)
        return True

    def _read(self, stream: Stream, message: Any) -> np.ndarray:
        try:
            image = READERS[stream](message)
        except BadImage:
            self._modes.failed(stream)
            raise
        self._modes.succeeded(stream)
        frozen = self._frozen[stream]
        frozen(image, stamp_ns(message) / 1e9)
        self._health.see(stream, CONDITIONS[stream](image), frozen.age_s)
        return image

    def _rgb_size(self) -> tuple[int, int] | None:
        info = self._outputs.camera_info
        size = (info.height, info.width) if info else (0, 0)
        return size if SMALLEST_SIDE <= min(size) <= max(size) <= LARGEST_SIDE else None

    def _drop(self, job: Job, reason: str, error: Exception) -> None:
        self._health.drop(reason)
        self._watch.dropped(job, reason, error)
        if isinstance(error, BackendGivenUp):
            self._on_given_up(one_line(error))
