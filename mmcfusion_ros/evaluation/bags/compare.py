"""One or two runs over a bag, their page, and their numbers beside each other."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.evaluation.bags.evaluate_bag import BagResult, evaluate_bag
from mmcfusion_ros.evaluation.bags.measures import METRICS
from mmcfusion_ros.evaluation.bags.options import BagOptions
from mmcfusion_ros.evaluation.report import PageRun, write_preview_video, write_report
from mmcfusion_ros.files import json_text, write_file
from mmcfusion_ros.stream.parameters import Value

PREVIEW_HZ = 10.0


def evaluate_and_report(
    bag: Path, out: Path, configurations: Mapping[str, Mapping[str, Value]], options: BagOptions, stop: threading.Event
) -> dict[str, BagResult]:
    """Runs each configuration (parameter values by title) into ``out`` or, if there are several, ``out/1``, ``out/2``.

    Writes ``out/report.html``, ``preview.mp4`` beside each fused bag and, for several, ``out/comparison.json`` with the
    numbers by title. Returns the results by title. Raises what ``evaluate_bag`` raises.
    """
    results = {}
    for number, (title, values) in enumerate(configurations.items(), 1):
        if not stop.is_set():
            folder = out / str(number) if len(configurations) > 1 else out
            results[title] = evaluate_bag(bag, values, folder, options, stop)
            _write_preview(folder / "preview.mp4", results[title].run(title))
    write_report(out / "report.html", [result.run(title) for title, result in results.items()])
    if len(configurations) > 1:
        table = {title: numbers(result) for title, result in results.items()}
        write_file(out / "comparison.json", json_text(table))
    return results


def _write_preview(path: Path, run: PageRun) -> None:
    """The frames that the page has pictures of."""
    frames = [
        (_decoded(frame.thermal), _decoded(frame.rgb), _decoded(frame.fused))
        for frame in run.frames
        if frame.thermal and frame.rgb and frame.fused
    ]
    if frames:
        write_preview_video(path, frames, PREVIEW_HZ)


def _decoded(preview: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(preview, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def numbers(result: BagResult) -> dict[str, float]:
    """The figures of a run that runs are compared by."""
    summary, statistics = result.summary, result.statistics
    figures = {"fused": float(statistics.counts["fused"]), "fused_hz": summary["fused_hz"]}
    for name, times in (("skew_ms", summary["skew_ms"]), *summary["latency_ms"].items()):
        figures |= {f"{name.removesuffix('_ms')}_{p}_ms": times[p] for p in ("p50", "p95") if p in times}
    figures |= {name: round(statistics.mean(name), 4) for name in METRICS if name in statistics.columns()}
    residual = summary["median_residual_px"]
    return figures if residual is None else {**figures, "median_residual_px": residual}


def summary_text(results: Mapping[str, BagResult]) -> str:
    """Figures by row, runs by column; then drops and problems of each run."""
    columns = [numbers(result) for result in results.values()]
    lines = [f"{number}: {title}" for number, title in enumerate(results, 1)]
    lines.append(f"{'':<20}" + "".join(f"{number:>12}" for number in range(1, len(columns) + 1)))
    for name in dict.fromkeys(name for column in columns for name in column):
        lines.append(
            f"{name:<20}" + "".join(f"{column[name]:>12.4g}" if name in column else " " * 12 for column in columns)
        )
    for number, result in enumerate(results.values(), 1):
        dropped = ", ".join(f"{reason} {n}" for reason, n in result.summary["dropped"].items())
        lines.append(f"{number}: {result.summary['outcome']}; dropped: {dropped or 'none'}")
        lines += [f"{number}: PROBLEM: {text}" for text in result.summary["problems"]]
    return "\n".join(lines)
