"""How long one frame takes, stage by stage, in this process and without ROS transport."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np

from mmcfusion_ros.fusion.fuser import Fuser, check_size
from mmcfusion_ros.fusion.pipeline import FusionPipeline, StageClock
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalScaler


def benchmark(fuser: Fuser, width: int, height: int, frames: int = 50, warm_up: int = 5) -> dict[str, object]:
    """Fuses random 16-bit thermal and rgb8 frames from message to message; p50 and p95 of each stage in ms.

    The stages ``decode`` and ``encode`` (ROS messages) are there only where ROS 2 is installed. ``ValueError`` for a
    size that the fuser does not take, or fewer than one frame.
    """
    if frames < 1:
        raise ValueError(f"{frames} frames; at least 1 must be timed")
    check_size(width, height)
    rng = np.random.default_rng(0)
    thermal = rng.integers(29000, 31000, (height, width), dtype=np.uint16)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    pipeline = FusionPipeline(fuser, ThermalScaler(), Registration())
    run = _message_to_message(pipeline, thermal, rgb)
    laps = [run() for _ in range(warm_up + frames)][warm_up:]
    stages = {
        stage: {f"p{p}_ms": round(float(np.percentile([lap[stage] for lap in laps], p)), 3) for p in (50, 95)}
        for stage in laps[0]
    }
    backend = fuser.backend
    return {
        "machine": machine(),
        "variant": backend.variant.name,
        "backend": backend.name,
        "device": backend.device,
        "precision": backend.precision,
        "size": f"{width}x{height}",
        "frames": frames,
        "stages": stages,
    }


def _message_to_message(pipeline: FusionPipeline, thermal: np.ndarray, rgb: np.ndarray):  # type: ignore[no-untyped-def]
    try:
        from std_msgs.msg import Header

        from mmcfusion_ros.ros.image_messages import image_message
        from mmcfusion_ros.stream.messages import rgb_from_message, thermal_from_message
    except ImportError:

        def run_arrays() -> dict[str, float]:
            clock = StageClock()
            pipeline(thermal, rgb, clock)
            return clock.finish()

        return run_arrays
    thermal_message = image_message(thermal, "16UC1", Header())
    rgb_message = image_message(rgb, "rgb8", Header())

    def run_messages() -> dict[str, float]:
        clock = StageClock()
        images = thermal_from_message(thermal_message), rgb_from_message(rgb_message)
        clock.lap("decode")
        fused = pipeline(*images, clock)
        image_message(fused, "rgb8", Header())
        clock.lap("encode")
        return clock.finish()

    return run_messages


def machine() -> dict[str, object]:
    """What the figures of a report were measured on."""
    return {"processor": processor_name(), "cores": os.cpu_count(), "system": platform.platform()}


def processor_name() -> str:
    """The processor's model name, as Linux tells it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()
