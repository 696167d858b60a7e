"""How long one frame takes, stage by stage, and what comes of a fixed rate, in this process, without ROS transport."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.evaluation.energy import EnergyMeter
from mmcfusion_ros.evaluation.fixed_rate import at_fixed_rate, percentiles
from mmcfusion_ros.fusion.fuser import Fuser, check_size
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalScaler
from mmcfusion_ros.stream.health import milliseconds
from mmcfusion_ros.stream.messages import plain_image
from mmcfusion_ros.stream.pairing import Pair
from mmcfusion_ros.stream.pipeline import FusionPipeline

WARM_UP = 5
FASTEST_HZ = 1000


def benchmark(
    fuser: Fuser, width: int, height: int, frames: int = 50, rates_hz: Sequence[float] = (10, 30, 60)
) -> dict[str, object]:
    """Fuses 16-bit thermal and rgb8 frames of random shapes and noise from message to message.

    ``stages`` holds p50 and p95 of each stage in ms, one frame after the other. ``fixed_rates`` is what
    :func:`at_fixed_rate` gives for as many pairs at each rate. ``ValueError`` for a size that the fuser does not take,
    no frames, or a rate that is none.
    """
    if frames < 1:
        raise ValueError(f"{frames} frames; at least 1 must be timed")
    if wrong := [rate for rate in rates_hz if not 0 < rate <= FASTEST_HZ]:
        raise ValueError(f"a rate of {wrong[0]:g} Hz; it must be above 0, to {FASTEST_HZ} at most")
    check_size(width, height)
    rng = np.random.default_rng(0)
    shapes = rng.integers(0, 200, (2, 6, 8))  # noise alone would count as a blind thermal camera
    large = [cv2.resize(part.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) for part in shapes]
    thermal = (29000 + 10 * large[0].astype(np.uint16) + rng.integers(0, 100, (height, width))).astype(np.uint16)
    rgb = large[1][..., None] + rng.integers(0, 50, (height, width, 3), dtype=np.uint8)
    run = _message_to_message(FusionPipeline(fuser, ThermalScaler(), Registration()), thermal, rgb)
    laps = [run() for _ in range(WARM_UP + frames)][WARM_UP:]
    backend = fuser.backend
    return {
        "machine": machine(),
        "variant": backend.variant.name,
        "backend": backend.name,
        "device": backend.device,
        "precision": backend.precision,
        "thermal_polarity": backend.thermal_polarity,
        "denoises": fuser.denoises,
        "size": f"{width}x{height}",
        "frames": frames,
        "input_sha256": hashlib.sha256(thermal.tobytes() + rgb.tobytes()).hexdigest(),
        "stages": {stage: percentiles([lap[stage] for lap in laps], (50, 95)) for stage in laps[0]},
        "fixed_rates": [at_fixed_rate(run, rate, frames) for rate in rates_hz],
        "energy": EnergyMeter().problem or "joules_per_image: of all processor packages, whatever else ran on them",
    }


def _message_to_message(
    pipeline: FusionPipeline, thermal: np.ndarray, rgb: np.ndarray
) -> Callable[[], dict[str, float]]:
    pair = Pair(plain_image(thermal, "16UC1"), plain_image(rgb, "rgb8"), 0, 0, 0)

    def run() -> dict[str, float]:
        result = pipeline.fuse(pair)
        plain_image(result.image, "rgb8")
        result.moments["encode"] = time.perf_counter()
        return milliseconds(result.moments)

    return run


def machine() -> dict[str, object]:
    """What the figures of a report were measured on."""
    return {"processor": processor_name(), "cores": os.cpu_count(), "system": platform.platform()}


def processor_name() -> str:
    """The processor's model name, as Linux tells it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()
