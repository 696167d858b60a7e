"""Recorded bags: ``evaluate-bag``, ``check``, ``record-demo``."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmcfusion_ros.commands.arguments import Commands

if TYPE_CHECKING:
    from mmcfusion_ros.evaluation.bags.evaluate import BagOptions


def add_evaluate_bag(commands: Commands) -> None:
    parser = commands.add_parser("evaluate-bag", help="fuse a recorded bag: fused bag, numbers and a page")
    parser.add_argument("bag", type=Path, help="folder or file: rosbag2 (sqlite3, mcap) or ROS 1")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    _add_configuration(parser)
    parser.add_argument(
        "--compare", nargs="+", metavar="NAME=VALUE", help="run again with these values over the others', side by side"
    )
    _add_selection(parser)
    parser.add_argument("--no-metrics", action="store_true", help="leave out the fusion metrics, the slowest part")
    parser.add_argument("--no-images", action="store_true", help="no fused bag, no previews: numbers only")
    parser.set_defaults(run=_evaluate_bag)


def _evaluate_bag(options: argparse.Namespace) -> bool:
    from mmcfusion_ros.evaluation.bags.compare import evaluate_and_report, summary_text
    from mmcfusion_ros.ros.parameter_files import load_values

    configurations = {" ".join(options.set) or "as configured": load_values(options.params_file, options.set)}
    if options.compare:
        configurations[" ".join(options.compare)] = load_values(options.params_file, [*options.set, *options.compare])
    with _interruptible() as stop:
        results = evaluate_and_report(options.bag, options.out, configurations, _bag_options(options), stop)
    print(summary_text(results))
    print(f"look at: {options.out / 'report.html'}")
    return all(result.statistics.counts["fused"] for result in results)


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params-file", type=Path, help="YAML with the node's parameters, such as config/fusion.yaml")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="over the file's")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--thermal-topic", default="", help="found by type and name if not given")
    parser.add_argument("--rgb-topic", default="", help="found by type and name if not given")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each n-th pair")
    parser.add_argument("--start", type=float, default=0.0, help="s after the start of the bag")
    parser.add_argument("--end", type=float, help="s after the start of the bag")


def _bag_options(options: argparse.Namespace) -> BagOptions:
    from mmcfusion_ros.evaluation.bags.evaluate import BagOptions

    return BagOptions(
        thermal_topic=options.thermal_topic,
        rgb_topic=options.rgb_topic,
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
