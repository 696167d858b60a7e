"""Folders of image pairs: thermal images in ``ir/``, visible ones in ``vi/`` (or as in LAYOUTS), paired by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
LAYOUTS = (  # sub-folders in any case; medical sets: the first is MRI, whose structure the second's colour lies on
    ("ir", "vi"),  # MSRS, TNO
    ("ir", "vis"),  # M3FD
    ("inf", "vis"),
    ("infrared", "visible"),  # LLVIP
    ("thermal", "rgb"),
    ("cropinfrared", "crop_lr_visible"),  # RoadScene
    ("mri", "pet"),
    ("mri", "spect"),
    ("mri", "ct"),
)


FUNCTIONAL = {"pet", "spect"}  # show activity in an anatomy (MRI) as a thermal camera shows heat in a scene


@dataclass(frozen=True)
class PairFiles:
    """The two files of one pair. Of a ``functional`` pair the RGB image is PET or SPECT, and the other one MRI:
    :meth:`in_roles` gives them the places that they have for a network."""

    name: str
    thermal: Path
    rgb: Path
    functional: bool = False

    def in_roles(self, thermal: np.ndarray, luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both ``H x W`` images as a network is to see them: what glows first, what has the structure second."""
        return (luminance, thermal) if self.functional else (thermal, luminance)


def find_pairs(folder: str | Path) -> list[PairFiles]:
    """The pairs below the two sub-folders of the first of ``LAYOUTS`` that is there, sorted by name.

    The name is the path below the sub-folder without suffix, such as ``010001`` or ``train/010001``. Pairs are
    functional where sub-folders, folder or its parent are named so, such as ``MRI/PET`` or ``pet_mri/test``. Raises
    ``FileNotFoundError`` where a folder is missing or holds no image, ``ValueError`` naming the first image without a
    partner.
    """
    folder = Path(folder)
    thermal_folder, rgb_folder = _sub_folders(folder)
    thermal, rgb = _images_by_name(thermal_folder), _images_by_name(rgb_folder)
    unmatched = sorted(thermal.keys() ^ rgb.keys())
    if unmatched:
        name = unmatched[0]
        here, there = (thermal_folder, rgb_folder) if name in thermal else (rgb_folder, thermal_folder)
        raise ValueError(
            f"{folder}: {here.name}/{name} has no partner in {there.name}/ ({len(unmatched)} such images); "
            f"pairs must have the same file stem in {thermal_folder.name}/ and {rgb_folder.name}/"
        )
    functional = _is_functional(folder, thermal_folder, rgb_folder)
    return [PairFiles(name, thermal[name], rgb[name], functional) for name in sorted(thermal)]


def read_pair(files: PairFiles) -> tuple[np.ndarray, np.ndarray]:
    """Thermal ``H x W`` and RGB ``H x W x 3`` (red first), uint8; ``ValueError`` naming the file that does not fit."""
    thermal, rgb = read_thermal(files.thermal), read_rgb(files.rgb)
    if thermal.dtype != np.uint8:
        raise ValueError(f"{files.thermal}: 16-bit pixels; convert it to 8 bits first")
    if thermal.shape != rgb.shape[:2]:
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (thermal, rgb)]
        raise ValueError(f"{files.thermal} is {sizes[0]}, {files.rgb} is {sizes[1]}; a pair must have one size")
    return thermal, rgb


def read_thermal(path: Path, colour: bool = False) -> np.ndarray:
    """``H x W``, uint8 or uint16. ``ValueError`` if it is no readable image.

    A colour file is taken as grey, or with ``colour`` given as ``H x W x 3``, red first.
    """
    image = _read(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3:
        image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2RGB if colour else cv2.COLOR_BGR2GRAY)
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: {image.dtype} pixels; a thermal image must have 8 or 16 bits")
    return image


def read_rgb(path: Path) -> np.ndarray:
    """``H x W x 3`` uint8, red first, without alpha. ``ValueError`` if it is no readable image of 8 bits."""
    image = _read(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype != np.uint8:
        raise ValueError(f"{path}: {image.dtype} pixels; a visible image must have 8 bits")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read(path: Path, flags: int) -> np.ndarray:
    try:
        image = cv2.imread(str(path), flags)
    except cv2.error as error:  # larger than OpenCV is allowed to read
        raise ValueError(f"{path}: not a readable image: {error.err}") from error
    if image is None:
        raise ValueError(f"{path}: not a readable image")
    return image


def _sub_folders(folder: Path) -> tuple[Path, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    present = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    for thermal, rgb in LAYOUTS:
        if thermal in present and rgb in present:
            return present[thermal], present[rgb]
    accepted = ", ".join(f"{thermal} + {rgb}" for thermal, rgb in LAYOUTS)
    raise FileNotFoundError(f"{folder} has no two sub-folders for thermal and visible images: {accepted}")


def _is_functional(folder: Path, *sub_folders: Path) -> bool:
    names = [*folder.resolve().parts[-2:], *(sub_folder.name for sub_folder in sub_folders)]
    words = set(re.split("[^a-z]+", " ".join(names).lower()))
    return "mri" in words and not words.isdisjoint(FUNCTIONAL)


def _images_by_name(folder: Path) -> dict[str, Path]:
    images = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    if not images:
        raise FileNotFoundError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return images
