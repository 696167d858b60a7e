"""`mmcfusion calibrate` on simulated rigs of real pairs: PYTHONPATH=. python scripts/calibration_rigs.py DATA.

A rig is ten pairs, two of each of five folders, brought to 640x480; its thermal camera (640x512) looks through a random
homography onto 0.85 to 0.97 of that: +-3 degrees, stretch and tilt of +-4 pixels at the edges. The public sets are off
themselves, each in its own way, the clips by 5 to 18 pixels at the corners: these rigs are harder than one pair of
cameras. Truth is what the ten pairs give without the homography. The error is the mean distance at the corners of the
thermal image, in pixels of 640.

--search wide searches as the command does, and is slow; none and near begin 7 pixels beside the truth. --wrong gives
rigs that must be refused: each thermal image beside the RGB image of another scene; mirrored; half of the frames of
another rig; every frame of another one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from alignment_bars import FOLDERS, distance, luminance_pairs

from mmcfusion_ros.alignment.find import ImagePair, align, corners, transformed
from mmcfusion_ros.calibration.scene_homography import calibrate_from_images

THERMAL, RGB = (512, 640), (480, 640)
WRONG = ("unrelated", "mirrored", "half of another rig", "every frame of another rig")
BAR = 3.0  # pixels of 640


def thermal_camera(rng: np.random.Generator) -> np.ndarray:
    """A homography from thermal to RGB pixels that takes the whole thermal image into the RGB image."""
    while True:
        scale, turn = rng.uniform(0.85, 0.97) * RGB[0] / THERMAL[0], np.radians(rng.uniform(-3, 3))
        stretch, shear, *tilt = rng.uniform(-4, 4, 4) / 320
        shape = np.array([[1 + stretch, shear, 0], [shear, 1 - stretch, 0], [0, 0, 1]])
        shape[2, :2] = tilt
        rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1 / scale]])
        to_unit, back = np.diag([1 / 320, 1 / 320, 1]), np.diag([320.0, 320, 1])
        to_unit[:2, 2] = -(THERMAL[1] - 1) / 640, -(THERMAL[0] - 1) / 640
        back[:2, 2] = (RGB[1] - 1) / 2 + rng.uniform(-30, 30), (RGB[0] - 1) / 2 + rng.uniform(-30, 30)
        homography = back @ rotation @ shape @ to_unit
        places = transformed(homography, corners(THERMAL))
        if (places >= 0).all() and (places <= (RGB[1] - 1, RGB[0] - 1)).all():
            return homography / homography[2, 2]


def four_by_three(image: np.ndarray) -> np.ndarray:
    """The middle of an image as ``480 x 640``."""
    height, width = image.shape
    x, y = max(0, width - height * 4 // 3) // 2, max(0, height - width * 3 // 4) // 2
    return cv2.resize(image[y : height - y, x : width - x], RGB[::-1], interpolation=cv2.INTER_AREA)


def seen(scene: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """What a thermal camera shows of a scene on the RGB pixel grid."""
    return cv2.warpPerspective(scene, homography, THERMAL[::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


def spoiled(scenes: list[ImagePair], wrong: str, truth: np.ndarray, rng: np.random.Generator) -> list[ImagePair]:
    """The images of a rig that nothing can be made of."""
    homographies = [truth] * len(scenes)
    thermal, rgb = [list(images) for images in zip(*scenes, strict=True)]
    if wrong == "unrelated":
        thermal = thermal[3:] + thermal[:3]
    elif wrong == "mirrored":
        thermal = [cv2.flip(scene, 1) for scene in thermal]
    elif wrong.startswith("half"):
        homographies = [truth, thermal_camera(rng)] * (len(scenes) // 2)
    elif wrong.startswith("every"):
        homographies = [thermal_camera(rng) for _ in scenes]
    return [(seen(scene, one), image) for scene, one, image in zip(thermal, homographies, rgb, strict=True)]


def main() -> None:
    """Prints what becomes of each rig."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rigs", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--wrong", action="store_true")
    parser.add_argument("--search", choices=("none", "near", "wide"), default="wide")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    folders = [
        [(four_by_three(thermal), four_by_three(rgb)) for thermal, rgb in luminance_pairs(options.data / name, 24)]
        for name in FOLDERS
    ]
    moved = np.array([[1, 0, 6], [0, 1, -4], [0, 0, 1]])
    errors, refused = [], 0
    for rig in range(options.first, options.first + options.rigs):
        rng = np.random.default_rng([19, rig])
        scenes = [pairs[i] for pairs in folders for i in rng.choice(len(pairs), 2, replace=False)]
        truth = thermal_camera(rng)
        start = None if options.search == "wide" else moved @ truth
        wrong = WRONG[rig % len(WRONG)] if options.wrong else ""
        try:
            found = calibrate_from_images(spoiled(scenes, wrong, truth, rng), search=options.search, start=start)
        except ValueError as problem:
            refused += 1
            print(f"| {rig} | {wrong} | {problem} |", flush=True)
            continue
        unmoved = align(scenes, search="none").homography
        errors.append(distance(found.alignment.homography, unmoved @ truth, THERMAL))
        told = f"{len(found.used)} frames, {found.model}, deviation {found.deviation_px:.2f}"
        print(f"| {rig} | {wrong} | off by {errors[-1]:.2f} px ({told}) |", flush=True)
    over, median = sum(error > BAR for error in errors), np.median(errors or [np.nan])
    print(f"{options.rigs} rigs: {refused} refused, {over} off by over {BAR:g} px, median {median:.2f} px")


if __name__ == "__main__":
    main()
