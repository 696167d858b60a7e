"""JPEG data, of files and of messages."""

from __future__ import annotations

JPEG_START, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


def is_cut_off_jpeg(data: bytes) -> bool:
    """Whether JPEG data end before their last scan does; OpenCV may fill the rest with grey instead of refusing it."""
    return data.startswith(JPEG_START) and data.rfind(_END) < data.rfind(_SCAN)
