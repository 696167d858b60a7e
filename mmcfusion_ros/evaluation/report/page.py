"""Runs to one HTML file: template, style and script from ``assets``, values and images as JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from mmcfusion_ros.evaluation.report.page_run import Box, MethodTable, PageRun
from mmcfusion_ros.files import write_file

ASSETS = Path(__file__).parent / "assets"
STYLES = ("uplot/uPlot.min.css", "page.css")
SCRIPTS = (
    "uplot/uPlot.iife.min.js",
    "values.js",
    "boxes.js",
    "viewer.js",
    "plots.js",
    "tables.js",
    "header.js",
    "page.js",
)
IMAGES = ("thermal", "rgb", "fused")
SIGNIFICANT_DIGITS = 6
PLACES = 4  # decimals of a box

FrameBoxes = Mapping[str, Mapping[str, Sequence[Box]]]  # by input and detector


def write_report(
    path: Path,
    runs: Sequence[PageRun],
    boxes: Mapping[str, FrameBoxes] = MappingProxyType({}),
    methods: MethodTable | None = None,
) -> None:
    """Writes a page that needs neither network nor other files, and works when it is mailed.

    The page shows one run, or compares two; of more it shows the first two, and the reader chooses. Embeds every
    image that the frames have (the same one once). ``boxes``, by the frames' names, are drawn over the images, of one
    detector and input at a time. ``ValueError`` without runs, ``OSError`` if it cannot be written.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    style = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in STYLES)
    script = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {
        "policy": f"default-src 'none'; img-src blob:; style-src {_digest(style)}; script-src {_digest(script)}",
        "style": style,
        "script": script,
        "licence": (ASSETS / "uplot/LICENSE").read_text(encoding="utf-8"),
        "data": _json(runs, boxes, methods),
    }
    template = (ASSETS / "page.html").read_text(encoding="utf-8")
    page = re.sub(r"{{(\w+)}}", lambda match: parts[match[1]], template)
    write_file(path, page)


def _digest(text: str) -> str:
    """As a content security policy names an element of this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(runs: Sequence[PageRun], boxes: Mapping[str, FrameBoxes], methods: MethodTable | None) -> str:
    """Safe inside a script element, in plain ASCII."""
    images: dict[bytes, int] = {}
    columns = [_columns(run, images) for run in runs]
    rows = {
        frame: {
            name: {detector: [*map(_box, each)] for detector, each in found.items()} for name, found in of_frame.items()
        }
        for frame, of_frame in boxes.items()
    }
    encoded = [base64.b64encode(image).decode() for image in images]
    data = {"runs": columns, "images": encoded, "boxes": rows, "methods": asdict(methods) if methods else None}
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _columns(run: PageRun, images: dict[bytes, int]) -> dict[str, object]:
    """A run by columns, frames in order of time, images as places in ``images``, which grows."""
    frames = run.frames
    times: list[float] = list(range(len(frames)))
    if all(math.isfinite(frame.time_s) for frame in frames):
        frames = sorted(frames, key=lambda frame: frame.time_s)
        times = [round(float(frame.time_s), 6) for frame in frames]
    keys = dict.fromkeys(key for frame in frames for key in frame.values)
    previews = {kind: [getattr(frame, kind) for frame in frames] for kind in IMAGES}
    return {
        "title": run.title,
        "header": list(run.header.items()),
        "names": [frame.name for frame in frames],
        "times": times,
        "values": [(key, [_number(frame.values.get(key)) for frame in frames]) for key in keys],
        "images": {
            kind: [images.setdefault(image, len(images)) if image else None for image in column]
            for kind, column in previews.items()
        },
        "drops": [(_number(time_s), reason) for time_s, reason in run.drops],
        "problems": run.problems,
        "seenAs": run.seen_as,
        "imageNames": run.image_names,
    }


def _box(box: Box) -> list[object]:
    sides = (round(side, PLACES) for side in (box.left, box.top, box.right, box.bottom))
    return [*sides, box.state, box.kind, round(box.score, 2)]


def _number(value: float | None) -> float | None:
    """Rounded; None for what JSON does not have: NaN and infinity."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
