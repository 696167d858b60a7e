"""Fused files from images, folders and videos, without measuring anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mmcfusion_ros.data.images import IMAGE_SUFFIXES
from mmcfusion_ros.data.pair_folder import PairFiles, find_pairs, pair_up, read_pair
from mmcfusion_ros.evaluation.pictures import write_image, write_video
from mmcfusion_ros.evaluation.rules import Fusion
from mmcfusion_ros.files import refuse_existing
from mmcfusion_ros.fusion.errors import FusionError
from mmcfusion_ros.fusion.fuser import LARGEST_SIDE, Fuser

TILE, OVERLAP = 2048, 256  # pixels, of images that are too large for the network
VIDEO_SUFFIXES = {".mp4", ".avi", ".mkv", ".mov"}

Scale = Callable[[np.ndarray], np.ndarray]


def fuse_files(inputs: Sequence[Path], out: Path, fuser: Fuser, scale: Scale, force: bool = False) -> int:
    """Fuses a folder or list of pairs (one input), or thermal and RGB: two folders, images or videos.

    ``out`` is a folder for pairs, a file for two files. ``scale`` brings thermal images of 16 bits to 8. Returns the
    number of fused images. ``ValueError`` for other inputs, and at the end for pairs that could not be fused;
    ``FileExistsError`` for files that exist already unless ``force``; raises what ``find_pairs``, ``read_pair`` and
    ``Fuser`` raise.
    """
    if len(inputs) == 1:
        return _fuse_pairs(find_pairs(inputs[0]), out, fuser, scale, force)
    if len(inputs) != 2:
        raise ValueError(f"{len(inputs)} inputs; give a folder of pairs, or thermal and RGB")
    thermal, rgb = inputs
    if thermal.is_dir() and rgb.is_dir():
        return _fuse_pairs(pair_up(thermal, rgb), out, fuser, scale, force)
    suffixes = {path.suffix.lower() for path in inputs}
    if suffixes <= VIDEO_SUFFIXES:
        refuse_existing([out], force)
        return _fuse_videos(thermal, rgb, out, fuser)
    if not suffixes <= IMAGE_SUFFIXES:
        raise ValueError(f"{thermal} and {rgb} are not two folders, two images or two videos")
    refuse_existing([out], force)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_image(out, fuse_large(fuser, *read_pair(PairFiles(thermal.stem, thermal, rgb), scale)))
    return 1


def fuse_large(fuser: Fusion, thermal: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """As the fuser does, ``H x W`` and ``H x W`` or ``H x W x 3`` uint8; above 4096 pixels in tiles whose edges fade
    into each other."""
    height, width = thermal.shape
    if max(height, width) <= LARGEST_SIDE:
        return fuser(thermal, rgb)
    one = (1,) * (rgb.ndim - 2)
    total, weights = np.zeros(rgb.shape, np.float32), np.zeros((height, width, *one), np.float32)
    for rows in _tiles(height):
        for columns in _tiles(width):
            weight = np.outer(_fade(rows, height), _fade(columns, width)).reshape(*thermal[rows, columns].shape, *one)
            total[rows, columns] += weight * fuser(thermal[rows, columns], rgb[rows, columns])
            weights[rows, columns] += weight
    return np.rint(total / weights).astype(np.uint8)


def _tiles(size: int) -> list[slice]:
    count = max(1, -(-(size - OVERLAP) // (TILE - OVERLAP)))
    side = min(size, TILE)
    return [slice(start, start + side) for start in np.linspace(0, size - side, count).round().astype(int)]


def _fade(tile: slice, size: int) -> np.ndarray:
    """1 inside, towards an inner edge down to almost 0."""
    from_first, from_last = np.arange(1, tile.stop - tile.start + 1), np.arange(tile.stop - tile.start, 0, -1)
    weight = np.ones(tile.stop - tile.start, np.float32)
    if tile.start:
        weight = np.minimum(weight, from_first / OVERLAP)
    return np.minimum(weight, from_last / OVERLAP) if tile.stop < size else weight


def _fuse_pairs(pairs: Sequence[PairFiles], out: Path, fuser: Fuser, scale: Scale, force: bool) -> int:
    targets = [out / f"{files.name}.png" for files in pairs]
    refuse_existing(targets, force)
    failures = []
    for files, target in zip(tqdm(pairs, unit="pair", disable=None), targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_image(target, fuse_large(fuser, *read_pair(files, scale)))
        except (ValueError, FusionError) as error:
            failures.append(str(error))
    if failures:
        raise ValueError(f"{len(failures)} of {len(pairs)} pairs could not be fused, the first: {failures[0]}")
    return len(pairs)


def _fuse_videos(thermal: Path, rgb: Path, out: Path, fuser: Fuser) -> int:
    """Frame by frame, at the rate of the RGB video; ``ValueError`` where the other's differs, or at the end if one of
    them has more frames."""
    videos = [cv2.VideoCapture(str(path)) for path in (thermal, rgb)]
    for path, video in zip((thermal, rgb), videos, strict=True):
        if not video.isOpened():
            raise ValueError(f"{path}: not a readable video")
    rates_hz = [video.get(cv2.CAP_PROP_FPS) or 30.0 for video in videos]
    if not math.isclose(*rates_hz, rel_tol=0.01):
        raise ValueError(f"{thermal} has {rates_hz[0]:g} frames per second, {rgb} {rates_hz[1]:g}; give both one rate")
    count = 0

    def fused() -> Iterator[np.ndarray]:
        nonlocal count
        pairs = zip_longest(*map(_frames, videos))
        for count, (warm, visible) in enumerate(tqdm(pairs, unit="frame", disable=None)):
            if warm is None or visible is None:
                raise ValueError(f"{rgb if warm is not None else thermal} ends first, after {count} frames")
            height, width = visible.shape[:2]
            grey = cv2.resize(cv2.cvtColor(warm, cv2.COLOR_BGR2GRAY), (width, height))
            yield fuse_large(fuser, grey, cv2.cvtColor(visible, cv2.COLOR_BGR2RGB))

    out.parent.mkdir(parents=True, exist_ok=True)
    write_video(out, fused(), rates_hz[1])
    return count + 1


def _frames(video: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """``H x W x 3`` uint8, blue first."""
    while (frame := video.read()[1]) is not None:
        yield frame
