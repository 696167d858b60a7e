"""What detectors find, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from mmcfusion_ros.evaluation.detection.detectors import KINDS
from mmcfusion_ros.evaluation.detection.results import MEAN, DetectionResult, Row
from mmcfusion_ros.evaluation.detection.scores import MEASURES, SHOWN_SCORE


def detection_tables(result: DetectionResult, under: str = "") -> str:
    """By subset: scores of the mean of all detectors and AP50 of each, then what AP50 of our images is more."""
    parts = []
    for subset in result.subsets:
        rows = [row for row in result.rows if row["subset"] == subset]
        objects = " and ".join(f"{row['objects']} {row['kind']}" for row in rows[: len(KINDS)])
        parts.append(f"### What detectors find: {subset}{under}, {rows[0]['pairs']} pairs, {objects} labels\n")
        parts.append(_scores(result, rows))
        parts.append(_differences(result, rows))
    return "\n".join(parts)


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
