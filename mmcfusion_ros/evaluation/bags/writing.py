"""Bags that are written: rosbag2 of version 8, which Humble and everything after it reads."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer

from mmcfusion_ros.bags.reading import TYPES
from mmcfusion_ros.evaluation.bags.fusing import Fused
from mmcfusion_ros.stream.camera_info import outgoing_info

Storage = Literal["mcap", "sqlite3"]
OK, WARN = 0, 1


FLUSHED_EVERY_S = 0.5


class BagWriter:
    """A new bag. ``FileExistsError`` if its folder is there already. Valid once closed, however much was written; of a
    process that is killed, ``Bag`` reads all but the last ``FLUSHED_EVERY_S``."""

    def __init__(self, path: Path, storage: Storage = "mcap") -> None:
        if path.exists():
            raise FileExistsError(f"{path} exists already; remove it or choose another name")
        self._writer = Writer(path, version=8, storage_plugin=StoragePlugin[storage.upper()])
        self._writer.open()
        self._connections: dict[str, Connection] = {}
        self._due_s = time.monotonic() + FLUSHED_EVERY_S

    def write(self, topic: str, message: Any, time_ns: int) -> None:
        """A message made by ``ros_type``, received at ``time_ns``."""
        kind = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=TYPES)
        self._writer.write(self._connections[topic], time_ns, TYPES.serialize_cdr(message, kind))
        if time.monotonic() > self._due_s:
            self._flush()
            self._due_s = time.monotonic() + FLUSHED_EVERY_S

    def _flush(self) -> None:
        storage = self._writer.storage
        if isinstance(storage, McapWriter):
            storage.close_chunk()
            storage.bio.flush()
        elif isinstance(storage, Sqlite3Writer):
            storage.conn.commit()

    def close(self) -> None:
        """Writes the index and ``metadata.yaml``."""
        self._writer.close()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FusedBag(BagWriter):
    """Fused images with the stamp and frame of their RGB image, its ``camera_info``, and diagnostics."""

    def write_frame(self, frame: Fused, encoding: str) -> None:
        """At the time at which the pair was complete."""
        header = frame.pair.rgb.header
        filled = frame.message
        shape = (filled.height, filled.width, 1 if encoding == "mono8" else 3)
        pixels = np.frombuffer(filled.data, np.uint8).reshape(shape)
        self.write("/fused/image_raw", image_message(pixels, encoding, header), frame.time_ns)
        info = frame.camera_info
        info, _ = outgoing_info(info, header, (filled.width, filled.height)) if info else (None, "")
        if info:
            self.write("/fused/camera_info", info, frame.time_ns)

    def write_diagnostics(self, problems: Sequence[str], values: Mapping[str, str], time_ns: int) -> None:
        """What the node would have said."""
        pairs = [ros_type("diagnostic_msgs/msg/KeyValue")(key=key, value=value) for key, value in values.items()]
        status = ros_type("diagnostic_msgs/msg/DiagnosticStatus")(
            level=WARN if problems else OK,
            name="/mmcfusion",
            message="; ".join(problems) or "fusing",
            hardware_id=values.get("device", ""),
            values=pairs,
        )
        array = ros_type("diagnostic_msgs/msg/DiagnosticArray")(header=header_message(time_ns, ""), status=[status])
        self.write("/diagnostics", array, time_ns)


def ros_type(name: str) -> Any:
    """The class of a message type such as ``sensor_msgs/msg/Image``."""
    return TYPES.types[name]


def header_message(stamp_ns: int, frame_id: str) -> Any:
    """A ``std_msgs/Header``."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = ros_type("builtin_interfaces/msg/Time")(sec=sec, nanosec=nanosec)
    return ros_type("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_id)


def image_message(pixels: np.ndarray, encoding: str, header: Any) -> Any:
    """A ``sensor_msgs/Image`` of contiguous pixels that are in that encoding already."""
    return ros_type("sensor_msgs/msg/Image")(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels[0].nbytes,
        data=pixels.view(np.uint8).ravel(),
    )


def camera_info_message(width: int, height: int, intrinsics: np.ndarray, header: Any) -> Any:
    """A ``sensor_msgs/CameraInfo`` without distortion; ``intrinsics`` 3x3, all zero where there are none."""
    roi = ros_type("sensor_msgs/msg/RegionOfInterest")(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return ros_type("sensor_msgs/msg/CameraInfo")(
        header=header,
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=intrinsics.ravel().astype(np.float64),
        r=np.eye(3).ravel(),
        p=np.column_stack([intrinsics, np.zeros(3)]).ravel().astype(np.float64),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )
