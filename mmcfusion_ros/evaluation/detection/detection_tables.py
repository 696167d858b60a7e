"""What detectors find, as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mmcfusion_ros.evaluation.detection.found import KINDS
from mmcfusion_ros.evaluation.detection.results import MEAN, DetectionResult, Row
from mmcfusion_ros.evaluation.detection.scores import MEASURES, SHOWN_SCORE


def detection_tables(result: DetectionResult, under: str = "") -> str:
    """AP50 of all subsets beside each other; then by subset scores of the mean of all detectors and AP50 of each, and
    what AP50 of our images is more."""
    parts = [f"## What detectors find{under}\n", overview(result.rows, result.ours)]
    for subset in result.subsets:
        rows = [row for row in result.rows if row["subset"] == subset]
        objects = " and ".join(f"{row['objects']} {row['kind']}" for row in rows[: len(KINDS)])
        parts.append(f"### {subset}{under}: {rows[0]['pairs']} pairs, {objects} labels\n")
        parts.append(_scores(result, rows))
        parts.append(_differences(result, rows))
    return "\n".join(parts)


def overview(rows: Sequence[Row], ours: Collection[str]) -> str:
    """Markdown of AP50 of the mean of all detectors: a row for each input, ours in bold, a column for each subset."""
    detectors = {*(row["detector"] for row in rows)}
    mean = [row for row in rows if row["detector"] == MEAN or len(detectors) == 1]
    columns = {row["subset"]: f"{row['subset']} ({row['pairs']})" for row in mean}
    cells = {(row["input"], row["subset"], row["kind"]): _text(row["AP50"]) for row in mean}
    title = f"{' / '.join(KINDS)} AP50"
    lines = [_line([title, *columns.values()]), "|---" * (len(columns) + 1) + "|"]
    for name in dict.fromkeys(str(row["input"]) for row in mean):
        pairs = (" / ".join(cells[name, subset, kind] for kind in KINDS) for subset in columns)
        lines.append(_line([f"**{name}**" if name in ours else name, *pairs]))
    return "\n".join(lines) + "\n"


def _scores(result: DetectionResult, rows: Sequence[Row]) -> str:
    several = len(result.detectors) > 1
    shown = MEAN if several else result.detectors[0]
    title = f"mean of {len(result.detectors)}" if several else shown
    measures = [f"{kind} {name}" for kind in KINDS for name in ("AP50 (95 %)", *MEASURES[1:])]
    columns = [title, *measures, *(f"{name}: {' / '.join(KINDS)} AP50" for name in result.detectors if several)]
    lines = [_line(columns), "|---" * len(columns) + "|"]
    for name in result.scores:
        mine = {(row["detector"], row["kind"]): row for row in rows if row["input"] == name}
        cells = [f"**{name}**" if name in result.ours else name]
        for kind in KINDS:
            row = mine[shown, kind]
            cells += [f"{_text(row['AP50'])} {_interval(row, 'AP50')}".strip(), *(_text(row[m]) for m in MEASURES[1:])]
        if several:
            cells += [" / ".join(_text(mine[each, kind]["AP50"]) for kind in KINDS) for each in result.detectors]
        lines.append(_line(cells))
    return "\n".join(lines) + f"\n\nPrecision and recall at score {SHOWN_SCORE}.\n"


def _differences(result: DetectionResult, rows: Sequence[Row]) -> str:
    shown = MEAN if len(result.detectors) > 1 else result.detectors[0]
    columns = ["AP50 more than", *(f"{model}: {kind}" for model in result.ours for kind in KINDS)]
    lines = [_line(columns), "|---" * len(columns) + "|"]
    for name in result.scores:
        mine = {row["kind"]: row for row in rows if row["input"] == name and row["detector"] == shown}
        titles = [(mine[kind], f"{model} minus this") for model in result.ours for kind in KINDS]
        lines.append(_line([name, *(f"{_text(row[t], '+')} {_interval(row, t, '+')}".strip() for row, t in titles)]))
    return "\n".join(lines) + "\n"


def _interval(row: Row, title: str, sign: str = "") -> str:
    low, high = row[f"{title} low"], row[f"{title} high"]
    return "" if low is None else f"({_text(low, sign)} to {_text(high, sign)})"


def _text(value: str | float | None, sign: str = "") -> str:
    return f"{value:{sign}.3f}" if isinstance(value, float) else "-"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
