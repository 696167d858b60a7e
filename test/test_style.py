"""Tests look at what a user of the code can see."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
LAUNCH_FILES = (FOLDER.parent / "launch").glob("*.py")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_members(tree: ast.AST) -> Iterator[str]:
    """Those of other objects and modules that it reads, imports or replaces."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("attr"):  # getattr, monkeypatch.setattr
            words = [word.value for word in ast.walk(node) if isinstance(word, ast.Constant)]
            yield from (word for word in words if isinstance(word, str) and is_private(word.rpartition(".")[2]))


def test_no_test_reads_private_members():
    found = {file.name: sorted(set(private_members(ast.parse(file.read_text())))) for file in FOLDER.glob("*.py")}
    assert {name: members for name, members in found.items() if members} == {}


def test_the_check_sees_them():
    code = "from a import _b\nc._d\npatch.setattr(e, '_f', 1)\nself._g\nh.__class__\ngetattr(i, '_j' if k else '')"
    assert sorted(private_members(ast.parse(code))) == ["_b", "_f", "_j", "c._d"]


def test_launch_files_import_what_is_there():
    """They are run only where ROS 2 is installed."""
    nodes = [node for file in LAUNCH_FILES for node in ast.walk(ast.parse(file.read_text()))]
    imports = [
        node for node in nodes if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmcfusion")
    ]
    wanted = [(node.module, alias.name) for node in imports for alias in node.names]
    assert wanted
    assert not [name for name in wanted if not hasattr(importlib.import_module(name[0]), name[1])]
