"""The figures of results/fusion_metrics.md are those of the shipped weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmcfusion_ros.evaluation.evaluate import evaluate
from mmcfusion_ros.evaluation.folders import EvaluationOptions

PAGE = Path(__file__).resolve().parents[1] / "results" / "fusion_metrics.md"


def page_row(folder_name, model):
    """Metrics of the model in the folder's table."""
    tables = PAGE.read_text().split("<!-- quality -->")[1].split("<!-- /quality -->")[0]
    lines = tables.split(f"### {folder_name}:")[1].split("\n### ")[0].splitlines()
    header, *rows = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines if line.startswith("|"))
    (row,) = (row for row in rows if row[0] == f"**{model}**")
    return {name: float(value) for name, value in zip(header[3:], row[3:], strict=True)}


def test_shipped_lite_gives_the_figures_of_the_page(shared_data, tmp_path, private_cache):
    """To 1 %: the page's machine may compute in another precision."""
    (result,) = evaluate([shared_data / "msrs/test"], ["lite"], tmp_path, EvaluationOptions())
    written = page_row("msrs/test", "lite")
    assert {name: result.means["lite"][name] for name in written} == pytest.approx(written, rel=0.01)
