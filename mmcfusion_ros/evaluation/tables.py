"""Methods beside each other: mean ranks, the published peers, Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

RANKED = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM_cdd")
SHOWN = (*RANKED, "CC", "VIF_min", "SSIM_min", "Qabf_min")

Metrics = Mapping[str, float]


def read_peers(
    path: Path | None, folders: Mapping[str, int]
) -> tuple[dict[str, dict[str, dict[str, float]]], list[str]]:
    """Metrics by folder and method of a CSV with the columns ``set``, ``method`` and metrics, between commas or
    semicolons; and what of it cannot be used, in words. ``folders`` are their names and numbers of pairs.

    Methods that were measured on another number of pairs (a column ``pairs``) are left out. ``ValueError`` naming the
    file if a column that is ranked is missing or holds no number.
    """
    peers: dict[str, dict[str, dict[str, float]]] = {name: {} for name in folders}
    if path is None:
        return peers, []
    text = path.read_text(encoding="utf-8-sig")
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if header.count(";") > header.count(",") else ",")
    missing = {"set", "method", *RANKED} - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"{path}: has no column {', '.join(sorted(missing))}")
    unused: Counter[str] = Counter()
    for row in reader:
        name = row["set"]
        if name not in peers:
            unused[f"of {name}, which is none of the folders"] += 1
        elif int(row.get("pairs") or folders[name]) != folders[name]:
            unused[f"of {name}: measured on {row['pairs']} pairs, the folder has {folders[name]}"] += 1
        else:
            try:
                peers[name][row["method"]] = {metric: float(row[metric]) for metric in SHOWN if metric in row}
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: a metric of {name} is no number ({error})") from None
    return peers, [f"{path}: {count} rows left out, {why}" for why, count in unused.items()]


def mean_ranks(ours: Mapping[str, Metrics], peers: Mapping[str, Metrics] | None = None) -> dict[str, float]:
    """Mean over the nine ranked metrics of each method's place (1 is best; equal values share the better place).

    Each of ours is ranked among the peers and itself alone, so that its rank does not depend on what else was measured;
    peers are ranked among each other, and among ours if that is one. Without peers ours are ranked among each other;
    one method alone has no rank.
    """
    if not peers:
        return _ranks(ours) if len(ours) > 1 else {}
    if len(ours) == 1:
        return _ranks({**peers, **ours})
    return {**_ranks(peers), **{name: _ranks({**peers, name: values})[name] for name, values in ours.items()}}


def place(name: str, values: Metrics, peers: Mapping[str, Metrics]) -> tuple[int, int]:
    """Of a method among the peers and itself, by mean rank, and of how many."""
    ranks = _ranks({**peers, name: values})
    return 1 + sum(rank < ranks[name] for rank in ranks.values()), len(ranks)


def _ranks(methods: Mapping[str, Metrics]) -> dict[str, float]:
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
    lines = [f"| method | thermal | mean rank | {' | '.join(SHOWN)} |", "|---" * (len(SHOWN) + 3) + "|"]
    for name, values, rank in _rows(ours, peers, best):
        title = f"**{name}**" if name in ours else name
        polarity = "black hot" if name in black_hot else "white hot"
        lines.append(f"| {title} | {polarity} | {rank} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def latex_table(title: str, ours: Mapping[str, Metrics], peers: Mapping[str, Metrics]) -> str:
    """The ranked metrics as a ``tabular`` of LaTeX with booktabs, best mean rank first, ours in bold."""
    lines = [f"% {title}", f"\\begin{{tabular}}{{l{'r' * (len(RANKED) + 1)}}}", "\\toprule"]
    lines += [f"Method & Rank & {' & '.join(RANKED)} \\\\".replace("_", "\\_"), "\\midrule"]
    for name, values, rank in _rows(ours, peers):
        safe = re.sub(r"([&%$#_{}])", r"\\\1", name)
        title = f"\\textbf{{{safe}}}" if name in ours else safe
        lines.append(f"{title} & {rank} & {' & '.join(values[: len(RANKED)])} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _rows(
    ours: Mapping[str, Metrics], peers: Mapping[str, Metrics], best: int | None = None
) -> list[tuple[str, list[str], str]]:
    """Name, metrics in the order of ``SHOWN`` and mean rank as text, the best first."""
    methods, ranks = {**peers, **ours}, mean_ranks(ours, peers)
    order = sorted(methods, key=lambda name: ranks.get(name, 0))
    shown = {*ours, *[name for name in order if name not in ours][:best]}
    return [
        (
            name,
            [f"{methods[name][metric]:.3f}" if metric in methods[name] else "" for metric in SHOWN],
            f"{ranks[name]:.2f}" if ranks else "",
        )
        for name in order
        if name in shown
    ]
