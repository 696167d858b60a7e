"""What the calibration tools read: pairs and single frames of a folder or a bag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmcfusion_ros.fusion.colour import split_luminance
from mmcfusion_ros.fusion.pair_folder import find_pairs, read_rgb, read_thermal
from mmcfusion_ros.fusion.thermal import ThermalScaler

ThermalAndRgb = tuple[np.ndarray, np.ndarray]
StampedFrame = tuple[float, np.ndarray]
SLOP_NS = 50_000_000
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def folder_pairs(folder: Path, count: int) -> list[ThermalAndRgb]:
    """``count`` pairs (``h x w`` uint8 thermal, ``H x W x 3`` uint8 RGB) spread evenly over a folder of pairs."""
    files = find_pairs(folder)
    scale = ThermalScaler()
    return [(scale(read_thermal(pair.thermal)), read_rgb(pair.rgb)) for pair in spread(files, count)]


def folder_streams(folder: Path, rate_hz: float) -> tuple[Iterator[StampedFrame], Iterator[StampedFrame]]:
    """Stamp in seconds and luminance of each thermal and each RGB frame of a folder recorded at this rate."""
    files, scale = find_pairs(folder), ThermalScaler()
    thermal = ((i / rate_hz, scale(read_thermal(pair.thermal))) for i, pair in enumerate(files))
    return thermal, ((i / rate_hz, split_luminance(read_rgb(pair.rgb))[0]) for i, pair in enumerate(files))


def bag_pairs(bag: Path, topics: tuple[str, str], count: int) -> list[ThermalAndRgb]:
    """The same as :func:`folder_pairs` from a bag, paired by stamp as the node does."""
    from mmcfusion_ros.ros.messages import rgb_from_message, thermal_from_message
    from mmcfusion_ros.ros.pairing import Pair, Pairer, PairingOptions

    pairer: Pairer[int] = Pairer(PairingOptions(SLOP_NS, max_wait_ns=0, max_age_ns=0, queue_size=30))
    stamps: list[Pair[int]] = []
    for position, stamp_ns, _ in _bag_messages(bag, topics):
        stamps += pairer.add(("thermal", "rgb")[position], stamp_ns, stamp_ns, stamp_ns)
    chosen = spread(stamps, count)
    wanted = {(0, pair.thermal) for pair in chosen} | {(1, pair.rgb) for pair in chosen}
    found = {
        (position, stamp): (thermal_from_message, rgb_from_message)[position](message)
        for position, stamp, message in _bag_messages(bag, topics)
        if (position, stamp) in wanted
    }
    scale = ThermalScaler()
    return [(scale(found[0, pair.thermal]), found[1, pair.rgb]) for pair in chosen]


def bag_streams(bag: Path, topics: tuple[str, str]) -> tuple[Iterator[StampedFrame], Iterator[StampedFrame]]:
    """The same as :func:`folder_streams` from a bag, with the stamps of its messages."""
    from mmcfusion_ros.ros.messages import rgb_from_message, thermal_from_message

    scale = ThermalScaler()
    thermal = ((ns / 1e9, scale(thermal_from_message(message))) for _, ns, message in _bag_messages(bag, topics[:1]))
    rgb = ((ns / 1e9, rgb_from_message(message)) for _, ns, message in _bag_messages(bag, topics[1:]))
    return thermal, ((stamp, split_luminance(image)[0]) for stamp, image in rgb)


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` of them, evenly spaced, the first and the last among them."""
    indices = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[i] for i in indices]


def _bag_messages(bag: Path, topics: tuple[str, ...]) -> Iterator[tuple[int, int, Any]]:
    """Position of the topic in ``topics``, stamp in ns, and message, in order of recording."""
    from rosbags.highlevel import AnyReader

    from mmcfusion_ros.ros.pair_filter import stamp_ns

    with AnyReader([bag]) as reader:
        types = {connection.topic: connection.msgtype for connection in reader.connections}
        for topic in topics:
            if types.get(topic) not in (IMAGE, COMPRESSED):
                images = sorted(name for name, kind in types.items() if kind in (IMAGE, COMPRESSED))
                raise ValueError(f"{bag} has no images on {topic}; it has {', '.join(images) or 'no image topic'}")
        connections = [connection for connection in reader.connections if connection.topic in topics]
        for connection, _, data in reader.messages(connections):
            message: Any = reader.deserialize(data, connection.msgtype)
            yield topics.index(connection.topic), stamp_ns(message), message
