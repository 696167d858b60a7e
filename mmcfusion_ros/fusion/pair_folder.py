"""Folders of image pairs: thermal images in ``ir/``, visible ones in ``vi/``, paired by file stem."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class PairFiles:
    """The two files of one pair."""

    name: str
    thermal: Path
    rgb: Path


def find_pairs(folder: str | Path) -> list[PairFiles]:
    """The pairs of ``folder/ir`` and ``folder/vi``, sorted by name.

    Raises ``FileNotFoundError`` where a folder is missing or holds no image, ``ValueError`` naming the first image
    without a partner.
    """
    folder = Path(folder)
    thermal, rgb = _images_by_stem(folder / "ir"), _images_by_stem(folder / "vi")
    unmatched = sorted(thermal.keys() ^ rgb.keys())
    if unmatched:
        name = unmatched[0]
        here, there = ("ir", "vi") if name in thermal else ("vi", "ir")
        raise ValueError(
            f"{folder}: {here}/{name} has no partner in {there}/ ({len(unmatched)} such images); "
            "pairs must have the same file stem in ir/ and vi/"
        )
    return [PairFiles(name, thermal[name], rgb[name]) for name in sorted(thermal)]


def read_thermal(path: Path) -> np.ndarray:
    """``H x W``, uint8 or uint16. A colour file is taken as grey. ``ValueError`` if it is no readable image."""
    image = _read(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3:
        image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY)
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: {image.dtype} pixels; a thermal image must have 8 or 16 bits")
    return image


def read_rgb(path: Path) -> np.ndarray:
    """``H x W x 3`` uint8, red first. ``ValueError`` if it is no readable image."""
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _read(path: Path, flags: int) -> np.ndarray:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise ValueError(f"{path}: not a readable image")
    return image


def _images_by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; a folder of pairs has the sub-folders ir/ and vi/")
    images = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
    if not images:
        raise FileNotFoundError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return images
