"""What eyes found wrong, as one table for the model card: python scripts/seen.py DATA --model lite max average

DATA is ../shared/data; appearance.py says what is measured. All of it is of the luminance, in grey levels:
disc: largest mean change of a person, what 95 % of people's pixels stay below, largest change of a pixel (worst pair);
sky: mean difference from RGB, mean of all and worst image, and what the sky of three becomes (RGB: 223, 255, 255);
texture: share that is kept, and where thermal is the brighter source; black: largest value where both sources are 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from appearance import dimming, sky_area, texture_kept

from mmcfusion_ros.data.pair_folder import PairFiles, find_pairs, read_pair
from mmcfusion_ros.evaluation.detection.found import KINDS
from mmcfusion_ros.evaluation.detection.labels import read_labels
from mmcfusion_ros.evaluation.folders import EvaluationOptions
from mmcfusion_ros.evaluation.methods import Method, load_method
from mmcfusion_ros.evaluation.metrics import Image
from mmcfusion_ros.fusion.fuser import split_luminance

PEOPLE = {
    "msrs/test": ("00028N",),
    "detection/msrs": ("00003N", "00633D"),
    "llvip/train": ("010001", "010017"),
    "roadscene/train": ("FLIR_04929", "FLIR_09016", "FLIR_07504"),
}
MARKED = {"00028N": [[484, 159, 548, 328], [328, 198, 377, 280], [373, 242, 410, 282], [420, 242, 480, 284]]}
SKIES = {
    "tno/test": ("08", "12", "13", "15", "16", "22"),
    "msrs/test": ("00055D", "00095D", "00103D", "00537D"),
    "roadscene/test": ("FLIR_00211", "FLIR_04512", "FLIR_04688"),
    "detection/m3fd": ("00061", "01981"),
}
SHOWN_SKIES = ("13", "00095D", "00055D")
TEXTURES = {"llvip/train": ("010001", "010005", "010009", "010013", "010017", "010021", "010025", "010029")}
MEDICAL = ("pet_mri/test", "spect_mri/test", "ct_mri/test")
HEADER = (
    "| | disc: person | 95 % of people | any pixel | sky: mean | worst | TNO 13 | 00095D | 00055D "
    "| texture | under warm | black |\n" + "|---" * 12 + "|"
)


def row(method: Method, data: Path) -> str:
    """Markdown of all measures of one method."""
    fuse = method.fuse
    discs = [dimming(fuse, thermal, rgb, people(data, files)) for files, thermal, rgb in read(data, PEOPLE)]
    skies: dict[str, tuple[float, float]] = {}  # mean difference from RGB, mean
    for files, thermal, rgb in read(data, SKIES):
        area = sky_area(thermal, rgb)
        fused = fuse(thermal, rgb)[area].astype(np.float64)
        skies[files.name] = float(np.abs(fused - rgb[area]).mean()), float(fused.mean())
    kept = [texture_kept(thermal, rgb, fuse(thermal, rgb)) for _, thermal, rgb in read(data, TEXTURES)]
    differences = [difference for difference, _ in skies.values()]
    values = [
        *(max(disc[part] for disc in discs) for part in ("person", "people", "any")),
        *(np.mean(differences), max(differences), *(skies[name][1] for name in SHOWN_SKIES)),
        *np.nanmean(kept, axis=0),
        max(blackest(method, files) for folder in MEDICAL for files in find_pairs(data / folder)),
    ]
    digits = (1, 0, 0, 1, 1, 1, 1, 1, 2, 2, 0)
    return f"| {method.name} | {' | '.join(f'{v:.{d}f}' for v, d in zip(values, digits, strict=True))} |"


def read(data: Path, names: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[PairFiles, Image, Image]]:
    """The pairs by folder and name: files, thermal and RGB's luminance; LLVIP halved, as detectors see it."""
    for folder, wanted in names.items():
        for files in (files for files in find_pairs(data / folder) if files.name in wanted):
            thermal, rgb = read_pair(files)
            luminance, _ = split_luminance(rgb)
            if folder.startswith("llvip"):
                thermal, luminance = halved(thermal), halved(luminance)
            yield files, thermal, luminance


def halved(image: Image) -> Image:
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def people(data: Path, files: PairFiles) -> np.ndarray:
    """``N x 4``, from the labels of the pair's set."""
    if files.name in MARKED:
        return np.array(MARKED[files.name], np.float64)
    name = next(part for part in ("msrs", "llvip", "roadscene") if part in files.thermal.parts)
    labels = read_labels(data / "detection" / name / "labels.json")[files.name]
    return labels.corners[labels.kinds == KINDS.index("person")]


def blackest(method: Method, files: PairFiles) -> int:
    """The brightest fused pixel of those that are 0 in both sources."""
    thermal, rgb = read_pair(files)
    luminance, _ = split_luminance(rgb)
    sources = files.in_roles(thermal, luminance) if method.is_network else (thermal, luminance)
    return int(method.fuse(*sources)[(thermal == 0) & (luminance == 0)].max(initial=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", nargs="+", default=["lite", "max", "average"], help="as for mmcfusion evaluate")
    options = parser.parse_args()
    print(HEADER)
    for model in options.model:
        print(row(load_method(model, EvaluationOptions(precision="float32")), options.data), flush=True)


if __name__ == "__main__":
    main()
