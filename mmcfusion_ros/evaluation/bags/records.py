"""What a run leaves behind, written while it goes on: the fused bag, one CSV row a frame, what the page shows."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmcfusion_ros.bags.events import Arrived, Dropped
from mmcfusion_ros.evaluation.bags.fusing import STAGES, Fused, Outcome
from mmcfusion_ros.evaluation.bags.measures import DEPTH_ERRORS, METRICS, RESIDUAL
from mmcfusion_ros.evaluation.bags.writing import FusedBag
from mmcfusion_ros.evaluation.report import PageFrame, encode_preview
from mmcfusion_ros.stream.health import Health
from mmcfusion_ros.stream.pipeline import FusionPipeline
from mmcfusion_ros.stream.settings import Settings

COLUMNS = (
    *("outcome", "time_s", "thermal_stamp_ns", "rgb_stamp_ns", "skew_ms"),
    *(f"{stage}_ms" for stage in STAGES),
    *METRICS,
    RESIDUAL,
    *DEPTH_ERRORS,
)
DIAGNOSTICS_PERIOD_NS = 1_000_000_000


class FrameTable:
    """``frames.csv``: a row for each fused pair and each dropped message or pair, with the drop's reason as outcome."""

    def __init__(self, path: Path, start_ns: int) -> None:
        self._file = open(path, "w", newline="", buffering=1)  # noqa: SIM115  # row by row: the process may be killed
        self._rows = csv.DictWriter(self._file, COLUMNS, restval="", extrasaction="ignore")
        self._rows.writeheader()
        self._start_ns = start_ns

    def add(self, result: Outcome, values: Mapping[str, float]) -> None:
        """Numbers are rounded to a microsecond and to six decimals."""
        if isinstance(result, Arrived):
            return
        row: dict[str, Any] = {"time_s": f"{(result.time_ns - self._start_ns) / 1e9:.6f}"}
        if isinstance(result, Fused):
            pair = result.pair
            row |= {"outcome": "fused", "thermal_stamp_ns": pair.thermal_stamp_ns, "rgb_stamp_ns": pair.rgb_stamp_ns}
            row |= {name: f"{value:.6f}" for name, value in values.items()}
        else:
            camera = "thermal" if result.stream == "thermal" else "rgb"
            row |= {"outcome": result.reason, f"{camera}_stamp_ns": result.stamp_ns}
        self._rows.writerow(row)

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


class DiagnosedBag:
    """The fused bag, with the diagnostics of a node whose clock is the recording's, once a second at most."""

    def __init__(self, path: Path, pipeline: FusionPipeline, settings: Settings) -> None:
        self._model, self._pipeline = settings.model, pipeline
        self._stall_timeout_s = settings.number("stall_timeout")
        self._encoding = settings.text("output_encoding")
        self._bag = FusedBag(path)
        self._now_ns: int | None = None
        self._due_ns = 0

    def add(self, result: Outcome, values: Mapping[str, float]) -> None:
        """Writes a fused frame; counts the rest."""
        if self._now_ns is None:
            self._due_ns = result.time_ns + DIAGNOSTICS_PERIOD_NS
            self._now_ns = result.time_ns
            topics = {f"{name}_in": name for name in ("thermal", "rgb", "camera_info")}
            self._health = Health(self._stall_timeout_s, topics, clock_s=lambda: (self._now_ns or 0) / 1e9)
        if result.time_ns >= self._due_ns:
            self._now_ns = self._due_ns
            self._diagnose()
            self._due_ns += DIAGNOSTICS_PERIOD_NS * (1 + (result.time_ns - self._due_ns) // DIAGNOSTICS_PERIOD_NS)
        self._now_ns = result.time_ns
        if isinstance(result, Arrived):
            self._health.count(result.name)
        elif isinstance(result, Dropped):
            self._health.lost(result.reason)
            if result.stream == "pair":
                self._health.count("pairs")
        else:
            self._health.count("pairs")
            self._health.published(result.result.stamps_ns, result.result.moments, result.pair.skew_ns / 1e6)
            self._bag.write_frame(result, self._encoding)

    def close(self) -> None:
        """With a last diagnostics message."""
        if self._now_ns is not None:
            self._diagnose()
        self._bag.close()

    def _diagnose(self) -> None:
        values = {"model": self._model, **self._pipeline.state(), **self._health.report({})}
        self._bag.write_diagnostics(self._health.problems({}), values, self._now_ns or 0)


@dataclass
class ReportFrames:
    """Frames for the page, thinned out as they grow in number, so that their memory is bounded.

    About ``largest`` of the ``expected`` fused frames are kept with their values, ``previews`` with images.
    """

    start_ns: int
    expected: int
    images: bool = True
    largest: int = 3000
    previews: int = 60
    frames: list[PageFrame] = field(default_factory=list)
    drops: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=5000))
    seen: int = 0

    def __post_init__(self) -> None:
        self._frame_step = max(1, -(-self.expected // self.largest))
        self._preview_step = self._frame_step * max(1, -(-self.expected // (self._frame_step * self.previews)))

    def add(self, result: Outcome, values: Mapping[str, float]) -> None:
        """Keeps it, if it is its turn."""
        time_s = (result.time_ns - self.start_ns) / 1e9
        if isinstance(result, Dropped):
            self.drops.append((time_s, result.reason))
        elif isinstance(result, Fused):
            if self.seen % self._frame_step == 0:
                self.frames.append(self._frame(result, time_s, values))
            self.seen += 1

    def _frame(self, frame: Fused, time_s: float, values: Mapping[str, float]) -> PageFrame:
        name = f"{time_s:.3f} s"
        if not self.images or self.seen % self._preview_step:
            return PageFrame(name, time_s, dict(values))
        result = frame.result
        images = (encode_preview(image) for image in (result.registered, result.visible, result.image))
        return PageFrame(name, time_s, dict(values), *images)
