"""What detectors find in a folder of pairs: in both cameras, in their average and in what our models make of them.

    PYTHONPATH=. python scripts/score_detectors.py FOLDER LABELS.json DETECTOR... --model detect lite [--size 640x512]

Needs pycocotools, and ncnn for ``.param`` files: ``pip install pycocotools ncnn``. Prints AP50 and AP50:95 of people
and vehicles by detector, with the 95 % interval of AP50 over images.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.commands.arguments import image_size
from mmcfusion_ros.data.pair_folder import find_pairs, read_pair
from mmcfusion_ros.evaluation.detection.detectors import load_detector
from mmcfusion_ros.evaluation.detection.labels import read_labels
from mmcfusion_ros.evaluation.detection.scores import Scores, interval
from mmcfusion_ros.evaluation.rules import RULES
from mmcfusion_ros.fusion.colour import merge_luminance, split_luminance
from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.fusion.models import PURPOSES

Way = Callable[[np.ndarray, np.ndarray], np.ndarray]  # thermal, white hot, and RGB to the image for the detector


def average(thermal: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Half of each in luminance, with the colours of RGB."""
    luminance, colour = split_luminance(rgb)
    return merge_luminance(RULES["average"](thermal, luminance), colour)


WAYS: dict[str, Way] = {
    "thermal, white hot": lambda thermal, rgb: thermal,
    "thermal, black hot": lambda thermal, rgb: 255 - thermal,
    "RGB": lambda thermal, rgb: rgb,
    "average, white hot": average,
    "average, black hot": lambda thermal, rgb: average(255 - thermal, rgb),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("detectors", type=Path, nargs="+")
    parser.add_argument("--model", nargs="+", default=[*PURPOSES.values()])
    parser.add_argument("--size", type=image_size, metavar="WIDTHxHEIGHT", help="of the images that the labels are for")
    options = parser.parse_args()
    labels = read_labels(options.labels)
    files = [file for file in find_pairs(options.folder) if file.name in labels]
    if not files:
        raise SystemExit(f"{options.labels} names no image of {options.folder}")
    pairs = [read_pair(file) for file in files]
    if options.size:
        pairs = [(_resized(thermal, options.size), _resized(rgb, options.size)) for thermal, rgb in pairs]
    detectors = {path.stem: load_detector(path) for path in options.detectors}
    print(f"{len(files)} pairs\n\n| image | detector | person AP50 | AP50:95 | vehicle AP50 | AP50:95 |")
    print("|---|---|---|---|---|---|")
    ours: dict[str, Way] = {model: Fuser.from_pretrained(model) for model in options.model}
    for name, way in (WAYS | ours).items():
        images = [way(*pair) for pair in pairs]
        for detector, detect in detectors.items():
            scores = Scores([detect(image) for image in images], [labels[file.name] for file in files])
            table, (low, high) = scores.table(), interval(scores.bootstrap())
            cells = [
                f"{table[kind, 0]:.3f} ({low[kind]:.3f} to {high[kind]:.3f}) | {table[kind, 1]:.3f}" for kind in (0, 1)
            ]
            print(f"| {name} | {detector} | {' | '.join(cells)} |", flush=True)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
