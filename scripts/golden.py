"""Golden vectors: small inputs from the synthetic rig and what this package makes of them, to hold ports to it.

    PYTHONPATH=. python scripts/golden.py [pairing thermal registration colour network]     (or: make golden)

writes test/golden/SUBJECT.json, and SUBJECT.npz where there are arrays. After a change of weights: ... network.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmcfusion_ros.fusion import Fuser
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import load_calibration, save_calibration
from mmcfusion_ros.fusion.fuser import merge_luminance, split_luminance
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.simulation.optics import THERMAL_TO_RGB
from mmcfusion_ros.simulation.rig import RigOptions, rig_calibration, rig_frames
from mmcfusion_ros.stream.pairing import Pairer, PairingOptions

FOLDER = Path(__file__).resolve().parents[1] / "test" / "golden"
MS = 1_000_000
PERIOD_NS = 33 * MS
LAST_POLL_NS = 10_000 * MS
Arrays = dict[str, np.ndarray]
Case = dict[str, Any]  # "options" and, of arrays, the largest and the mean absolute difference that is allowed


def pairs_and_drops(case: Case) -> dict[str, list[Any]]:
    """What a ``Pairer`` decides: ``pairs`` [event, thermal frame, RGB frame, skew in ns], ``drops`` [event, frame,
    reason]. Frames are named by the number of the event that brought them."""
    drops: list[tuple[int, str]] = []
    pairer: Pairer[int] = Pairer(PairingOptions(**case["options"]), lambda reason, frame: drops.append((frame, reason)))
    decided: dict[str, list[Any]] = {"pairs": [], "drops": []}
    for number, (stream, stamp_ns, arrival_ns, clock_ns) in enumerate(case["events"]):
        if stream == "poll":
            pairs = pairer.poll(arrival_ns)
        else:
            pairs = pairer.add(stream, stamp_ns, number, arrival_ns, clock_ns)
        decided["pairs"] += [[number, pair.thermal, pair.rgb, pair.skew_ns] for pair in pairs]
        decided["drops"] += [[number, *drop] for drop in drops]
        drops.clear()
    return decided


def scaled_frames(options: dict[str, Any], arrays: Arrays) -> Arrays:
    """16-bit ``frames`` of one camera, in order, to 8 bits."""
    scaler = ThermalScaler(ThermalOptions(**options))
    return {"scaled": np.stack([scaler(frame) for frame in arrays["frames"]])}


def warped(options: dict[str, Any], arrays: Arrays) -> Arrays:
    """8-bit thermal to the RGB pixel grid, and its weight there."""
    image, weight = Registration(load_calibration(FOLDER / options["calibration"])).warp(
        arrays["thermal"], tuple(options["rgb_shape"])
    )
    assert weight is not None
    return {"warped": image, "weight": weight}


def merged(options: dict[str, Any], arrays: Arrays) -> Arrays:
    """The luminance of ``rgb``, and its colours put to another luminance."""
    luminance, colour = split_luminance(arrays["rgb"])
    return {"luminance": luminance, "merged": merge_luminance(arrays["fused"], colour, **options)}


def fused(options: dict[str, Any], arrays: Arrays) -> Arrays:
    """Thermal (white hot) and RGB of one size to the fused image, float32 on the CPU."""
    fuser = Fuser.from_pretrained(options["model"], "openvino", precision="float32", threads=1)
    return {"fused": fuser(arrays["thermal"], arrays["rgb"])}


COMPUTE: dict[str, Callable[[dict[str, Any], Arrays], Arrays]] = {
    "thermal": scaled_frames,
    "registration": warped,
    "colour": merged,
    "network": fused,
}


def rig_images(count: int, night: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """``count`` frames a second apart: thermal ``n x 512 x 640`` uint16 and RGB ``n x 480 x 640 x 3`` uint8."""
    frames = islice(rig_frames(RigOptions(seed=5, night=night, thermal_rate_hz=1.0, rgb_rate_hz=1.0)), 2 * count)
    images: dict[str, list[np.ndarray]] = {"thermal": [], "rgb": []}
    for frame in frames:
        images[frame.camera].append(frame.image)
    return np.stack(images["thermal"]), np.stack(images["rgb"])


def smaller(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def pairing_cases() -> Iterator[tuple[str, Case]]:
    """Two cameras of 30 and 30, or 30 and 10 Hz, with what goes wrong on a robot."""
    usual = {"slop_ns": 20 * MS, "max_wait_ns": 30 * MS, "max_age_ns": 2000 * MS, "queue_size": 30}
    kinds: dict[str, tuple[dict[str, int], dict[str, float]]] = {
        "in_step": ({}, {}),
        "jitter": ({}, {"jitter_ms": 12}),
        "loss": ({}, {"jitter_ms": 4, "loss": 0.3}),
        "slow_thermal": ({}, {"jitter_ms": 4, "thermal_every": 3}),
        "offset": ({"thermal_offset_ns": -120 * MS}, {"jitter_ms": 4, "thermal_shift_ms": 120}),
        "small_queue": ({"queue_size": 2, "max_wait_ns": 500 * MS}, {"loss": 0.5}),
        "one_camera": ({"queue_size": 5}, {"thermal_every": 100}),
        "late": ({}, {"jitter_ms": 4, "jump_ms": -3000}),
        "ahead": ({}, {"jitter_ms": 4, "jump_ms": 3000}),
        "clock_back": ({}, {"jitter_ms": 4, "jump_ms": -3000, "clock_jump_ms": -3000}),
        "repeated": ({}, {"repeat": 0.3}),
        "out_of_order": ({}, {"jitter_ms": 25}),
    }
    for name, (options, faults) in kinds.items():
        events = sorted(_frames(random.Random(name), **faults), key=lambda event: event[2])
        yield name, {"options": usual | options, "events": [*events, ["poll", 0, events[-1][2] + LAST_POLL_NS, 0]]}


def _frames(
    rng: random.Random,
    jitter_ms: float = 0,
    loss: float = 0,
    thermal_every: float = 1,
    thermal_shift_ms: float = 0,
    jump_ms: float = 0,
    clock_jump_ms: float = 0,
    repeat: float = 0,
) -> Iterator[list[Any]]:
    """[stream, stamp, arrival, clock], in ns, of 30 periods; stamps and clock jump after half of them."""
    for i in range(30):
        for stream in ("thermal", "rgb"):
            is_thermal = stream == "thermal"
            if rng.random() < loss or (is_thermal and i % thermal_every):
                continue
            stamp_ns = 5000 * MS + i * PERIOD_NS + round(rng.uniform(-jitter_ms, jitter_ms) * MS)
            arrival_ns = stamp_ns + round(rng.uniform(2, 12) * MS)
            stamp_ns += round((thermal_shift_ms * is_thermal + jump_ms * (i >= 15)) * MS)
            clock_ns = arrival_ns + round(clock_jump_ms * (i >= 15) * MS)
            yield [stream, stamp_ns, arrival_ns, clock_ns]
            if rng.random() < repeat:
                yield [stream, stamp_ns, arrival_ns + MS, clock_ns + MS]


def thermal_cases() -> tuple[dict[str, Case], Arrays]:
    frames = np.stack([smaller(frame, 64, 48) for frame in rig_images(4)[0]])
    celsius = {"mode": "fixed", "fixed_low": 0.0, "fixed_high": 40.0, "kelvin_per_count": 0.01}
    options = {"percentile": {}, "equalize": {"mode": "equalize"}, "fixed": celsius, "black": {"polarity": "black_hot"}}
    return {name: {"options": each, "largest": 1, "mean": 0.05} for name, each in options.items()}, {"frames": frames}


def registration_cases() -> tuple[dict[str, Case], Arrays]:
    shrink = np.diag([80 / 640, 60 / 480, 1.0])
    grow = np.diag([640 / 80, 512 / 64, 1.0])
    rig = RigOptions(baseline_m=0.1, distorted=True)
    homography = Calibration(shrink @ THERMAL_TO_RGB @ grow, thermal_size=(80, 64), rgb_size=(80, 60))
    save_calibration(homography, FOLDER / "homography.yaml")
    save_calibration(rig_calibration(rig, 8.0), FOLDER / "calibrated.yaml")
    thermal = smaller(ThermalScaler()(rig_images(1)[0][0]), 80, 64)
    options = {"calibration": "", "rgb_shape": [60, 80]}
    cases = {name: {"options": options | {"calibration": f"{name}.yaml"}} for name in ("homography", "calibrated")}
    return {name: case | {"largest": 2, "mean": 0.1} for name, case in cases.items()}, {"thermal": thermal}


def colour_cases() -> tuple[dict[str, Case], Arrays]:
    rgb = smaller(rig_images(1)[1][0], 80, 60)
    other = np.linspace(0, 255, rgb[..., 0].size).reshape(rgb.shape[:2]).astype(np.uint8)
    options = {"whole": {}, "half": {"saturation": 0.5}}
    cases = {name: {"options": each, "largest": 1, "mean": 0.05} for name, each in options.items()}
    return cases, {"rgb": rgb, "fused": other}


def network_cases() -> tuple[dict[str, Case], Arrays]:
    thermal, rgb = (images[-1] for images in rig_images(12, night=True))
    on_grid, _ = Registration(THERMAL_TO_RGB).warp(ThermalScaler()(thermal), rgb.shape[:2])
    arrays = {"thermal": smaller(on_grid, 128, 96), "rgb": smaller(rgb, 128, 96)}
    return {model: {"options": {"model": model}, "largest": 4, "mean": 0.25} for model in ("lite", "detect")}, arrays


CASES: dict[str, Callable[[], tuple[dict[str, Case], Arrays]]] = {
    "thermal": thermal_cases,
    "registration": registration_cases,
    "colour": colour_cases,
    "network": network_cases,
}


def write(subject: str) -> None:
    """The files of one subject."""
    if subject == "pairing":
        cases = {name: case | pairs_and_drops(case) for name, case in pairing_cases()}
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items())
        (FOLDER / "pairing.json").write_text(f"{{\n{lines}\n}}\n")
        return
    cases, arrays = CASES[subject]()
    results: dict[str, Any] = {
        f"{name}.{key}": array
        for name, case in cases.items()
        for key, array in COMPUTE[subject](case["options"], arrays).items()
    }
    (FOLDER / f"{subject}.json").write_text(json.dumps(cases, indent=1) + "\n")
    np.savez_compressed(FOLDER / f"{subject}.npz", **arrays | results)


if __name__ == "__main__":
    for subject in sys.argv[1:] or ["pairing", *CASES]:
        write(subject)
