"""Makes docs/rig_lite.jpg: the synthetic rig by day and by night, fused by the shipped lite weights."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from mmcfusion_ros.evaluation.pictures import contact_sheet, side_by_side, write_image
from mmcfusion_ros.fusion import Fuser
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.simulation.optics import THERMAL_TO_RGB
from mmcfusion_ros.simulation.rig import RigOptions, rig_frames
from mmcfusion_ros.stream.messages import plain_image
from mmcfusion_ros.stream.pairing import Pair
from mmcfusion_ros.stream.pipeline import FusionPipeline
from mmcfusion_ros.tools.demo import rig_parameters

PANEL = (400, 300)
SECONDS = 14


def row(fuser: Fuser, night: bool) -> np.ndarray:
    """Thermal on the RGB grid, RGB and fused at one moment."""
    settings = rig_parameters(night)
    scaling = ThermalOptions(
        mode=settings["thermal.scaling"],
        fixed_low=float(settings["thermal.fixed_low"]),
        fixed_high=float(settings["thermal.fixed_high"]),
    )
    pipeline = FusionPipeline(fuser, ThermalScaler(scaling), Registration(THERMAL_TO_RGB))
    frames = rig_frames(RigOptions(night=night, thermal_rate_hz=1.0, rgb_rate_hz=1.0))
    images = {frame.camera: frame.image for frame in islice(frames, 2 * SECONDS, 2 * SECONDS + 2)}
    messages = plain_image(images["thermal"], "mono16"), plain_image(images["rgb"], "rgb8")
    fused = pipeline.fuse(Pair(*messages, 0, 0, 0)).image
    thermal, _ = pipeline.registration.warp(pipeline.scaler(images["thermal"]), images["rgb"].shape[:2])
    return side_by_side(thermal, images["rgb"], fused, PANEL)


def write_picture(model: str) -> Path:
    """Writes ``rig_MODEL.jpg`` to ``docs``."""
    fuser = Fuser.from_pretrained(model)
    path = Path(__file__).parents[1] / "docs" / f"rig_{Path(model).stem}.jpg"
    write_image(path, contact_sheet([row(fuser, night) for night in (False, True)]))
    return path


if __name__ == "__main__":
    write_picture("lite")
