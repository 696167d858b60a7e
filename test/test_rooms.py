"""Which room may import which, that neither rooms nor files go in circles, and that ROS stays where it belongs."""

from __future__ import annotations

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mmcfusion_ros"
KNOWS: dict[str, set[str]] = {
    "network": set(),
    "alignment": set(),
    "data": set(),
    "fusion": {"network"},
    "stream": {"fusion", "alignment"},
    "ros": {"fusion", "stream"},
    "simulation": {"fusion", "data"},
    "bags": {"fusion", "stream"},
    "training": {"network", "fusion", "data", "simulation"},
    "calibration": {"alignment", "fusion", "stream", "data", "bags"},
    "evaluation": {"network", "fusion", "stream", "data", "bags", "simulation"},
    "tools": {"fusion", "stream", "ros", "data", "bags", "simulation", "evaluation"},
}
FILES = {
    "mmcfusion_ros." + ".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in PACKAGE.rglob("*.py")
}


def imported(file: Path) -> set[str]:
    """Modules, with their dots, that it names anywhere: also within functions, also for types only."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= members & FILES.keys() or {str(node.module)}
    return names


def imported_by(room: str) -> set[str]:
    return set().union(*(imported(file) for name, file in FILES.items() if name.split(".")[1] == room))


@pytest.mark.parametrize("room", KNOWS)
def test_a_room_knows_only_these_others(room):
    modules = imported_by(room)
    others = {module.split(".")[1] for module in modules if module.startswith("mmcfusion_ros.")}
    assert others & {*KNOWS, "commands"} - {room} <= KNOWS[room]


def test_rooms_and_files_go_in_no_circles():
    TopologicalSorter(KNOWS).prepare()
    TopologicalSorter({name: imported(file) & FILES.keys() for name, file in FILES.items()}).prepare()


@pytest.mark.parametrize("room", sorted(KNOWS.keys() - {"ros", "tools"}))
def test_only_two_rooms_import_rclpy(room):
    assert not [module for module in imported_by(room) if module.split(".")[0] == "rclpy"]


@pytest.mark.parametrize("room", ["network", "alignment", "data", "fusion", "stream", "bags"])
def test_these_rooms_need_no_ros_messages(room):
    assert not [module for module in imported_by(room) if module.split(".")[0].endswith("_msgs")]


def test_a_file_name_has_one_meaning():
    names = Counter(file.name for file in FILES.values())
    assert {name for name, count in names.items() if count > 1} == {"__init__.py"}


def test_every_room_is_told_of():
    rooms = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()}
    assert rooms == {*KNOWS, "commands"}
    table = (PACKAGE.parent / "docs" / "internals.md").read_text().partition("## Rooms")[2].partition("\n## ")[0]
    assert [room for room in rooms if f"`{room}`" not in table and f"/{room}`" not in table] == []
