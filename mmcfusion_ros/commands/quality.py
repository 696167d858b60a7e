"""Speed and quality: ``bench``, ``evaluate``, ``fuse``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mmcfusion_ros.commands.arguments import (
    Commands,
    add_backend,
    add_configuration,
    at_least,
    image_size,
    label_source,
    named_folder,
)
from mmcfusion_ros.evaluation.stress import STRESSES
from mmcfusion_ros.fusion.models import PURPOSES


def add_bench(commands: Commands) -> None:
    parser = commands.add_parser("bench", help="time one frame, stage by stage, and frames at fixed rates")
    parser.add_argument("--model", default=PURPOSES["detection"], help="name or file")
    parser.add_argument("--size", type=image_size, default=(640, 480), metavar="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=50, help="to time, and to send at each rate")
    parser.add_argument("--rates", type=float, nargs="*", default=[10, 30, 60], metavar="HZ", help="of the cameras")
    add_backend(parser)
    parser.add_argument("--json", type=Path, help="write the result there too")
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> None:
    from mmcfusion_ros.evaluation.benchmark import benchmark
    from mmcfusion_ros.files import print_json
    from mmcfusion_ros.fusion.fuser import Fuser

    fuser = Fuser.from_pretrained(options.model, options.backend, options.device, options.precision, options.threads)
    width, height = options.size
    result = benchmark(fuser, width, height, options.frames, options.rates)
    print_json({"model": options.model, "threads": options.threads, **result}, options.json)


def add_evaluate(commands: Commands) -> None:
    parser = commands.add_parser("evaluate", help="fusion metrics on folders of pairs")
    parser.add_argument(
        "folders", nargs="*", type=Path, help="each with sub-folders such as ir/ and vi/, or a list of pairs of files"
    )
    parser.add_argument("--thermal", type=Path, metavar="DIR", help="with --rgb: two folders of images, whatever named")
    parser.add_argument("--rgb", type=Path, metavar="DIR", help="with --thermal")
    parser.add_argument(
        "--model",
        nargs="+",
        action="extend",
        help="names or files, or rules: max, average, laplacian, guided (default: detect and lite)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and pictures")
    parser.add_argument(
        "--fused",
        nargs="+",
        action="extend",
        default=[],
        type=named_folder,
        metavar="NAME=FOLDER",
        help="measure images that somebody fused already; of several folders FOLDER/SET is taken",
    )
    parser.add_argument("--peers", type=Path, help="CSV with the columns set, method and metrics of other methods")
    parser.add_argument("--stress", choices=STRESSES, default="", help="spoil the input, and measure by the clean one")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the stress")
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
    add_backend(parser)
    parser.add_argument(
        "--metrics",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="more of them: MI_bits, PSNR, CE, MS_SSIM, Nabf, Qcb, Qcv, FMI, or all",
    )
    parser.add_argument("--workers", type=at_least(1), default=1, help="processes for the metrics")
    parser.add_argument("--limit", type=at_least(0), default=0, help="pairs of each folder; 0: all")
    parser.add_argument("--no-denoise", action="store_true", help="give networks noisy images as they are")
    parser.add_argument("--stretch", action="store_true", help="spread the fused luminance over 0..255, as some do")
    add_configuration(parser)  # how thermal images of 16 bits become 8
    parser.add_argument("--clip", action="store_true", help="each folder is one recording: measure steadiness too")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from mmcfusion_ros.evaluation.detection.labels import LabelSource
    from mmcfusion_ros.evaluation.evaluate import evaluate
    from mmcfusion_ros.evaluation.folders import EvaluationOptions
    from mmcfusion_ros.evaluation.metrics import MORE
    from mmcfusion_ros.stream.parameter_files import load_values
    from mmcfusion_ros.stream.settings import Settings

    if bool(options.thermal) != bool(options.rgb):
        raise ValueError("--thermal and --rgb need each other")
    if not options.folders and not options.thermal:
        raise ValueError("nothing to evaluate: give folders of pairs, or --thermal and --rgb")
    evaluation = EvaluationOptions(
        options.peers,
        options.stress,
        options.seed,
        options.precision,
        options.clip,
        tuple(options.detector),
        tuple(LabelSource(*label) for label in options.labels),
        options.night,
        (options.thermal, options.rgb) if options.thermal else None,
        dict(options.fused),
        options.limit,
        options.workers,
        tuple(MORE if "all" in options.metrics else options.metrics),
        options.stretch,
        Settings(load_values(options.params_file, options.set)).thermal(),
        options.backend,
        options.device,
        options.threads,
        not options.no_denoise,
        options.typed,
    )
    results = evaluate(options.folders, options.model or [*PURPOSES.values()], options.out, evaluation)
    print((options.out / "summary.md").read_text(), end="")
    if failures := [failure for result in results for failure in result.folder.failures]:
        raise ValueError(f"{len(failures)} pairs could not be used, the first: {failures[0]}")


def add_fuse(commands: Commands) -> None:
    parser = commands.add_parser("fuse", help="fuse images, folders or videos to files")
    parser.add_argument(
        "inputs", nargs="+", type=Path, help="a folder of pairs, or a bag; or thermal and RGB: folders or files"
    )
    parser.add_argument("out", type=Path, help="folder, or a file for two files")
    parser.add_argument("--model", default=PURPOSES["display"], help="name or file")
    add_backend(parser)
    parser.add_argument("--force", action="store_true", help="overwrite files")
    add_configuration(parser)  # how thermal images of 16 bits become 8
    parser.set_defaults(run=_fuse)


def _fuse(options: argparse.Namespace) -> None:
    from mmcfusion_ros.bags.bag_files import is_bag

    if len(options.inputs) == 1 and is_bag(options.inputs[0]):
        _fuse_bag(options)
    else:
        _fuse_images(options)


def _fuse_images(options: argparse.Namespace) -> None:
    from mmcfusion_ros.evaluation.folders import scale_alone
    from mmcfusion_ros.evaluation.fuse import fuse_files
    from mmcfusion_ros.fusion.fuser import Fuser
    from mmcfusion_ros.stream.parameter_files import load_values
    from mmcfusion_ros.stream.settings import Settings

    thermal = Settings(load_values(options.params_file, options.set)).thermal()
    fuser = Fuser.from_pretrained(options.model, options.backend, options.device, options.precision, options.threads)
    count = fuse_files(options.inputs, options.out, fuser, partial(scale_alone, thermal), options.force)
    print(f"{count} images fused to {options.out}")


def _fuse_bag(options: argparse.Namespace) -> None:
    """As ``evaluate-bag`` does, without numbers that take time."""
    from mmcfusion_ros.evaluation.bags.evaluate_bag import evaluate_bag
    from mmcfusion_ros.evaluation.bags.options import BagOptions
    from mmcfusion_ros.files import refuse_existing
    from mmcfusion_ros.stream.parameter_files import load_values

    refuse_existing([options.out / "frames.csv", options.out / "summary.json"], options.force)
    given = [f"{name}={getattr(options, name)}" for name in ("model", "backend", "device", "precision", "threads")]
    values = load_values(options.params_file, [*given, *options.set])
    result = evaluate_bag(options.inputs[0], values, options.out, BagOptions(metrics=False, report=False))
    count = result.statistics.counts["fused"]
    if not count:
        raise ValueError("; ".join(result.summary["problems"]))
    print(f"{count} pairs fused to {options.out / 'fused'}")
