"""One image of one camera, and the times at which it is taken and arrives."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

Camera = Literal["thermal", "rgb", "depth"]


@dataclass(frozen=True)
class Frame:
    """A frame of a camera; times are nanoseconds since the start of the stream.

    ``delivery_ns`` is when the driver hands the frame out. The image is made when first asked for, so that a frame
    that comes too late costs nothing. ``aligned``: depth on the pixels of the RGB camera.
    """

    camera: Camera
    stamp_ns: int
    delivery_ns: int
    make_image: Callable[[], np.ndarray] = field(repr=False, compare=False)
    aligned: bool = False

    @property
    def frame_id(self) -> str:
        """Of the camera whose pixels they are."""
        return f"{'rgb' if self.aligned else self.camera}_optical_frame"

    @cached_property
    def image(self) -> np.ndarray:
        """Thermal: ``H x W``, uint8, uint16 or float32; RGB: ``H x W x 3`` uint8, red first; depth: ``H x W`` uint16.

        Raises what making it raises.
        """
        return self.make_image()


def in_order_of_delivery(*streams: Iterator[Frame]) -> Iterator[Frame]:
    """One stream from several, each already in order; frames due at the same time in the order of the streams."""
    return heapq.merge(*streams, key=lambda frame: frame.delivery_ns)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ``ValueError`` where ``value`` is not in ``low`` to ``high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must be in {low} to {high}")
