"""A page of pictures in one file: it can be mailed, and read on a phone."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np

PREVIEW_WIDTH = 480
JPEG_QUALITY = 85

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; font: 16px/1.4 system-ui, sans-serif; }}
  body {{ margin: 1rem; }}
  .pair {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: .5rem; }}
  figure {{ margin: 0; }}
  img {{ width: 100%; height: auto; display: block; }}
  figcaption {{ font-size: .8rem; opacity: .8; font-variant-numeric: tabular-nums; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


@dataclass(frozen=True)
class GalleryRow:
    """One pair: its panels are caption and uint8 image, ``H x W`` or ``H x W x 3`` red first."""

    name: str
    panels: Iterable[tuple[str, np.ndarray]]


def write_gallery(path: Path, title: str, sections: Mapping[str, Iterable[GalleryRow]]) -> None:
    """Writes HTML with all pictures inside, as JPEG of at most 480 pixels width."""
    parts = []
    for heading, rows in sections.items():
        parts.append(f"<h2>{escape(heading)}</h2>")
        for row in rows:
            figures = "\n".join(_figure(caption, image) for caption, image in row.panels)
            parts.append(f'<h3>{escape(row.name)}</h3>\n<div class="pair">\n{figures}\n</div>')
    path.write_text(PAGE.format(title=escape(title), body="\n".join(parts)), encoding="utf-8")


def _figure(caption: str, image: np.ndarray) -> str:
    height, width = image.shape[:2]
    if width > PREVIEW_WIDTH:
        size = PREVIEW_WIDTH, max(1, round(height * PREVIEW_WIDTH / width))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    text = escape(caption)
    return (
        f'<figure><img alt="{text}" loading="lazy" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
