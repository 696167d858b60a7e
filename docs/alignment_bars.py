"""How well alignment finds a known motion again on real pairs: python docs/alignment_bars.py DATA [--pairs 12] [--far].

Truth is relative: G0 is estimated on a pair as it is; then the thermal image is moved by a known random homography H
(+-16 pixels of 640, 2 degrees, 4 %, tilt up to 2 pixels at the edges; --far: 48 pixels, 8 degrees, 15 %), both images
are cropped from inside by the same margin, and the new estimate is compared with G0 H at the four corners, in pixels
of 640 across.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.calibration.recording import spread
from mmcfusion_ros.fusion.alignment import align, corners, transformed
from mmcfusion_ros.fusion.pair_folder import find_pairs, read_rgb, read_thermal

FOLDERS = ("roadscene/test", "llvip/train", "msrs/test", "video/140746", "video/140815")


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


def inner_margin(motion: np.ndarray, shape: tuple[int, ...]) -> int:
    """The least margin within which the motion stays inside the image."""
    for margin in range(0, min(shape) // 2 - 32, 2):
        inside = transformed(motion, corners((shape[0] - 2 * margin, shape[1] - 2 * margin)) + margin)
        if (inside >= 0).all() and (inside <= (shape[1] - 1, shape[0] - 1)).all():
            return margin
    raise ValueError("the motion leaves the image")


def error_px(thermal: np.ndarray, rgb: np.ndarray, rng: np.random.Generator, far: bool) -> tuple[float, str]:
    """Mean distance at the corners, and the problem that either estimate names."""
    before = align([(thermal, rgb)])
    while True:
        motion = random_motion(rng, rgb.shape, far)
        try:
            margin = inner_margin(motion, rgb.shape)
            break
        except ValueError:
            continue
    crop = np.array([[1.0, 0, margin], [0, 1, margin], [0, 0, 1]])
    height, width = rgb.shape[0] - 2 * margin, rgb.shape[1] - 2 * margin
    moved = cv2.warpPerspective(thermal, motion @ crop, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    after = align([(moved, rgb[margin : margin + height, margin : margin + width])])
    truth = np.linalg.inv(crop) @ before.homography @ motion @ crop
    points = corners((height, width))
    distances = np.linalg.norm(transformed(after.homography, points) - transformed(truth, points), axis=1)
    return float(distances.mean()) * 640 / rgb.shape[1], before.problem or after.problem


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", type=int, default=12, help="of each folder")
    parser.add_argument("--far", action="store_true")
    options = parser.parse_args()
    print("| folder | pairs | median | 95 % | over 3 | said to be lost |\n|---|---|---|---|---|---|")
    everything = []
    for folder in FOLDERS:
        rows = []
        for i, pair in enumerate(spread(find_pairs(options.data / folder), options.pairs)):
            rgb = cv2.cvtColor(read_rgb(pair.rgb), cv2.COLOR_RGB2GRAY)
            rows.append(error_px(read_thermal(pair.thermal), rgb, np.random.default_rng(i), options.far))
        everything += rows
        print(table_row(folder, rows), flush=True)
    print(table_row("all", everything))


def table_row(name: str, rows: list[tuple[float, str]]) -> str:
    """Of the errors and problems of some pairs."""
    errors = np.array([error for error, _ in rows])
    lost = sum(bool(problem) for _, problem in rows)
    median, high = np.percentile(errors, (50, 95))
    return f"| {name} | {len(rows)} | {median:.2f} | {high:.2f} | {(errors > 3).sum()} | {lost} |"


if __name__ == "__main__":
    main()
