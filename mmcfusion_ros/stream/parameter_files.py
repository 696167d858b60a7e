"""Parameter values without a node: from the YAML file that the node takes, and from the command line; the table of
the parameters as such a file, and for the documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcfusion_ros.stream.parameters import LIVE, PARAMETERS, Value
from mmcfusion_ros.yaml_files import parse_yaml, read_yaml, unknown_name

NODE_NAME = "mmcfusion"
OTHERS = {"use_sim_time", "start_type_description_service"}  # of every ROS 2 node


def load_values(params_file: Path | None = None, assignments: Sequence[str] = ()) -> dict[str, Value]:
    """Every parameter's value: its default, over it the file's, over it the ``name=value`` assignments.

    Of the file those sections count that hold for a node ``mmcfusion`` (``/**``, ``mmcfusion``, ``/a/mmcfusion``).
    ``ValueError`` naming a parameter that does not exist or has a wrong value.
    """
    given = dict(_file_values(params_file)) if params_file else {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"{assignment!r} must be name=value, such as pairing.slop=0.02")
        try:
            given[name] = parse_yaml(text)
        except ValueError as error:
            raise ValueError(f"the value of {name} is not YAML: {error}") from None
    return complete_values(given)


def complete_values(given: Mapping[str, Any]) -> dict[str, Value]:
    """Every parameter's value: that which is given, or its default. ``ValueError`` as :func:`load_values`."""
    check_names(given.keys() - OTHERS)
    return {p.name: p.check(given.get(p.name, p.default)) for p in PARAMETERS}


def check_names(names: Iterable[str]) -> None:
    """``ValueError`` naming those that are no parameters of the node, and the nearest right one."""
    table = [parameter.name for parameter in PARAMETERS]
    if unknown := sorted(set(names) - set(table)):
        listed = ", ".join(unknown_name(name, table) for name in unknown)
        raise ValueError(f"no parameter {listed}; `mmcfusion parameters` lists them all")


def check_files(files: Iterable[Path], node_name: str) -> None:
    """``ValueError`` naming a parameter file that says nothing to the node of this full name (``/robot/mmcfusion``).

    One that is no longer there has been read before.
    """
    for file in filter(Path.is_file, files):
        if not any(_matches(str(name), node_name) for name in _sections(file)):
            raise ValueError(f"{file} has no section for {node_name}: it is for another node, or the names differ")


def _matches(section: str, node_name: str) -> bool:
    """Whether a section's name, in which ``*`` stands for one word and ``**`` for any number, is that of the node."""
    words = section.strip("/").split("/")
    pattern = "".join("(/[^/]+)*" if word == "**" else "/" + re.escape(word).replace(r"\*", "[^/]+") for word in words)
    return bool(re.fullmatch(pattern, node_name))


def _sections(path: Path) -> Mapping[Any, Any]:
    content = read_yaml(path, "parameter file")
    return content if isinstance(content, Mapping) else {}


def _file_values(path: Path) -> Iterator[tuple[str, Any]]:
    chosen = [
        section["ros__parameters"]
        for name, section in _sections(path).items()
        if str(name).split("/")[-1] in ("**", "*", NODE_NAME)
        and isinstance(section, Mapping)
        and isinstance(section.get("ros__parameters"), Mapping)
    ]
    if not chosen:
        raise ValueError(f"{path} has no section '/**:' with 'ros__parameters:', as config/fusion.yaml has")
    for section in chosen:
        yield from _flat(section)


def _flat(section: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def parameters_yaml() -> str:
    """``config/fusion.yaml``: every parameter with its default."""
    lines = ["# Every parameter with its default. Written by: mmcfusion parameters --format yaml", "/**:"]
    lines.append("  ros__parameters:")
    group = ""
    for parameter in PARAMETERS:
        *parents, leaf = parameter.name.split(".")
        if parents and parents[0] != group:
            lines.append(f"    {parents[0]}:")
        group = parents[0] if parents else ""
        indent = "      " if parents else "    "
        values = f" ({parameter.range_text})" if parameter.range_text else ""
        lines += [f"{indent}# {parameter.description}{values}", f"{indent}{leaf}: {_yaml(parameter.default)}"]
    return "\n".join(lines) + "\n"


def parameters_markdown() -> str:
    """The table of ``docs/parameters.md``."""
    rows = ["| parameter | type | default | values | live | what it does |", "|---|---|---|---|---|---|"]
    for p in PARAMETERS:
        live = "yes" if p.name in LIVE else ""
        rows.append(
            f"| `{p.name}` | {p.type_name} | `{_yaml(p.default)}` | {p.range_text} | {live} | {p.description} |"
        )
    return "\n".join(rows) + "\n"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
