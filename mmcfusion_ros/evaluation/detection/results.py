"""Scores of all detectors on all inputs as rows, by subset, with differences to our images, and as boxes by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmcfusion_ros.evaluation.detection.found import KINDS
from mmcfusion_ros.evaluation.detection.labels import Labels
from mmcfusion_ros.evaluation.detection.scores import MEASURES, Mark, Scores, Table, interval

MEAN = "mean"
Row = dict[str, str | int | float | None]


@dataclass(frozen=True)
class DetectionResult:
    """``scores`` by input and detector, over all pairs of all folders, with their ``labels``; ``subsets``: names to
    numbers of pairs; ``others``: the inputs that are not ours."""

    scores: Mapping[str, Mapping[str, Scores]]
    labels: Sequence[Labels]
    subsets: Mapping[str, Sequence[int]]
    others: Sequence[str]

    @property
    def detectors(self) -> list[str]:
        return [*next(iter(self.scores.values()))]

    @property
    def ours(self) -> list[str]:
        """The inputs that our models made."""
        return [name for name in self.scores if name not in self.others]

    @cached_property
    def rows(self) -> list[Row]:
        """One for each subset, input, detector (and the mean of several) and kind.

        ``objects`` that count; AP50 with the ends of its 95 % interval over images, AP50:95, precision and recall at
        score .25, in [0, 1]; for each of ours what its AP50 is more, with the interval of that, paired by image. None
        where there is nothing to find.
        """
        return [row for subset in self.subsets for row in self._rows_of(subset)]

    def marks(self, number: int) -> dict[str, dict[str, list[Mark]]]:
        """What detectors found and missed in a pair, by input and detector."""
        return {
            name: {detector: scores.marks(number) for detector, scores in each.items()}
            for name, each in self.scores.items()
        }

    def _rows_of(self, subset: str) -> list[Row]:
        numbers = self.subsets[subset]
        tables = {name: _with_mean([s.table(numbers) for s in each.values()]) for name, each in self.scores.items()}
        draws = {name: _with_mean([s.bootstrap(numbers) for s in each.values()]) for name, each in self.scores.items()}
        titles = [*self.detectors, MEAN][: len(next(iter(tables.values())))]
        counted = [labels.kinds[~labels.ignored] for labels in map(self.labels.__getitem__, numbers)]
        objects = np.bincount(np.concatenate(counted), minlength=len(KINDS))
        rows: list[Row] = []
        for name, table in tables.items():
            for d, detector in enumerate(titles):
                for k, kind in enumerate(KINDS):
                    row: Row = {"subset": subset, "pairs": len(numbers), "input": name, "detector": detector}
                    row |= {"kind": kind, "objects": int(objects[k])}
                    row |= dict(zip(MEASURES, map(_number, table[d, k]), strict=True))
                    row |= _ends("AP50", draws[name][d, :, k])
                    for model in self.ours:
                        title = f"{model} minus this"
                        row[title] = _number(tables[model][d, k, 0] - table[d, k, 0])
                        row |= _ends(title, draws[model][d, :, k] - draws[name][d, :, k])
                    rows.append(row)
        return rows


def _with_mean(tables: Sequence[Table]) -> Table:
    """``detectors x ...``, and their mean behind, of several."""
    each = np.stack(tables)
    return np.concatenate((each, each.mean(axis=0, keepdims=True))) if len(each) > 1 else each


def _ends(title: str, draws: Table) -> Row:
    low, high = interval(draws)
    return {f"{title} low": _number(low), f"{title} high": _number(high)}


def _number(value: float) -> float | None:
    """To 5 digits; None for what is no number."""
    return None if np.isnan(value) else round(float(value), 5)
