"""Methods beside each other: mean ranks, the published peers, Markdown."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from pathlib import Path

RANKED = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM_cdd")
SHOWN = (*RANKED, "CC", "VIF_min", "SSIM_min", "Qabf_min")

Metrics = Mapping[str, float]


def read_peers(path: Path, folder_name: str) -> dict[str, dict[str, float]]:
    """Metrics by method of the rows of a CSV (columns ``set``, ``method``, metrics) that belong to a folder.

    ``ValueError`` naming the file if a column that is ranked is missing or holds no number.
    """
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        missing = {"set", "method", *RANKED} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path}: has no column {', '.join(sorted(missing))}")
        rows = [row for row in reader if row["set"] == folder_name]
    try:
        return {row["method"]: {name: float(row[name]) for name in SHOWN if name in row} for row in rows}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: a metric of {folder_name} is no number ({error})") from None


def mean_ranks(methods: Mapping[str, Metrics]) -> dict[str, float]:
    """Mean over the nine ranked metrics of each method's place (1 is best; equal values share the better place)."""
    return {
        name: sum(1 + sum(other[metric] > values[metric] for other in methods.values()) for metric in RANKED)
        / len(RANKED)
        for name, values in methods.items()
    }


def metrics_table(
    ours: Mapping[str, Metrics],
    peers: Mapping[str, Metrics],
    best: int | None = None,
    black_hot: Collection[str] = (),
) -> str:
    """Markdown, best mean rank first, ours in bold; with ``best``, ours and so many of the best peers. The column
    ``thermal`` says against which thermal image a row was measured: ``black_hot`` are those against 255 - T."""
    methods = {**peers, **ours}
    ranks = mean_ranks(methods)
    order = sorted(methods, key=lambda name: ranks[name])
    shown = {*ours, *[name for name in order if name not in ours][:best]}
    lines = [f"| method | thermal | mean rank | {' | '.join(SHOWN)} |", "|---" * (len(SHOWN) + 3) + "|"]
    for name in order:
        if name in shown:
            title = f"**{name}**" if name in ours else name
            values = (f"{methods[name][metric]:.3f}" if metric in methods[name] else "" for metric in SHOWN)
            polarity = "black hot" if name in black_hot else "white hot"
            lines.append(f"| {title} | {polarity} | {ranks[name]:.2f} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"
