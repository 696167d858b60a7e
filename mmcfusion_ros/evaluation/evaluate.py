"""Networks and classic rules on folders of pairs: metrics, what detectors find, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from mmcfusion_ros.evaluation.benchmark import machine
from mmcfusion_ros.evaluation.clips import ClipTest, clip_table
from mmcfusion_ros.evaluation.folder_page import write_folder_page
from mmcfusion_ros.evaluation.folders import (
    EvaluationOptions,
    FolderResult,
    LabelledFolder,
    distinct,
    open_folders,
    under_stress,
)
from mmcfusion_ros.evaluation.methods import Method, ReadyImages, load_method, ready_method
from mmcfusion_ros.evaluation.metrics import check_measurable, fusion_metrics
from mmcfusion_ros.evaluation.pictures import write_image
from mmcfusion_ros.evaluation.tables import intervals_table, latex_table, mean_ranks, metrics_table, read_peers
from mmcfusion_ros.files import csv_text, json_text, write_file
from mmcfusion_ros.fusion.errors import FusionError
from mmcfusion_ros.fusion.fuser import merge_luminance, split_luminance
from mmcfusion_ros.network.hashes import sha256_of

if TYPE_CHECKING:  # needs pycocotools
    from mmcfusion_ros.evaluation.detection.judge import Judge
    from mmcfusion_ros.evaluation.detection.results import DetectionResult


def evaluate(paths: Sequence[Path], models: Sequence[str], out: Path, options: EvaluationOptions) -> list[FolderResult]:
    """Fuses every pair of every folder with every model and measures the result, against the sources without stress,
    the thermal one in the polarity in which the model got it.

    A model is a rule of ``RULES`` or what ``Fuser`` takes. Metrics are of the luminance of what is saved. With
    detectors only pairs with labels count, at the size that these are for. A pair that cannot be read is left out, and
    named in ``failures`` of its folder and in the summary. Writes to ``out``: ``SET/MODEL/metrics.csv``,
    ``SET/MODEL/fused/NAME.png`` (in colour), ``SET/index.html`` (the report that compares the models),
    ``detection.csv`` (of all folders together), ``summary.json``, ``summary.md``, ``summary.tex``. Raises what
    ``open_folders``, ``read_peers``, ``load_detector``, ``ready_method`` and ``Fuser`` raise, and ``ValueError`` naming
    the file for images that cannot be measured, or if no pair of a folder can be read.
    """
    folders = open_folders(paths, options)
    methods = [load_method(model, options) for model in models]
    for folder in folders:
        _check(folder, options.metrics)
    ready = {folder.name: _ready(folder, len(folders), options) for folder in folders}
    if options.fused:
        for folder in folders:
            _check(folder, options.metrics, ready[folder.name])
    peers, unused = read_peers(options.peers, {folder.name: len(folder.pairs) for folder in folders})
    judge = _judge(folders, options)
    distinct("methods", [*(method.name for method in methods), *options.fused, *set().union(*peers.values())])
    black_hot = frozenset(method.name for method in methods if method.thermal_polarity == "black_hot")
    of_folder: dict[str, list[Method | ReadyImages]] = {
        folder.name: [*methods, *ready[folder.name]] for folder in folders
    }
    results = []
    for folder in folders:
        for method in methods:
            method.begin()
        try:
            rows, clip = _measure(folder, of_folder[folder.name], out / folder.name, judge, options)
        except BrokenProcessPool:
            raise OSError(
                "a process for the metrics was killed, perhaps for its memory; take fewer --workers"
            ) from None
        results.append(FolderResult(folder, rows, peers.get(folder.name, {}), black_hot, clip))
        _write_rows(results[-1], out)
    detection = judge.result() if judge else None
    _write_summary(results, methods, options, out, detection, unused)
    for result in results:
        write_folder_page(result, of_folder[result.folder.name], options, out, detection)
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
        if result.intervals:
            parts.append(intervals_table(result.intervals))
        if result.clip:
            parts.append(clip_table(result.clip))
        parts += [f"Left out: {failure}\n" for failure in result.folder.failures]
    if detection:
        from mmcfusion_ros.evaluation.detection.detection_tables import detection_tables

        parts.append(detection_tables(detection, options.under))
    return "\n".join(parts)


def _check(folder: LabelledFolder, metrics: Sequence[str], ready: Sequence[ReadyImages] = ()) -> None:
    """Gives up the pairs that cannot be read, and those of images that others fused, before any is fused."""
    for files in tqdm([*folder.pairs], desc=f"{folder.name}: reading", unit="pair", leave=False, disable=None):
        try:
            thermal, rgb = folder.read(files)
            check_measurable(thermal.shape, metrics)
            for images in ready:
                images(files, thermal, thermal, rgb)
        except (ValueError, TypeError) as error:
            folder.give_up(files, error)
    if not folder.pairs:
        raise ValueError(f"{folder.name}: no pair can be used; {folder.failures[0]}")


def _ready(folder: LabelledFolder, folders: int, options: EvaluationOptions) -> list[ReadyImages]:
    """Of several folders each has its images in a folder of its name below that of a method."""
    return [
        ready_method(name, path if folders == 1 else path / folder.name, folder.pairs)
        for name, path in options.fused.items()
    ]


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
    folder: LabelledFolder,
    methods: Sequence[Method | ReadyImages],
    out: Path,
    judge: Judge | None,
    options: EvaluationOptions,
) -> tuple[dict[str, list[dict[str, float]]], dict[str, dict[str, float]]]:
    pending: dict[str, list[Future[dict[str, float]]]] = {method.name: [] for method in methods}
    clip = ClipTest()
    with ProcessPoolExecutor(options.workers, get_context("spawn")) if options.workers > 1 else AtOnce() as pool:
        for files in tqdm(folder.pairs, desc=folder.name, unit="pair", disable=None):
            thermal, rgb = folder.read(files)
            clean = thermal, split_luminance(rgb)[0]
            seen = under_stress(*clean, files.name, options)
            images, luminances = {}, {}
            try:
                for method in methods:
                    image = images[method.name] = method(files, *seen, rgb, options.stretch)
                    luminance = luminances[method.name] = split_luminance(image)[0]
                    reference = method.reference(files, *clean)
                    futures = pending[method.name]
                    futures.append(pool.submit(fusion_metrics, *reference, luminance, options.metrics))
                    futures[-min(len(futures), 2 * options.workers)].result()  # no more images than that wait
                if judge:
                    judge.add(seen[0], merge_luminance(seen[1], rgb), images, folder.labels[files.name])
                if options.clip:
                    clip.add({"thermal": seen[0], "luminance": seen[1], **luminances})
            except (ValueError, FusionError) as error:
                raise ValueError(f"{files.thermal}: {error}") from error
            for name, image in images.items():
                target = out / name / "fused" / f"{files.name}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                write_image(target, image)
        rows = {name: [future.result() for future in futures] for name, futures in pending.items()}
    return rows, clip.result()


class AtOnce(Executor):
    """Computes what is submitted then and there."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future with the result; raises what ``function`` raises."""
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


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
    unused: Sequence[str],
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
                "mean_ranks": mean_ranks(result.means, result.peers),
                "intervals": result.intervals,
                "failures": result.folder.failures,
                "clip": result.clip,
            }
            for result in results
        },
        "peers left out": unused,
        "detection": detection.rows if detection else [],
    }
    if detection:
        write_file(out / "detection.csv", csv_text(detection.rows))
    write_file(out / "summary.json", json_text(summary))
    text = summary_markdown(results, options, detection) + "".join(f"\n{line}\n" for line in unused)
    write_file(out / "summary.md", text)
    latex = [latex_table(result.folder.name + options.under, result.means, result.peers) for result in results]
    write_file(out / "summary.tex", "\n".join(latex))
