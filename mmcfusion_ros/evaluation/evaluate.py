"""Networks and classic rules on folders of pairs: metrics, what detectors find, tables and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from mmcfusion_ros.evaluation.benchmark import machine
from mmcfusion_ros.evaluation.clips import ClipTest, clip_table
from mmcfusion_ros.evaluation.files import csv_text, write_file
from mmcfusion_ros.evaluation.folder_page import write_folder_page
from mmcfusion_ros.evaluation.folders import (
    EvaluationOptions,
    FolderResult,
    LabelledFolder,
    distinct,
    open_folders,
    under_stress,
)
from mmcfusion_ros.evaluation.methods import Method, load_method
from mmcfusion_ros.evaluation.metrics import fusion_metrics
from mmcfusion_ros.evaluation.pictures import write_image
from mmcfusion_ros.evaluation.tables import mean_ranks, metrics_table, read_peers
from mmcfusion_ros.fusion.errors import FusionError
from mmcfusion_ros.fusion.fuser import merge_luminance, split_luminance
from mmcfusion_ros.network.hashes import sha256_of

if TYPE_CHECKING:  # needs pycocotools
    from mmcfusion_ros.evaluation.detection.judge import Judge
    from mmcfusion_ros.evaluation.detection.results import DetectionResult


def evaluate(paths: Sequence[Path], models: Sequence[str], out: Path, options: EvaluationOptions) -> list[FolderResult]:
    """Fuses every pair of every folder with every model and measures the result, against the sources without stress,
    the thermal one in the polarity in which the model got it.

    A model is a rule of ``RULES`` or what ``Fuser`` takes. Metrics are of the luminance, without any stretch. With
    detectors only pairs with labels count, at the size that these are for. Writes to ``out``:
    ``SET/MODEL/metrics.csv``, ``SET/MODEL/fused/NAME.png`` (in colour), ``SET/index.html`` (the report that compares
    the models), ``detection.csv`` (of all folders together), ``summary.json``, ``summary.md``. Raises what
    ``open_folders``, ``read_peers``, ``load_detector`` and ``Fuser`` raise, and ``ValueError`` naming the file for
    images that cannot be measured.
    """
    folders = open_folders(paths, options)
    judge = _judge(folders, options)
    peers = [read_peers(options.peers, folder.name) if options.peers else {} for folder in folders]
    methods = [load_method(model, options.precision) for model in models]
    distinct("models", [method.name for method in methods])
    black_hot = frozenset(method.name for method in methods if method.thermal_polarity == "black_hot")
    results = []
    for folder, others in zip(folders, peers, strict=True):
        rows, clip = _measure(folder, methods, out / folder.name, judge, options)
        results.append(FolderResult(folder, rows, others, black_hot, clip))
        _write_rows(results[-1], out)
    detection = judge.result() if judge else None
    _write_summary(results, methods, options, out, detection)
    for result in results:
        write_folder_page(result, methods, options, out, detection)
    return results


def summary_markdown(
    results: Sequence[FolderResult], options: EvaluationOptions, detection: DetectionResult | None = None
) -> str:
    """All tables of an evaluation."""
    parts = []
    for result in results:
        pairs, size = result.folder.pairs, result.folder.size
        notes = f", at {size[0]}x{size[1]}" if size else ""
        notes += ", to networks the functional image as thermal" if pairs[0].functional else ""
        parts.append(f"## {result.folder.name}{options.under}: {len(pairs)} pairs{notes}\n")
        parts.append(metrics_table(result.means, result.peers, black_hot=result.black_hot))
        if result.clip:
            parts.append(clip_table(result.clip))
    if detection:
        from mmcfusion_ros.evaluation.detection.detection_tables import detection_tables

        parts.append(detection_tables(detection, options.under))
    return "\n".join(parts)


def _judge(folders: Sequence[LabelledFolder], options: EvaluationOptions) -> Judge | None:
    if not options.detectors:
        return None
    names = {folder.name: [files.name for files in folder.pairs] for folder in folders}
    try:
        from mmcfusion_ros.evaluation.detection.judge import Judge

        return Judge(options.detectors, names, options.night)
    except ModuleNotFoundError as error:
        raise ValueError(f"these detectors need the package {error.name}: pip install {error.name}") from error


def _measure(
    folder: LabelledFolder, methods: Sequence[Method], out: Path, judge: Judge | None, options: EvaluationOptions
) -> tuple[dict[str, list[dict[str, float]]], dict[str, dict[str, float]]]:
    rows: dict[str, list[dict[str, float]]] = {method.name: [] for method in methods}
    clip = ClipTest()
    for files in tqdm(folder.pairs, desc=folder.name, unit="pair", disable=None):
        thermal, rgb = folder.read(files)
        clean = thermal, split_luminance(rgb)[0]
        seen = under_stress(*clean, files.name, options)
        fused, coloured = {}, {}
        try:
            for method in methods:
                sources = files.in_roles(*seen) if method.is_network else seen
                fused[method.name] = method.fuse(*sources)
                coloured[method.name] = method.colourise(fused[method.name], rgb)
                rows[method.name].append(fusion_metrics(*method.reference(files, *clean), fused[method.name]))
            if judge:
                judge.add(seen[0], merge_luminance(seen[1], rgb), coloured, folder.labels[files.name])
            if options.clip:
                clip.add({"thermal": seen[0], "luminance": seen[1], **fused})
        except (ValueError, FusionError) as error:
            raise ValueError(f"{files.thermal}: {error}") from error
        for name, image in coloured.items():
            target = out / name / "fused" / f"{files.name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            write_image(target, image)
    return rows, clip.result()


def _write_rows(result: FolderResult, out: Path) -> None:
    for method, mean in result.means.items():
        images = [*(files.name for files in result.folder.pairs), "mean"]
        rows = [{"image": image, **row} for image, row in zip(images, [*result.rows[method], mean], strict=True)]
        write_file(out / result.folder.name / method / "metrics.csv", csv_text(rows))


def _write_summary(
    results: Sequence[FolderResult],
    methods: Sequence[Method],
    options: EvaluationOptions,
    out: Path,
    detection: DetectionResult | None,
) -> None:
    summary = {
        "machine": machine(),
        "options": asdict(options),
        "models": {method.name: method.origin for method in methods},
        "detectors": {path.stem: sha256_of(path) for path in options.detectors},
        "sets": {
            result.folder.name: {
                "pairs": len(result.folder.pairs),
                "means": result.means,
                "mean_ranks": mean_ranks({**result.peers, **result.means}),
                "clip": result.clip,
            }
            for result in results
        },
        "detection": detection.rows if detection else [],
    }
    if detection:
        write_file(out / "detection.csv", csv_text(detection.rows))
    write_file(out / "summary.json", json.dumps(summary, indent=2, default=str) + "\n")
    write_file(out / "summary.md", summary_markdown(results, options, detection))
