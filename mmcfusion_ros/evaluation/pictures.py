"""Pictures for people: thermal, RGB and fused side by side, as a sheet and as a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.evaluation.files import write_file

PANEL = (320, 240)
TITLES = ("thermal", "RGB", "fused")


def side_by_side(thermal: np.ndarray, rgb: np.ndarray, fused: np.ndarray, panel: tuple[int, int] = PANEL) -> np.ndarray:
    """Three uint8 images (``H x W``, or ``H x W x 3`` red first) of any sizes as one, panels of (width, height)."""
    panels = []
    for image in (thermal, rgb, fused):
        image = cv2.resize(image, panel, interpolation=cv2.INTER_AREA)
        panels.append(image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
    return np.concatenate(panels, axis=1)


def contact_sheet(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of one size, ``H x W x 3``, under a line of titles."""
    height, width = 28, rows[0].shape[1]
    titles = np.full((height, width, 3), 255, np.uint8)
    for i, title in enumerate(TITLES):
        position = (i * width // len(TITLES) + 8, height - 9)
        cv2.putText(titles, title, position, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate((titles, *rows))


def write_image(path: Path, rgb: np.ndarray) -> None:
    """Writes ``H x W x 3``, red first; the suffix tells the format. ``OSError`` if it cannot be written."""
    write_file(path, cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes())


def write_video(path: Path, frames: Sequence[np.ndarray], frames_per_second: float) -> None:
    """Writes frames of one size, ``H x W x 3`` red first, as MP4. ``OSError`` if it cannot be written."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), frames_per_second, (width, height))
    if not writer.isOpened():
        raise OSError(f"{path} could not be written")
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
