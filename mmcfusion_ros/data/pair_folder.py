"""Pairs of image files: folders as the field lays them out, two folders of any name, or a list."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcfusion_ros.data.images import IMAGE_SUFFIXES, images_below, read_rgb, read_thermal
from mmcfusion_ros.files import text_of

LAYOUTS = (  # sub-folders in any case; medical sets: the first is MRI, whose structure the second's colour lies on
    ("ir", "vi"),  # MSRS, TNO
    ("ir", "vis"),  # M3FD
    ("ir", "vis_gray"),  # the authors of MMCFusion
    ("ir", "rgb"),
    ("inf", "vis"),
    ("infrared", "visible"),  # LLVIP
    ("infrared", "rgb"),
    ("thermal", "rgb"),
    ("thermal", "visible"),
    ("lwir", "visible"),  # a sequence of KAIST
    ("trainimgr", "trainimg"),  # DroneVehicle
    ("valimgr", "valimg"),
    ("testimgr", "testimg"),
    ("cropinfrared", "crop_lr_visible"),  # RoadScene
    ("mri", "pet"),
    ("mri", "spect"),
    ("mri", "ct"),
)
THERMAL_WORDS = ("ir", "tir", "lwir", "inf", "infrared", "thermal", "mri")
RGB_WORDS = ("vi", "vis", "rgb", "visible", "visual", "color", "colour", "pet", "spect", "ct")
FUNCTIONAL = {"pet", "spect"}  # show activity in an anatomy (MRI) as a thermal camera shows heat in a scene
SEARCHED = 3  # levels below a folder, for the hint where its pairs are


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
    """The pairs of a folder, sorted by name.

    - of two sub-folders, the first of ``LAYOUTS`` that is there, as :func:`pair_up` pairs them;
    - else of the folder itself, where names tell the camera, as in ``07_ir.png`` and ``07_vis.png``;
    - of a list: a text file with two paths a line, thermal first, relative to it or absolute.

    Pairs are functional where sub-folders, folder or its parent are named so, such as ``MRI/PET`` or ``pet_mri/test``.
    Raises ``FileNotFoundError`` where a folder is missing or holds no image, ``ValueError`` as :func:`pair_up` does or
    naming a line of a list.
    """
    folder = Path(folder)
    if folder.suffix.lower() in IMAGE_SUFFIXES and folder.is_file():
        raise ValueError(f"{folder} is one image; give a folder of pairs or a list of them")
    if folder.is_file():
        return _listed(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    if found := _sub_folders(folder):
        return pair_up(*found, _is_functional(folder, *found))
    images = [path for path in images_below(folder) if path.parent == folder]
    thermal, rgb = ([path for path in images if _camera_word(path.stem, words)] for words in (THERMAL_WORDS, RGB_WORDS))
    if thermal and rgb:
        return _match(folder, _by_name(folder, thermal, bare=True), folder, _by_name(folder, rgb, bare=True))
    accepted = ", ".join(f"{thermal} + {rgb}" for thermal, rgb in LAYOUTS)
    inner = sorted({str(path.parent) for path in _folders_below(folder) if _sub_folders(path.parent)})
    hint = f"there are some in {', '.join(inner[:4])}; " if inner else ""
    raise FileNotFoundError(f"{folder} has no two sub-folders for thermal and visible images; {hint}known: {accepted}")


def pair_up(thermal_folder: Path, rgb_folder: Path, functional: bool = False) -> list[PairFiles]:
    """The pairs of two folders, by the path below them without suffix, such as ``010001`` or ``train/010001``.

    Where those differ, words for the camera at their beginning or end do not count: ``07_ir`` and ``07_vis`` are a
    pair. Raises ``FileNotFoundError`` where a folder holds no image, ``ValueError`` naming the first image without a
    partner, or two files of one name.
    """
    folders, images = (thermal_folder, rgb_folder), []
    for folder in folders:
        files = images_below(folder)
        if not files:
            raise FileNotFoundError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
        images.append(files)
    thermal, rgb = (_by_name(folder, files) for folder, files in zip(folders, images, strict=True))
    if thermal.keys().isdisjoint(rgb):
        bare = [_by_name(folder, files, bare=True) for folder, files in zip(folders, images, strict=True)]
        if not bare[0].keys().isdisjoint(bare[1]):
            thermal, rgb = bare
    return _match(thermal_folder, thermal, rgb_folder, rgb, functional)


def read_pair(
    files: PairFiles, scale: Callable[[np.ndarray], np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Thermal ``H x W`` and RGB ``H x W x 3`` (red first), uint8; ``ValueError`` naming the file that does not fit.

    ``scale`` brings a thermal image of other pixels to ``H x W`` uint8; without it one must have 8 bits.
    """
    thermal, rgb = read_thermal(files.thermal), read_rgb(files.rgb)
    if thermal.dtype != np.uint8:
        if scale is None:
            raise ValueError(f"{files.thermal}: {thermal.dtype} pixels; convert it to 8 bits first")
        thermal = scale(thermal)
    if thermal.shape != rgb.shape[:2]:
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (thermal, rgb)]
        raise ValueError(f"{files.thermal} is {sizes[0]}, {files.rgb} is {sizes[1]}; a pair must have one size")
    return thermal, rgb


def _listed(path: Path) -> list[PairFiles]:
    pairs: dict[str, PairFiles] = {}
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        names = re.split(r"\s*[,;\t]\s*", line.strip())  # which leaves spaces in names as they are
        files = [path.parent / name for name in (names if len(names) == 2 else line.split())]
        if len(files) != 2:
            raise ValueError(f"{path}, line {number}: not two paths, thermal and RGB")
        thermal, rgb = files
        name = _bare(thermal.stem)
        if name in pairs:
            raise ValueError(f"{path}, line {number}: a second pair is called {name}; its results would be lost")
        pairs[name] = PairFiles(name, thermal, rgb, _is_functional(path.parent, thermal.parent, rgb.parent))
    if not pairs:
        raise FileNotFoundError(f"{path} lists no pair")
    return [pairs[name] for name in sorted(pairs)]


def _match(
    thermal_folder: Path, thermal: dict[str, Path], rgb_folder: Path, rgb: dict[str, Path], functional: bool = False
) -> list[PairFiles]:
    unmatched = sorted(thermal.keys() ^ rgb.keys())
    if unmatched:
        name = unmatched[0]
        here, there = (thermal_folder, rgb_folder) if name in thermal else (rgb_folder, thermal_folder)
        raise ValueError(
            f"{thermal_folder.parent}: {here.name}/{name} has no partner in {there.name}/ ({len(unmatched)} such "
            f"images); pairs must have the same file stem in {thermal_folder.name}/ and {rgb_folder.name}/"
        )
    return [PairFiles(name, thermal[name], rgb[name], functional) for name in sorted(thermal)]


def _by_name(folder: Path, files: list[Path], bare: bool = False) -> dict[str, Path]:
    images: dict[str, Path] = {}
    for path in files:
        below = path.relative_to(folder).with_suffix("")
        name = unicodedata.normalize("NFC", (below.with_name(_bare(below.name)) if bare else below).as_posix())
        if name in images:
            raise ValueError(f"{folder}: {images[name].name} and {path.name} are both called {name}; remove one")
        images[name] = path
    return images


def _camera_word(stem: str, words: tuple[str, ...]) -> re.Match[str] | None:
    word = "|".join(words)
    return re.search(rf"(?i)^({word})(?=[-_ \d])[-_ ]?|[-_ ]({word})$", stem)


def _bare(stem: str) -> str:
    """Without the word for the camera, unless nothing is left."""
    found = _camera_word(stem, THERMAL_WORDS) or _camera_word(stem, RGB_WORDS)
    return (stem[: found.start()] + stem[found.end() :] if found else stem) or stem


def _sub_folders(folder: Path) -> tuple[Path, Path] | None:
    present = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    found = ((present[thermal], present[rgb]) for thermal, rgb in LAYOUTS if thermal in present and rgb in present)
    return next(found, None)


def _folders_below(folder: Path) -> list[Path]:
    deep = len(folder.parts) + SEARCHED
    return [Path(path) for path, _, _ in os.walk(folder) if path != str(folder) and len(Path(path).parts) <= deep]


def _is_functional(folder: Path, *sub_folders: Path) -> bool:
    names = [*folder.resolve().parts[-2:], *(sub_folder.name for sub_folder in sub_folders)]
    words = set(re.split("[^a-z]+", " ".join(names).lower()))
    return "mri" in words and not words.isdisjoint(FUNCTIONAL)
