"""What the sub-commands of ``mmcfusion`` share."""

from __future__ import annotations

import argparse

Commands = argparse._SubParsersAction  # what ArgumentParser.add_subparsers returns


def image_size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 640x480") from None
    return width, height
