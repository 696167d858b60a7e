"""What the encodings of image messages are called, and what they tell."""

from __future__ import annotations

from typing import Literal

Kind = Literal["counts", "grey", "colour", ""]
COUNTS = {"mono12", "mono16", "16UC1", "16SC1", "32FC1", "64FC1"}
GREY = {"mono8", "8UC1"}
COLOURS = ("rgb", "bgr", "bayer", "yuv", "yuyv", "uyvy", "nv", "8UC3", "8UC4")


def kind_of(encoding: str) -> Kind:
    """Counts (or temperatures) as of thermal cameras, 8 bits of grey as of either, colours, or not known.

    Takes the format of compressed images too, as in ``rgb8; jpeg compressed bgr8``.
    """
    name = encoding.partition(";")[0].strip()
    if name in COUNTS:
        return "counts"
    if name in GREY:
        return "grey"
    return "colour" if name.startswith(COLOURS) else ""


def seem_exchanged(thermal: str, rgb: str) -> bool:
    """Whether these encodings would rather be those of an RGB and of a thermal camera."""
    order = ["counts", "grey", "colour"]
    kinds = [kind_of(encoding) for encoding in (thermal, rgb)]
    return "" not in kinds and order.index(kinds[0]) > order.index(kinds[1])
