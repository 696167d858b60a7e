"""One or two runs over a bag, their page, and their numbers beside each other."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

from mmcfusion_ros.evaluation.bags.evaluate import BagOptions, BagResult, evaluate_bag
from mmcfusion_ros.evaluation.bags.measures import METRICS
from mmcfusion_ros.ros.parameters import Value


def evaluate_and_report(
    bag: Path, out: Path, configurations: Mapping[str, Mapping[str, Value]], options: BagOptions, stop: threading.Event
) -> list[BagResult]:
    """Runs each configuration (parameter values by title) into ``out`` or, if there are several, ``out/1``, ``out/2``.

    Writes ``out/report.html`` and, for several, ``out/comparison.json`` with the numbers by title. Raises what
    ``evaluate_bag`` raises.
    """
    from mmcfusion_ros.evaluation.report import write_report

    results = {}
    for number, (title, values) in enumerate(configurations.items(), 1):
        if not stop.is_set():
            folder = out / str(number) if len(configurations) > 1 else out
            results[title] = evaluate_bag(bag, values, folder, options, stop)
    write_report(out / "report.html", [result.run(title) for title, result in results.items()])
    if len(configurations) > 1:
        table = {title: numbers(result) for title, result in results.items()}
        (out / "comparison.json").write_text(json.dumps(table, indent=2) + "\n")
    return list(results.values())


def numbers(result: BagResult) -> dict[str, float]:
    """The figures of a run that runs are compared by."""
    summary, statistics = result.summary, result.statistics
    figures = {"fused": float(statistics.counts["fused"]), "fused_hz": summary["fused_hz"]}
    for name, times in (("skew_ms", summary["skew_ms"]), *summary["latency_ms"].items()):
        figures |= {f"{name.removesuffix('_ms')}_{p}_ms": times[p] for p in ("p50", "p95") if p in times}
    return figures | {name: round(statistics.mean(name), 4) for name in METRICS if name in statistics.columns()}


def summary_text(results: list[BagResult]) -> str:
    """Figures by row, runs by column; then drops and problems of each run."""
    columns = [numbers(result) for result in results]
    names = dict.fromkeys(name for column in columns for name in column)
    lines = [
        f"{name:<20}" + "".join(f"{column.get(name, float('nan')):>12.4g}" for column in columns) for name in names
    ]
    for result in results:
        dropped = ", ".join(f"{reason} {n}" for reason, n in result.summary["dropped"].items())
        lines += [f"{result.summary['outcome']}; dropped: {dropped or 'none'}"]
        lines += [f"PROBLEM: {text}" for text in result.summary["problems"]]
    return "\n".join(lines)
