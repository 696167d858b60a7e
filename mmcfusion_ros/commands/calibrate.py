"""Where the cameras look, and their clocks: ``calibrate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmcfusion_ros.commands.arguments import Commands, add_configuration, at_least, image_size, positive

if TYPE_CHECKING:
    from mmcfusion_ros.calibration.bag_recording import BagRecording
    from mmcfusion_ros.calibration.recording import Recording
    from mmcfusion_ros.stream.settings import Settings

NO_OUT = "name the file to write with --out FILE.yaml"
MODELS = ("translation", "similarity", "affine", "homography")


def add_calibrate(commands: Commands) -> None:
    parser = commands.add_parser("calibrate", help="from images of both cameras to a calibration file")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--folder", type=Path, help="of pairs: sub-folders ir/ and vi/")
    source.add_argument("--bag", type=Path, help="ROS bag with both cameras")
    source.add_argument(
        "--import",
        dest="files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="ROS camera_info, Kalibr camchain, OpenCV YAML",
    )
    source.add_argument("--report", type=Path, metavar="FILE", help="parallax over range of this calibration file")
    for camera in ("thermal", "rgb"):
        parser.add_argument(f"--{camera}", nargs="+", default=[], metavar="NAME", help="of --import, where it asks")
    parser.add_argument(
        "--verify",
        type=Path,
        metavar="FILE",
        help="this calibration file against a bag with depth, range by range",
    )
    parser.add_argument("--depth-topic", default="", help="in the bag, for --verify; found by its name if not given")
    parser.add_argument("--thermal-topic", default="", help="in the bag; found by its name if not given")
    parser.add_argument("--rgb-topic", default="", help="in the bag; found by its name if not given")
    add_configuration(parser)
    parser.add_argument("--frames", type=at_least(1), default=20, help="pairs to use, spread over the recording")
    parser.add_argument("--model", choices=MODELS, default="homography")
    parser.add_argument("--board", choices=("chessboard", "circles"), help="both cameras see this target")
    parser.add_argument(
        "--board-size", type=image_size, default=(9, 6), metavar="COLUMNSxROWS", help="inner corners, or circles"
    )
    parser.add_argument(
        "--spacing",
        type=positive,
        metavar="M",
        help="width of the board's squares in m: lenses and extrinsics too",
    )
    parser.add_argument("--plane", type=float, metavar="M", help="distance at which the overlay is to be exact")
    parser.add_argument("--out", type=Path, metavar="FILE", help="YAML file for registration.file; beside it a picture")
    parser.add_argument("--time", action="store_true", help="find the offset of the clocks instead")
    parser.add_argument("--rate", type=positive, default=30.0, help="frames per second of the folder, for --time")
    parser.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> bool:
    if options.report or options.time or options.files:
        other = "--import" if options.files else "--report" if options.report else "--time"
        for name in ("board", "spacing", "verify", *(() if options.files else ("plane", "out"))):
            if getattr(options, name) is not None:
                raise ValueError(f"--{name} is for a calibration; leave it out with {other}")
    if (options.thermal or options.rgb) and not options.files:
        raise ValueError("--thermal and --rgb name cameras of --import; of a bag: --thermal-topic and --rgb-topic")
    if options.report:
        from mmcfusion_ros.calibration.parallax import parallax_markdown
        from mmcfusion_ros.fusion.calibration_file import load_calibration

        print(parallax_markdown(load_calibration(options.report)), end="")
        return True
    if options.files:
        from mmcfusion_ros.calibration.assembly import import_calibration

        if options.out is None:
            raise ValueError(NO_OUT)
        print(import_calibration(options.files, options.out, options.plane, options.thermal, options.rgb), end="")
        return True
    if options.verify:
        return _verify(options)
    return _clock(options) if options.time else _geometry(options)


def _settings(options: argparse.Namespace) -> Settings:
    from mmcfusion_ros.stream.parameter_files import load_values
    from mmcfusion_ros.stream.settings import Settings

    return Settings(load_values(options.params_file, options.set))


@contextmanager
def _recording(options: argparse.Namespace) -> Iterator[Recording]:
    settings = _settings(options)
    if options.folder:
        from mmcfusion_ros.calibration.recording import FolderRecording

        yield FolderRecording(options.folder, settings.thermal(), options.rate)
    else:
        with _bag_recording(options) as recording:
            yield recording


@contextmanager
def _bag_recording(options: argparse.Namespace) -> Iterator[BagRecording]:
    """At the end, what is wrong with the bag is told."""
    from mmcfusion_ros.bags.reading import Bag
    from mmcfusion_ros.calibration.bag_recording import BagRecording

    settings = _settings(options)
    pairing = replace(settings.pairing(), max_age_ns=0)  # no matter when the recorder received them
    with Bag(options.bag) as bag:
        try:
            yield BagRecording(bag, pairing, settings.thermal(), options.thermal_topic, options.rgb_topic)
        finally:
            for problem in dict.fromkeys(bag.problems):
                print(f"mmcfusion calibrate: {problem}", file=sys.stderr)


def _clock(options: argparse.Namespace) -> bool:
    from mmcfusion_ros.calibration.clock import clock_offset, motion_energy

    with _recording(options) as recording:
        thermal, rgb = (motion_energy(stream) for stream in recording.streams())
    found = clock_offset(thermal, rgb)
    print(f"pairing.thermal_offset: {found.offset_s:.4f}   # s, deviation {found.deviation_s:.4f} s")
    print(f"# correlation of the motions {found.correlation:.2f}")
    if found.problem:
        print(f"# not to be trusted: {found.problem}")
    return not found.problem


def _geometry(options: argparse.Namespace) -> bool:
    from mmcfusion_ros.calibration.boards import Board
    from mmcfusion_ros.calibration.report import calibrate

    if options.out is None:
        raise ValueError(NO_OUT)
    if options.spacing is not None and options.board is None:
        raise ValueError("--spacing is that of a board: name it with --board chessboard or circles")
    if options.plane is not None and options.spacing is None:
        raise ValueError("--plane needs lenses and extrinsics: calibrate with --board and --spacing")
    columns, rows = options.board_size
    board = Board(options.board, columns, rows, options.spacing) if options.board else None
    with _recording(options) as recording:
        pairs = recording.pairs(options.frames)
    source = str(options.bag or options.folder)
    print(calibrate(pairs, options.model, board, options.out, source, options.plane), end="")
    return True


def _verify(options: argparse.Namespace) -> bool:
    from mmcfusion_ros.calibration.range_check import picture, range_report
    from mmcfusion_ros.evaluation.pictures import write_image
    from mmcfusion_ros.fusion.calibration_file import load_calibration
    from mmcfusion_ros.stream.depth import DepthInput

    if not options.bag:
        raise ValueError("--verify needs depth: name a bag with a depth camera or lidar with --bag")
    settings = _settings(options)
    depth = DepthInput(*(settings.nanoseconds(f"registration.depth_{limit}") for limit in ("slop", "wait")))
    with _bag_recording(options) as recording:
        calibration, views = recording.views(
            load_calibration(options.verify), depth, options.depth_topic, options.frames
        )
    text, errors, problem = range_report(calibration, views)
    print(text)
    if options.out:
        write_image(options.out, picture(calibration, views[""], errors))
        print(f"wrote {options.out}")
    if problem:
        print(f"not good: {problem}")
    return not problem
