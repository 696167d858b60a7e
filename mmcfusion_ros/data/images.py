"""Image files, read in the orientation that their EXIF data give."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.jpeg import is_cut_off_jpeg

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def read_thermal(path: Path, colour: bool = False) -> np.ndarray:
    """``H x W`` uint8, uint16 or float32. ``ValueError`` if it is no readable image of such pixels.

    A colour file is taken as grey, or with ``colour`` given as ``H x W x 3``, red first.
    """
    image = _read(path, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if colour else cv2.COLOR_BGR2GRAY)
    if image.dtype == np.float64:
        image = image.astype(np.float32)
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise ValueError(f"{path}: {image.dtype} pixels; a thermal image must have 8 or 16 bits, or floats")
    return image


def read_rgb(path: Path) -> np.ndarray:
    """``H x W x 3`` uint8, red first, without alpha. ``ValueError`` if it is no readable image of 8 bits."""
    image = _read(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype != np.uint8:
        raise ValueError(f"{path}: {image.dtype} pixels; a visible image must have 8 bits")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def images_below(folder: Path) -> list[Path]:
    """All image files, sorted; none that is hidden or in a hidden folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES)
    return [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _read(path: Path, flags: int) -> np.ndarray:
    if path.exists() and not path.is_file():  # a FIFO would be waited for
        raise ValueError(f"{path}: not a readable image: not a file")
    try:
        data = path.read_bytes()
        whole = not is_cut_off_jpeg(data)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data and whole else None
    except cv2.error as error:  # larger than OpenCV is allowed to read
        raise ValueError(f"{path}: not a readable image: {error.err}") from error
    except OSError as error:
        raise ValueError(f"{path}: not a readable image: {error.strerror}") from error
    if image is None:
        raise ValueError(f"{path}: not a readable image{'' if whole else ', cut off'}")
    return image
