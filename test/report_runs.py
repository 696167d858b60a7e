"""Runs with images of plain colours for the tests of the report, and what a page has inside."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from mmcfusion_ros.evaluation.report import PageFrame, PageRun, encode_preview

COLOURS = {"thermal": (70, 70, 70), "rgb": (200, 30, 30), "fused": (30, 150, 30)}


def page_data(path: Path) -> dict[str, Any]:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())[1])


def plain(colour: tuple[int, int, int]) -> bytes:
    return encode_preview(np.full((120, 160, 3), colour, np.uint8))


def make_run(
    title: str = "run",
    count: int = 12,
    pictured: range | None = None,
    step_s: float = 0.5,
    fused: tuple[int, int, int] = COLOURS["fused"],
) -> PageRun:
    """PageFrame i is ``0000i`` at ``i * step_s``; Qabf is worst in frame 7, latency in frame 3."""
    frames = []
    for i in range(count):
        values = {"skew_ms": i - 4.0, "network_ms": 60.0 if i == 3 else 40.0, "total_ms": 61.5 if i == 3 else 41.5}
        values |= {"EN": 7.0 + i / 100, "Qabf": 0.2 if i == 7 else 0.5 + i / 100, "SD": 40.0 + i}
        colours = {**COLOURS, "fused": fused}
        images = [plain(colour) for colour in colours.values()] if pictured is None or i in pictured else []
        frames.append(PageFrame(f"{i:05}", i * step_s, values, *images))
    drops = [(1.2, "superseded"), (2.2, "superseded"), (3.1, "stale_thermal")]
    header = {"input": "street.mcap", "model": title}
    return PageRun(title, header, frames, drops, ["/rgb: 2 messages without bytes"])
