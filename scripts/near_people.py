"""People at 1 to 3 m of the rig, found by detectors: PYTHONPATH=. python scripts/near_people.py DETECTOR...

The rig with 10 cm between its cameras and lenses that bend; people walk across at 1.5, 2 and 3 m. RGB alone, and fused
by the weights for detectors with the plane at 8 m, by depth (own lens, D435 noise), and by one dense estimate a frame.
A person is found by a box of that class (score 0.25) that covers the true one by half (intersection over union); the
true box is that of all pixels at the person's distance, if they are 1 % of the image or more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch_detector import overlap

from mmcfusion_ros.alignment.dense_refinement import DenseRefiner
from mmcfusion_ros.alignment.refinement import RefinementOptions
from mmcfusion_ros.evaluation.detection.detectors import load_detector
from mmcfusion_ros.evaluation.detection.found import KINDS, Found
from mmcfusion_ros.fusion.depth_registration import DepthRegistration
from mmcfusion_ros.fusion.fuser import RegisteredPair, split_luminance
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalScaler
from mmcfusion_ros.simulation.optics import DEPTH, Optics
from mmcfusion_ros.simulation.rig import RigOptions, rig_calibration, rig_frames
from mmcfusion_ros.simulation.scene import StreetScene
from mmcfusion_ros.stream.parameter_files import load_values
from mmcfusion_ros.stream.settings import Settings

PASSERS_Z, PLANE_M, RATE_HZ, SEED = (1.5, 2.0, 3.0), 8.0, 1.0, 2
SCORE, OVERLAP, LEAST_SHARE, SAME_M = 0.25, 0.5, 0.01, 0.35
PERSON = KINDS.index("person")
INPUTS = ("RGB", "plane", "depth", "dense")


def images(night: bool, count: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The inverse depth that RGB sees, and each of the ``INPUTS``."""
    options = RigOptions(
        SEED,
        night,
        *(RATE_HZ, RATE_HZ),
        baseline_m=0.1,
        distorted=True,
        depth="own",
        depth_rate_hz=RATE_HZ,
        passers_z=PASSERS_Z,
    )
    street, optics = StreetScene(SEED, night, PASSERS_Z), Optics(0.1, True)
    settings = Settings(load_values(None, ["output.steady=false"]))
    fuser, scale = settings.pipeline(settings.network()).fuser, ThermalScaler()
    registration = Registration(rig_calibration(options, PLANE_M))
    frames = list(islice(rig_frames(options), 3 * count))
    for i in range(count):
        sent = {frame.camera: frame.image for frame in frames[3 * i : 3 * i + 3]}
        thermal, rgb = scale(sent["thermal"]), sent["rgb"]
        luminance = split_luminance(rgb)[0]
        by_depth = DepthRegistration(registration, thermal.shape, luminance.shape)
        refiner = DenseRefiner(registration, RefinementOptions("dense"))
        refiner.step(thermal, luminance)
        warped = {
            "plane": registration.warp(thermal, luminance.shape),
            "depth": by_depth.warp(thermal, luminance, by_depth.from_image(sent["depth"], 0.001, DEPTH)),
            "dense": refiner.registration.warp(thermal, luminance.shape),
        }
        fused = {
            name: fuser.fuse(RegisteredPair(image, luminance, luminance, rgb, weight), {})[0]
            for name, (image, weight) in warped.items()
        }
        yield optics.rgb_view(street.inverse_depth(i / RATE_HZ), cv2.INTER_NEAREST), {"RGB": rgb, **fused}


def people(inverse_depth: np.ndarray) -> list[np.ndarray]:
    """Boxes (left, top, right, bottom) of those who are near."""
    boxes = []
    for metres in PASSERS_Z:
        there = (np.abs(1 / np.maximum(inverse_depth, 1e-3) - metres) < SAME_M).astype(np.uint8)
        _, _, found, _ = cv2.connectedComponentsWithStats(there)
        boxes += [
            np.array([x, y, x + w, y + h], float)
            for x, y, w, h, area in found[1:]
            if area > LEAST_SHARE * there.size and h > w
        ]
    return boxes


def best_score(found: Found, box: np.ndarray) -> float:
    """Of the boxes of people that cover it by half; 0 without one."""
    covers = overlap(torch.from_numpy(found.corners), torch.from_numpy(box[None]))[:, 0].numpy() > OVERLAP
    return float(max(found.scores[(found.kinds == PERSON) & covers], default=0.0))


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("detectors", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=10)
    options = parser.parse_args()
    detectors = {path.stem: load_detector(path, 1) for path in options.detectors}
    print("| | people | detector | " + " | ".join(INPUTS) + " |\n" + "|---" * (3 + len(INPUTS)) + "|")
    for night in (False, True):
        scores: dict[str, list[list[float]]] = {name: [] for name in detectors}
        for inverse_depth, inputs in images(night, options.frames):
            boxes = people(inverse_depth)
            for name, detect in detectors.items():
                found = [detect(inputs[kind]) for kind in INPUTS]
                scores[name] += [[best_score(one, box) for one in found] for box in boxes]
        for name, rows in scores.items():
            table = np.array(rows)
            cells = [f"{(column >= SCORE).sum()} ({column.mean():.2f})" for column in table.T]
            print(f"| {'night' if night else 'day'} | {len(table)} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
