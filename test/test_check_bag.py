"""Regression by bag: scenarios that pass and fail, and scenario files that make no sense."""

from __future__ import annotations

import json

import pytest
import yaml
from bag_files import HEIGHT, START, WIDTH, drive, rgb, write_bag

from mmcfusion_ros.cli import main
from mmcfusion_ros.evaluation.bags.scenario import check_bag, load_scenario

EXPECT = {
    "min_fused_hz": 9.9,
    "max_p95_latency_ms": 60_000,
    "max_skew_ms": 5,
    "min_metrics": {"EN": 4.0, "Qabf": 0.01},
    "max_residual_px": 20,
}


@pytest.fixture
def scenario(random_lite_graph, tmp_path):
    """Writes a scenario file; keywords replace or add to its content."""

    def write(**content):
        parameters = {
            "model": str(random_lite_graph),
            "threads": 1,
            "warm_up_width": WIDTH,
            "warm_up_height": HEIGHT,
        }
        path = tmp_path / "scenario.yaml"
        path.write_text(yaml.safe_dump({"name": "by day", "parameters": parameters, "expect": EXPECT, **content}))
        return path

    return write


@pytest.fixture
def clean(tmp_path):
    """Every frame pairs."""
    return write_bag(tmp_path / "clean", drive(6))


@pytest.fixture
def torn(tmp_path):
    """Larger skew, and an RGB frame without a partner."""
    return write_bag(tmp_path / "torn", [*drive(6, skew_ns=20_000_000), rgb(6, START + 700_000_000)])


def verdicts(verdict):
    return {check["name"]: check["passed"] for check in verdict["checks"]}


def test_a_bag_that_meets_its_scenario(clean, scenario):
    verdict = check_bag(clean, load_scenario(scenario()))
    assert verdict["passed"]
    assert all(verdicts(verdict).values())
    assert verdicts(verdict).keys() == {
        *("fused", "allowed_drops", "min_fused_hz", "max_p95_latency_ms", "max_skew_ms", "max_residual_px"),
        *("min_metrics.EN", "min_metrics.Qabf"),
    }
    measured = {check["name"]: check["measured"] for check in verdict["checks"]}
    assert measured["min_fused_hz"] == pytest.approx(10)
    assert measured["max_skew_ms"] == 4
    assert measured["min_metrics.EN"] == pytest.approx(verdict["summary"]["metrics"]["EN"], abs=1e-5)


def test_a_bag_that_does_not(torn, scenario):
    verdict = check_bag(torn, load_scenario(scenario(expect={**EXPECT, "max_p95_latency_ms": 1e-6})))
    assert not verdict["passed"]
    failed = {name for name, passed in verdicts(verdict).items() if not passed}
    assert failed == {"allowed_drops", "max_skew_ms", "max_p95_latency_ms"}
    drops = next(check for check in verdict["checks"] if check["name"] == "allowed_drops")
    assert drops["measured"] == {"unpaired_rgb": 1}


def test_drops_that_are_allowed_and_limits_that_are_not_set(torn, scenario):
    verdict = check_bag(torn, load_scenario(scenario(expect={"allowed_drops": ["unpaired_rgb"]})))
    assert verdicts(verdict) == {"fused": True, "allowed_drops": True}
    assert verdict["summary"]["metrics"] == {}


def test_nothing_fused_never_passes(clean, scenario):
    path = scenario(expect={"allowed_drops": ["unpaired_rgb", "unpaired_thermal"]})
    path.write_text(path.read_text().replace("parameters:", "parameters:\n  pairing.slop: 0.001"))
    verdict = check_bag(clean, load_scenario(path))
    assert not verdict["passed"]
    assert verdicts(verdict)["fused"] is False


@pytest.mark.parametrize(("bag", "status"), [("clean", 0), ("torn", 1)])
def test_the_command_prints_the_verdict_and_exits_by_it(bag, status, scenario, tmp_path, capsys, request):
    path = request.getfixturevalue(bag)
    with pytest.raises(SystemExit) as ended:
        main(["check", str(path), "--scenario", str(scenario()), "--json", str(tmp_path / "verdict.json")])
    assert ended.value.code == status
    verdict = json.loads(capsys.readouterr().out)
    assert verdict == json.loads((tmp_path / "verdict.json").read_text())
    assert (verdict["scenario"], verdict["bag"], verdict["passed"]) == ("by day", str(path), status == 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"expects": {}}, ["unknown key expects (is it expect?)", "name, parameters, topics, every, expect"]),
        ({"expect": {"max_skew": 3}}, ["expect has unknown key max_skew (is it max_skew_ms?)", "max_skew_ms"]),
        ({"expect": {"min_metrics": {"PSNR": 3}}}, ["min_metrics has unknown key PSNR", "EN"]),
        ({"expect": {"max_skew_ms": "small"}}, ["max_skew_ms is text", "number"]),
        ({"expect": {"min_metrics": {"EN": True}}}, ["min_metrics.EN is True"]),
        ({"expect": {"allowed_drops": "unpaired_rgb"}}, ["allowed_drops", "list"]),
        ({"expect": [1]}, ["expect must hold keys and values, not a list of 1"]),
        ({"topics": {"infrared": "/x"}}, ["topics has unknown key infrared", "thermal, rgb"]),
        ({"parameters": {"pairing.slip": 1}}, ["no parameter pairing.slip (is it pairing.slop?)"]),
        ({"parameters": {"pairing.slop": 99}}, ["pairing.slop is 99", "0 to 10"]),
        ({"every": 0}, ["every is 0"]),
    ],
)
def test_what_is_wrong_in_a_scenario_is_named(content, words, scenario):
    path = scenario(**content)
    with pytest.raises(ValueError, match=r"scenario\.yaml: ") as caught:
        load_scenario(path)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("text", ["{", "- a\n- b\n", ""])
def test_what_is_no_scenario(text, tmp_path):
    path = tmp_path / "scenario.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"scenario\.yaml"):
        load_scenario(path)
