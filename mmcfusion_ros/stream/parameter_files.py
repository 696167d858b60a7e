"""Parameter values without a node: from the YAML file that the node takes, and from the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmcfusion_ros.stream.parameters import PARAMETERS, Value

NODE_NAME = "mmcfusion"
OTHERS = {"use_sim_time"}  # of every ROS 2 node


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
        given[name] = yaml.safe_load(text)
    unknown = given.keys() - {parameter.name for parameter in PARAMETERS} - OTHERS
    if unknown:
        raise ValueError(f"no parameter {', '.join(sorted(unknown))}; `mmcfusion parameters` lists them all")
    return {p.name: p.check(given.get(p.name, p.default)) for p in PARAMETERS}


def _file_values(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    sections = content if isinstance(content, Mapping) else {}
    chosen = [
        section["ros__parameters"]
        for name, section in sections.items()
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
