"""Detectors on what they can be given of a pair: either camera, classic rules, fused images, or two passes."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmcfusion_ros.evaluation.detection.detectors import load_detector
from mmcfusion_ros.evaluation.detection.found import Found, join
from mmcfusion_ros.evaluation.detection.labels import Labels
from mmcfusion_ros.evaluation.detection.results import DetectionResult
from mmcfusion_ros.evaluation.detection.scores import Scores
from mmcfusion_ros.evaluation.rules import RULES, Fusion
from mmcfusion_ros.fusion.fuser import merge_luminance, split_luminance

Images = Mapping[str, np.ndarray]


def _by_rule(fuse: Fusion, turned: bool) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Luminance by the rule, thermal black hot if ``turned``, colours of RGB."""

    def image(thermal: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        luminance, colour = split_luminance(rgb)
        return merge_luminance(fuse(255 - thermal if turned else thermal, luminance), colour)

    return image


# Name to what makes the image from thermal, white hot, and RGB.
INPUTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "thermal, white hot": lambda thermal, _: thermal,
    "thermal, black hot": lambda thermal, _: 255 - thermal,
    "RGB": lambda _, rgb: rgb,
    **{
        f"{rule}, {polarity} hot": _by_rule(RULES[rule], polarity == "black")
        for rule in ("average", "max", "laplacian")
        for polarity in ("white", "black")
    },
}
TWO_PASSES = {f"two passes, {polarity} hot": f"thermal, {polarity} hot" for polarity in ("white", "black")}


class Judge:
    """Several detectors, and what they found so far. ``folders`` are the names of the labelled pairs by folder, in the
    order in which they will be added; ``night`` is a JSON list of names of pairs."""

    def __init__(
        self, detectors: Sequence[Path], folders: Mapping[str, Sequence[str]], night: Path | None = None
    ) -> None:
        self._detectors = {path.stem: load_detector(path) for path in detectors}
        if len(self._detectors) < len(detectors):
            name, _ = Counter(path.stem for path in detectors).most_common(1)[0]
            raise ValueError(f"several detectors are called {name!r}")
        self._subsets = subsets(folders, night)
        self._labels: list[Labels] = []
        self._found: dict[tuple[str, str], list[Found]] = defaultdict(list)

    def add(self, thermal: np.ndarray, rgb: np.ndarray, fused: Images, labels: Labels) -> None:
        """The next pair, ``H x W`` white hot and ``H x W x 3`` uint8, and what each model made of it.

        ``ValueError`` if a label lies outside.
        """
        height, width = thermal.shape
        if len(labels.corners) and (labels.corners[:, :2] >= (width, height)).any():
            raise ValueError(f"a label lies outside its {width}x{height}; labels of another size: --labels FILE@WxH")
        images = {name: make(thermal, rgb) for name, make in INPUTS.items()} | {**fused}
        for detector, detect in self._detectors.items():
            found = {name: detect(image) for name, image in images.items()}
            found |= {name: join(found["RGB"], found[camera]) for name, camera in TWO_PASSES.items()}
            for name, boxes in found.items():
                self._found[name, detector].append(boxes)
        self._labels.append(labels)

    def result(self) -> DetectionResult:
        """After the last pair."""
        scores: dict[str, dict[str, Scores]] = defaultdict(dict)
        for (name, detector), found in self._found.items():
            scores[name][detector] = Scores(found, self._labels)
        return DetectionResult(dict(scores), self._labels, self._subsets, [*INPUTS, *TWO_PASSES])


def subsets(folders: Mapping[str, Sequence[str]], night: Path | None) -> dict[str, list[int]]:
    """Numbers of pairs by subset: all (of several folders), each folder, and day and night where ``night`` names some.

    ``ValueError`` naming that file if it is no list of names, or names none of the pairs.
    """
    dark = _read_names(night) if night else set()
    all_names = [name for names in folders.values() for name in names]
    if night and dark.isdisjoint(all_names):
        raise ValueError(f"{night} names none of the {len(all_names)} labelled pairs")
    numbers: dict[str, list[int]] = {"all": [*range(len(all_names))]} if len(folders) > 1 else {}
    first = 0
    for folder, names in folders.items():
        numbers[folder] = [*range(first, first + len(names))]
        of_night = [number for number, name in zip(numbers[folder], names, strict=True) if name in dark]
        if of_night:
            numbers[f"{folder}, day"] = [number for number in numbers[folder] if number not in of_night]
            numbers[f"{folder}, night"] = of_night
        first += len(names)
    return {subset: some for subset, some in numbers.items() if some}


def _read_names(path: Path) -> set[str]:
    try:
        names = json.loads(path.read_text())
        if isinstance(names, list):
            return {*map(str, names)}
    except ValueError:
        pass
    raise ValueError(f"{path}: not a JSON list of names of pairs")
