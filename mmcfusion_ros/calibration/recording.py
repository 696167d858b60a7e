"""What the calibration tools read: pairs and single frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmcfusion_ros.data.images import read_rgb, read_thermal
from mmcfusion_ros.data.pair_folder import PairFiles, find_pairs
from mmcfusion_ros.fusion.fuser import split_luminance
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler

ThermalAndRgb = tuple[np.ndarray, np.ndarray]
StampedFrame = tuple[float, np.ndarray]


class Recording(Protocol):
    """Of both cameras; thermal frames as the node would see them."""

    def pairs(self, count: int) -> list[ThermalAndRgb]:
        """``count`` pairs (``h x w`` uint8 thermal, ``H x W x 3`` uint8 RGB) spread evenly over the recording."""

    def streams(self) -> tuple[Iterator[StampedFrame], Iterator[StampedFrame]]:
        """Stamp in seconds and luminance of each thermal and each RGB frame."""


class FolderRecording:
    """A folder of pairs, recorded at ``rate_hz``."""

    def __init__(self, folder: Path, thermal: ThermalOptions | None = None, rate_hz: float = 30.0) -> None:
        self._files, self._thermal, self._rate_hz = find_pairs(folder), thermal, rate_hz

    def pairs(self, count: int) -> list[ThermalAndRgb]:
        """See :class:`Recording`."""
        chosen = spread(self._files, count)
        return list(zip(self._thermal_images(chosen), (read_rgb(pair.rgb) for pair in chosen), strict=True))

    def streams(self) -> tuple[Iterator[StampedFrame], Iterator[StampedFrame]]:
        """See :class:`Recording`."""
        stamps = [i / self._rate_hz for i in range(len(self._files))]
        rgb = (split_luminance(read_rgb(pair.rgb))[0] for pair in self._files)
        return zip(stamps, self._thermal_images(self._files), strict=True), zip(stamps, rgb, strict=True)

    def _thermal_images(self, files: Sequence[PairFiles]) -> Iterator[np.ndarray]:
        scale = ThermalScaler(self._thermal)
        return (scale(scale.upright(read_thermal(pair.thermal, colour=True))) for pair in files)


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` of them, evenly spaced, the first and the last among them."""
    indices = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[i] for i in indices]
