"""How well alignment finds a known motion again on real pairs: PYTHONPATH=. python scripts/alignment_bars.py DATA.

Truth is relative, since the public sets are themselves off: H is a random homography (+-16 pixels of 640, 2 degrees,
4 %, tilt up to 2 pixels at the edges; --far: 48 pixels, 8 degrees, 15 %). Both images are cropped from inside by the
margin that keeps H free of black borders; G0 is estimated on that crop as it is, G with the thermal image moved by H,
and G is compared with G0 H at the four corners, in pixels of 640 across. `whole` takes G0 from the uncropped pair
instead: what the margin showed is then part of the error, since no one homography fits a scene with depth.
--frames N gives N frames of a rig to each estimate; --wrong gives thermal and RGB images of different scenes.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.alignment.find import ImagePair, align, corners, transformed
from mmcfusion_ros.calibration.recording import spread
from mmcfusion_ros.data.pair_folder import find_pairs, read_pair
from mmcfusion_ros.fusion.fuser import split_luminance

FOLDERS = ("roadscene/test", "llvip/train", "msrs/test", "video/140746", "video/140815")
BAR = 3.0  # pixels of 640; an error beyond is a lost estimate


@dataclass(frozen=True)
class Trial:
    """Mean distances at the corners in pixels of 640, by the standard deviations that both estimates state too, and why
    one of the two says that it is lost: either may be what makes them differ."""

    error: float
    deviation: float
    whole: float
    problem: str


def random_motion(rng: np.random.Generator, shape: tuple[int, ...], far: bool) -> np.ndarray:
    """A homography about the centre of an image of this shape."""
    shift, degrees, scale = (48, 8, 0.15) if far else (16, 2, 0.04)
    centre = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    turn, zoom = rng.uniform(-degrees, degrees), 1 + rng.uniform(-scale, scale)
    motion = np.vstack([cv2.getRotationMatrix2D(centre, turn, zoom), [0, 0, 1]])
    motion[:2, 2] += rng.uniform(-shift, shift, 2) * shape[1] / 640
    tilt, to_centre = np.eye(3), np.eye(3)
    tilt[2, :2] = rng.uniform(-2, 2, 2) / 320 / (shape[1] / 2)
    to_centre[:2, 2] = centre
    return motion @ to_centre @ tilt @ np.linalg.inv(to_centre)


def inner_margin(motion: np.ndarray, shape: tuple[int, ...]) -> int | None:
    """The least margin within which the motion stays inside the image, None if too little would be left."""
    for margin in range(0, min(shape) // 2 - 32, 2):
        inside = transformed(motion, corners((shape[0] - 2 * margin, shape[1] - 2 * margin)) + margin)
        if (inside >= 0).all() and (inside <= (shape[1] - 1, shape[0] - 1)).all():
            return margin
    return None


def trial(pairs: Sequence[ImagePair], rng: np.random.Generator, far: bool) -> Trial:
    """One motion of the pairs of one rig."""
    shape, margin = pairs[0][1].shape, None
    while margin is None:
        motion = random_motion(rng, shape, far)
        margin = inner_margin(motion, shape)
    height, width = shape[0] - 2 * margin, shape[1] - 2 * margin
    crop = np.array([[1.0, 0, margin], [0, 1, margin], [0, 0, 1]])
    inside = slice(margin, margin + height), slice(margin, margin + width)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    moved = [cv2.warpPerspective(thermal, motion @ crop, (width, height), flags=flags) for thermal, _ in pairs]
    before = align([(thermal[inside], rgb[inside]) for thermal, rgb in pairs])
    after = align([(thermal, rgb[inside]) for thermal, (_, rgb) in zip(moved, pairs, strict=True)])

    def error(whole_truth: np.ndarray) -> float:
        truth = np.linalg.inv(crop) @ whole_truth @ motion @ crop
        return distance(after.homography, truth, (height, width)) * 640 / shape[1]

    return Trial(
        error(crop @ before.homography @ np.linalg.inv(crop)),
        float(np.hypot(before.deviation_px, after.deviation_px)) * width / shape[1],
        error(align(pairs).homography),
        before.problem or after.problem,
    )


def distance(found: np.ndarray, truth: np.ndarray, shape: tuple[int, ...]) -> float:
    """Mean over the corners of an image of this shape, in pixels."""
    points = corners(shape)
    return float(np.linalg.norm(transformed(found, points) - transformed(truth, points), axis=1).mean())


def luminance_pairs(folder: Path, count: int) -> list[ImagePair]:
    """Thermal and RGB luminance of so many pairs, evenly spread over the folder."""
    pairs = (read_pair(files) for files in spread(find_pairs(folder), count))
    return [(thermal, split_luminance(rgb)[0]) for thermal, rgb in pairs]


def told(pairs: Sequence[ImagePair]) -> str:
    """How many thermal images are said not to belong to the RGB image of the next pair."""
    mixed = [
        (cv2.resize(thermal, rgb.shape[::-1]), rgb)
        for (thermal, _), (_, rgb) in zip(pairs, [*pairs[1:], pairs[0]], strict=True)
    ]
    return f"{sum(bool(align([pair]).problem) for pair in mixed)} of {len(mixed)}"


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--folders", nargs="+", default=FOLDERS)
    parser.add_argument("--pairs", type=int, default=12, help="of each folder; with --frames so many trials")
    parser.add_argument("--frames", type=int, default=1, help="of one rig for each estimate")
    parser.add_argument("--far", action="store_true")
    parser.add_argument("--wrong", action="store_true", help="images of different scenes (roadscene, msrs)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.wrong:
        for folder in options.folders:
            print(f"{folder}: {told(luminance_pairs(options.data / folder, options.pairs))} told", flush=True)
        return
    titles = "folder trials median 95_% over_3 of_these_told good_ones_refused beyond_2_deviations whole:_median 95_%"
    print("| " + titles.replace(" ", " | ").replace("_", " ") + " |\n" + "|---" * 10 + "|")
    everything = []
    for folder in options.folders:
        pairs = luminance_pairs(options.data / folder, options.pairs * options.frames)
        groups = [pairs[i :: options.pairs] for i in range(min(options.pairs, len(pairs)))]
        seed = zlib.crc32(folder.encode())
        trials = [trial(group, np.random.default_rng([seed, i]), options.far) for i, group in enumerate(groups)]
        everything += trials
        print(table_row(folder, trials), flush=True)
    print(table_row("all", everything))


def table_row(name: str, trials: Sequence[Trial]) -> str:
    """Of some trials, as Markdown."""
    errors = np.array([one.error for one in trials])
    lost, refused = errors > BAR, np.array([bool(one.problem) for one in trials])
    median, high = np.percentile(errors, (50, 95))
    whole = np.percentile([one.whole for one in trials], (50, 95))
    beyond = sum(one.error > 2 * one.deviation for one in trials)
    counts = f"{lost.sum()} | {(lost & refused).sum()} | {(refused & ~lost).sum()} | {beyond}"
    return f"| {name} | {len(trials)} | {median:.2f} | {high:.2f} | {counts} | {whole[0]:.2f} | {whole[1]:.2f} |"


if __name__ == "__main__":
    main()
