"""Cameras and the node: ``demo``, ``simulate``, ``play``, ``parameters``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcfusion_ros.commands.arguments import Commands, positive

if TYPE_CHECKING:
    from mmcfusion_ros.simulation.frame import Frame


def add_demo(commands: Commands) -> None:
    parser = commands.add_parser("demo", help="two cameras, the fusion node and a detector on this machine")
    parser.add_argument("--data", type=Path, help="play this folder of pairs (ir/, vi/) instead of the synthetic rig")
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for the results")
    parser.add_argument("--duration", type=positive, default=15.0, help="of the cameras, in s")
    parser.add_argument("--night", action="store_true", help="the synthetic rig by night")
    parser.add_argument("--model", default="auto", help="name or file; auto: the node's own choice")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> bool:
    from mmcfusion_ros.tools.demo import run_demo

    return run_demo(options.out, options.data, options.duration, options.night, options.model)


def add_simulate(commands: Commands) -> None:
    parser = commands.add_parser("simulate", help="publish a synthetic thermal and RGB camera")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--night", action="store_true")
    parser.add_argument("--jitter", type=float, default=0.0, help="largest delay of a stamp, in s")
    parser.add_argument("--thermal-latency", type=float, default=0.0, help="from stamp to delivery, in s")
    parser.add_argument("--rgb-latency", type=float, default=0.0, help="from stamp to delivery, in s")
    parser.add_argument("--loss", type=float, default=0.0, help="share of frames that are lost, 0 to 0.99")
    parser.add_argument("--clock-offset", type=float, default=0.0, help="of the thermal stamps, in s")
    parser.add_argument("--clock-drift", type=float, default=0.0, help="of the thermal stamps, in microseconds per s")
    parser.add_argument("--baseline", type=float, default=0.0, help="from the RGB to the thermal camera, in m")
    parser.add_argument("--distorted", action="store_true", help="lenses that bend")
    parser.add_argument("--depth", default="none", help="a depth camera too: aligned to RGB, or own: with its own lens")
    parser.add_argument("--depth-rate", type=float, default=30.0, help="in Hz")
    parser.add_argument("--depth-latency", type=float, default=0.0, help="in s")
    parser.add_argument("--passers", type=float, nargs="*", default=(), help="people walk to and fro so many m away")
    parser.add_argument("--ffc-period", type=float, default=0.0, help="of the thermal camera's freezes, in s; 0: none")
    parser.add_argument("--ffc-duration", type=float, default=0.5, help="of one freeze, in s")
    parser.add_argument("--warm-shutter", action="store_true", help="send the shutter, not a repeated frame, meanwhile")
    parser.add_argument("--gain-switch", type=float, default=0.0, help="between two gains, every so many s; 0: never")
    parser.add_argument("--thermal-encoding", default="16UC1", help="of the counts: 16UC1, mono8 or 32FC1 (kelvin)")
    parser.add_argument("--telemetry-rows", type=int, default=0, help="above the thermal image")
    parser.add_argument("--palette", default="", help="send thermal colours: white_hot, ironbow, rainbow")
    parser.add_argument("--bad-pixels", type=int, default=0, help="dead and stuck ones of the thermal camera")
    parser.add_argument("--calibration", type=Path, help="write the true calibration to this YAML file first")
    parser.add_argument("--plane", type=float, default=math.inf, help="distance at which that is exact, in m")
    _add_camera_options(parser)
    parser.set_defaults(run=_simulate)


def _simulate(options: argparse.Namespace) -> None:
    from mmcfusion_ros.fusion.calibration_file import save_calibration
    from mmcfusion_ros.simulation.rig import RigOptions, rig_calibration, rig_frames, rig_intrinsics

    rig = RigOptions(
        seed=options.seed,
        night=options.night,
        thermal_rate_hz=options.thermal_rate,
        rgb_rate_hz=options.rgb_rate,
        stamp_jitter_s=options.jitter,
        thermal_latency_s=options.thermal_latency,
        rgb_latency_s=options.rgb_latency,
        loss_probability=options.loss,
        clock_offset_s=options.clock_offset,
        clock_drift_ppm=options.clock_drift,
        baseline_m=options.baseline,
        distorted=options.distorted,
        ffc_period_s=options.ffc_period,
        ffc_duration_s=options.ffc_duration,
        telemetry_rows=options.telemetry_rows,
        palette=options.palette,
        bad_pixels=options.bad_pixels,
        warm_shutter=options.warm_shutter,
        gain_switch_s=options.gain_switch,
        thermal_encoding=options.thermal_encoding,
        depth=options.depth,
        depth_rate_hz=options.depth_rate,
        depth_latency_s=options.depth_latency,
        passers_z=tuple(options.passers),
    )
    if options.calibration:
        text = "The true geometry of mmcfusion simulate."
        save_calibration(rig_calibration(rig, options.plane), options.calibration, text)
    _publish(options, rig_frames(rig), "simulated_rig", intrinsics=rig_intrinsics(rig))


def add_play(commands: Commands) -> None:
    parser = commands.add_parser("play", help="publish a folder of image pairs as two cameras, or a recorded bag")
    parser.add_argument("source", type=Path, help="folder with ir/ and vi/, or a bag (rosbag2 or ROS 1)")
    parser.add_argument("--loop", action="store_true")
    _add_camera_options(parser)
    bag = parser.add_argument_group("of a bag", "without them it is played as recorded, with its own stamps")
    bag.add_argument("--rate", type=float, default=1.0, help="times as fast as recorded")
    bag.add_argument("--start", type=float, default=0.0, help="s after the start of the bag")
    bag.add_argument("--clock", action="store_true", help="publish /clock, for nodes with use_sim_time")
    bag.add_argument("--restamp", action="store_true", help="stamp the images as if they were taken now")
    parser.set_defaults(run=_play)


def _play(options: argparse.Namespace) -> None:
    from mmcfusion_ros.bags.bag_files import is_bag

    if is_bag(options.source):
        _play_bag(options)
    elif options.clock or options.restamp or (options.rate, options.start) != (1.0, 0.0):
        raise ValueError(f"{options.source} is no bag; --rate, --start, --clock and --restamp are of bags")
    else:
        from mmcfusion_ros.simulation.playback import folder_frames

        frames = folder_frames(options.source, options.thermal_rate, options.rgb_rate, options.loop)
        _publish(options, frames, "folder_player")


def _play_bag(options: argparse.Namespace) -> None:
    from mmcfusion_ros.bags.ahead import ahead
    from mmcfusion_ros.bags.reading import Bag
    from mmcfusion_ros.tools.bag_player import play_messages

    if options.clock and options.restamp:
        raise ValueError("--clock tells the recording's time, which stamps of --restamp do not follow; leave out one")
    with Bag(options.source) as bag:
        start_ns = bag.start_ns + round(options.start * 1e9)
        end_ns = None if options.duration is None else start_ns + round(options.duration * 1e9)
        play_messages(
            (ahead(bag.messages(bag.topics, start_ns, end_ns), 16) for _ in (count() if options.loop else range(1))),
            bag.topics,
            rate=options.rate,
            clock=options.clock,
            restamp=options.restamp,
            subscribers=options.subscribers,
            counts_file=options.counts,
            ros_args=["--ros-args", *options.ros_args],
        )
        for problem in bag.problems:
            print(f"mmcfusion play: {problem}", file=sys.stderr)


def _add_camera_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--thermal-rate", type=float, default=30.0, help="in Hz")
    parser.add_argument("--rgb-rate", type=float, default=30.0, help="in Hz")
    parser.add_argument("--duration", type=positive, help="in s; without end if not given")
    parser.add_argument(
        "--subscribers", type=int, default=0, help="begin when each image topic has so many (a minute at most)"
    )
    parser.add_argument("--counts", type=Path, help="JSON file for the numbers of frames published")
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="as for any ROS 2 node")


def _publish(options: argparse.Namespace, frames: Iterable[Frame], node_name: str, **more: Any) -> None:
    from mmcfusion_ros.tools.camera_publisher import publish_frames

    publish_frames(
        frames,
        node_name,
        duration_s=options.duration,
        subscribers=options.subscribers,
        counts_file=options.counts,
        ros_args=["--ros-args", *options.ros_args],
        **more,
    )


def add_parameters(commands: Commands) -> None:
    parser = commands.add_parser("parameters", help="print the node's parameters")
    parser.add_argument("--format", choices=("yaml", "markdown"), default="yaml")
    parser.set_defaults(run=_parameters)


def _parameters(options: argparse.Namespace) -> None:
    from mmcfusion_ros.stream.parameter_files import parameters_markdown, parameters_yaml

    print(parameters_yaml() if options.format == "yaml" else parameters_markdown(), end="")
