"""Calibration of cameras that nobody has registered: python scripts/unregistered.py DATA/unregistered --out DIR.

Each pair of roadscene_raw and uav_facade on its own, for their sizes or scenes differ; cropter as the one rig it is.
Writes what `mmcfusion calibrate` writes, a YAML file and a picture each. For uav_facade also how far its corners are
from those of the published homography, in pixels of 640 across.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np

from mmcfusion_ros.alignment.find import corners, transformed
from mmcfusion_ros.calibration.report import calibrate
from mmcfusion_ros.data.images import read_rgb, read_thermal
from mmcfusion_ros.data.pair_folder import PairFiles, find_pairs
from mmcfusion_ros.fusion.calibration_file import load_calibration


def result(pairs: list[PairFiles], model: str, out: Path) -> str:
    """The lines of the report that tell how good it is, or why it was refused."""
    try:
        report = calibrate([(read_thermal(p.thermal), read_rgb(p.rgb)) for p in pairs], model, None, out, out.stem)
    except ValueError as error:
        return f"refused: {error}"
    return ", ".join(re.findall(r"^(?:correlation|expected error|few frames|model ).*", report, re.MULTILINE))


def corner_error(file: Path, published: Path) -> float:
    """Mean distance at the corners of the thermal image, in pixels of 640."""
    numbers = re.findall(r"-?\d[\d.]*(?:e-?\d+)?", published.read_text())
    truth = np.array(numbers[:9], float).reshape(3, 3)  # thermal to RGB; the file also has its inverse
    found = load_calibration(file)
    assert found.homography is not None
    assert found.rgb_size is not None
    points = corners((480, 640))
    offsets = transformed(found.homography, points) - transformed(truth, points)
    return float(np.linalg.norm(offsets, axis=1).mean()) * 640 / found.rgb_size[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="homography")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("uav_facade", "roadscene_raw", "cropter"):
        files = find_pairs(options.data / name)
        for group in [files] if name == "cropter" else [[pair] for pair in files]:
            out = options.out / f"{name}_{'all' if group is files else group[0].name}.yaml"
            text = result(group, options.model, out)
            if name == "uav_facade" and out.exists():
                text += f", corners {corner_error(out, options.data / name / 'homography.txt'):.1f} px from published"
            print(f"| {out.stem} | {text} |", flush=True)


if __name__ == "__main__":
    main()
