"""Files that are written: all of them or nothing, and nothing of somebody else's; and texts that are read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


def text_of(path: Path) -> str:
    """A text in UTF-8, with or without its mark; ``ValueError`` naming the file if it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8") from None


def write_file(path: Path, content: str | bytes) -> None:
    """Writes all of a file or, with an ``OSError`` that names it, nothing."""
    temporary = path.with_name(path.name + ".partial")
    try:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"{path} could not be written: {error.strerror}") from error


def refuse_existing(paths: Sequence[Path], force: bool = False) -> None:
    """``FileExistsError`` naming the first of those that are there already, unless ``force``."""
    there = [path for path in paths if path.exists()]
    if there and not force:
        more = f", and {len(there) - 1} more" if len(there) > 1 else ""
        raise FileExistsError(f"{there[0]} exists already{more}; choose another name, or overwrite with --force")


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """A CSV table of rows that have the columns of the first one."""
    table = io.StringIO()
    writer = csv.DictWriter(table, [*rows[0]])
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Gives an ``OSError`` that names no file, as that of a full disk, the name of what was written to."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def json_text(content: object) -> str:
    """JSON, with null for the numbers that it lacks (NaN and infinity), and the text of what is none of its kinds."""
    plain = json.loads(json.dumps(content, default=str), parse_constant=lambda _: None)
    return json.dumps(plain, indent=2) + "\n"


def print_json(content: object, path: Path | None) -> None:
    """Prints it, and writes it to ``path`` too, if given; an ``OSError`` names that."""
    print(json_text(content), end="")
    if path:
        with writing_to(path):
            path.write_text(json_text(content))
