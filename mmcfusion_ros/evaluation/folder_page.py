"""The page of a folder: the methods beside each other, and what detectors find in their images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmcfusion_ros.data.images import read_rgb
from mmcfusion_ros.evaluation.benchmark import machine
from mmcfusion_ros.evaluation.folders import EvaluationOptions, FolderResult, under_stress
from mmcfusion_ros.evaluation.methods import Method, ReadyImages
from mmcfusion_ros.evaluation.metrics import LOWER_IS_BETTER
from mmcfusion_ros.evaluation.report import (
    Box,
    MethodTable,
    PageFrame,
    PageRun,
    choose_previews,
    encode_preview,
    write_report,
)
from mmcfusion_ros.evaluation.tables import RANKED, shown_metrics, table_rows
from mmcfusion_ros.fusion.fuser import merge_luminance, split_luminance

if TYPE_CHECKING:  # needs pycocotools
    from mmcfusion_ros.evaluation.detection.results import DetectionResult
    from mmcfusion_ros.evaluation.detection.scores import Mark

PICTURES = 40  # of a folder, on the page
CAMERAS = {"thermal": "thermal, white hot", "rgb": "RGB"}  # what a detector sees in the page's pictures of them

Marks = Mapping[str, Mapping[str, Sequence["Mark"]]]  # by input and detector


def write_folder_page(
    result: FolderResult,
    methods: Sequence[Method | ReadyImages],
    options: EvaluationOptions,
    out: Path,
    detection: DetectionResult | None,
) -> None:
    """Writes ``out/SET/index.html``, with pictures of the pairs that have the worst Qabf of the first method (with
    detectors: that lack most), and of some others."""
    folder, first = result.folder, methods[0].name
    marks: list[Marks] = [detection.marks(i) for i in detection.subsets[folder.name]] if detection else []
    values = {method.name: _values(result.rows[method.name], method.name, marks) for method in methods}
    bad = [row.get("missed", -row["Qabf"]) for row in values[first]]
    worst = sorted(range(len(bad)), key=lambda i: -bad[i])
    seen = choose_previews(len(bad), PICTURES, worst)
    pictures, boxes = {}, {}
    for i in seen:
        files = folder.pairs[i]
        thermal, rgb = folder.read(files)
        spoilt, luminance = under_stress(thermal, split_luminance(rgb)[0], files.name, options)
        pictures[i] = encode_preview(spoilt), encode_preview(merge_luminance(luminance, rgb))
        if marks:
            boxes[files.name] = _boxes(marks[i], thermal.shape[:2])
    runs = [_run(result, method, values[method.name], pictures, options, out) for method in methods]
    write_report(out / folder.name / "index.html", runs, boxes, _method_table(result, options))


def _method_table(result: FolderResult, options: EvaluationOptions) -> MethodTable:
    """As in ``summary.md``; the marks say which end of a column is the better one."""
    means, peers = result.means, result.peers
    columns = [f"{name} {'↓' if name in LOWER_IS_BETTER else '↑'}" for name in shown_metrics(means)]
    rows = [[name, rank, *values] for name, values, rank in table_rows(means, peers)]
    ranked = f"among {len(peers)} peers of {options.peers}" if peers else "among each other"
    note = f"Means of {len(result.folder.pairs)} pairs; mean rank over {', '.join(RANKED)}, {ranked}."
    if result.intervals and len(means) + len(peers) > 1:
        ends = [(name, *row["mean rank"]) for name, row in result.intervals.items()]
        note += " 95 % of the ranks: " + ", ".join(f"{name} {low:.1f} to {high:.1f}" for name, low, high in ends) + "."
    return MethodTable("Methods", ["method", "mean rank ↓", *columns], rows, [*means], note)


def _values(rows: Sequence[dict[str, float]], name: str, marks: Sequence[Marks]) -> list[dict[str, float]]:
    """Metrics of each pair; with detectors also how many objects are missed and how many finds false, their mean."""
    if not marks:
        return [*rows]
    return [
        row
        | {
            state: float(np.mean([_count(each, state) for each in found[name].values()]))
            for state in ("missed", "false")
        }
        for row, found in zip(rows, marks, strict=True)
    ]


def _count(marks: Sequence[Mark], state: str) -> int:
    return sum(mark.state == state for mark in marks)


def _boxes(marks: Marks, shape: tuple[int, int]) -> dict[str, dict[str, list[Box]]]:
    """In shares of the image."""
    height, width = shape
    return {
        name: {detector: [_box(mark, width, height) for mark in each] for detector, each in found.items()}
        for name, found in marks.items()
    }


def _box(mark: Mark, width: int, height: int) -> Box:
    left, top, right, bottom = mark.corners
    return Box(left / width, top / height, right / width, bottom / height, mark.state, mark.kind, mark.score)


def _run(
    result: FolderResult,
    method: Method | ReadyImages,
    values: Sequence[dict[str, float]],
    pictures: Mapping[int, tuple[bytes, bytes]],
    options: EvaluationOptions,
    out: Path,
) -> PageRun:
    name = result.folder.name
    frames = []
    for i, (files, row) in enumerate(zip(result.folder.pairs, values, strict=True)):
        images: tuple[bytes, ...] = ()
        if i in pictures:
            fused = read_rgb(out / name / method.name / "fused" / f"{files.name}.png")
            images = *pictures[i], encode_preview(fused)
        frames.append(PageFrame(files.name, i, row, *images))
    pairs = result.folder.pairs
    folders = [
        os.path.commonpath([path.resolve().parent for path in paths])
        for paths in ([pair.thermal for pair in pairs], [pair.rgb for pair in pairs])
    ]
    header = {"command": options.command, "set": name, "data": " and ".join(folders), "model": method.name}
    for key, value in method.origin.items():
        header[key] = ", ".join(" ".join(item) for item in value.items()) if isinstance(value, dict) else str(value)
    if options.stress:
        header["stress"] = f"{options.stress}, seed {options.seed}; measured against the clean images"
    header["machine"] = "{processor}, {cores} cores, {system}".format(**machine())
    titles = {"thermal": "MRI", "rgb": "PET or SPECT"} if pairs[0].functional else {}
    seen_as = {**CAMERAS, "fused": method.name}
    return PageRun(f"{name}{options.under}: {method.name}", header, frames, seen_as=seen_as, image_names=titles)
