"""Pictures for people: thermal, RGB and fused side by side, as a sheet and as a video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.files import write_file

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


def encode_image(image: np.ndarray, suffix: str, flags: Sequence[int] = ()) -> bytes:
    """Content of a file of a uint8 image, ``H x W`` or ``H x W x 3`` red first; ``flags`` as for ``cv2.imwrite``.
    ``ValueError`` for a suffix of no format."""
    if not cv2.haveImageWriter(f"x{suffix}"):
        raise ValueError(f"no image can be written to a file named *{suffix}; name it .png or .jpg")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(suffix, image, flags)[1].tobytes()


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes an image as ``encode_image`` takes it; the suffix tells the format. ``OSError`` if that fails."""
    write_file(path, encode_image(image, path.suffix))


def write_video(path: Path, frames: Iterable[np.ndarray], frames_per_second: float) -> None:
    """Writes frames of one size, ``H x W x 3`` red first, as MP4 or GIF by the suffix.

    An MP4 takes them one by one, and is whole up to the last frame if ``frames`` raises. ``ValueError`` without
    frames, ``OSError`` if it cannot be written.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{path}: no frames for a video")
    write = _write_gif if path.suffix == ".gif" else _write_mp4
    write(path, first, frames, frames_per_second)


def _write_mp4(path: Path, first: np.ndarray, others: Iterable[np.ndarray], frames_per_second: float) -> None:
    height, width = first.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), frames_per_second, (width, height))
    if not writer.isOpened():
        raise OSError(f"{path} could not be written: no codec for it; name it .mp4 or .avi")
    try:
        for frame in chain((first,), others):
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()


def _write_gif(path: Path, first: np.ndarray, others: Iterable[np.ndarray], frames_per_second: float) -> None:
    from PIL import Image

    more = (Image.fromarray(frame) for frame in others)
    milliseconds = round(1000 / frames_per_second)
    Image.fromarray(first).save(path, save_all=True, append_images=more, duration=milliseconds, loop=0)
