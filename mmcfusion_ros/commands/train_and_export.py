"""Weights, made and converted: ``train``, ``export``, ``convert-checkpoint``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmcfusion_ros.commands.arguments import Commands, image_size


def add_train(commands: Commands) -> None:
    parser = commands.add_parser("train", help="train a network on folders of pairs", add_help=False)
    parser.add_argument("-h", "--help", action=_TrainingHelp, nargs=0, help="show this, and all keys, and exit")
    parser.add_argument("folders", nargs="*", help="as mmcfusion evaluate takes them; else the configuration's")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--config", help="lite, b1, paper or a YAML file (default: lite; with --resume: the run's)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="over the file's")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.set_defaults(run=_train)


class _TrainingHelp(argparse.Action):
    """The keys of the configuration too; the module that knows them takes a second to import."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from mmcfusion_ros.training.config import keys_text

        parser.print_help()
        print(f"\nkeys for --set and for YAML files, with their defaults:\n{keys_text()}")
        parser.exit()


def _train(options: argparse.Namespace) -> None:
    from mmcfusion_ros.evaluation.metrics import fusion_metrics
    from mmcfusion_ros.training.config import load_config
    from mmcfusion_ros.training.run import Run
    from mmcfusion_ros.training.train import train

    run = Run(options.out, options.resume)
    source = options.config or (run.config if options.resume else "lite")
    train(load_config(source, options.set, options.folders), run, fusion_metrics)


def add_export(commands: Commands) -> None:
    parser = commands.add_parser("export", help="weights to OpenVINO or ONNX")
    parser.add_argument("weights", type=Path, help=".safetensors file")
    parser.add_argument("target", type=Path, help=".xml for OpenVINO, .onnx for ONNX")
    parser.add_argument("--size", type=image_size, metavar="WIDTHxHEIGHT", help="the only one of the ONNX graph")
    parser.add_argument("--opset", type=int, choices=(18, 19, 20, 21), default=18, help="of ONNX")
    parser.add_argument("--precision", choices=("float32", "float16"), default="float32", help="of the ONNX graph")
    parser.add_argument("--force", action="store_true", help="overwrite files")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from mmcfusion_ros.files import refuse_existing
    from mmcfusion_ros.network.export import export_onnx, export_openvino

    if options.target.suffix == ".xml":
        refuse_existing([options.target, options.target.with_suffix(".bin")], options.force)
        export_openvino(options.weights, options.target)
    elif options.target.suffix == ".onnx":
        refuse_existing([options.target], options.force)
        export_onnx(options.weights, options.target, options.size, options.opset, options.precision)
    else:
        raise ValueError(f"{options.target} must be named .xml (OpenVINO) or .onnx")
    print(options.target)


def add_convert(commands: Commands) -> None:
    parser = commands.add_parser("convert-checkpoint", help="the authors' .pth checkpoint to a .safetensors file")
    parser.add_argument("source", type=Path, help="state dict of the authors' code")
    parser.add_argument("target", type=Path, help=".safetensors file")
    parser.add_argument("--force", action="store_true", help="overwrite the target")
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> None:
    from mmcfusion_ros.files import refuse_existing
    from mmcfusion_ros.network.checkpoint import convert_checkpoint

    refuse_existing([options.target], options.force)
    convert_checkpoint(options.source, options.target)
    print(options.target)
