"""What becomes of each frame, told to whoever looks on: the states of the inputs, the trace, the log of drops."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticStatus

from mmcfusion_ros.fusion.errors import one_line
from mmcfusion_ros.ros.diagnostics import InputMonitor
from mmcfusion_ros.ros.log_throttle import LogThrottle, where
from mmcfusion_ros.ros.worker import Job
from mmcfusion_ros.stream.messages import BadImage
from mmcfusion_ros.stream.pair_filter import stamp_ns
from mmcfusion_ros.stream.pairing import Pair, Stream
from mmcfusion_ros.stream.settings import Settings
from mmcfusion_ros.stream.trace import FrameTrace


class FrameWatch:
    """Lives while the node is active. Thread-safe; ``log`` takes a warning, ``topics`` are full names."""

    def __init__(
        self,
        settings: Settings,
        topics: Mapping[Stream, str],
        trace: FrameTrace | None,
        log: Callable[[str], object],
    ) -> None:
        self._trace, self._log = trace, log
        self._throttle = LogThrottle()
        timeout_s = settings.number("stall_timeout")
        self._monitors = {
            stream: InputMonitor(topic, timeout_s, settings.number(f"{stream}.min_rate"))
            for stream, topic in topics.items()
        }

    def received(self, stream: Stream) -> None:
        """A message came."""
        self._monitors[stream].received()

    def used(self, job: Job) -> None:
        """A pair or a lone frame was published, or would have been if somebody listened."""
        for stream in _stamps_ns(job):
            self._monitors[stream].used()

    def published(self, job: Job, stages_ms: Mapping[str, float]) -> None:
        """A pair or a lone frame was published, its stages ended just now."""
        self.used(job)
        if self._trace:
            self._trace.frame(time.perf_counter(), stages_ms, **_named(job))

    def dropped(self, job: Job, reason: str, error: Exception) -> None:
        """A pair or a lone frame could not be used."""
        stamps_ns = _stamps_ns(job)
        stream = error.stream if isinstance(error, BadImage) else list(stamps_ns)[-1]
        if isinstance(error, BadImage):
            self._monitors[stream].unusable(f"{reason}: {one_line(error)}")
        text = f"dropped a frame ({reason}): {one_line(error)} {where(self._monitors[stream].topic, stamps_ns[stream])}"
        if line := self._throttle(f"{reason} {stream}", text):
            self._log(line)
        if self._trace:
            self._trace.dropped(time.perf_counter(), reason, **_named(job))

    def statuses(self, node_name: str, drops: Mapping[str, int]) -> list[DiagnosticStatus]:
        """One per input; ``drops`` are those of the pairing, as ``REASON_STREAM``."""
        return [
            monitor.status(f"{node_name}: {stream} input", {k: n for k, n in drops.items() if k.endswith(stream)})
            for stream, monitor in self._monitors.items()
        ]


def _stamps_ns(job: Job) -> dict[Stream, int]:
    if isinstance(job, Pair):
        return {"thermal": job.thermal_stamp_ns, "rgb": job.rgb_stamp_ns}
    return {job.stream: stamp_ns(job.message)}


def _named(job: Job) -> dict[str, int]:
    return {f"{stream}_stamp_ns": stamp for stream, stamp in _stamps_ns(job).items()}
