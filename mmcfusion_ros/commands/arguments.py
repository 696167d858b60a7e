"""What the sub-commands of ``mmcfusion`` share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from mmcfusion_ros.fusion.backends import BACKENDS, DEVICES, PRECISIONS

Commands = argparse._SubParsersAction  # what ArgumentParser.add_subparsers returns


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return value


def at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return value

    return whole_number


def image_size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 640x480") from None
    return width, height


def label_source(text: str) -> tuple[Path, tuple[int, int] | None]:
    """``FILE`` or ``FILE@WIDTHxHEIGHT``."""
    path, _, size = text.rpartition("@")
    return (Path(path), image_size(size)) if path else (Path(text), None)


def named_folder(text: str) -> tuple[str, Path]:
    """``NAME=FOLDER``; results go to a folder of that name."""
    name, _, path = text.partition("=")
    if not (name.strip(".") and path) or "/" in name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER, with a name that a folder can have")
    return name, Path(path)


def add_backend(parser: argparse.ArgumentParser) -> None:
    """What runs the network, as ``Fuser.from_pretrained`` takes it."""
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--threads", type=int, default=0, help="of the network; 0: all processors")


def add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params-file", type=Path, help="YAML with the node's parameters, such as config/fusion.yaml")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="over the file's")
