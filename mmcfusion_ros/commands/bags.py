"""Recorded bags: ``evaluate-bag``, ``check``, ``record-demo``."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmcfusion_ros.commands.arguments import Commands, add_configuration, positive

if TYPE_CHECKING:
    from mmcfusion_ros.evaluation.bags.options import BagOptions

PLANE_M = 8.0  # of the calibration of a demo bag


def add_evaluate_bag(commands: Commands) -> None:
    parser = commands.add_parser("evaluate-bag", help="fuse a recorded bag: fused bag, numbers and a page")
    parser.add_argument("bag", type=Path, help="folder or file: rosbag2 (sqlite3, mcap) or ROS 1")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    add_configuration(parser)
    parser.add_argument(
        "--compare", nargs="+", metavar="NAME=VALUE", help="run again with these values over the others', side by side"
    )
    _add_selection(parser)
    parser.add_argument("--no-metrics", action="store_true", help="leave out the fusion metrics, the slowest part")
    parser.add_argument("--no-images", action="store_true", help="no fused bag, no previews: numbers only")
    parser.add_argument("--force", action="store_true", help="overwrite files, but for a bag")
    parser.set_defaults(run=_evaluate_bag)


def _evaluate_bag(options: argparse.Namespace) -> bool:
    _refuse_results(options)  # before anything slow is imported
    from mmcfusion_ros.evaluation.bags.compare import evaluate_and_report, summary_text
    from mmcfusion_ros.files import writing_to
    from mmcfusion_ros.stream.parameter_files import load_values

    configurations = {" ".join(options.set) or "as configured": load_values(options.params_file, options.set)}
    if options.compare:
        configurations[" ".join(options.compare)] = load_values(options.params_file, [*options.set, *options.compare])
    with _interruptible() as stop, writing_to(options.out):
        results = evaluate_and_report(options.bag, options.out, configurations, _bag_options(options), stop)
    print(summary_text(results))
    print(f"look at: {options.out / 'report.html'}")
    return all(result.statistics.counts["fused"] for result in results.values())


def _refuse_results(options: argparse.Namespace) -> None:
    from mmcfusion_ros.files import refuse_existing

    folders = [options.out / "1", options.out / "2"] if options.compare else [options.out]
    files = [folder / name for folder in folders for name in ("frames.csv", "summary.json", "preview.mp4")]
    refuse_existing([*files, options.out / "report.html", options.out / "comparison.json"], options.force)
    for folder in folders:
        if not options.no_images and (folder / "fused").exists():
            raise FileExistsError(f"{folder / 'fused'} exists already; remove it or choose another name")


def add_check(commands: Commands) -> None:
    parser = commands.add_parser("check", help="hold a recorded bag to a scenario's expectations: a verdict as JSON")
    parser.add_argument("bag", type=Path, help="folder or file: rosbag2 (sqlite3, mcap) or ROS 1")
    parser.add_argument("--scenario", type=Path, required=True, help="YAML, see docs/bags.md")
    parser.add_argument("--json", type=Path, help="write the verdict there too")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> bool:
    from mmcfusion_ros.evaluation.bags.scenario import check_bag, load_scenario
    from mmcfusion_ros.files import print_json

    with _interruptible() as stop:
        verdict = check_bag(options.bag, load_scenario(options.scenario), stop)
    print_json(verdict, options.json)
    return bool(verdict["passed"])


def add_record_demo(commands: Commands) -> None:
    parser = commands.add_parser("record-demo", help="a bag of the synthetic rig or of a folder of pairs")
    parser.add_argument("bag", type=Path, help="folder of the new bag")
    parser.add_argument("--folder", type=Path, help="with the sub-folders ir/ and vi/; else the synthetic rig")
    parser.add_argument("--duration", type=positive, default=10.0, help="in s; a folder is shorter if it ends before")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
    parser.add_argument("--thermal-rate", type=float, default=30.0, help="in Hz")
    parser.add_argument("--rgb-rate", type=float, default=30.0, help="in Hz")
    parser.add_argument("--night", action="store_true", help="the synthetic rig by night")
    parser.add_argument("--jitter", type=float, default=0.0, help="of the rig's stamps, at most, in s")
    parser.add_argument("--loss", type=float, default=0.0, help="share of the rig's frames that are lost, 0 to 0.99")
    parser.add_argument(
        "--depth",
        choices=("none", "aligned", "own"),
        default="none",
        help="of the rig: a depth camera too, aligned or with its own lens; thermal 10 cm from RGB, people near",
    )
    parser.add_argument("--calibration", type=Path, help="write the rig's true calibration to this YAML file first")
    parser.set_defaults(run=_record_demo)


def _record_demo(options: argparse.Namespace) -> None:
    from mmcfusion_ros.evaluation.bags.frames_to_bag import record_frames
    from mmcfusion_ros.files import writing_to
    from mmcfusion_ros.fusion.calibration_file import save_calibration
    from mmcfusion_ros.simulation.playback import folder_frames
    from mmcfusion_ros.simulation.rig import RigOptions, rig_calibration, rig_frames, rig_intrinsics

    if options.folder:
        if options.calibration or options.depth != "none":
            raise ValueError("--depth and --calibration are of the synthetic rig; leave them out with --folder")
        frames = folder_frames(options.folder, options.thermal_rate, options.rgb_rate)
        intrinsics = {}
    else:
        near = {"depth": options.depth, "baseline_m": 0.1, "passers_z": (1.5, 3.0, 6.0)}
        rig = RigOptions(
            night=options.night,
            thermal_rate_hz=options.thermal_rate,
            rgb_rate_hz=options.rgb_rate,
            stamp_jitter_s=options.jitter,
            loss_probability=options.loss,
            **(near if options.depth != "none" else {}),
        )
        frames, intrinsics = rig_frames(rig), rig_intrinsics(rig)
        if options.calibration:
            save_calibration(rig_calibration(rig, PLANE_M), options.calibration, "The true geometry of the bag.")
    with writing_to(options.bag):
        counts = record_frames(frames, options.bag, options.duration, intrinsics, options.storage)
    print(f"{options.bag}: " + ", ".join(f"{topic} {number}" for topic, number in counts.items()))


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--thermal-topic", default="", help="found by type and name if not given")
    parser.add_argument("--rgb-topic", default="", help="found by type and name if not given")
    parser.add_argument("--depth-topic", default="", help="likewise, with registration.type depth")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each n-th pair")
    parser.add_argument("--start", type=float, default=0.0, help="s after the start of the bag")
    parser.add_argument("--end", type=float, help="s after the start of the bag")


def _bag_options(options: argparse.Namespace) -> BagOptions:
    from mmcfusion_ros.evaluation.bags.options import BagOptions

    return BagOptions(
        thermal_topic=options.thermal_topic,
        rgb_topic=options.rgb_topic,
        depth_topic=options.depth_topic,
        every=options.every,
        start_s=options.start,
        end_s=options.end,
        metrics=not options.no_metrics,
        images=not options.no_images,
    )


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first SIGINT sets; the second one is a ``KeyboardInterrupt``."""
    stop = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    handler = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, handler)
