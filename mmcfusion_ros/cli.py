"""The command ``mmcfusion``: one sub-command per tool. Each imports only what it needs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcfusion_ros.evaluation.stress import STRESSES
from mmcfusion_ros.fusion.backends import BACKENDS, DEVICES, PRECISIONS
from mmcfusion_ros.fusion.errors import BackendError, FusionError

if TYPE_CHECKING:
    from mmcfusion_ros.simulation.frame import Frame


def main(arguments: list[str] | None = None) -> None:
    """Runs one sub-command. Exit status 1 and one line on stderr if its input is wrong, 2 for wrong usage."""
    options = build_parser().parse_args(arguments)
    try:
        succeeded = options.run(options)
    except (ValueError, OSError, BackendError, FusionError) as error:
        sys.exit(f"mmcfusion {options.command}: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"mmcfusion {options.command}: needs the package {error.name}; see requirements-dev.txt")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if succeeded in (None, True) else 1)


def build_parser() -> argparse.ArgumentParser:
    """All sub-commands with their options."""
    parser = argparse.ArgumentParser(prog="mmcfusion", description="Thermal and RGB image fusion with MMCFusion")
    commands = parser.add_subparsers(dest="command", required=True)
    for add in (
        _add_demo,
        _add_simulate,
        _add_play,
        _add_bench,
        _add_evaluate,
        _add_train,
        _add_export,
        _add_convert,
        _add_parameters,
    ):
        add(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("demo", help="two cameras, the fusion node and a detector on this machine")
    parser.add_argument("--data", type=Path, help="play this folder of pairs (ir/, vi/) instead of the synthetic rig")
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for the results")
    parser.add_argument("--duration", type=float, default=15.0, help="of the cameras, in s")
    parser.add_argument("--night", action="store_true", help="the synthetic rig by night")
    parser.add_argument("--model", default="lite", help="name or file")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> bool:
    from mmcfusion_ros.demo import run_demo

    return run_demo(options.out, options.data, options.duration, options.night, options.model)


def _add_camera_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--thermal-rate", type=float, default=30.0, help="in Hz")
    parser.add_argument("--rgb-rate", type=float, default=30.0, help="in Hz")
    parser.add_argument("--duration", type=float, help="in s; without end if not given")
    parser.add_argument(
        "--subscribers", type=int, default=0, help="begin when each image topic has so many (10 s at most)"
    )
    parser.add_argument("--counts", type=Path, help="JSON file for the numbers of frames published")
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="as for any ROS 2 node")


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("simulate", help="publish a synthetic thermal and RGB camera")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--night", action="store_true")
    parser.add_argument("--jitter", type=float, default=0.0, help="largest delay of a stamp, in s")
    parser.add_argument("--thermal-latency", type=float, default=0.0, help="from stamp to delivery, in s")
    parser.add_argument("--rgb-latency", type=float, default=0.0, help="from stamp to delivery, in s")
    parser.add_argument("--loss", type=float, default=0.0, help="share of frames that are lost, 0 to 0.99")
    _add_camera_options(parser)
    parser.set_defaults(run=_simulate)


def _simulate(options: argparse.Namespace) -> None:
    from mmcfusion_ros.simulation.rig import RGB_INTRINSICS, THERMAL_INTRINSICS, RigOptions, rig_frames

    rig = RigOptions(
        seed=options.seed,
        night=options.night,
        thermal_rate_hz=options.thermal_rate,
        rgb_rate_hz=options.rgb_rate,
        stamp_jitter_s=options.jitter,
        thermal_latency_s=options.thermal_latency,
        rgb_latency_s=options.rgb_latency,
        loss_probability=options.loss,
    )
    intrinsics = {"thermal": THERMAL_INTRINSICS, "rgb": RGB_INTRINSICS}
    _publish(options, rig_frames(rig), "simulated_rig", intrinsics=intrinsics)


def _add_play(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("play", help="publish a folder of image pairs as two cameras")
    parser.add_argument("folder", type=Path, help="with the sub-folders ir/ and vi/")
    parser.add_argument("--loop", action="store_true")
    _add_camera_options(parser)
    parser.set_defaults(run=_play)


def _play(options: argparse.Namespace) -> None:
    from mmcfusion_ros.simulation.playback import folder_frames

    frames = folder_frames(options.folder, options.thermal_rate, options.rgb_rate, options.loop)
    _publish(options, frames, "folder_player")


def _publish(options: argparse.Namespace, frames: Iterable[Frame], node_name: str, **more: Any) -> None:
    from mmcfusion_ros.ros.camera_publisher import publish_frames

    publish_frames(
        frames,
        node_name,
        duration_s=options.duration,
        subscribers=options.subscribers,
        counts_file=options.counts,
        ros_args=["--ros-args", *options.ros_args],
        **more,
    )


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("bench", help="time one frame, stage by stage")
    parser.add_argument("--model", default="lite", help="name or file")
    parser.add_argument("--size", type=_size, default=(640, 480), metavar="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--threads", type=int, default=0, help="0: all processors")
    parser.add_argument("--json", type=Path, help="write the result there too")
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> None:
    from mmcfusion_ros.evaluation.benchmark import benchmark
    from mmcfusion_ros.fusion.fuser import Fuser

    fuser = Fuser.from_pretrained(options.model, options.backend, options.device, options.precision, options.threads)
    width, height = options.size
    result = benchmark(fuser, width, height, options.frames)
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 640x480") from None
    return width, height


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("evaluate", help="fusion metrics on folders of pairs")
    parser.add_argument("folders", nargs="+", type=Path, help="each with the sub-folders ir/ and vi/")
    parser.add_argument(
        "--model", nargs="+", default=["lite"], help="names or files, or rules: max, average, laplacian, guided"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and pictures")
    parser.add_argument("--peers", type=Path, help="CSV with the columns set, method and metrics of other methods")
    parser.add_argument("--stress", choices=STRESSES, default="", help="spoil the input, and measure by the clean one")
    parser.add_argument("--seed", type=int, default=0, help="of the stress")
    parser.add_argument("--detector", choices=("hog",), help="find the people labelled in labels/NAME.txt (YOLO)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from mmcfusion_ros.evaluation.evaluate import EvaluationOptions, evaluate, summary_markdown

    evaluation = EvaluationOptions(
        options.peers, options.stress, options.seed, options.detector == "hog", options.precision
    )
    print(summary_markdown(evaluate(options.folders, options.model, options.out, evaluation), evaluation), end="")


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("train", help="train a network on folders of pairs")
    parser.add_argument("folders", nargs="*", help="each with the sub-folders ir/ and vi/; else the configuration's")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--config", help="lite, b1, paper or a YAML file (default: lite; with --resume: the run's)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="over the file's")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> None:
    from mmcfusion_ros.evaluation.metrics import fusion_metrics
    from mmcfusion_ros.training.config import load_config
    from mmcfusion_ros.training.run import Run
    from mmcfusion_ros.training.train import train

    run = Run(options.out, options.resume)
    source = options.config or (run.config if options.resume else "lite")
    train(load_config(source, options.set, options.folders), run, fusion_metrics)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("export", help="weights to OpenVINO (any image size) or ONNX (one size)")
    parser.add_argument("weights", type=Path, help=".safetensors file")
    parser.add_argument("target", type=Path, help=".xml for OpenVINO, .onnx for ONNX")
    parser.add_argument("--size", type=_size, metavar="WIDTHxHEIGHT", help="image size of the ONNX graph")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from mmcfusion_ros.network.export import export_onnx, export_openvino

    if options.target.suffix == ".xml":
        export_openvino(options.weights, options.target)
    elif options.target.suffix == ".onnx" and options.size:
        export_onnx(options.weights, options.target, height=options.size[1], width=options.size[0])
    else:
        raise ValueError("the target must be an .xml file, or an .onnx file together with --size WIDTHxHEIGHT")
    print(options.target)


def _add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("convert-checkpoint", help="the authors' .pth checkpoint to a .safetensors file")
    parser.add_argument("source", type=Path, help="state dict of the authors' code")
    parser.add_argument("target", type=Path, help=".safetensors file")
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> None:
    from mmcfusion_ros.network.checkpoint import convert_checkpoint

    convert_checkpoint(options.source, options.target)
    print(options.target)


def _add_parameters(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("parameters", help="print the node's parameters")
    parser.add_argument("--format", choices=("yaml", "markdown"), default="yaml")
    parser.set_defaults(run=_parameters)


def _parameters(options: argparse.Namespace) -> None:
    from mmcfusion_ros.ros.parameters import parameters_markdown, parameters_yaml

    print(parameters_yaml() if options.format == "yaml" else parameters_markdown(), end="")


if __name__ == "__main__":
    main()
