"""Parameter values without a node."""

from __future__ import annotations

import pytest

from mmcfusion_ros.resources import package_file
from mmcfusion_ros.stream.parameter_files import load_values
from mmcfusion_ros.stream.parameters import PARAMETERS

DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS}


def test_the_shipped_file_holds_the_defaults():
    assert load_values(package_file("config/fusion.yaml")) == load_values() == DEFAULTS


def test_assignments_lie_over_the_file_and_the_file_over_the_defaults(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    use_sim_time: true\n    pairing: {slop: 0.01, queue_size: 7}\n"
        "/robot/mmcfusion:\n  ros__parameters: {pairing.max_age: 3}\n"
        "other_node:\n  ros__parameters: {speed: 9}\n"
    )
    values = load_values(file, ["pairing.slop=0.02", "model=a b.xml", "publish_compressed=true"])
    assert values == {
        **DEFAULTS,
        "pairing.slop": 0.02,
        "pairing.queue_size": 7,
        "pairing.max_age": 3.0,
        "model": "a b.xml",
        "publish_compressed": True,
    }


@pytest.mark.parametrize(
    ("text", "assignments", "words"),
    [
        (
            "/**:\n  ros__parameters: {pairing: {slip: 1}}",
            [],
            ["pairing.slip (is it pairing.slop?)", "mmcfusion parameters"],
        ),
        ("/**:\n  ros__parameters: {threads: many}", [], ["threads", "integer", "'many'"]),
        ("/**:\n  ros__parameters: {a: [}", [], ["params.yaml is not YAML"]),
        ("speed: 9", [], ["params.yaml", "ros__parameters"]),
        ("", [], ["params.yaml", "ros__parameters"]),
        (None, ["slop"], ["'slop' must be name=value"]),
        (None, ["slop=1"], ["no parameter slop (is it pairing.slop?)"]),
        (None, ["pairing.slop=11"], ["pairing.slop is 11", "0 to 10"]),
    ],
)
def test_what_is_wrong_is_named(text, assignments, words, tmp_path):
    file = None
    if text is not None:
        file = tmp_path / "params.yaml"
        file.write_text(text)
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_values(file, assignments)
    for word in words:
        assert word in str(caught.value)
