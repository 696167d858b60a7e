"""A folder of recorded pairs as the frames of two cameras."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from mmcfusion_ros.data.images import read_rgb, read_thermal
from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.simulation.frame import Camera, Frame, check_range, in_order_of_delivery
from mmcfusion_ros.simulation.rig import RATE_LIMITS_HZ


def folder_frames(
    folder: str | Path, thermal_rate_hz: float = 30.0, rgb_rate_hz: float = 30.0, loop: bool = False
) -> Iterator[Frame]:
    """The frames of ``folder/ir`` and ``folder/vi``, delivered at their stamps; once, or looped with growing stamps.

    The sequence advances at the RGB rate, a thermal frame shows the pair of its time; so at equal rates the two
    images of a pair have the same stamp. Raises ``ValueError`` for a rate, and what ``find_pairs`` raises; an
    unreadable image raises ``ValueError`` when it is its turn.
    """
    check_range("thermal_rate_hz", thermal_rate_hz, *RATE_LIMITS_HZ)
    check_range("rgb_rate_hz", rgb_rate_hz, *RATE_LIMITS_HZ)
    pairs = find_pairs(folder)

    def stream(
        camera: Camera, paths: list[Path], read: Callable[[Path], np.ndarray], rate_hz: float
    ) -> Iterator[Frame]:
        for i in count():
            position = int(i / rate_hz * rgb_rate_hz + 1e-6)
            if position >= len(paths) and not loop:
                return
            stamp_ns = round(i / rate_hz * 1e9)
            yield Frame(camera, stamp_ns, stamp_ns, partial(read, paths[position % len(paths)]))

    return in_order_of_delivery(
        stream("thermal", [pair.thermal for pair in pairs], read_thermal, thermal_rate_hz),
        stream("rgb", [pair.rgb for pair in pairs], read_rgb, rgb_rate_hz),
    )
