"""A bag without hardware: a folder of pairs or the synthetic rig, recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path

import numpy as np

from mmcfusion_ros.evaluation.bags.writing import (
    BagWriter,
    Storage,
    camera_info_message,
    header_message,
    image_message,
)
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.simulation.frame import Camera, Frame

START_NS = 1_767_225_600_000_000_000  # 2026-01-01 00:00 UTC


def record_frames(
    frames: Iterable[Frame],
    path: Path,
    duration_s: float,
    intrinsics: Mapping[Camera, Intrinsics],
    storage: Storage = "mcap",
) -> dict[str, int]:
    """Writes the frames delivered within ``duration_s`` to a new bag, on the topics of ``mmcfusion simulate``.

    Received when they are delivered, from ``START_NS`` on; the same frames give the same messages. Returns the numbers
    of messages by topic. Raises ``FileExistsError``, and what making a frame's image raises.
    """
    counts: dict[str, int] = {}
    with BagWriter(path, storage) as bag:
        for frame in takewhile(lambda frame: frame.delivery_ns < duration_s * 1e9, frames):
            time_ns = START_NS + frame.delivery_ns
            header = header_message(START_NS + frame.stamp_ns, frame.frame_id)
            height, width = frame.image.shape[:2]
            lens = intrinsics.get(frame.camera)
            matrix = lens.camera_matrix if lens else np.zeros((3, 3))
            encoding = (
                "rgb8" if frame.camera == "rgb" else {"uint8": "mono8", "uint16": "16UC1"}[frame.image.dtype.name]
            )
            for topic, message in (
                (f"/{frame.camera}/camera_info", camera_info_message(width, height, matrix, header)),
                (f"/{frame.camera}/image_raw", image_message(np.ascontiguousarray(frame.image), encoding, header)),
            ):
                bag.write(topic, message, time_ns)
                counts[topic] = counts.get(topic, 0) + 1
    return counts
