"""Small images for the page, and the video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.evaluation.pictures import encode_image, side_by_side, write_video

PREVIEW_SIDE = 640  # pixels
PREVIEW_FLAGS = (cv2.IMWRITE_WEBP_QUALITY, 75)
PANEL_WIDTH = 400  # pixels of each of the three images of the video


def choose_previews(count: int, limit: int = 60, worst: Sequence[int] = ()) -> list[int]:
    """Which of ``count`` frames get images, ascending, at most ``limit``: half the first of ``worst``, half spread."""
    spread = limit - min(len(worst), (limit + 1) // 2)
    chosen = set(np.linspace(0, count - 1, min(spread, count)).round().astype(int).tolist())
    for index in worst:
        if len(chosen) == limit:
            break
        chosen.add(index)
    return sorted(chosen)


def encode_preview(image: np.ndarray, max_side: int = PREVIEW_SIDE) -> bytes:
    """A uint8 image, ``H x W`` or ``H x W x 3`` red first, as WebP with sides of at most ``max_side`` pixels."""
    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return encode_image(image, ".webp", PREVIEW_FLAGS)


def write_preview_video(path: Path, frames: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], rate: float) -> None:
    """Writes thermal | RGB | fused, images as for ``encode_preview``, with ``rate`` frames/s; suffix .mp4 or .gif.

    Holds one frame in memory (a GIF: all of them, small). ``ValueError`` without frames, ``OSError`` if it cannot be
    written.
    """
    write_video(path, _rows(frames), rate)


def _rows(frames: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    panel = None
    for thermal, rgb, fused in frames:
        if panel is None:
            height, width = fused.shape[:2]
            panel = PANEL_WIDTH, max(2, 2 * round(height * PANEL_WIDTH / width / 2))
        yield side_by_side(thermal, rgb, fused, panel)
