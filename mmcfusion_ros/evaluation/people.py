"""The people test: whom a detector that was made for RGB finds in an image, and how far labelled people stand out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]  # N x 4: left, top, right, bottom in pixels

SMALLEST_OVERLAP = 0.4
PERSON_IN_BOX = (0.15, 0.05, 0.85, 0.90)  # the detector's boxes have a margin around the person


class PeopleTest:
    """Found and missed people of one kind of image, over a whole folder."""

    def __init__(self) -> None:
        self.labelled = self.true = self.false = 0
        self.contrasts: list[float] = []

    def add(self, image: np.ndarray, labelled: Boxes) -> None:
        """Counts one ``H x W`` uint8 image with the people labelled in it."""
        true, false = count_hits(find_people(image), labelled)
        self.labelled += len(labelled)
        self.true += true
        self.false += false
        self.contrasts += contrast_to_noise(image, labelled)

    def result(self) -> dict[str, float]:
        """``labelled``, ``true`` and ``false`` counts, ``F1`` in [0, 1], ``contrast`` (mean contrast-to-noise)."""
        all_boxes = self.labelled + self.true + self.false
        return {
            "labelled": self.labelled,
            "true": self.true,
            "false": self.false,
            "F1": 2 * self.true / all_boxes if all_boxes else 0.0,
            "contrast": float(np.mean(self.contrasts)) if self.contrasts else 0.0,
        }


def read_labels(path: Path, width: int, height: int) -> Boxes:
    """The people (class 0) of a YOLO file: a line ``class cx cy w h`` a box, relative to the image's size.

    Raises ``FileNotFoundError`` or ``ValueError`` naming the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; the people test needs labels/NAME.txt (YOLO) for every pair")
    try:
        rows = np.array([line.split() for line in path.read_text().splitlines() if line.strip()], float).reshape(-1, 5)
    except ValueError:
        raise ValueError(f"{path}: not a YOLO file; each line must be: class cx cy w h") from None
    centre, size = rows[rows[:, 0] == 0, 1:3], rows[rows[:, 0] == 0, 3:5]
    return np.hstack((centre - size / 2, centre + size / 2)) * (width, height, width, height)


def find_people(image: np.ndarray) -> Boxes:
    """People that OpenCV's HOG detector (Dalal and Triggs 2005) with its own SVM sees in an ``H x W`` uint8 image."""
    hog = cv2.HOGDescriptor()
    if image.shape[1] < hog.winSize[0] or image.shape[0] < hog.winSize[1]:
        return np.empty((0, 4))  # OpenCV crashes on images far below its window
    hog.setSVMDetector(np.array(cv2.HOGDescriptor.getDefaultPeopleDetector()))
    found, _ = hog.detectMultiScale(image, hitThreshold=0.3, winStride=(8, 8), padding=(16, 16), scale=1.05)
    boxes = np.reshape(found, (-1, 4)).astype(np.float64)
    return np.tile(boxes[:, :2], 2) + np.tile(boxes[:, 2:], 2) * PERSON_IN_BOX


def count_hits(found: Boxes, labelled: Boxes) -> tuple[int, int]:
    """True and false boxes: a box is true if its best label overlaps by IoU > 0.4 and no other box has taken it."""
    if not (len(found) and len(labelled)):
        return 0, len(found)
    corner = np.maximum(found[:, None, :2], labelled[None, :, :2])
    opposite = np.minimum(found[:, None, 2:], labelled[None, :, 2:])
    common = (opposite - corner).clip(0).prod(axis=2)
    overlap = common / (_areas(found)[:, None] + _areas(labelled)[None, :] - common)
    true = len(set(overlap.argmax(axis=1)[overlap.max(axis=1) > SMALLEST_OVERLAP]))
    return true, len(found) - true


def contrast_to_noise(image: np.ndarray, labelled: Boxes) -> list[float]:
    """``|mean(box) - mean(ring)| / std(ring)`` of each person whose ring is not flat.

    The ring is the box grown by half its size on each side, without anything labelled.
    """
    free = np.ones(image.shape, bool)
    for box in labelled:
        free[window(box)] = False
    contrasts = []
    for box in labelled:
        margin = np.tile((box[2:] - box[:2]) / 2, 2) * (-1, -1, 1, 1)
        around, person = window(box + margin), image[window(box)]
        ring = image[around][free[around]]
        if person.size and ring.size and ring.std() > 0:
            contrasts.append(float(abs(person.mean() - ring.mean()) / ring.std()))
    return contrasts


def _areas(boxes: Boxes) -> NDArray[np.float64]:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def window(box: NDArray[np.float64]) -> tuple[slice, slice]:
    """The rows and columns of a box (left, top, right, bottom), as an index of images."""
    left, top, right, bottom = np.rint(box).astype(int).clip(0)
    return slice(top, bottom), slice(left, right)
