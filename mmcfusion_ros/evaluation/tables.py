"""Methods beside each other: mean ranks, the published peers, Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmcfusion_ros.evaluation.metrics import MORE
from mmcfusion_ros.files import text_of

RANKED = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM_cdd")
SHOWN = (*RANKED, "CC", "VIF_min", "SSIM_min", "Qabf_min")
DRAWS = 1000  # of the bootstrap
LATEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
)

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
    text = text_of(path)
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if header.count(";") > header.count(",") else ",")
    missing = {"set", "method", *RANKED} - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"{path}: has no column {', '.join(sorted(missing))}")
    unused: Counter[str] = Counter()
    for row in reader:
        name, method = row["set"], row["method"]
        if name not in peers:
            unused[f"of {name}, which is none of the folders"] += 1
        elif (row.get("pairs") or str(folders[name])) != str(folders[name]):
            unused[f"of {name}: measured on {row['pairs']} pairs, the folder has {folders[name]}"] += 1
        elif method in peers[name]:
            raise ValueError(f"{path}: {name} has two rows of {method}")
        else:
            try:
                values = {metric: float(row[metric]) for metric in (*SHOWN, *MORE) if metric in row}
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: a metric of {name} is no number ({error})") from None
            if not all(map(math.isfinite, values.values())):  # which no rank could be made of
                raise ValueError(f"{path}: a metric of {name} is no number ({method})")
            peers[name][method] = values
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
    shown = shown_metrics(ours)
    lines = [f"| method | thermal | mean rank | {' | '.join(shown)} |", "|---" * (len(shown) + 3) + "|"]
    for name, values, rank in table_rows(ours, peers, best):
        title = f"**{name}**" if name in ours else name
        polarity = "black hot" if name in black_hot else "white hot"
        lines.append(f"| {title} | {polarity} | {rank} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def latex_table(title: str, ours: Mapping[str, Metrics], peers: Mapping[str, Metrics]) -> str:
    """The ranked metrics as a ``tabular`` of LaTeX with booktabs, best mean rank first, ours in bold."""
    lines = [f"% {title}", f"\\begin{{tabular}}{{l{'r' * (len(RANKED) + 1)}}}", "\\toprule"]
    lines += [f"Method & Rank & {' & '.join(RANKED).replace('_', LATEX[ord('_')])} \\\\", "\\midrule"]
    for name, values, rank in table_rows(ours, peers):
        safe = name.translate(LATEX)
        title = f"\\textbf{{{safe}}}" if name in ours else safe
        lines.append(f"{title} & {rank} & {' & '.join(values[: len(RANKED)])} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def intervals_table(intervals: Mapping[str, Mapping[str, tuple[float, float]]]) -> str:
    """Markdown of what ``bootstrap`` gives of several pairs."""
    columns = [*next(iter(intervals.values()))]
    lines = [f"| 95 % over pairs | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in intervals.items():
        lines.append(f"| {name} | {' | '.join(f'{low:.3f} to {high:.3f}' for low, high in row.values())} |")
    return "\n".join(lines) + "\n"


def bootstrap(
    rows: Mapping[str, Sequence[Metrics]], peers: Mapping[str, Metrics]
) -> dict[str, dict[str, tuple[float, float]]]:
    """By method, of its mean rank and the ranked metrics: what 95 % of ``DRAWS`` sets of as many pairs, drawn with
    repetition, lie between (percentiles). All methods have the same draws; of peers only their means are known, which
    stay as they are. Empty for a single pair."""
    count = len(next(iter(rows.values())))
    if count < 2:
        return {}
    weights = np.random.default_rng(0).multinomial(count, [1 / count] * count, DRAWS) / count
    means = {name: weights @ [[row[metric] for metric in RANKED] for row in each] for name, each in rows.items()}
    ranks = [
        mean_ranks({name: dict(zip(RANKED, drawn[i], strict=True)) for name, drawn in means.items()}, peers)
        for i in range(DRAWS)
    ]
    found = {}
    for name, drawn in means.items():
        columns = {"mean rank": [rank[name] for rank in ranks]} if ranks[0] else {}
        columns |= dict(zip(RANKED, drawn.T, strict=True))
        found[name] = {key: tuple(np.percentile(values, (2.5, 97.5)).tolist()) for key, values in columns.items()}
    return found


def shown_metrics(ours: Mapping[str, Metrics]) -> list[str]:
    """Columns of a table: the usual metrics, and those of ``MORE`` that were asked for."""
    return [*SHOWN, *(name for name in MORE if name in next(iter(ours.values())))]


def table_rows(
    ours: Mapping[str, Metrics], peers: Mapping[str, Metrics], best: int | None = None
) -> list[tuple[str, list[str], str]]:
    """Name, metrics in the order of ``shown_metrics`` and mean rank as text, the best first; with ``best``, of the
    peers so many."""
    methods, ranks = {**peers, **ours}, mean_ranks(ours, peers)
    order = sorted(methods, key=lambda name: ranks.get(name, 0))
    shown = {*ours, *[name for name in order if name not in ours][:best]}
    return [
        (
            name,
            [f"{methods[name][metric]:.3f}" if metric in methods[name] else "" for metric in shown_metrics(ours)],
            f"{ranks[name]:.2f}" if ranks else "",
        )
        for name in order
        if name in shown
    ]
