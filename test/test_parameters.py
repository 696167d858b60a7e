"""The table of parameters: its checks, ``config/fusion.yaml``, ``docs/parameters.md``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from mmcfusion_ros.stream.parameter_files import parameters_markdown, parameters_yaml
from mmcfusion_ros.stream.parameters import PARAMETERS, Parameter

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "parameters.md"
CONFIG = ROOT / "config" / "fusion.yaml"

SWITCH = Parameter("switch", True, "")
COUNT = Parameter("count", 3, "", low=1, high=5)
SIZE = Parameter("group.size", 1.5, "", low=-2, high=2)
COLOUR = Parameter("colour", "red", "", choices=("red", "blue"))
TEXT = Parameter("text", "", "")


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (SWITCH, False, False),
        (COUNT, 1, 1),
        (COUNT, 5, 5),
        (SIZE, -2.0, -2.0),
        (SIZE, 2, 2.0),
        (COLOUR, "blue", "blue"),
        (TEXT, "anything", "anything"),
    ],
)
def test_good_values(parameter, value, expected):
    checked = parameter.check(value)
    assert checked == expected
    assert type(checked) is type(expected)


@pytest.mark.parametrize(
    ("parameter", "value", "text"),
    [
        (SWITCH, 1, "parameter switch must be of type bool, not 1"),
        (SWITCH, "true", "must be of type bool"),
        (COUNT, True, "parameter count must be of type integer, not True"),
        (COUNT, 2.0, "must be of type integer, not 2.0"),
        (COUNT, 0, "parameter count is 0; it must be from 1 to 5"),
        (COUNT, 6, "parameter count is 6; it must be from 1 to 5"),
        (SIZE, True, "parameter group.size must be of type double, not True"),
        (SIZE, "1", "must be of type double"),
        (SIZE, 2.1, "parameter group.size is 2.1; it must be from -2 to 2"),
        (SIZE, -3, "it must be from -2 to 2"),
        (SIZE, float("nan"), "parameter group.size is nan"),
        (SIZE, float("inf"), "parameter group.size is inf"),
        (COLOUR, "green", "parameter colour is 'green'; it must be one of red, blue"),
        (COLOUR, 1, "must be of type string"),
        (TEXT, None, "must be of type string, not None"),
        (TEXT, ["a"], "must be of type string"),
    ],
)
def test_wrong_values(parameter, value, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        parameter.check(value)


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_the_table_is_sound(parameter):
    assert parameter.check(parameter.default) == parameter.default
    assert parameter.description
    assert parameter.description == parameter.description.strip(". ")
    if isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool) and not parameter.choices:
        assert parameter.low < parameter.high
    else:
        assert parameter.low is None
        assert parameter.high is None


def test_names_are_unique():
    assert len({parameter.name for parameter in PARAMETERS}) == len(PARAMETERS)


def test_type_names_are_those_of_ros2_param():
    assert [p.type_name for p in (SWITCH, COUNT, SIZE, COLOUR)] == ["bool", "integer", "double", "string"]


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key may not come twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(set(keys)) == len(keys), keys
        return super().construct_mapping(node, deep)


def flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_the_yaml_file_is_the_generated_one_and_complete():
    text = CONFIG.read_text(encoding="utf-8")
    assert text == parameters_yaml(), "run: python scripts/parameters.py"
    content = yaml.load(text, UniqueKeyLoader)
    values = dict(flat(content["/**"]["ros__parameters"]))
    assert values == {parameter.name: parameter.default for parameter in PARAMETERS}
    assert {name: type(value) for name, value in values.items()} == {p.name: type(p.default) for p in PARAMETERS}


def test_the_markdown_table():
    header, rule, *rows = parameters_markdown().splitlines()
    assert len(rows) == len(PARAMETERS)
    assert {line.count("|") for line in (header, rule, *rows)} == {7}
    assert rows[0].startswith("| `autostart` | bool | `true` |")


def test_the_page_has_the_generated_table():
    found = re.search(r"<!-- parameters -->\n(.*?)<!-- /parameters -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, "docs/parameters.md lacks the comments <!-- parameters --> and <!-- /parameters -->"
    assert found[1] == parameters_markdown(), "run: python scripts/parameters.py"


def test_a_real_node_takes_the_file_and_describes_every_parameter():
    from ros_helpers import NodeProcess

    with NodeProcess(f"-p autostart:=false --params-file {CONFIG} -p autostart:=false") as process:
        rig = process.rig
        assert rig.state() == "unconfigured"
        for parameter in PARAMETERS:
            description = rig.describe_parameter(parameter.name)
            assert description.description == parameter.description
            assert description.additional_constraints == parameter.range_text
            if parameter.name != "autostart":
                assert rig.get_parameter(parameter.name) == parameter.default
        assert rig.change("configure")
