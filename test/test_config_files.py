"""The files in config/ for cameras and viewers: what they name exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mmcfusion_ros.stream.parameter_files import load_values
from mmcfusion_ros.stream.settings import Settings
from mmcfusion_ros.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config"
TOPICS = set(re.findall(r"^\| `([^`]+)`", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))


def named(topic: str) -> str:
    """As README's table names a topic of a node /mmcfusion."""
    return topic.removeprefix("/").replace("mmcfusion/", "~/")


@pytest.mark.parametrize("file", sorted((CONFIG / "cameras").glob("*.yaml")), ids=lambda file: file.stem)
def test_settings_of_cameras_are_taken_and_say_where_their_facts_come_from(file):
    settings = Settings(load_values(file))
    settings.thermal()
    settings.pairing()
    assert "# Source: " in file.read_text(encoding="utf-8")


def test_the_topics_of_rviz():
    displays = read_yaml(CONFIG / "fusion.rviz")["Visualization Manager"]["Displays"]
    assert len(displays) == 4
    assert {named(display["Topic"]["Value"]) for display in displays} <= TOPICS


def test_the_panels_of_foxglove():
    layout = json.loads((CONFIG / "foxglove.json").read_text(encoding="utf-8"))

    def panels(part: str | dict) -> set[str]:
        return {part} if isinstance(part, str) else panels(part["first"]) | panels(part["second"])

    assert panels(layout["layout"]) == set(layout["configById"])
    images = [panel["imageMode"]["imageTopic"] for panel in layout["configById"].values() if "imageMode" in panel]
    assert {named(topic) for topic in images} | {"~/mode", "/diagnostics"} <= TOPICS
