"""What alignment does to real pairs: PYTHONPATH=. python scripts/alignment_benefit.py DATA WHAT, one of these.

agreement: mutual information (nats) and correlation of gradient magnitudes of thermal and RGB luminance, as the pairs
are and under the estimate, over the pixels that both show in either case; both smoothed (sigma 1), so that
interpolation has no say.
misaligned: mean distance in pixels between where each thermal pixel of misaligned/roadscene is put and where it
belongs, before and after; the deformation is partly elastic, which no homography follows.
refiner: mode `correct` over each clip, from a calibration by ten of its frames, without and with a knock of 8 pixels of
640: the largest distance from that calibration at the corners, in pixels of 640, at the worst moment and at the end.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from alignment_bars import FOLDERS, luminance_pairs

from mmcfusion_ros.alignment.find import align, corners, same_view, transformed
from mmcfusion_ros.alignment.refinement import RefinementOptions, Refiner
from mmcfusion_ros.data.images import read_thermal
from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.evaluation.metrics import correlation, mutual_information
from mmcfusion_ros.fusion.registration import Registration

CLIPS = ("video/140746", "video/140815")


def agreement(data: Path, pairs: int) -> None:
    """Prints, for each folder, the means and how many pairs agree at least as well as before."""
    print("| folder | pairs | MI before | after | not less | gradient correlation before | after | not less |")
    print("|---" * 8 + "|")
    everything = []
    for folder in FOLDERS:
        rows = []
        for thermal, rgb in luminance_pairs(data / folder, pairs):
            places = same_view(thermal.shape, rgb.shape), align([(thermal, rgb)]).homography
            rows.append(_agreements(thermal, rgb, places))
        everything += rows
        print(_agreement_row(folder, np.array(rows)), flush=True)
    print(_agreement_row("all", np.array(everything)))


def _agreements(
    thermal: np.ndarray, rgb: np.ndarray, homographies: tuple[np.ndarray, ...]
) -> list[tuple[float, float]]:
    views = [Registration(one).warp(thermal, rgb.shape) for one in homographies]
    seen = np.all([np.ones(rgb.shape, bool) if weight is None else weight > 0 for _, weight in views], axis=0)
    agreements = []
    for warped, _ in views:
        smooth = [np.asarray(cv2.GaussianBlur(image, (0, 0), 1.0), np.uint8) for image in (warped, rgb)]
        slopes = [[cv2.Sobel(image, cv2.CV_64F, *along)[seen] for along in ((1, 0), (0, 1))] for image in smooth]
        information = mutual_information(smooth[0][seen], smooth[1][seen])
        agreements.append((information, correlation(*(np.hypot(*slope) for slope in slopes))))
    return agreements


def _agreement_row(name: str, rows: np.ndarray) -> str:
    before, after = rows[:, 0], rows[:, 1]
    cells = [
        f"{before[:, i].mean():.3f} | {after[:, i].mean():.3f} | {(after[:, i] >= before[:, i]).sum()}" for i in (0, 1)
    ]
    return f"| {name} | {len(rows)} | {' | '.join(cells)} |"


def misaligned(data: Path, pairs: int) -> None:
    """Prints the end-point error of each pair."""
    folder = data / "misaligned/roadscene"
    print("| pair | before | after, affine | after, homography | best homography |\n|---|---|---|---|---|")
    rows = []
    for files in find_pairs(folder)[:pairs]:
        rgb = read_thermal(files.rgb)
        name = files.rgb.stem
        thermal = read_thermal(folder / "ir_warp" / files.thermal.name)
        truth = _true_positions(np.load(folder / "flow" / f"{name}.npz")["flow"], thermal.shape)
        grid = np.indices(thermal.shape)[::-1].reshape(2, -1).T.astype(np.float64)
        inside = ((truth >= 0) & (truth <= np.array(thermal.shape[::-1]) - 1)).all(axis=1)
        estimates = [align([(thermal, rgb)], model=model).homography for model in ("affine", "homography")]
        best = cv2.findHomography(grid[inside], truth[inside])[0]
        errors = [
            np.linalg.norm(transformed(one, grid[inside]) - truth[inside], axis=1).mean()
            for one in (np.eye(3), *estimates, best)
        ]
        rows.append(errors)
        print(f"| {name} | " + " | ".join(f"{error:.2f}" for error in errors) + " |", flush=True)
    print("| mean | " + " | ".join(f"{error:.2f}" for error in np.mean(rows, axis=0)) + " |")


def _true_positions(flow: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """For each pixel of the deformed image where it was, ``N x 2`` (x, y), from a grid for ``grid_sample``."""
    height, width = shape
    full = cv2.resize(flow.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return ((full.reshape(-1, 2).astype(np.float64) + 1) * (width, height) - 1) / 2


def refiner(data: Path, pairs: int) -> None:
    """Prints where the refiner went."""
    print("| clip | knock | frames | worst | at the end | last state |\n|---|---|---|---|---|---|")
    for clip in CLIPS:
        frames = luminance_pairs(data / clip, 1000)
        calibrated = align(frames[:: len(frames) // 10]).homography
        shape = frames[0][1].shape
        for knock in (0.0, 8.0):
            shift = np.array([[1, 0, knock * shape[1] / 640], [0, 1, 0], [0, 0, 1]])
            refine = Refiner(Registration(shift @ calibrated), RefinementOptions("correct"))
            away = []
            for thermal, rgb in frames:
                refine.step(thermal, rgb)
                points = transformed(refine.correction() @ shift, corners(shape)) - corners(shape)
                away.append(np.linalg.norm(points, axis=1).max() * 640 / shape[1])
            state = refine.status.state
            print(f"| {clip} | {knock:g} | {len(frames)} | {max(away):.2f} | {away[-1]:.2f} | {state} |", flush=True)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("what", choices=("agreement", "misaligned", "refiner"))
    parser.add_argument("--pairs", type=int, default=12, help="of each folder")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    {"agreement": agreement, "misaligned": misaligned, "refiner": refiner}[options.what](options.data, options.pairs)


if __name__ == "__main__":
    main()
