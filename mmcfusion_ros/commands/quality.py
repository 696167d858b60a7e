"""Speed and quality: ``bench``, ``evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmcfusion_ros.commands.arguments import Commands, image_size
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
    parser.add_argument("--detector", choices=("hog",), help="find the people labelled in labels/NAME.txt (YOLO)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--clip", action="store_true", help="each folder is one recording: measure steadiness too")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from mmcfusion_ros.evaluation.evaluate import EvaluationOptions, evaluate, summary_markdown

    evaluation = EvaluationOptions(
        options.peers, options.stress, options.seed, options.detector == "hog", options.precision, options.clip
    )
    results = evaluate(options.folders, options.model or [*PURPOSES.values()], options.out, evaluation)
    print(summary_markdown(results, evaluation), end="")
