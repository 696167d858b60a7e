"""People and vehicles that somebody marked in images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcfusion_ros.data.images import read_thermal
from mmcfusion_ros.data.pair_folder import PairFiles
from mmcfusion_ros.evaluation.detection.detectors import COCO_CLASSES
from mmcfusion_ros.evaluation.detection.found import KINDS

IGNORE = -1
SMALLEST = 16  # pixels of height, below which an object is ignored
VEHICLES = ("vehicle", "car", "bus", "truck")


@dataclass(frozen=True)
class Labels:
    """``N x 4`` corners (left, top, right, bottom) in pixels; ``N`` indices of ``KINDS``, or ``IGNORE`` for what is of
    no kind, but neither a false find (as a crowd, or a picture of a person)."""

    corners: NDArray[np.float64]
    kinds: NDArray[np.int64]

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """``N``: what a detector may find or miss: of no kind, or too small."""
        return (self.kinds == IGNORE) | (self.corners[:, 3] - self.corners[:, 1] < SMALLEST)


@dataclass(frozen=True)
class LabelSource:
    """Labels of a folder of pairs: a JSON file as :func:`read_labels` takes it, or a folder with a YOLO file a pair.

    ``size``: width and height of the images that they are for; None: as the pairs are."""

    path: Path
    size: tuple[int, int] | None = None

    def read(self, pairs: Sequence[PairFiles]) -> dict[str, Labels]:
        """By pair name, of the pairs that have labels; in a JSON file a pair's sub-folder may be left out.

        Raises what :func:`read_labels` and :func:`read_yolo` raise, and ``ValueError`` if no pair has labels.
        """
        labels = self._read_folder(pairs) if self.path.is_dir() else self._read_file(pairs)
        if not labels:
            raise ValueError(f"{self.path} has labels of no pair beside {pairs[0].thermal}; names must be the pairs'")
        return labels

    def _read_folder(self, pairs: Sequence[PairFiles]) -> dict[str, Labels]:
        files = [(pair, self.path / f"{pair.name}.txt") for pair in pairs]
        return {pair.name: read_yolo(file, *self._size_of(pair)) for pair, file in files if file.is_file()}

    def _read_file(self, pairs: Sequence[PairFiles]) -> dict[str, Labels]:
        known = read_labels(self.path)
        names = {pair.name: pair.name if pair.name in known else Path(pair.name).name for pair in pairs}
        return {pair: known[name] for pair, name in names.items() if name in known}

    def _size_of(self, pair: PairFiles) -> tuple[int, int]:
        if self.size:
            return self.size
        height, width = read_thermal(pair.thermal).shape
        return width, height


def read_labels(path: Path) -> dict[str, Labels]:
    """By image name (without suffix) from a JSON file of one of two forms.

    ``{NAME: [[KIND, left, top, right, bottom], ...]}`` with the kinds person, vehicle and ignore, or COCO's, of which
    category names count: person; car, bus, truck, vehicle; others are left out and ``iscrowd`` is to be ignored.
    Raises ``FileNotFoundError``, or ``ValueError`` naming the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; labels are a folder of YOLO text files or a JSON file")
    try:
        content = json.loads(path.read_text())
        return _read_coco(content) if "annotations" in content else _read_lists(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{path}: neither COCO JSON nor NAME: [[KIND, left, top, right, bottom], ...]: {reason}"
        ) from None


def read_yolo(path: Path, width: int, height: int) -> Labels:
    """A YOLO file, ``class cx cy w h`` a line, relative to the image's size; classes as COCO numbers them (0 to 79).

    Raises ``OSError`` or ``ValueError`` naming the file.
    """
    try:
        rows = np.array([line.split() for line in path.read_text().splitlines() if line.strip()], float).reshape(-1, 5)
    except ValueError:
        raise ValueError(f"{path}: not a YOLO file; each line must be: class cx cy w h") from None
    unknown = [number for number in rows[:, 0] if number not in range(80)]
    if unknown:
        raise ValueError(f"{path}: COCO has no class {unknown[0]:g}; its numbers are 0 (person) to 79")
    rows = rows[np.isin(rows[:, 0], list(COCO_CLASSES))]
    corners = np.hstack((rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2)) * ((width, height) * 2)
    return Labels(corners, np.array([KINDS.index(COCO_CLASSES[int(number)]) for number in rows[:, 0]], int))


def _read_lists(content: Mapping[str, Sequence[Sequence[Any]]]) -> dict[str, Labels]:
    return {name: _labels([(_kind_of(kind), corners) for kind, *corners in boxes]) for name, boxes in content.items()}


def _kind_of(name: str) -> int:
    if name != "ignore" and name not in KINDS:
        raise ValueError(f"there is no kind {name!r}; known are {', '.join(KINDS)} and ignore")
    return IGNORE if name == "ignore" else KINDS.index(name)


def _read_coco(content: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Labels]:
    kinds = {
        category["id"]: KINDS.index("vehicle" if category["name"] in VEHICLES else category["name"])
        for category in content["categories"]
        if category["name"] in ("person", *VEHICLES)
    }
    if not kinds:
        raise ValueError(f"no category is called person, {', '.join(VEHICLES)}")
    names = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    boxes: dict[str, list[tuple[int, list[float]]]] = {name: [] for name in names.values()}
    for mark in content["annotations"]:
        if mark["category_id"] in kinds:
            left, top, width, height = mark["bbox"]
            kind = IGNORE if mark.get("iscrowd") else kinds[mark["category_id"]]
            boxes[names[mark["image_id"]]].append((kind, [left, top, left + width, top + height]))
    return {name: _labels(marks) for name, marks in boxes.items()}


def _labels(boxes: Sequence[tuple[int, Sequence[float]]]) -> Labels:
    corners = np.array([corners for _, corners in boxes], float).reshape(-1, 4)
    if not (corners[:, 2:] >= corners[:, :2]).all():
        raise ValueError("a box whose right or bottom is left of or above the other side")
    return Labels(corners, np.array([kind for kind, _ in boxes], int))
