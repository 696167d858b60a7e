"""Networks and classic rules on folders of pairs: metrics, the people test, tables and pictures."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmcfusion_ros.data.pair_folder import PairFiles, find_pairs, read_pair, read_rgb
from mmcfusion_ros.evaluation.benchmark import machine
from mmcfusion_ros.evaluation.clips import ClipTest, clip_table
from mmcfusion_ros.evaluation.files import write_file
from mmcfusion_ros.evaluation.metrics import fusion_metrics
from mmcfusion_ros.evaluation.people import PeopleTest, read_labels
from mmcfusion_ros.evaluation.pictures import write_image
from mmcfusion_ros.evaluation.report import Frame, Run, choose_previews, encode_preview, write_report
from mmcfusion_ros.evaluation.rules import RULES, Fusion
from mmcfusion_ros.evaluation.stress import degrade
from mmcfusion_ros.evaluation.tables import mean_ranks, metrics_table, people_table, read_peers
from mmcfusion_ros.fusion.colour import merge_luminance, split_luminance
from mmcfusion_ros.fusion.errors import FusionError
from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.fusion.models import find_model
from mmcfusion_ros.fusion.thermal import in_polarity
from mmcfusion_ros.network.hashes import sha256_of

PICTURES = 40  # of a folder, on the page


@dataclass(frozen=True)
class EvaluationOptions:
    """``stress`` is a key of ``STRESSES`` or empty, ``peers`` a CSV as ``read_peers`` takes it; a ``clip`` is a folder
    whose pairs are the frames of one recording, in the order of their names."""

    peers: Path | None = None
    stress: str = ""
    seed: int = 0
    detect_people: bool = False
    precision: str = "auto"
    clip: bool = False

    def __post_init__(self) -> None:
        if self.stress and self.peers:
            raise ValueError("peers were measured without stress; leave out one of both")
        if self.stress and self.clip:
            raise ValueError("under stress nothing in a clip is still; leave out one of both")


@dataclass(frozen=True)
class Method:
    """A way to fuse, and where it comes from. A network has learned what thermal images are like: functional ones
    take their place (:meth:`PairFiles.in_roles`)."""

    name: str
    fuse: Fusion
    origin: dict[str, object]
    is_network: bool = False
    thermal_polarity: str = "white_hot"

    def reference(self, files: PairFiles, thermal: np.ndarray, luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A pair as the result is measured against it: the thermal image as the network got it."""
        first, second = files.in_roles(thermal, luminance)
        return files.in_roles(in_polarity(first, self.thermal_polarity), second)


@dataclass(frozen=True)
class FolderResult:
    """Metrics by method, one row a pair; means of peers; results of the people and clip tests by kind of image; which
    methods got the thermal image black hot, and were measured against that."""

    name: str
    pairs: list[PairFiles]
    rows: dict[str, list[dict[str, float]]]
    people: dict[str, dict[str, float]]
    peers: dict[str, dict[str, float]]
    black_hot: frozenset[str]
    clip: dict[str, dict[str, float]]

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """By method."""
        return {
            method: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            for method, rows in self.rows.items()
        }


def evaluate(
    folders: Sequence[Path], models: Sequence[str], out: Path, options: EvaluationOptions
) -> list[FolderResult]:
    """Fuses every pair of every folder with every model and measures the result, against the sources without stress,
    the thermal one in the polarity in which the model got it.

    A model is a rule of ``RULES`` or what ``Fuser`` takes. Metrics are of the luminance, without any stretch. Writes to
    ``out``: ``SET/MODEL/metrics.csv``, ``SET/MODEL/fused/NAME.png`` (in colour), ``SET/index.html`` (the report that
    compares the models), ``summary.json``, ``summary.md``. Raises what ``find_pairs``, ``read_peers`` and ``Fuser``
    raise, and ``ValueError`` naming the file for images that cannot be measured.
    """
    folder_names = _distinct("folders", ["/".join(folder.resolve().parts[-2:]) for folder in folders])
    pairs = [find_pairs(folder) for folder in folders]
    peers = [read_peers(options.peers, name) if options.peers else {} for name in folder_names]
    methods = [load_method(model, options.precision) for model in models]
    _distinct("models", [method.name for method in methods])
    black_hot = frozenset(method.name for method in methods if method.thermal_polarity == "black_hot")
    results = []
    for folder, name, files, others in zip(folders, folder_names, pairs, peers, strict=True):
        labels = folder / "labels" if options.detect_people else None
        rows, people, clip = _measure(files, methods, out / name, labels, options)
        results.append(FolderResult(name, files, rows, people, others, black_hot, clip))
        _write_rows(results[-1], out)
    _write_summary(results, methods, options, out)
    for result in results:
        _write_page(result, methods, options, out)
    return results


def load_method(model: str, precision: str = "auto") -> Method:
    """A rule by its name, a shipped network by its name, a file by its folder and stem (``run/best``)."""
    if model in RULES:
        return Method(model, RULES[model], {"rule": model})
    fuser = Fuser.from_pretrained(model, precision=precision)
    files = find_model(model)
    weights = [files.safetensors, files.openvino, files.openvino and files.openvino.with_suffix(".bin")]
    backend = fuser.backend
    origin: dict[str, object] = {
        "sha256": {file.name: sha256_of(file) for file in weights if file},
        "backend": backend.name,
        "device": backend.device,
        "precision": backend.precision,
        "thermal": backend.thermal_polarity,
    }
    path = Path(model)
    name = "/".join(path.resolve().with_suffix("").parts[-2:]) if path.suffix else model
    return Method(name, fuser.fuse_luminance, origin, is_network=True, thermal_polarity=backend.thermal_polarity)


def summary_markdown(results: Sequence[FolderResult], options: EvaluationOptions) -> str:
    """All tables of an evaluation."""
    parts = []
    for result in results:
        roles = ", to networks the functional image as thermal" if result.pairs[0].functional else ""
        parts.append(f"## {result.name}{_under(options)}: {len(result.pairs)} pairs{roles}\n")
        parts.append(metrics_table(result.means, result.peers, black_hot=result.black_hot))
        if result.people:
            parts.append(people_table(result.people))
        if result.clip:
            parts.append(clip_table(result.clip))
    return "\n".join(parts)


def _measure(
    pairs: Sequence[PairFiles], methods: Sequence[Method], out: Path, labels: Path | None, options: EvaluationOptions
) -> tuple[dict[str, list[dict[str, float]]], dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    rows: dict[str, list[dict[str, float]]] = {method.name: [] for method in methods}
    people = {name: PeopleTest() for name in ("thermal", "luminance", *rows)}
    clip = ClipTest()
    for files in tqdm(pairs, desc="/".join(out.parts[-2:]), unit="pair", disable=None):
        thermal, rgb = read_pair(files)
        luminance, chroma = split_luminance(rgb)
        seen = _under_stress(thermal, luminance, files.name, options)
        images = dict(zip(("thermal", "luminance"), seen, strict=True))
        for method in methods:
            try:
                sources = files.in_roles(*seen) if method.is_network else seen
                images[method.name] = fused = method.fuse(*sources)
                rows[method.name].append(fusion_metrics(*method.reference(files, thermal, luminance), fused))
            except (ValueError, FusionError) as error:
                raise ValueError(f"{files.thermal}: {error}") from error
            target = out / method.name / "fused" / f"{files.name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            write_image(target, merge_luminance(fused, chroma))
        if labels:
            boxes = read_labels(labels / f"{files.name}.txt", thermal.shape[1], thermal.shape[0])
            for name, image in images.items():
                people[name].add(image, boxes)
        if options.clip:
            try:
                clip.add(images)
            except ValueError as error:
                raise ValueError(f"{files.thermal}: {error}") from error
    return rows, {name: test.result() for name, test in people.items()} if labels else {}, clip.result()


def _under_stress(
    thermal: np.ndarray, luminance: np.ndarray, name: str, options: EvaluationOptions
) -> tuple[np.ndarray, np.ndarray]:
    return degrade(options.stress, thermal, luminance, options.seed, name) if options.stress else (thermal, luminance)


def _write_rows(result: FolderResult, out: Path) -> None:
    for method, mean in result.means.items():
        table = io.StringIO()
        writer = csv.DictWriter(table, ["image", *mean])
        writer.writeheader()
        writer.writerows(
            {"image": files.name, **row} for files, row in zip(result.pairs, result.rows[method], strict=True)
        )
        writer.writerow({"image": "mean", **mean})
        write_file(out / result.name / method / "metrics.csv", table.getvalue())


def _write_summary(
    results: Sequence[FolderResult], methods: Sequence[Method], options: EvaluationOptions, out: Path
) -> None:
    summary = {
        "machine": machine(),
        "options": {**asdict(options), "peers": options.peers and str(options.peers)},
        "models": {method.name: method.origin for method in methods},
        "sets": {
            result.name: {
                "pairs": len(result.pairs),
                "means": result.means,
                "mean_ranks": mean_ranks({**result.peers, **result.means}),
                "people": result.people,
                "clip": result.clip,
            }
            for result in results
        },
    }
    write_file(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    write_file(out / "summary.md", summary_markdown(results, options))


def _write_page(result: FolderResult, methods: Sequence[Method], options: EvaluationOptions, out: Path) -> None:
    """Compares the methods, with pictures of the pairs that have the worst Qabf of the first, and of some others."""
    first = result.rows[methods[0].name]
    worst = sorted(range(len(first)), key=lambda i: first[i]["Qabf"])
    seen = {i: _seen(result.pairs[i], options) for i in choose_previews(len(first), PICTURES, worst)}
    runs = [_run(result, method, seen, options, out) for method in methods]
    write_report(out / result.name / "index.html", runs)


def _seen(files: PairFiles, options: EvaluationOptions) -> tuple[bytes, bytes]:
    """Previews of what the methods saw: thermal and RGB."""
    thermal, rgb = read_pair(files)
    luminance, chroma = split_luminance(rgb)
    thermal, luminance = _under_stress(thermal, luminance, files.name, options)
    return encode_preview(thermal), encode_preview(merge_luminance(luminance, chroma))


def _run(
    result: FolderResult, method: Method, seen: dict[int, tuple[bytes, bytes]], options: EvaluationOptions, out: Path
) -> Run:
    frames = []
    for i, (files, row) in enumerate(zip(result.pairs, result.rows[method.name], strict=True)):
        images: tuple[bytes, ...] = ()
        if i in seen:
            fused = read_rgb(out / result.name / method.name / "fused" / f"{files.name}.png")
            images = *seen[i], encode_preview(fused)
        frames.append(Frame(files.name, i, row, *images))
    header = {"set": result.name, "model": method.name}
    for key, value in method.origin.items():
        header[key] = ", ".join(" ".join(item) for item in value.items()) if isinstance(value, dict) else str(value)
    if options.stress:
        header["stress"] = f"{options.stress}, seed {options.seed}; measured against the clean images"
    header["machine"] = "{processor}, {cores} cores, {system}".format(**machine())
    return Run(f"{result.name}{_under(options)}: {method.name}", header, frames)


def _under(options: EvaluationOptions) -> str:
    return f" under {options.stress}" if options.stress else ""


def _distinct(what: str, names: list[str]) -> list[str]:
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{count} {what} are called {name!r}; their results would overwrite each other")
    return names
