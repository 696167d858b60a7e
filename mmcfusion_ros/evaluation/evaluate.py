"""Fusion metrics over folders of pairs, beside those of other methods."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.evaluation.metrics import fusion_metrics
from mmcfusion_ros.evaluation.pictures import contact_sheet, side_by_side, write_image
from mmcfusion_ros.fusion.colour import split_luminance
from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.fusion.pair_folder import PairFiles, find_pairs, read_rgb, read_thermal

RANKED = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM_cdd")
SHEET_ROWS = 12

Fusion = Callable[[np.ndarray, np.ndarray], np.ndarray]

RULES: dict[str, Fusion] = {
    "max": np.maximum,
    "average": lambda thermal, luminance: cv2.addWeighted(thermal, 0.5, luminance, 0.5, 0),
}


def fusion_by_name(model: str, precision: str = "auto") -> Fusion:
    """A classic rule (``max``, ``average``) or the luminance fusion of a model; raises what ``Fuser`` raises."""
    return RULES[model] if model in RULES else Fuser.from_pretrained(model, precision=precision).fuse_luminance


def evaluate_folder(folder: Path, fuse: Fusion, out: Path) -> dict[str, float]:
    """Mean metrics of a folder; writes ``metrics.csv``, every fused image and a sheet, worst Qabf first, to ``out``.

    Metrics are of the luminance, without any stretch of the output. Raises ``ValueError`` for files that do not fit.
    """
    (out / "fused").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, float]] = []
    pairs = find_pairs(folder)
    for i, files in enumerate(pairs):
        thermal, luminance = _read(files)
        fused = fuse(thermal, luminance)
        write_image(out / "fused" / f"{files.name}.png", cv2.cvtColor(fused, cv2.COLOR_GRAY2RGB))
        rows.append(fusion_metrics(thermal, luminance, fused))
        print(f"\r{folder}: {i + 1}/{len(pairs)}", end="", flush=True)
    print()
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    with open(out / "metrics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *mean])
        writer.writerows([files.name, *row.values()] for files, row in zip(pairs, rows, strict=True))
        writer.writerow(["mean", *mean.values()])
    worst = sorted(zip(pairs, rows, strict=True), key=lambda item: item[1]["Qabf"])[:SHEET_ROWS]
    write_image(out / "sheet.jpg", contact_sheet([_row(files, out) for files, _ in worst]))
    return mean


def mean_ranks(methods: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean over the nine ranked metrics of each method's place (1 is best)."""
    places = dict.fromkeys(methods, 0.0)
    for metric in RANKED:
        for place, name in enumerate(sorted(methods, key=lambda name: -methods[name][metric]), start=1):
            places[name] += place / len(RANKED)
    return places


def read_peers(path: Path, folder_name: str) -> dict[str, dict[str, float]]:
    """The rows of a CSV with the columns ``set``, ``method`` and metrics that belong to a folder."""
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == folder_name]
    return {row["method"]: {name: float(row[name]) for name in RANKED} for row in rows}


def markdown_table(methods: Mapping[str, Mapping[str, float]]) -> str:
    """One row a method, best mean rank first."""
    ranks = mean_ranks(methods)
    lines = [f"| method | mean rank | {' | '.join(RANKED)} |", "|---" * (len(RANKED) + 2) + "|"]
    for name in sorted(methods, key=lambda name: ranks[name]):
        values = " | ".join(f"{methods[name][metric]:.3f}" for metric in RANKED)
        lines.append(f"| {name} | {ranks[name]:.2f} | {values} |")
    return "\n".join(lines) + "\n"


def evaluate(folders: Sequence[Path], model: str, out: Path, peers: Path | None = None, precision: str = "auto") -> str:
    """Evaluates every folder, writes ``summary.json`` and ``summary.md`` and returns the latter's text."""
    fuse = fusion_by_name(model, precision)
    summary: dict[str, dict[str, float]] = {}
    tables = []
    for folder in folders:
        name = "/".join(folder.resolve().parts[-2:])
        summary[name] = evaluate_folder(folder, fuse, out / name)
        others = read_peers(peers, name) if peers else {}
        tables.append(f"## {name}\n\n{markdown_table({model: summary[name], **others})}")
    text = "\n".join(tables)
    (out / "summary.json").write_text(json.dumps({"model": model, "means": summary}, indent=2) + "\n")
    (out / "summary.md").write_text(text)
    return text


def _read(files: PairFiles) -> tuple[np.ndarray, np.ndarray]:
    thermal = read_thermal(files.thermal)
    if thermal.dtype != np.uint8:
        raise ValueError(f"{files.thermal}: 16-bit pixels; the metrics are of 8-bit images")
    return thermal, split_luminance(read_rgb(files.rgb))[0]


def _row(files: PairFiles, out: Path) -> np.ndarray:
    fused = read_thermal(out / "fused" / f"{files.name}.png")
    return side_by_side(read_thermal(files.thermal), read_rgb(files.rgb), fused)
