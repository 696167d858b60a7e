"""What `registration.refine: dense` leaves: PYTHONPATH=. python scripts/dense_bars.py DATA WHAT, one of these.

near: the synthetic rig (10 cm baseline, lenses that bend, plane at 8 m) with people at 1.5, 2, 3 and 5 m: error in
pixels of 640 by the true distance, of the plane and of one estimate, where the thermal camera sees the plane; worse:
share of the pixels that are off by over 0.5 px more.
walking: the same street at 15 Hz, with people who walk across at 1.5, 2, 3 and 5 m, one estimate a second: error over
all frames between them, of the plane, of the estimate as it was, and of what the refiner makes of it meanwhile.
misaligned: end-point error in pixels of misaligned/roadscene, after align (affine) and with a smooth field. The pairs
are off before they are deformed: the same also from where a field on the pair without the deformation puts things; how
far that is; and the mutual information of the pair without the deformation as it is, moved by its own field, by that
the other way round, and by the best of the other pairs' fields.
real: mutual information of pairs of the public folders and clips, as they are and under a smooth field.
aligned: mean shift in pixels of 640 that the field gives to frames of the rig without a baseline, which lie right.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from alignment_bars import FOLDERS, luminance_pairs

from mmcfusion_ros.alignment.dense import smooth_field
from mmcfusion_ros.alignment.dense_refinement import DenseRefiner, Displaced
from mmcfusion_ros.alignment.find import align, transformed
from mmcfusion_ros.alignment.refinement import RefinementOptions
from mmcfusion_ros.data.images import read_thermal
from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.evaluation.metrics import mutual_information
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.geometry import Geometry
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalScaler
from mmcfusion_ros.simulation import scene
from mmcfusion_ros.simulation.optics import RGB_SIZE, THERMAL_SIZE, THERMAL_TO_RGB, Optics
from mmcfusion_ros.simulation.people import Person, random_clothes
from mmcfusion_ros.simulation.rig import RigOptions, rig_calibration, rig_frames
from mmcfusion_ros.simulation.traffic import Traffic

PLANE_M, PERIOD_S, STRIDE = 8.0, 2.0, 4
RANGES_M = ((1.3, 2.3), (2.5, 4), (4, 7), (7, 12), (12, 30), (30, np.inf))


class NearPeople(Traffic):
    """The street, and two people who stand near."""

    def people(self, time_s: float) -> list[Person]:
        """Everybody on foot."""
        rng = np.random.default_rng(19)
        clothes = [random_clothes(rng) for _ in range(4)]
        near = [
            Person((z - 2.6) * 0.25 + 0.1 * np.sin(time_s + z), z, (1.0, 0.0), time_s, 1.75, worn, False)
            for z, worn in zip((1.5, 2.0, 3.0, 5.0), clothes, strict=True)
        ]
        first = int(time_s / PERIOD_S) % 2
        return super().people(time_s) + near[first::2]


def rig_pairs(options: RigOptions, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """8-bit thermal and RGB luminance."""
    scale = ThermalScaler()
    images = {}
    for frame in islice(rig_frames(options), 2 * count):
        images[frame.camera] = frame.image
        if len(images) == 2:
            yield scale(images["thermal"]), cv2.cvtColor(images["rgb"], cv2.COLOR_RGB2GRAY)
            images = {}


def near(frames: int) -> None:
    """Prints the errors by distance."""
    setattr(scene, "Traffic", NearPeople)  # noqa: B010
    options = RigOptions(seed=3, baseline_m=0.1, distorted=True, thermal_rate_hz=1 / PERIOD_S, rgb_rate_hz=1 / PERIOD_S)
    calibration = rig_calibration(options, PLANE_M)
    street, optics = scene.StreetScene(options.seed), Optics(0.1, True)
    plane, truth, rows = Registration(calibration), Truth(calibration, street, optics), []
    for i, (thermal, luminance) in enumerate(rig_pairs(options, frames)):
        refiner = DenseRefiner(plane, RefinementOptions("dense"))
        refiner.step(thermal, luminance)
        weight = plane.warp(thermal, luminance.shape)[1]
        rows.append(truth.errors(PERIOD_S * i, weight, [refiner.shift]))
    print_errors(["dense"], rows)


def walking(seconds: int) -> None:
    """Prints the errors by distance, of all frames."""
    rate_hz, passers_z = 15, (1.5, 2.0, 3.0, 5.0)
    rig = RigOptions(seed=3, baseline_m=0.1, distorted=True, passers_z=passers_z)
    options = replace(rig, thermal_rate_hz=rate_hz, rgb_rate_hz=rate_hz)
    calibration = rig_calibration(options, PLANE_M)
    street = scene.StreetScene(options.seed, passers_z=passers_z)
    plane, truth, rows = Registration(calibration), Truth(calibration, street, Optics(0.1, True)), []
    refiner = DenseRefiner(plane, RefinementOptions("dense", period_s=1e6))  # it makes no estimates of its own
    for i, (thermal, luminance) in enumerate(rig_pairs(options, seconds * rate_hz)):
        refiner.offer(thermal, luminance)
        if i % rate_hz == 0:
            refiner.step(thermal, luminance)
            held = refiner.shift
        weight = plane.warp(thermal, luminance.shape)[1]
        rows.append(truth.errors(i / rate_hz, weight, [held, refiner.shift]))
    print_errors(["held", "carried on"], rows)


class Truth:
    """Where the rig's cameras see the same things."""

    def __init__(self, calibration: Calibration, street: scene.StreetScene, optics: Optics) -> None:
        self._street, self._optics = street, optics
        self._geometry = Geometry(calibration, THERMAL_SIZE, RGB_SIZE)

    def errors(self, time_s: float, weight: np.ndarray | None, shifts: list[np.ndarray | None]) -> np.ndarray:
        """By pixel where the thermal camera sees the plane: distance, and the errors of the plane and of the shifts."""
        x, y = np.mgrid[: RGB_SIZE[0] : STRIDE, : RGB_SIZE[1] : STRIDE].reshape(2, -1)
        points = np.column_stack([x, y]).astype(np.float64)
        distance = 1 / np.maximum(self._optics.rgb_view(self._street.inverse_depth(time_s))[y, x], 1e-4)
        shown = self._geometry.rgb_pixels(self._geometry.thermal_pixels(points, distance))
        seen = np.isfinite(shown).all(axis=1) & ((weight is None) or weight[y, x] > 0)
        moves = [0 * points, *(cv2.resize(np.asarray(shift, np.float32), RGB_SIZE)[y, x] for shift in shifts)]
        return np.column_stack([distance, *(np.linalg.norm(points + one - shown, axis=1) for one in moves)])[seen]


def print_errors(names: list[str], rows: list[np.ndarray]) -> None:
    """A table of what :meth:`Truth.errors` found; worse: by over 0.5 px than the plane."""
    distance, plane, *dense = np.concatenate(rows).T
    heads = [f"{name}: median | 95 % | mean | worse" for name in names]
    print(
        " | ".join(["| metres | pixels | plane: median | 95 % | mean", *heads])
        + " |\n"
        + "|---" * (5 + 4 * len(names))
        + "|"
    )
    for low, high in (*RANGES_M, (0, np.inf)):
        of = (distance > low) & (distance <= high)
        cells = [f"{low:g} to {high:g}", f"{of.sum()}"]
        for errors in (plane, *dense):
            cells += [f"{figure:.1f}" for figure in (*np.percentile(errors[of], (50, 95)), errors[of].mean())]
            cells += [f"{100 * (errors[of] > plane[of] + 0.5).mean():.1f} %"] if errors is not plane else []
        print(f"| {' | '.join(cells)} |", flush=True)


def misaligned(data: Path) -> None:
    """Prints the end-point error of each pair."""
    folder = data / "misaligned/roadscene"
    pairs = {files: (read_thermal(files.thermal), read_thermal(files.rgb)) for files in find_pairs(folder)}
    fields = {files: smooth_field(*pair).shift for files, pair in pairs.items()}
    print("| pair | affine | dense | affine, own | dense, own | own field | MI: as it is | own | back | another |")
    print("|---" * 10 + "|")
    rows = []
    for files, (undeformed, rgb) in pairs.items():
        name, own = files.rgb.stem, fields[files]
        thermal = read_thermal(folder / "ir_warp" / files.thermal.name)
        flow = np.load(folder / "flow" / f"{name}.npz")["flow"].astype(np.float32)
        height, width = thermal.shape
        truth = ((cv2.resize(flow, (width, height)) + 1) * np.array([width, height], np.float32) - 1) / 2
        homography = align([(thermal, rgb)], model="affine").homography
        warped, weight = Registration(homography).warp(thermal, rgb.shape)
        valid = None if weight is None else (weight == weight.max()).astype(np.uint8)
        field = smooth_field(warped, rgb, valid).shift
        figures = [
            end_point_error(homography, of, truth, belongs) for belongs in (0 * own, own) for of in (0 * field, field)
        ]
        figures.append(np.linalg.norm(own, axis=2).mean())
        figures += [information(undeformed, rgb, one) for one in (0 * own, own, -own)]
        figures.append(max(information(undeformed, rgb, fields[other]) for other in pairs if other is not files))
        rows.append(figures)
        print(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |", flush=True)
    print("| mean | " + " | ".join(f"{figure:.3f}" for figure in np.mean(rows, axis=0)) + " |")


def information(thermal: np.ndarray, rgb: np.ndarray, shift: np.ndarray) -> float:
    """Mutual information of thermal moved by a field and RGB, in nats; both smoothed, so that interpolation has no
    say."""
    moved, _ = Displaced(Registration(), shift / rgb.shape[1]).warp(thermal, rgb.shape)
    smooth = [np.asarray(cv2.GaussianBlur(one, (0, 0), 1)[12:-12, 12:-12], np.uint8) for one in (moved, rgb)]
    return mutual_information(smooth[0], smooth[1])


def real(data: Path, pairs: int) -> None:
    """Prints, for each folder, the mutual information before and after, and how many pairs have no less of it."""
    print("| folder | pairs | shift in px of 640 | MI before | after | not less |\n" + "|---" * 6 + "|")
    for folder in FOLDERS:
        rows = []
        for thermal, rgb in luminance_pairs(data / folder, pairs):
            thermal = cv2.resize(thermal, rgb.shape[::-1], interpolation=cv2.INTER_AREA)
            shift = smooth_field(thermal, rgb).shift
            size = 640 / rgb.shape[1] * np.linalg.norm(shift, axis=2).mean()
            rows.append((size, information(thermal, rgb, 0 * shift), information(thermal, rgb, shift)))
        size, before, after = np.transpose(rows)
        means = f"{size.mean():.2f} | {before.mean():.3f} | {after.mean():.3f}"
        print(f"| {folder} | {len(rows)} | {means} | {(after >= before).sum()} |", flush=True)


def end_point_error(homography: np.ndarray, shift: np.ndarray, truth: np.ndarray, belongs: np.ndarray) -> float:
    """Mean over the RGB pixels at which thermal shows something: where that belongs, from there."""
    shape = truth.shape[:2]
    shift, belongs = (
        cv2.resize(one.astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC) for one in (shift, belongs)
    )
    grid = np.stack(np.meshgrid(*(np.arange(side, dtype=np.float32) for side in shape[::-1])), axis=-1)
    places = transformed(np.linalg.inv(homography), (grid + shift).reshape(-1, 2).astype(np.float64))
    inside = ((places >= 0) & (places <= np.array(shape[::-1]) - 1)).all(axis=1).reshape(shape)
    x, y = places.T.reshape(2, *shape).astype(np.float32)
    shown = cv2.remap(truth, x, y, cv2.INTER_LINEAR)
    return float(np.linalg.norm(shown - grid - belongs, axis=2)[inside].mean())


def aligned(frames: int) -> None:
    """Prints the mean and the largest shift of each frame."""
    for thermal, luminance in rig_pairs(RigOptions(seed=3, thermal_rate_hz=0.5, rgb_rate_hz=0.5), frames):
        lengths = np.linalg.norm(smooth_field(*_on_grid(thermal, luminance)).shift, axis=2)
        print(f"mean {lengths.mean():.2f}, largest cell {lengths.max():.2f}", flush=True)


def _on_grid(thermal: np.ndarray, luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    warped, weight = Registration(THERMAL_TO_RGB).warp(thermal, luminance.shape)
    return warped, luminance, np.ones_like(luminance) if weight is None else (weight == 255).astype(np.uint8)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("what", choices=("near", "walking", "misaligned", "real", "aligned"))
    parser.add_argument(
        "--frames", type=int, default=6, help="of the rig; of walking: seconds; of real: pairs of a folder"
    )
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.what == "misaligned":
        misaligned(options.data)
    elif options.what == "real":
        real(options.data, options.frames)
    else:
        {"near": near, "walking": walking, "aligned": aligned}[options.what](options.frames)


if __name__ == "__main__":
    main()
