"""The header of a safetensors file, held to the format before anything is allocated for it.

The format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

MAX_HEADER_BYTES = 8_000_000
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def read_header(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file whose tensors fill it exactly, without gap or overlap.

    Raises ``FileNotFoundError``, or ``ValueError`` naming what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file {path} does not exist")
    try:
        header, data_bytes = _parse(path)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its metadata are not texts")
        _check_offsets({name: _extent(name, entry) for name, entry in header.items()}, data_bytes)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    return metadata


def _parse(path: Path) -> tuple[dict[str, Any], int]:
    """The header and the number of bytes behind it."""
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        header_bytes = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < header_bytes <= min(MAX_HEADER_BYTES, file_bytes - 8):
            raise ValueError(f"it claims a header of {header_bytes} bytes in a file of {file_bytes}")
        header = json.loads(file.read(header_bytes))
    if not isinstance(header, dict):
        raise ValueError("its header is no table of tensors")
    return header, file_bytes - 8 - header_bytes


def _extent(name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor begins and ends, after its type and shape."""
    try:
        begin, end = entry["data_offsets"]
        dtype, shape = entry["dtype"], entry["shape"]
        if dtype not in ITEM_BYTES:
            raise ValueError(f"tensor {name!r} is of type {dtype!r}, not one of {', '.join(ITEM_BYTES)}")
        if not all(type(number) is int and number >= 0 for number in (begin, end, *shape)):
            raise ValueError(f"tensor {name!r} has a shape or an offset that is no whole number")
    except (KeyError, TypeError) as error:
        raise ValueError(f"tensor {name!r} is not described as the format asks") from error
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError(f"tensor {name!r} of {dtype} and shape {shape} has {end - begin} bytes")
    return begin, end


def _check_offsets(extents: dict[str, tuple[int, int]], data_bytes: int) -> None:
    position = 0
    for name, (begin, end) in sorted(extents.items(), key=lambda item: item[1]):
        if begin != position:
            raise ValueError(f"tensor {name!r} begins at {begin}, the one before it ends at {position}")
        position = end
    if position != data_bytes:
        raise ValueError(f"its tensors have {position} bytes, the file {data_bytes}")
