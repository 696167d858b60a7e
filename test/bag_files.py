"""Bags as rosbag2 and ROS 1 write them, with small images of two cameras."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")

import yaml
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from mmcfusion_ros.bags.reading import TYPES
from mmcfusion_ros.evaluation.bags.writing import camera_info_message, header_message, image_message, ros_type

NS = 1_000_000_000
START = 1_700_000_000 * NS
HEIGHT, WIDTH = 48, 64
THERMAL, RGB, INFO = "/thermal/image_raw", "/rgb/image_raw", "/rgb/camera_info"


@dataclass(frozen=True)
class Message:
    """What is written: a message of ``TYPES`` and its receive time."""

    topic: str
    time_ns: int
    message: Any


def thermal_pixels(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    rng = np.random.default_rng([index, 0])
    return (29000 + 20 * np.arange(width)[None] + rng.integers(0, 60, (height, width))).astype(np.uint16)


def rgb_pixels(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    rng = np.random.default_rng([index, 1])
    grey = np.linspace(20, 200, width)[None] + rng.integers(0, 40, (height, width))
    return np.ascontiguousarray(np.dstack([grey, grey // 2, 255 - grey]).astype(np.uint8))


def thermal(index: int, stamp_ns: int, delay_ns: int = 3_000_000) -> Message:
    message = image_message(thermal_pixels(index), "16UC1", header_message(stamp_ns, "thermal_frame"))
    return Message(THERMAL, stamp_ns + delay_ns, message)


def rgb(index: int, stamp_ns: int, delay_ns: int = 2_000_000, height: int = HEIGHT, width: int = WIDTH) -> Message:
    pixels = rgb_pixels(index, height, width)
    return Message(RGB, stamp_ns + delay_ns, image_message(pixels, "rgb8", header_message(stamp_ns, "rgb_frame")))


def frames(parent: str, child: str, x_m: float = 0.0) -> Message:
    """``/tf_static``: the child is so far to the right."""
    geometry = {name: ros_type(f"geometry_msgs/msg/{name}") for name in ("Vector3", "Quaternion", "Transform")}
    here = geometry["Transform"](geometry["Vector3"](x_m, 0.0, 0.0), geometry["Quaternion"](0.0, 0.0, 0.0, 1.0))
    stamped = ros_type("geometry_msgs/msg/TransformStamped")(header_message(START, parent), child, here)
    return Message("/tf_static", START, ros_type("tf2_msgs/msg/TFMessage")([stamped]))


def info(stamp_ns: int, delay_ns: int = 1_000_000, topic: str = INFO) -> Message:
    intrinsics = np.array([[50.0, 0, 31.5], [0, 51, 23.5], [0, 0, 1]])
    header = header_message(stamp_ns, "rgb_frame")
    return Message(topic, stamp_ns + delay_ns, camera_info_message(WIDTH, HEIGHT, intrinsics, header))


def drive(pairs: int = 6, hz: float = 10.0, skew_ns: int = 4_000_000, start_ns: int = START) -> list[Message]:
    """Two cameras; the thermal stamp is ``skew_ns`` before the RGB stamp."""
    messages = []
    for i in range(pairs):
        stamp = start_ns + round(i / hz * NS)
        messages += [info(stamp), rgb(i, stamp), thermal(i, stamp - skew_ns)]
    return sorted(messages, key=lambda message: message.time_ns)


def write_bag(
    path: Path,
    messages: Iterable[Message],
    storage: str = "mcap",
    compression: CompressionMode = CompressionMode.NONE,
    version: Any = 8,
) -> Path:
    """As ``ros2 bag record`` does."""
    writer = Writer2(path, version=version, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for item in messages:
            kind = item.message.__msgtype__
            if item.topic not in connections:
                connections[item.topic] = writer.add_connection(item.topic, kind, typestore=TYPES)
            writer.write(connections[item.topic], item.time_ns, TYPES.serialize_cdr(item.message, kind))
    return path


def write_split_bag(path: Path, messages: list[Message], storage: str = "mcap") -> Path:
    """Two files and one ``metadata.yaml``."""
    half = len(messages) // 2
    parts = [
        write_bag(path.with_name(f"part_{i}"), m, storage) for i, m in enumerate((messages[:half], messages[half:]))
    ]
    metadata = [yaml.safe_load((part / "metadata.yaml").read_text()) for part in parts]
    inside = [content["rosbag2_bagfile_information"] for content in metadata]
    path.mkdir()
    whole = inside[0]
    for content in inside[1:]:
        whole["relative_file_paths"] += content["relative_file_paths"]
        whole["files"] += content["files"]
        whole["message_count"] += content["message_count"]
        end = content["starting_time"]["nanoseconds_since_epoch"] + content["duration"]["nanoseconds"]
        whole["duration"]["nanoseconds"] = end - whole["starting_time"]["nanoseconds_since_epoch"]
        for mine, theirs in zip(whole["topics_with_message_count"], content["topics_with_message_count"], strict=True):
            assert mine["topic_metadata"]["name"] == theirs["topic_metadata"]["name"]
            mine["message_count"] += theirs["message_count"]
    for part in parts:
        for file in part.iterdir():
            if file.name != "metadata.yaml":
                file.rename(path / file.name)
        shutil.rmtree(part)
    (path / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": whole}))
    return path


def write_foxy_bag(path: Path, messages: list[Message]) -> Path:
    """As ROS 2 Foxy did: metadata version 4, sqlite3 without message definitions."""
    path.mkdir()
    database = sqlite3.connect(path / "foxy_0.db3")
    database.executescript(
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
        " serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);"
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,"
        " data BLOB NOT NULL); CREATE INDEX timestamp_idx ON messages (timestamp ASC);"
    )
    kinds = {item.topic: item.message.__msgtype__ for item in messages}
    ids = {topic: i for i, topic in enumerate(kinds, 1)}
    for topic, kind in kinds.items():
        database.execute("INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')", (ids[topic], topic, kind))
    for item in messages:
        data = bytes(TYPES.serialize_cdr(item.message, item.message.__msgtype__))
        row = (ids[item.topic], item.time_ns, data)
        database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", row)
    database.commit()
    database.close()
    times = [item.time_ns for item in messages]
    counts = {topic: sum(item.topic == topic for item in messages) for topic in kinds}
    content = {
        "version": 4,
        "storage_identifier": "sqlite3",
        "relative_file_paths": ["foxy_0.db3"],
        "duration": {"nanoseconds": max(times) - min(times)},
        "starting_time": {"nanoseconds_since_epoch": min(times)},
        "message_count": len(messages),
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": topic,
                    "type": kind,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": "",
                },
                "message_count": counts[topic],
            }
            for topic, kind in kinds.items()
        ],
        "compression_format": "",
        "compression_mode": "",
    }
    (path / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": content}))
    return path


def write_ros1_bag(path: Path, messages: list[Message]) -> Path:
    """As ROS 1 does."""
    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer1(path) as writer:
        connections: dict[str, Any] = {}
        for item in messages:
            kind = item.message.__msgtype__
            if item.topic not in connections:
                connections[item.topic] = writer.add_connection(item.topic, kind, typestore=store)
            data = TYPES.cdr_to_ros1(TYPES.serialize_cdr(item.message, kind), kind)
            writer.write(connections[item.topic], item.time_ns, data)
    return path


def storage_file(bag: Path) -> Path:
    """The only bag file of a folder."""
    (file,) = [file for file in bag.iterdir() if file.name != "metadata.yaml"]
    return file
