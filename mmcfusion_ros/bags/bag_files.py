"""What on a disk is a bag."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".mcap", ".db3", ".bag")


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: a folder that holds bag files or ``metadata.yaml``, or a bag file."""
    return path.suffix in SUFFIXES or (path / "metadata.yaml").is_file() or bool(storage_files(path))


def storage_files(folder: Path) -> list[Path]:
    """The bag files of a folder, compressed ones too, in order of their names."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if set(SUFFIXES) & set(file.suffixes) and file.is_file())
