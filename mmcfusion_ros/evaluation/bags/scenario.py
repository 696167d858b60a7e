"""Regression by bag: a bag and a scenario's expectations in, a verdict out."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mmcfusion_ros.evaluation.bags.evaluate_bag import BagResult, evaluate_bag
from mmcfusion_ros.evaluation.bags.measures import METRICS
from mmcfusion_ros.evaluation.bags.options import BagOptions
from mmcfusion_ros.stream.parameter_files import complete_values
from mmcfusion_ros.stream.parameters import Value
from mmcfusion_ros.yaml_files import check_keys, described, read_yaml

KEYS = ("name", "parameters", "topics", "every", "expect")


@dataclass(frozen=True)
class Expectations:
    """Limits, inclusive; what is ``None`` or empty is not checked, but by default no frame may be dropped.

    min_fused_hz: fused frames per second of the recording. max_p95_latency_ms: from decoding to encoding, on this
    machine. max_skew_ms: of any pair. min_metrics: of the means over all frames. allowed_drops: reasons that may occur,
    in any number. max_residual_px: of the median shift left after registration.
    """

    min_fused_hz: float | None = None
    max_p95_latency_ms: float | None = None
    max_skew_ms: float | None = None
    min_metrics: Mapping[str, float] = field(default_factory=dict)
    allowed_drops: tuple[str, ...] = ()
    max_residual_px: float | None = None


@dataclass(frozen=True)
class Scenario:
    """What is run with which parameter values, and what is expected of it."""

    name: str
    values: Mapping[str, Value]
    options: BagOptions
    expect: Expectations


def load_scenario(path: Path) -> Scenario:
    """From YAML with the keys ``name``, ``parameters`` (by full name), ``topics`` (thermal, rgb, depth), ``every`` and
    ``expect`` (the fields of ``Expectations``). ``ValueError`` naming a key or value that makes no sense."""
    content = read_yaml(path, "scenario")
    try:
        if not isinstance(content, dict) or not content.keys() & set(KEYS):
            raise ValueError(f"no scenario: it has none of the keys {', '.join(KEYS)}")
        check_keys("the scenario", content, optional=KEYS)
        topics = _section(content, "topics", ("thermal", "rgb", "depth"))
        expect = _expectations(_section(content, "expect", [item.name for item in fields(Expectations)]))
        measured = bool(expect.min_metrics) or expect.max_residual_px is not None
        options = BagOptions(
            str(topics.get("thermal", "")),
            str(topics.get("rgb", "")),
            str(topics.get("depth", "")),
            every=int(_number("every", content.get("every", 1))),
            metrics=measured,
            images=False,
            report=False,
        )
        parameters = content.get("parameters") or {}
        values = complete_values(check_keys("parameters", parameters, optional=parameters))
        return Scenario(str(content.get("name", path.stem)), values, options, expect)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_bag(path: Path, scenario: Scenario, stop: threading.Event | None = None) -> dict[str, Any]:
    """The verdict: ``passed``, each expectation with its limit and what was measured, and the run's summary.

    An interrupted run does not pass. Raises what ``evaluate_bag`` raises.
    """
    result = evaluate_bag(path, scenario.values, None, scenario.options, stop)
    checks = _checks(result, scenario.expect)
    complete = result.summary["outcome"] == "complete"
    return {
        "scenario": scenario.name,
        "bag": str(path),
        "passed": complete and all(check["passed"] for check in checks),
        "checks": checks,
        "summary": result.summary,
    }


def _checks(result: BagResult, expect: Expectations) -> list[dict[str, Any]]:
    statistics = result.statistics
    latency = statistics.percentiles("total_ms").get("p95", math.nan)
    skew = statistics.percentiles("skew_ms").get("max", math.nan)
    forbidden = {reason: n for reason, n in statistics.drops.items() if reason not in expect.allowed_drops}
    checks = [
        {"name": "fused", "limit": 1, "measured": statistics.counts["fused"], "passed": statistics.counts["fused"] > 0},
        {"name": "allowed_drops", "limit": list(expect.allowed_drops), "measured": forbidden, "passed": not forbidden},
        _at_least("min_fused_hz", expect.min_fused_hz, statistics.fused_hz),
        _at_most("max_p95_latency_ms", expect.max_p95_latency_ms, latency),
        _at_most("max_skew_ms", expect.max_skew_ms, skew),
        _at_most("max_residual_px", expect.max_residual_px, statistics.median("residual_px")),
        *(_at_least(f"min_metrics.{n}", low, statistics.mean(n)) for n, low in expect.min_metrics.items()),
    ]
    return [check for check in checks if check["limit"] is not None]


def _at_least(name: str, limit: float | None, measured: float) -> dict[str, Any]:
    return _check(name, limit, measured, limit is not None and measured >= limit)


def _at_most(name: str, limit: float | None, measured: float) -> dict[str, Any]:
    return _check(name, limit, measured, limit is not None and measured <= limit)


def _check(name: str, limit: float | None, measured: float, passed: bool) -> dict[str, Any]:
    return {"name": name, "limit": limit, "measured": None if math.isnan(measured) else measured, "passed": passed}


def _expectations(given: Mapping[str, Any]) -> Expectations:
    metrics = _section(given, "min_metrics", METRICS)
    drops = given.get("allowed_drops") or []
    if not isinstance(drops, list) or not all(isinstance(reason, str) for reason in drops):
        raise ValueError(f"allowed_drops is {described(drops)}; it must be a list, such as [unpaired_rgb]")
    limits = {name: _number(name, given[name]) for name in given.keys() - {"min_metrics", "allowed_drops"}}
    return Expectations(
        **limits,
        min_metrics={name: _number(f"min_metrics.{name}", value) for name, value in metrics.items()},
        allowed_drops=tuple(drops),
    )


def _section(content: Mapping[str, Any], name: str, known: Collection[str]) -> Mapping[str, Any]:
    return check_keys(name, content.get(name) or {}, optional=known)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} is {described(value)}; it must be a number")
    return float(value)
