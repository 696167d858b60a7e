"""Which room may import which: ``network`` knows no other, ``fusion`` only that one, ROS stays in ``ros``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mmcfusion_ros"
KNOWS = {
    "network": set(),
    "fusion": {"network"},
    "simulation": {"fusion"},
    "training": {"network", "fusion", "simulation"},
    "ros": {"fusion", "simulation", "bags"},
    "bags": {"fusion", "ros"},
    "calibration": {"fusion", "ros", "bags"},
    "evaluation": {"network", "fusion", "simulation", "ros", "bags"},
}


def imported(room: str) -> set[str]:
    """Modules, with their dots, that its files name anywhere, also within functions."""
    nodes = [node for file in (PACKAGE / room).rglob("*.py") for node in ast.walk(ast.parse(file.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("room", KNOWS)
def test_a_room_knows_only_these_others(room):
    modules = imported(room)
    assert "__future__" in modules
    others = {module.split(".")[1] for module in modules if module.startswith("mmcfusion_ros.")}
    assert others & {*KNOWS, "commands"} - {room} <= KNOWS[room]


@pytest.mark.parametrize("room", [room for room in KNOWS if room != "ros"])
def test_only_one_room_imports_rclpy(room):
    assert not [module for module in imported(room) if module.split(".")[0] == "rclpy"]


def test_every_room_is_told_of():
    rooms = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()}
    assert rooms == {*KNOWS, "commands"}
    table = (PACKAGE.parent / "README.md").read_text().partition("## Where things live")[2].partition("\n## ")[0]
    assert [room for room in rooms if f"`{room}`" not in table and f"/{room}`" not in table] == []
