"""A bag through the node's own objects: the fused bag, numbers, and what the page shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from mmcfusion_ros.bags.ahead import ahead
from mmcfusion_ros.bags.events import Arrived, CameraEvents
from mmcfusion_ros.bags.reading import Bag
from mmcfusion_ros.bags.topics import CameraTopics, find_cameras, find_depth
from mmcfusion_ros.evaluation.bags.fusing import Fused, Outcome, fuse
from mmcfusion_ros.evaluation.bags.measures import frame_metrics, frame_times
from mmcfusion_ros.evaluation.bags.options import BagOptions
from mmcfusion_ros.evaluation.bags.records import DiagnosedBag, FrameTable, ReportFrames
from mmcfusion_ros.evaluation.bags.statistics import Statistics
from mmcfusion_ros.evaluation.bags.summary import FileHashes, configuration, header_words, problems, results
from mmcfusion_ros.evaluation.report import PageRun
from mmcfusion_ros.files import json_text, write_file
from mmcfusion_ros.stream.parameters import Value
from mmcfusion_ros.stream.pipeline import FusionPipeline
from mmcfusion_ros.stream.settings import Settings

Record = FrameTable | DiagnosedBag | ReportFrames

READ_AHEAD, FUSED_AHEAD = 16, 4  # events; one in five or so holds images
SUMMARY_EVERY_S = 1.0


@dataclass(frozen=True)
class BagResult:
    """The summary, as ``summary.json`` has it, and the numbers behind it."""

    summary: dict[str, Any]
    statistics: Statistics
    report: ReportFrames | None

    def run(self, title: str) -> PageRun:
        """For ``write_report``."""
        assert self.report
        header = header_words(self.summary)
        return PageRun(title, header, self.report.frames, list(self.report.drops), self.summary["problems"])


def evaluate_bag(
    path: Path,
    values: Mapping[str, Value],
    out: Path | None = None,
    options: BagOptions | None = None,
    stop: threading.Event | None = None,
) -> BagResult:
    """Fuses a bag as a node with these parameter values would live, if it had all the time it needs.

    Writes to ``out``, if given: ``fused/`` (a bag), ``frames.csv``, ``summary.json``. ``stop`` ends it early, with
    valid files; if the process is killed or the disk full, they hold all but the last second. The input is only read;
    what is wrong with it is in ``summary["problems"]``. Raises ``FileNotFoundError``, ``FileExistsError``,
    ``ValueError`` or ``BackendError`` where nothing can be begun.
    """
    options, stop = options or BagOptions(), stop or threading.Event()
    settings = Settings(values)
    statistics = Statistics()
    with Bag(path) as bag, FileHashes(bag.files) as hashes:
        cameras = find_cameras(bag.topics, options.thermal_topic, options.rgb_topic, bag.encoding_of)
        pipeline = settings.pipeline(settings.network())
        if "thermal" not in pipeline.lenses.cameras:
            cameras = replace(cameras, thermal_camera_info=None)  # it has no lens to give
        if pipeline.depth:
            aligned = pipeline.calibration.depth_rotation is None
            cameras = replace(cameras, depth=find_depth(bag.topics, options.depth_topic, aligned))
        if pipeline.calibration.from_frames and (frames := bag.topics.get("/tf_static")):
            cameras = replace(cameras, depth=tuple({*cameras.depth, frames}))
        events = CameraEvents(bag, cameras, settings.pairing())
        pipeline.refiner = None  # it works by the wall clock: the same bag would not give the same images
        about = configuration(bag, cameras, values, pipeline, options)
        begun = time.perf_counter()

        def summary(outcome: str) -> dict[str, Any]:
            return {
                "outcome": outcome,
                **about,
                "sha256": hashes.result(wait=outcome == "complete"),
                **results(statistics, time.perf_counter() - begun),
                "problems": problems(bag, cameras, events, statistics, options.metrics) + pipeline.problems(),
            }

        read = ahead(events.read(*options.range_ns(bag)), READ_AHEAD)
        fused = ahead(fuse(read, pipeline, settings.text("output_encoding"), options.every), FUSED_AHEAD)
        expected = min(cameras.thermal.count, cameras.rgb.count) // options.every
        report = ReportFrames(bag.start_ns, expected, images=options.images) if options.report else None
        with ExitStack() as stack:
            records: list[Record] = [report] if report else []
            if out:
                records += _open_files(stack, out, bag, pipeline, settings, options)
            stack.enter_context(closing(fused))
            bar = stack.enter_context(_progress(bag, cameras, options))
            due_s = 0.0
            for result in fused:
                if stop.is_set():
                    break
                measured = _measured(result, options.metrics)
                statistics.add(result, measured)
                for record in records:
                    record.add(result, measured)
                bar.update(isinstance(result, Arrived) and result.name == "rgb_in")
                if out and time.monotonic() > due_s:
                    _write_summary(summary("unfinished"), out)
                    due_s = time.monotonic() + SUMMARY_EVERY_S
        final = summary("interrupted" if stop.is_set() else "complete")
    if out:
        _write_summary(final, out)
    return BagResult(final, statistics, report)


def _write_summary(summary: Mapping[str, Any], out: Path) -> None:
    write_file(out / "summary.json", json_text(summary))


def _measured(result: Outcome, metrics: bool) -> dict[str, float]:
    """The values of a fused frame by column; empty for anything else."""
    if not isinstance(result, Fused):
        return {}
    return frame_times(result) | result.errors_px | (frame_metrics(result) if metrics else {})


def _progress(bag: Bag, cameras: CameraTopics, options: BagOptions) -> tqdm[NoReturn]:
    """Counts RGB frames; how many the time range holds is estimated."""
    start_ns, end_ns = options.range_ns(bag)
    share = (end_ns - start_ns) / max(1, bag.end_ns - bag.start_ns)
    return tqdm(total=round(share * cameras.rgb.count), desc=bag.path.name, unit="frame", disable=None)


def _open_files(
    stack: ExitStack, out: Path, bag: Bag, pipeline: FusionPipeline, settings: Settings, options: BagOptions
) -> list[Record]:
    """What the stack closes; valid on disk then, whenever that comes."""
    out.mkdir(parents=True, exist_ok=True)
    files: list[FrameTable | DiagnosedBag] = []
    if options.images:
        files.append(DiagnosedBag(out / "fused", pipeline, settings))  # refuses to overwrite, before the table does it
    files.append(FrameTable(out / "frames.csv", bag.start_ns))
    return [stack.enter_context(closing(file)) for file in files]
