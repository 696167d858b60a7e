"""What a detector found against what is labelled: average precision by pycocotools, and how sure it is."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmcfusion_ros.evaluation.detection.found import KINDS, Found
from mmcfusion_ros.evaluation.detection.labels import IGNORE, Labels

MEASURES = ("AP50", "AP50:95", "precision", "recall")
SHOWN_SCORE = 0.25  # from which on a box counts for precision and recall
DRAWS, SEED = 500, 0

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Mark:
    """A box in an image (left, top, right, bottom in pixels): ``state`` is found, missed or false; ``score`` in [0, 1],
    0 of what was missed."""

    corners: tuple[float, float, float, float]
    kind: str
    state: str
    score: float = 0.0


class Scores:
    """Of one detector on one kind of image, over all images of a folder.

    An object that is ignored neither counts nor punishes: a box that lies on it by half is left out. What has no
    labelled object has NaN for a score.
    """

    def __init__(self, found: Sequence[Found], labels: Sequence[Labels]) -> None:
        self._images = len(labels)
        truth = _dataset(self._images, _marks(labels))
        boxes = _dataset(self._images, _boxes(found))
        self._evaluations = [_compare(truth, boxes, overlaps) for overlaps in ([0.5], np.linspace(0.5, 0.95, 10))]

    def table(self, images: Sequence[int] | None = None) -> Table:
        """``KINDS x MEASURES``, in [0, 1], over all images, or over some by their numbers (each as often as given)."""
        images = range(self._images) if images is None else images
        loose, strict = self._evaluations
        ap50, ap = (_average_precision(evaluation, images).mean(axis=1) for evaluation in (loose, strict))
        shown = np.array([_at_score(loose, kind, images) for kind in range(len(KINDS))])
        return np.column_stack((ap50, ap, shown))

    def bootstrap(self, images: Sequence[int] | None = None, draws: int = DRAWS) -> Table:
        """AP50, ``draws x KINDS``, of images drawn with replacement; the same ones in each ``Scores`` of a folder."""
        numbers = np.arange(self._images) if images is None else np.asarray(images)
        rng = np.random.default_rng(SEED)
        chosen = [rng.choice(numbers, len(numbers)) for _ in range(draws)]
        return np.array([_average_precision(self._evaluations[0], some)[:, 0] for some in chosen])

    def marks(self, image: int) -> list[Mark]:
        """The boxes of an image of ``SHOWN_SCORE`` and more, found or false, and the objects that they miss."""
        loose = self._evaluations[0]
        marks = []
        for k, kind in enumerate(KINDS):
            if (result := loose.evalImgs[k * self._images + image]) is None:
                continue
            hit: set[int] = set()
            for box, score, match, ignored in zip(
                result["dtIds"], result["dtScores"], result["dtMatches"][0], result["dtIgnore"][0], strict=True
            ):
                if score >= SHOWN_SCORE and not ignored:
                    hit.add(int(match))
                    marks.append(Mark(_corners_of(loose.cocoDt.anns[box]), kind, "found" if match else "false", score))
            for mark, ignored in zip(result["gtIds"], result["gtIgnore"], strict=True):
                if mark not in hit and not ignored:
                    marks.append(Mark(_corners_of(loose.cocoGt.anns[mark]), kind, "missed"))
        return marks


def interval(draws: Table) -> Table:
    """The middle 95 % of ``draws x ...``: ``2 x ...``, NaN where all are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanpercentile(draws, (2.5, 97.5), axis=0)


def _marks(labels: Sequence[Labels]) -> list[dict[str, object]]:
    """An object of no kind is one of each, that pycocotools ignores."""
    return [
        {**_place(corners), "image_id": image, "category_id": kind, "iscrowd": int(ignored)}
        for image, marks in enumerate(labels)
        for corners, marked, ignored in zip(marks.corners, marks.kinds, marks.ignored, strict=True)
        for kind in (range(len(KINDS)) if marked == IGNORE else [int(marked)])
    ]


def _boxes(found: Sequence[Found]) -> list[dict[str, object]]:
    return [
        {**_place(corners), "image_id": image, "category_id": int(kind), "score": float(score), "iscrowd": 0}
        for image, boxes in enumerate(found)
        for corners, kind, score in zip(boxes.corners, boxes.kinds, boxes.scores, strict=True)
    ]


def _place(corners: NDArray[np.float64]) -> dict[str, object]:
    left, top, right, bottom = corners.tolist()
    return {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}


def _corners_of(mark: dict[str, list[float]]) -> tuple[float, float, float, float]:
    left, top, width, height = mark["bbox"]
    return left, top, left + width, top + height


def _dataset(images: int, marks: list[dict[str, object]]) -> COCO:
    dataset = COCO()
    dataset.dataset = {
        "images": [{"id": i} for i in range(images)],
        "categories": [{"id": i, "name": kind} for i, kind in enumerate(KINDS)],
        "annotations": [{**mark, "id": i + 1} for i, mark in enumerate(marks)],  # 0 means: found nothing
    }
    with contextlib.redirect_stdout(io.StringIO()):
        dataset.createIndex()
    return dataset


def _compare(truth: COCO, found: COCO, overlaps: Sequence[float] | Table) -> COCOeval:
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.params.iouThrs = np.asarray(overlaps)
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.params.maxDets = [100]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    return evaluation


def _average_precision(evaluation: COCOeval, images: Sequence[int] | NDArray[np.int64]) -> Table:
    """``KINDS x overlaps``, of some images."""
    every, params, known = evaluation.evalImgs, evaluation._paramsEval, len(evaluation._paramsEval.imgIds)
    evaluation.evalImgs = [every[kind * known + image] for kind in range(len(KINDS)) for image in images]
    params.imgIds = evaluation.params.imgIds = list(range(len(images)))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    evaluation.evalImgs = every
    params.imgIds = evaluation.params.imgIds = list(range(known))
    precision = evaluation.eval["precision"][..., 0, 0]  # overlaps x recalls x kinds, -1 without objects
    return np.where(precision < 0, np.nan, precision).mean(axis=1).T


def _at_score(evaluation: COCOeval, kind: int, images: Sequence[int]) -> tuple[float, float]:
    """Precision and recall of the boxes of ``SHOWN_SCORE`` and more."""
    known = len(evaluation._paramsEval.imgIds)
    counts = np.zeros(3)
    for image in images:
        if (result := evaluation.evalImgs[kind * known + image]) is not None:
            counted = (np.array(result["dtScores"]) >= SHOWN_SCORE) & ~result["dtIgnore"][0].astype(bool)
            hit = counted & (result["dtMatches"][0] > 0)
            counts += hit.sum(), counted.sum(), (np.asarray(result["gtIgnore"]) == 0).sum()
    hits, boxes, objects = counts
    return (hits / boxes if boxes else np.nan), (hits / objects if objects else np.nan)
