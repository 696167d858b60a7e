"""What the calibration tools read: pairs and single frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmcfusion_ros.fusion.colour import split_luminance
from mmcfusion_ros.fusion.pair_folder import find_pairs, read_rgb, read_thermal
from mmcfusion_ros.fusion.thermal import ThermalScaler

ThermalAndRgb = tuple[np.ndarray, np.ndarray]
StampedFrame = tuple[float, np.ndarray]


class Recording(Protocol):
    """Of both cameras."""

    def pairs(self, count: int) -> list[ThermalAndRgb]:
        """``count`` pairs (``h x w`` uint8 thermal, ``H x W x 3`` uint8 RGB) spread evenly over the recording."""

    def streams(self) -> tuple[Iterator[StampedFrame], Iterator[StampedFrame]]:
        """Stamp in seconds and luminance of each thermal and each RGB frame."""


class FolderRecording:
    """A folder of pairs, recorded at ``rate_hz``."""

    def __init__(self, folder: Path, rate_hz: float = 30.0) -> None:
        self._files, self._rate_hz = find_pairs(folder), rate_hz

    def pairs(self, count: int) -> list[ThermalAndRgb]:
        """See :class:`Recording`."""
        scale = ThermalScaler()
        return [(scale(read_thermal(pair.thermal)), read_rgb(pair.rgb)) for pair in spread(self._files, count)]

    def streams(self) -> tuple[Iterator[StampedFrame], Iterator[StampedFrame]]:
        """See :class:`Recording`."""
        scale, files = ThermalScaler(), list(enumerate(self._files))
        thermal = ((i / self._rate_hz, scale(read_thermal(pair.thermal))) for i, pair in files)
        return thermal, ((i / self._rate_hz, split_luminance(read_rgb(pair.rgb))[0]) for i, pair in files)


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` of them, evenly spaced, the first and the last among them."""
    indices = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[i] for i in indices]
