"""Speed and quality: ``bench``, ``evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmcfusion_ros.commands.arguments import Commands, image_size, label_source
from mmcfusion_ros.evaluation.stress import STRESSES
from mmcfusion_ros.fusion.backends import BACKENDS, DEVICES, PRECISIONS
from mmcfusion_ros.fusion.models import PURPOSES


def add_bench(commands: Commands) -> None:
    parser = commands.add_parser("bench", help="time one frame, stage by stage, and frames at fixed rates")
    parser.add_argument("--model", default=PURPOSES["detection"], help="name or file")
    parser.add_argument("--size", type=image_size, default=(640, 480), metavar="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=50, help="to time, and to send at each rate")
    parser.add_argument("--rates", type=float, nargs="*", default=[10, 30, 60], metavar="HZ", help="of the cameras")
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--threads", type=int, default=0, help="0: all processors")
    parser.add_argument("--json", type=Path, help="write the result there too")
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> None:
    from mmcfusion_ros.evaluation.benchmark import benchmark
    from mmcfusion_ros.evaluation.files import print_json
    from mmcfusion_ros.fusion.fuser import Fuser

    fuser = Fuser.from_pretrained(options.model, options.backend, options.device, options.precision, options.threads)
    width, height = options.size
    result = benchmark(fuser, width, height, options.frames, options.rates)
    print_json({"model": options.model, "threads": options.threads, **result}, options.json)


def add_evaluate(commands: Commands) -> None:
    parser = commands.add_parser("evaluate", help="fusion metrics on folders of pairs")
    parser.add_argument("folders", nargs="+", type=Path, help="each with the sub-folders ir/ and vi/")
    parser.add_argument(
        "--model",
        nargs="+",
        action="extend",
        help="names or files, or rules: max, average, laplacian, guided (default: detect and lite)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and pictures")
    parser.add_argument("--peers", type=Path, help="CSV with the columns set, method and metrics of other methods")
    parser.add_argument("--stress", choices=STRESSES, default="", help="spoil the input, and measure by the clean one")
    parser.add_argument("--seed", type=int, default=0, help="of the stress")
    parser.add_argument(
        "--detector", nargs="+", action="extend", default=[], type=Path, help="files: .xml, .onnx, .param, .pth"
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        action="extend",
        default=[],
        type=label_source,
        metavar="LABELS[@WIDTHxHEIGHT]",
        help="of each folder, for --detector: JSON (COCO's, or boxes by name) or a folder of YOLO files; the pairs are "
        "taken at this size, if given",
    )
    parser.add_argument("--night", type=Path, help="JSON list of names of pairs: count day and night apart too")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--clip", action="store_true", help="each folder is one recording: measure steadiness too")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from mmcfusion_ros.evaluation.detection.labels import LabelSource
    from mmcfusion_ros.evaluation.evaluate import evaluate
    from mmcfusion_ros.evaluation.folders import EvaluationOptions

    evaluation = EvaluationOptions(
        options.peers,
        options.stress,
        options.seed,
        options.precision,
        options.clip,
        tuple(options.detector),
        tuple(LabelSource(*label) for label in options.labels),
        options.night,
    )
    evaluate(options.folders, options.model or [*PURPOSES.values()], options.out, evaluation)
    print((options.out / "summary.md").read_text(), end="")
