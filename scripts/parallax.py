"""Makes docs/parallax.jpg: the synthetic rig with a baseline, overlaid with the plane near, farther and far away.

PYTHONPATH=. python scripts/parallax.py
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.evaluation.pictures import write_image
from mmcfusion_ros.fusion.registration import Registration, blend
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.simulation.rig import RigOptions, rig_calibration, rig_frames

PLANES_M = (6.0, 12.0, np.inf)
PART = np.s_[120:400, 20:620]


def main() -> None:
    """Thermal in magenta, RGB luminance in green: grey where both agree."""
    rig = RigOptions(seed=2, baseline_m=0.2, distorted=True, thermal_rate_hz=1 / 3, rgb_rate_hz=1 / 3)
    images = {frame.camera: frame.image for frame in islice(rig_frames(rig), 2, 4)}
    thermal = ThermalScaler(ThermalOptions(mode="equalize"))(images["thermal"])
    luminance = cv2.cvtColor(images["rgb"], cv2.COLOR_RGB2GRAY)
    panels = []
    for plane in PLANES_M:
        warped, weight = Registration(rig_calibration(rig, plane)).warp(thermal, luminance.shape)
        warped = warped if weight is None else blend(warped, luminance, weight)
        overlay = np.ascontiguousarray(np.dstack([warped, luminance, warped])[PART])
        text = f"plane at {plane:g} m" if np.isfinite(plane) else "plane far away"
        cv2.putText(overlay, text, (10, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2, cv2.LINE_AA)
        panels.append(overlay)
    write_image(Path(__file__).parents[1] / "docs" / "parallax.jpg", np.vstack(panels))


if __name__ == "__main__":
    main()
