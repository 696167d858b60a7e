"""Measures the shipped weights and writes the tables of results/:

python scripts/model_card.py DATA [--model b1 --parts quality --page results/fusion_metrics_b1.md]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from mmcfusion_ros.evaluation.detection.detection_tables import overview
from mmcfusion_ros.evaluation.detection.labels import LabelSource
from mmcfusion_ros.evaluation.evaluate import evaluate
from mmcfusion_ros.evaluation.folders import EvaluationOptions, FolderResult
from mmcfusion_ros.evaluation.rules import RULES
from mmcfusion_ros.evaluation.stress import STRESSES
from mmcfusion_ros.evaluation.tables import mean_ranks, metrics_table, place
from mmcfusion_ros.fusion.models import PURPOSES

RESULTS = Path(__file__).parents[1] / "results"
PAGES = {
    "quality": RESULTS / "fusion_metrics.md",
    "robustness": RESULTS / "fusion_metrics.md",
    "detectors": RESULTS / "detectors.md",
}
WITH_PEERS = ("tno/test", "roadscene/test", "msrs/test")
WITHOUT_PEERS = ("pet_mri/test", "spect_mri/test", "ct_mri/test")  # of PET-MRI there are peers on 10 of 12 pairs
STRESSED = ("tno/test", "roadscene/test", "msrs/test")
DETECTORS = ("yolo11n.xml", "yolox-nano.param", "nanodet-m-416.param")
LABELLED = {  # folder: labels, and the size that these are for
    "roadscene/train": ("roadscene", None),
    "detection/m3fd": ("m3fd", None),
    "detection/msrs": ("msrs", None),
    "llvip/train": ("llvip", (640, 512)),
}
LIGHTS = ("", "dark", "glare")
BEST_PEERS = 4


def quality(data: Path, models: Sequence[str], peers: Path, out: Path) -> str:
    """Ours and the best peers on every set; the classic rules where there are no peers."""
    results = evaluate([data / name for name in WITH_PEERS], models, out / "peers", EvaluationOptions(peers))
    results += evaluate([data / name for name in WITHOUT_PEERS], [*models, *RULES], out / "rules", EvaluationOptions())
    summary = json.loads((out / "peers" / "summary.json").read_text())
    parts = [f"{summary['machine']['processor']}, {summary['machine']['cores']} cores."]
    for model, origin in summary["models"].items():
        parts.append(f"`{model}`: {origin['backend']}, {origin['device']}, {origin['precision']}.")
    parts.append("")
    for result in results:
        ours = {model: result.means[model] for model in models}
        others = result.peers or {rule: result.means[rule] for rule in RULES}
        places = ", ".join(f"{model} {place(model, ours[model], others)[0]}" for model in models)
        parts.append(f"### {result.folder.name}: place {places} of {len(others) + 1}\n")
        parts.append(metrics_table(ours, others, BEST_PEERS, result.black_hot))
    return "\n".join(parts)


def robustness(data: Path, models: Sequence[str], out: Path) -> str:
    """Ours and the classic rules on spoilt inputs."""
    folders = [data / name for name in STRESSED]
    by_stress = {
        stress: evaluate(folders, [*models, *RULES], out / stress, EvaluationOptions(stress=stress))
        for stress in STRESSES
    }
    parts = ["### Spoilt inputs, measured against the clean sources: mean rank / VIF_min / SCD\n"]
    for i, name in enumerate(STRESSED):
        columns = [_stress_column(results[i]) for results in by_stress.values()]
        parts.append(f"| {name} | {' | '.join(STRESSES)} |\n" + "|---" * (len(STRESSES) + 1) + "|")
        parts += [f"| {_bold(m, models)} | {' | '.join(c[m] for c in columns)} |" for m in (*models, *RULES)]
        parts.append("")
    return "\n".join(parts)


def detectors(data: Path, models: Sequence[str], out: Path) -> str:
    """What detectors find in three lights."""
    files = tuple(data / "../detectors" / name for name in DETECTORS)
    folder = data / "detection"
    labels = tuple(LabelSource(folder / name / "labels.json", size) for name, size in LABELLED.values())
    parts = [f"### What detectors find: mean of {', '.join(Path(name).stem for name in DETECTORS)}\n"]
    for light in LIGHTS:
        night = folder / "roadscene/night.json"
        options = EvaluationOptions(stress=light, detectors=files, labels=labels, night=night)
        evaluate([data / name for name in LABELLED], models, out / (light or "clean"), options)
        rows = json.loads((out / (light or "clean") / "summary.json").read_text())["detection"]
        parts += [f"{light.capitalize() or 'Clean'}:\n", overview(rows, models)]
    return "\n".join(parts)


def put(page: Path, part: str, text: str) -> None:
    """Replaces what stands between the comments ``part`` and ``/part`` of the page."""
    start, end = f"<!-- {part} -->\n", f"\n<!-- /{part} -->"
    before, found, rest = page.read_text().partition(start)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{page} has no comments <!-- {part} --> and <!-- /{part} -->")
    page.write_text(before + start + text.strip() + end + after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with tno/test, roadscene/test, ...")
    parser.add_argument("--model", nargs="+", default=["lite"], help="shipped models by name")
    parser.add_argument("--parts", nargs="+", choices=PAGES, default=list(PAGES))
    parser.add_argument("--page", type=Path, help="file for all parts; default: those in results/")
    parser.add_argument("--peers", type=Path, help="CSV of published methods; default: DATA/../design/peers.csv")
    parser.add_argument("--out", type=Path, default=Path("runs/card"), help="for everything that evaluate writes")
    options = parser.parse_args()
    data, models, out = options.data, options.model, options.out
    make = {
        "quality": lambda: quality(data, models, options.peers or data / "../design/peers.csv", out / "quality"),
        "robustness": lambda: robustness(data, models, out / "stress"),
        "detectors": lambda: detectors(data, list(dict.fromkeys((*PURPOSES.values(), *models))), out / "detectors"),
    }
    for part in options.parts:
        put(options.page or PAGES[part], part, make[part]())


def _stress_column(result: FolderResult) -> dict[str, str]:
    ranks = mean_ranks(result.means)
    return {
        name: f"{ranks[name]:.2f} / {mean['VIF_min']:.3f} / {mean['SCD']:.2f}" for name, mean in result.means.items()
    }


def _bold(name: str, models: Sequence[str]) -> str:
    return f"**{name}**" if name in models else name


if __name__ == "__main__":
    main()
