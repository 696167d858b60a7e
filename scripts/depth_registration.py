"""Registration by depth against the plane, on the rig with people at 1 to 10 m before it; makes docs/depth.jpg.

PYTHONPATH=. python scripts/depth_registration.py [--frames N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmcfusion_ros.evaluation.bags.writing import camera_info_message, header_message, image_message
from mmcfusion_ros.evaluation.pictures import write_image
from mmcfusion_ros.fusion.depth_registration import DepthRegistration, followed, small
from mmcfusion_ros.fusion.geometry import Geometry
from mmcfusion_ros.fusion.registration import Registration, blend
from mmcfusion_ros.simulation.depth_camera import DepthCamera
from mmcfusion_ros.simulation.frame import Frame
from mmcfusion_ros.simulation.optics import DEPTH, RGB_SIZE, THERMAL_SIZE, Optics
from mmcfusion_ros.simulation.rig import RigOptions, rig_calibration, rig_frames
from mmcfusion_ros.simulation.scene import StreetScene
from mmcfusion_ros.stream.depth import DepthInput

PASSERS_Z = (1.0, 1.5, 2.0, 3.0, 4.5, 6.5, 9.0)
SEED, WARM_UP_S = 2, 0.3
PLANE_M, FIRST_S, BAND_PX, GHOST_PX, NEAR_M = 8.0, 2.0, 30, 3.0, 4.0
RANGES_M = ((1, 10), (1, 2), (2, 4), (4, 10))
CASES = {
    "aligned, 30 Hz, on time": ({"depth": "aligned", "depth_rate_hz": 30.0}, 0.1),
    "own lens, 30 Hz, 60 ms late": ({"depth": "own", "depth_rate_hz": 30.0, "depth_latency_s": 0.06}, 0.1),
    "own lens, 15 Hz, 60 ms late": ({"depth": "own", "depth_rate_hz": 15.0, "depth_latency_s": 0.06}, 0.1),
    "the same, not waited for": ({"depth": "own", "depth_rate_hz": 15.0, "depth_latency_s": 0.06}, 0.0),
}
RAMPS = [(64 * axis).astype(np.uint16) for axis in np.mgrid[: THERMAL_SIZE[1], : THERMAL_SIZE[0]][::-1]]
Warp = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]


@dataclass
class Score:
    """Errors in thermal pixels by range; frame by frame the ghosts of so many pixels, and the shown of the visible."""

    errors: dict[tuple[int, int], list[np.ndarray]] = field(default_factory=lambda: {r: [] for r in RANGES_M})
    ghosts: list[tuple[int, int]] = field(default_factory=list)
    shown: list[tuple[int, int]] = field(default_factory=list)

    def row(self, name: str) -> list[str]:
        """Of the table."""
        errors = [np.concatenate(self.errors[r]) for r in RANGES_M]
        texts = [f"{np.median(e):.2f} / {np.percentile(e, 95):.2f}" for e in errors]
        ghosts, shown = (100 * np.divide(*np.sum(counts, axis=0)) for counts in (self.ghosts, self.shown))
        return [name, *texts, f"{ghosts:.2f} %", f"{shown:.0f} %"]


class Truth:
    """What each RGB pixel sees at a time, and where the thermal camera sees it."""

    def __init__(self, scene: StreetScene, optics: Optics, time_s: float) -> None:
        drawn = scene.inverse_depth(time_s)
        self._thermal = optics.thermal_view(drawn, drawn)
        self.inverse_depth = optics.rgb_view(drawn, cv2.INTER_NEAREST)
        geometry = Geometry(optics.calibration(PLANE_M), THERMAL_SIZE, RGB_SIZE)
        points = np.stack(np.meshgrid(*map(np.arange, RGB_SIZE)), axis=-1).reshape(-1, 2).astype(float)
        depth_m = 1 / np.maximum(self.inverse_depth.ravel(), 1e-6)
        self.pixels = geometry.thermal_pixels(points, depth_m).reshape(*RGB_SIZE[::-1], 2)
        self._tolerance = GHOST_PX / (0.1 * geometry.rgb.camera_matrix[0, 0])
        self._in_view = ((self.pixels > 1) & (self.pixels < np.array(THERMAL_SIZE) - 2)).all(axis=-1)
        self._visible = self._in_view & ~self._hidden(self.pixels)
        near = (self.inverse_depth > 1 / NEAR_M).astype(np.uint8)
        round_ = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BAND_PX + 1,) * 2)
        self._band = (cv2.dilate(near, round_) > near) & self._in_view

    def add(self, warp: Warp, score: Score) -> None:
        """One registration of this frame; where it looks is told by warping ramps."""
        (x, weight), (y, _) = (warp(ramp) for ramp in RAMPS)
        found = np.stack([x, y], axis=-1) / 64
        shown = np.ones(x.shape, bool) if weight is None else weight > 127
        error = np.linalg.norm(found - self.pixels, axis=-1)
        for near, far in RANGES_M:
            in_range = (self.inverse_depth * near <= 1.01) & (self.inverse_depth * far >= 1)
            score.errors[near, far].append(error[self._visible & shown & in_range])
        score.ghosts.append(((self._band & shown & self._hidden(found)).sum(), self._band.sum()))
        counted = self._visible & (self.inverse_depth * 10 >= 1)
        score.shown.append(((counted & shown).sum(), counted.sum()))

    def _hidden(self, pixels: np.ndarray) -> np.ndarray:
        """Where the thermal camera sees, at these pixels of its, something nearer than the RGB pixel does."""
        x, y = np.moveaxis(np.nan_to_num(pixels, nan=-9).astype(np.float32), 2, 0)
        return cv2.remap(self._thermal, x, y, cv2.INTER_NEAREST) > self.inverse_depth + self._tolerance


def rgb_frames(options: RigOptions, depth: DepthInput, end_s: float) -> Iterator[Frame]:
    """The RGB frames, each as soon as the depth that it waits for has been taken in."""
    waiting: list[Frame] = []
    if options.depth == "own":
        header = header_message(0, "depth")
        depth.take(camera_info_message(DEPTH.width, DEPTH.height, DEPTH.camera_matrix, header))
    for frame in takewhile(lambda frame: frame.delivery_ns < end_s * 1e9, rig_frames(options)):
        while waiting and depth.has_waited(waiting[0].stamp_ns, frame.delivery_ns - waiting[0].delivery_ns):
            yield waiting.pop(0)
        if frame.stamp_ns < 1e9 * (FIRST_S - WARM_UP_S):
            continue
        if frame.camera == "depth":
            depth.take(image_message(frame.image, "16UC1", header_message(frame.stamp_ns, "depth")))
        elif frame.camera == "rgb":
            waiting.append(frame)


def measure(changes: dict[str, Any], wait_s: float, count: int, every: int) -> tuple[Score, Score]:
    """Of the plane and of depth."""
    options = RigOptions(seed=SEED, baseline_m=0.1, distorted=True, passers_z=PASSERS_Z, **changes)
    scene, optics = StreetScene(SEED, False, PASSERS_Z), Optics(0.1, True)
    registration = Registration(rig_calibration(options, PLANE_M))
    depth, plane_score, depth_score = DepthInput(100_000_000, round(1e9 * wait_s)), Score(), Score()
    for index, frame in enumerate(rgb_frames(options, depth, FIRST_S + count * every / 30 + 0.1)):
        luminance = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)

        def by_plane(thermal: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            return registration.warp(thermal, RGB_SIZE[::-1])

        def by_depth(
            thermal: np.ndarray, luminance: np.ndarray = luminance, stamp_ns: int = frame.stamp_ns
        ) -> tuple[np.ndarray, np.ndarray | None]:
            return depth.warp(registration, thermal, luminance, stamp_ns) or by_plane(thermal)

        by_depth(RAMPS[0])  # it remembers what it has seen
        if frame.stamp_ns >= 1e9 * FIRST_S and index % every == 0:
            truth = Truth(scene, optics, frame.stamp_ns / 1e9)
            truth.add(by_plane, plane_score)
            truth.add(by_depth, depth_score)
    report = depth.report()
    print(f"{report['depth.plane_frames']} frames by the plane, noise {report['depth.error_px']} px", depth.problems())
    return plane_score, depth_score


def milliseconds(rgb_size: tuple[int, int], own: bool) -> str:
    """CPU time of this thread for one frame: the depth image, following the motion, warping; the least of many."""
    scene, optics = StreetScene(SEED, False, PASSERS_Z), Optics(0.1, True)
    source = DepthCamera(scene, optics, not own, 30.0, SEED).image(90)
    luminance = cv2.resize(cv2.cvtColor(optics.rgb_view(scene.rgb(3.0)), cv2.COLOR_RGB2GRAY), rgb_size)
    calibration = optics.calibration(PLANE_M, own)
    width, height = rgb_size
    rgb = replace(optics.rgb.resized(width, width * 3 // 4, "rgb"), height=height)  # cut to its shape
    by_depth = DepthRegistration(Registration(replace(calibration, rgb=rgb)), THERMAL_SIZE[::-1], luminance.shape)
    thermal, before = (RAMPS[0] >> 8).astype(np.uint8), small(np.roll(luminance, 4, axis=1))
    inverse_depth = by_depth.from_image(source, 0.001, DEPTH if own else None)
    steps: dict[str, Callable[[], object]] = {
        "depth image": lambda: by_depth.from_image(source, 0.001, DEPTH if own else None),
        "motion": lambda: followed(inverse_depth, before, small(luminance)),
        "warp": lambda: by_depth.warp(thermal, luminance, inverse_depth),
    }
    return ", ".join(f"{name} {_least_ms(step):.1f}" for name, step in steps.items())


def _least_ms(step: Callable[[], object]) -> float:
    times = []
    for _ in range(200):
        begun = time.thread_time()
        step()
        times.append(time.thread_time() - begun)
    return 1e3 * min(times)


def picture(path: Path) -> None:
    """Thermal in magenta over RGB in green, by the plane and by depth."""
    time_s, scene, optics = 2.2, StreetScene(SEED, False, PASSERS_Z), Optics(0.1, True)
    luminance = cv2.cvtColor(optics.rgb_view(scene.rgb(time_s)), cv2.COLOR_RGB2GRAY)
    celsius = optics.thermal_view(scene.celsius(time_s), scene.inverse_depth(time_s))
    thermal = np.clip(8 * (celsius - 5), 0, 255).astype(np.uint8)
    registration = Registration(optics.calibration(PLANE_M))
    by_depth = DepthRegistration(registration, thermal.shape, luminance.shape)
    inverse_depth = by_depth.from_image(DepthCamera(scene, optics, True, 30.0, SEED).image(66), 0.001)
    overlays = []
    for warped, weight in (
        registration.warp(thermal, luminance.shape),
        by_depth.warp(thermal, luminance, inverse_depth),
    ):
        warped = warped if weight is None else blend(warped, luminance, weight)
        overlays.append(np.dstack([warped, luminance, warped])[40:])
    write_image(path, np.hstack(overlays))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--every", type=int, default=5, help="only each n-th frame is measured")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    picture(Path(__file__).parents[1] / "docs" / "depth.jpg")
    rows: list[list[str]] = []
    for name, (changes, wait_s) in CASES.items():
        by_plane, by_depth = measure(changes, wait_s, options.frames, options.every)
        rows += [by_depth.row(name)] if rows else [by_plane.row("the plane at 8 m"), by_depth.row(name)]
    header = ["registration", *(f"{near} to {far} m" for near, far in RANGES_M), "ghosts", "shown"]
    print("", *("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)), sep="\n")
    for size in ((640, 480), (1920, 1080)):
        for own in (False, True):
            print(f"ms at {size[0]}x{size[1]}, {'own lens' if own else 'aligned'}: {milliseconds(size, own)}")


if __name__ == "__main__":
    main()
