"""The one place where YAML is read: bounded, and without a word of a file's content in an error."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

LARGEST_FILE = 256_000  # bytes
LARGEST_CONTENT = 20_000  # values, each alias counted as all that it stands for
TOO_MUCH = f"more than {LARGEST_CONTENT} values"
LONGEST_TEXT = 4096
LONGEST_NAME = 60
OPENCV_HEAD = "%YAML:1.0"


def read_yaml(path: str | Path, kind: str = "file") -> Any:
    """What a YAML file holds; of OpenCV's FileStorage (``%YAML:1.0``) too, its matrices as keys and values.

    ``FileNotFoundError``, or ``ValueError`` naming the ``kind`` of file, its path and the place in it, but nothing
    that it says: whoever chooses the path may not be one who may read the file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{kind} {path} does not exist")
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"{path} is longer than {LARGEST_FILE} bytes: no {kind}")
    try:
        return parse_yaml(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not YAML: no text in UTF-8") from None
    except ValueError as error:
        raise ValueError(f"{path} is not YAML that can be taken: {error}") from None


def parse_yaml(text: str) -> Any:
    """The same of a text."""
    text = text.replace(OPENCV_HEAD, "#", 1) if text.startswith(OPENCV_HEAD) else text
    text = text.rstrip().removesuffix("\n---")  # with which ``ros2 topic echo`` ends
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{error.problem if isinstance(error, _Refused) else 'wrong syntax'}{where}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except Exception:  # whatever PyYAML makes of odd characters and values
        raise ValueError("a character or a value that YAML does not have") from None


def check_keys(
    name: str, content: object, required: Collection[str] = (), optional: Collection[str] = ()
) -> Mapping[str, Any]:
    """``content`` as a mapping; ``ValueError`` naming keys that are missing or unknown, with the nearest known ones."""
    if not isinstance(content, dict):
        raise ValueError(f"{name} must hold keys and values, not {described(content)}")
    known = [*required, *optional]
    unknown = [unknown_name(key, known) for key in content if key not in known]
    missing = [key for key in required if key not in content]
    problems = [f"no key {', '.join(missing)}"] * bool(missing) + [f"unknown key {', '.join(unknown)}"] * bool(unknown)
    if problems:
        raise ValueError(f"{name} has {' and '.join(problems)}; it takes {', '.join(known)}")
    return content


def unknown_name(name: object, known: Collection[str]) -> str:
    """A name that is not one of those known, and the nearest of them that is like it, for an error."""
    text = str(name)
    if len(text) > LONGEST_NAME or not text.isprintable():
        return "of another kind"
    leaves = {entry.rpartition(".")[2]: entry for entry in known}
    by_leaf = difflib.get_close_matches(text.rpartition(".")[2], leaves, 1, 0.75)
    near = difflib.get_close_matches(text, known, 1, 0.75) or [leaves[leaf] for leaf in by_leaf]
    return f"{text} (is it {near[0]}?)" if near else text


def described(value: object) -> str:
    """A wrong value of a file for an error: a number as it is, of all else only the kind."""
    if isinstance(value, (bool, int, float)):
        return "a number that is too large" if abs(value) > 1e100 else str(value)
    if isinstance(value, (list, dict)):
        return f"a list of {len(value)}" if isinstance(value, list) else "keys and values"
    return "nothing" if value is None else "text" if isinstance(value, str) else f"a {type(value).__name__}"


class _Refused(yaml.MarkedYAMLError):
    """Correct YAML that is not taken."""


class _Loader(yaml.SafeLoader):
    """Without keys that come twice, and without more content than anybody writes."""

    composed = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.composed += 1
        if self.composed > LARGEST_CONTENT:
            raise _Refused(problem=TOO_MUCH, problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(names)) < len(names):
            raise _Refused(problem="a key that comes twice in the same place", problem_mark=node.start_mark)
        return node

    def construct_document(self, node: yaml.Node) -> Any:
        _size(node, {})
        return super().construct_document(node)

    def construct_opencv_matrix(self, node: yaml.MappingNode) -> Mapping[Any, Any]:
        return self.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _Loader.construct_opencv_matrix)


def _size(node: yaml.Node, sizes: dict[yaml.Node, int]) -> int:
    """How many values it expands to."""
    if node not in sizes:
        sizes[node] = LARGEST_CONTENT + 1  # that of a node which holds itself
        children = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in children for child in pair]
        elif isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_TEXT:
            raise _Refused(problem=f"a text of more than {LONGEST_TEXT} letters", problem_mark=node.start_mark)
        sizes[node] = 1 + sum(_size(child, sizes) for child in children)
    if sizes[node] > LARGEST_CONTENT:
        raise _Refused(problem=TOO_MUCH, problem_mark=node.start_mark)
    return sizes[node]
