"""Times what happens to a thermal frame before the network, on one core; prints a Markdown table.

CPU time of the thread, which other processes disturb little: median and least of 100 calls with changing frames.

    PYTHONPATH=. python scripts/input_speed.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from mmcfusion_ros.evaluation.benchmark import processor_name
from mmcfusion_ros.fusion.conditions import denoise
from mmcfusion_ros.fusion.palette import Palette
from mmcfusion_ros.fusion.registration import Registration, blend
from mmcfusion_ros.fusion.thermal import MODES, ThermalOptions, ThermalScaler
from mmcfusion_ros.simulation.optics import Optics

THERMAL_SHAPE = (512, 640)
CALLS = 100


def milliseconds(stage: Callable[[np.ndarray], object], frames: list[np.ndarray]) -> str:
    """Median and minimum."""
    durations = []
    for i in range(CALLS + 10):
        started = time.thread_time()
        stage(frames[i % len(frames)])
        durations.append(1e3 * (time.thread_time() - started))
    return f"{np.median(durations[10:]):.2f} | {min(durations[10:]):.2f}"


def registrations() -> dict[str, Registration]:
    """The thermal image fills the RGB image, turned by 2 degrees; a narrower lens; a rig with lenses that bend."""
    centre = np.array([(THERMAL_SHAPE[1] - 1) / 2, (THERMAL_SHAPE[0] - 1) / 2])
    turned = np.vstack([cv2.getRotationMatrix2D(centre.tolist(), 2, 1.0), [0, 0, 1]])
    narrow = np.vstack([cv2.getRotationMatrix2D(centre.tolist(), 2, 0.6), [0, 0, 1]])
    return {
        "homography, whole view": Registration(turned),
        "homography, 60 % of the view": Registration(narrow),
        "calibrated": Registration(Optics(0.1, distorted=True).calibration(8.0)),
    }


def onto(registration: Registration, shape: tuple[int, int]) -> Registration:
    """The same view at an RGB size."""
    if registration.calibration.homography is None:
        return registration
    scale = np.diag([shape[1] / THERMAL_SHAPE[1], shape[0] / THERMAL_SHAPE[0], 1])
    return Registration(scale @ registration.calibration.homography)


def main() -> None:
    """Prints the table."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    scene = 29_000 + 8_000 * cv2.GaussianBlur(rng.standard_normal(THERMAL_SHAPE), (0, 0), 6)
    counts = [np.rint(scene + rng.normal(0, 5, THERMAL_SHAPE)).astype(np.uint16) for _ in range(7)]
    grey = [ThermalScaler()(frame) for frame in counts]
    print(f"{processor_name()}, one core, thermal 640x512\n\n| stage | median, ms of CPU | least |\n|---|---|---|")
    for shape in ((480, 640), (1080, 1920)):
        luminance = np.zeros(shape, np.uint8)
        for name, registration in registrations().items():
            if registration.calibration.kind == "calibrated" and shape != (480, 640):
                continue
            fitted = onto(registration, shape)
            started = time.thread_time()
            fitted.warp(grey[0], shape)
            build = 1e3 * (time.thread_time() - started)
            figures = milliseconds(partial(fitted.warp, rgb_shape=shape), grey)
            print(f"| warp onto {shape[1]}x{shape[0]}, {name} (first time: {build:.0f} ms) | {figures} |")
            warped, weight = fitted.warp(grey[0], shape)
            if weight is not None:
                figures = milliseconds(partial(blend, luminance=luminance, weight=weight), [warped] * len(grey))
                print(f"| seam of it (twice a frame) | {figures} |")
    for mode in MODES:
        scaler = ThermalScaler(ThermalOptions(mode=mode, replace_bad_pixels=False))
        print(f"| 16-bit to 8-bit, {mode} | {milliseconds(scaler, counts)} |")
    repair = ThermalScaler().bad_pixels
    print(f"| bad pixels (every tenth frame a look) | {milliseconds(repair, counts)} |")
    print(f"| a look for bad pixels | {milliseconds(repair._look, counts)} |")
    noisy = [np.clip(np.rint(frame / 4 + rng.normal(60, 12, THERMAL_SHAPE)), 0, 255).astype(np.uint8) for frame in grey]
    print(f"| noise, looked for | {milliseconds(denoise, grey)} |")
    print(f"| noise, filtered | {milliseconds(denoise, noisy)} |")
    palette = Palette.from_name("ironbow")
    print(f"| palette ironbow | {milliseconds(palette.luminance, [palette.apply(frame) for frame in grey])} |")


if __name__ == "__main__":
    main()
