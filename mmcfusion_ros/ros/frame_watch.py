"""What becomes of each frame, told to whoever looks on: the states of the inputs, the trace, the log of drops."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from mmcfusion_ros.fusion.errors import one_line
from mmcfusion_ros.ros.input_monitor import InputMonitor
from mmcfusion_ros.ros.log_throttle import LogThrottle
from mmcfusion_ros.ros.messages import BadImage
from mmcfusion_ros.ros.pairing import Pair, Stream
from mmcfusion_ros.ros.settings import Settings
from mmcfusion_ros.ros.trace import FrameTrace


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

    def received(self, message: object, stream: Stream) -> None:
        """A message came."""
        self._monitors[stream].received()

    def fused(self, pair: Pair[Any], stages_ms: Mapping[str, float]) -> None:
        """A pair was published, its stages ended just now."""
        for monitor in self._monitors.values():
            monitor.used()
        if self._trace:
            self._trace.frame(time.perf_counter(), stages_ms, **_stamps(pair))

    def dropped(self, pair: Pair[Any], reason: str, error: Exception) -> None:
        """A pair could not be fused."""
        stream: Stream = error.stream if isinstance(error, BadImage) else "rgb"
        stamp_ns = pair.thermal_stamp_ns if stream == "thermal" else pair.rgb_stamp_ns
        if isinstance(error, BadImage):
            self._monitors[stream].unusable(f"{reason}: {one_line(error)}")
        text = f"dropped a pair ({reason}): {one_line(error)}"
        where = f"[{self._monitors[stream].topic}, stamp {stamp_ns // 10**9}.{stamp_ns % 10**9:09}]"
        if line := self._throttle(f"{reason} {stream}", f"{text} {where}"):
            self._log(line)
        if self._trace:
            self._trace.dropped(time.perf_counter(), reason, **_stamps(pair))

    def statuses(self, node_name: str, drops: Mapping[str, int]) -> list[DiagnosticStatus]:
        """One per input; ``drops`` are those of the pairing, as ``REASON_STREAM``."""
        return [
            monitor.status(f"{node_name}: {stream} input", {k: n for k, n in drops.items() if k.endswith(stream)})
            for stream, monitor in self._monitors.items()
        ]


def _stamps(pair: Pair[Any]) -> dict[str, int]:
    return {"thermal_stamp_ns": pair.thermal_stamp_ns, "rgb_stamp_ns": pair.rgb_stamp_ns}
