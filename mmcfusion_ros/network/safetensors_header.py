"""The metadata of a safetensors file."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open


def read_header(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file whose tensors, as the library checks, fill it without gap or overlap.

    Raises ``FileNotFoundError``, or ``ValueError`` naming what is wrong.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"weights file {path} does not exist")
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {' '.join(str(error).split())}") from error
