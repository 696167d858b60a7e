"""A recorded bag, opened read-only: rosbag2 (sqlite3, mcap, split, compressed) and ROS 1, whole or damaged."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import zstandard
from rosbags.interfaces import ConnectionExtRosbag2, QosDurability
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from mmcfusion_ros.bags.bag_files import SUFFIXES, storage_files
from mmcfusion_ros.bags.salvage import McapScan, Sqlite3Scan
from mmcfusion_ros.bags.topics import CAMERA_INFO, COMPRESSED, IMAGE, Topic
from mmcfusion_ros.fusion.errors import one_line

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
TYPES = get_typestore(Stores.ROS2_HUMBLE)  # image messages are the same in all distributions


class Recorded(NamedTuple):
    """One message: its receive time, and its CDR bytes (those of ROS 1 are converted); empty if they are damaged."""

    topic: str
    time_ns: int
    data: bytes


class Part(Protocol):
    """What can be read on its own: a file, or a whole bag with an intact ``metadata.yaml``."""

    topics: list[Topic]
    start_ns: int
    end_ns: int

    def messages(self, names: Collection[str], start_ns: int, end_ns: int) -> Iterator[tuple[str, int, bytes]]:
        """Topic, receive time and bytes of the messages of these topics in ``start_ns <= time < end_ns``."""

    def close(self) -> None:
        """Gives the files back."""


class Bag:
    """A bag on disk: its topics, times, and what is wrong with it (``problems``, which grows while it is read).

    A damaged file is read as far as it goes. Raises ``FileNotFoundError``, or ``ValueError`` if nothing can be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.problems: list[str] = []
        if not self.path.exists():
            raise FileNotFoundError(f"bag {self.path} does not exist")
        self.files = storage_files(self.path) if self.path.is_dir() else [self.path]
        if not self.files:
            raise ValueError(f"{self.path} is no bag: it holds no {', '.join(SUFFIXES)} file")
        self._parts = self._open_parts()
        if not self._parts:
            raise ValueError("; ".join(self.problems))
        self.topics = _merged(topic for part in self._parts for topic in part.topics)
        filled = [part for part in self._parts if part.end_ns > part.start_ns]
        self.start_ns = min((part.start_ns for part in filled), default=0)
        self.end_ns = max((part.end_ns for part in filled), default=0)

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        for part in self._parts:
            part.close()

    def messages(
        self, names: Collection[str], start_ns: int | None = None, end_ns: int | None = None
    ) -> Generator[Recorded, None, None]:
        """The messages of these topics in order of their receive time, which may be limited: start <= time < end."""
        start, end = self.start_ns if start_ns is None else start_ns, self.end_ns if end_ns is None else end_ns
        for part in self._parts:
            time_ns = part.start_ns
            try:
                for topic, time_ns, data in part.messages(names, start, end):
                    yield Recorded(topic, time_ns, _decompressed(data))
            except GeneratorExit:
                raise
            except Exception as error:  # whatever a parser makes of damaged bytes
                seconds = (time_ns - self.start_ns) / 1e9
                self.problems.append(f"{self.path.name}: reading ended {seconds:.3f} s after its start: {_text(error)}")

    def _open_parts(self) -> list[Part]:
        if self.path.is_dir():
            try:
                return [_Rosbags(self.path)]
            except Exception as error:  # whatever a parser makes of damaged bytes
                self.problems.append(f"{self.path.name}: {_text(error)}; its files are read one by one")
        parts = [part for file in self.files if (part := self._open_file(file))]
        return sorted(parts, key=lambda part: part.start_ns)

    def _open_file(self, file: Path) -> Part | None:
        try:
            return _Rosbags(file)
        except Exception as error:  # whatever a parser makes of damaged bytes
            reason = _text(error)
        scan = {".mcap": McapScan, ".db3": Sqlite3Scan}.get(file.suffix)
        try:
            if scan is None:
                raise ValueError(reason)
            part = scan(file)
        except Exception:  # likewise
            self.problems.append(f"{file.name} cannot be read: {reason}")
            return None
        self.problems.append(f"{file.name} is damaged ({reason}): read without its index, as far as it goes")
        return part


def read_message(data: bytes, message_type: str) -> Any:
    """CDR bytes as an object with the fields of the message; ``ValueError`` if they are none of that type."""
    try:
        return TYPES.deserialize_cdr(data, message_type)
    except (SerdeError, KeyError) as error:
        raise ValueError(f"not a {message_type}: {error}") from error


class _Rosbags:
    """Of the ``rosbags`` library: an intact rosbag2 folder, or an intact file of either ROS.

    Of ROS 1 only images and camera_info, whose messages are those of ROS 2 in other bytes.
    """

    def __init__(self, path: Path) -> None:
        self._is_ros2 = path.suffix != ".bag"
        self._reader = Reader2(path) if self._is_ros2 else Reader1(path)
        self._reader.open()
        self.topics = [
            Topic(connection.topic, connection.msgtype, connection.msgcount, _is_latched(connection.ext))
            for connection in self._reader.connections
            if self._is_ros2 or connection.msgtype in (IMAGE, COMPRESSED, CAMERA_INFO)
        ]
        empty = not self._reader.message_count
        self.start_ns, self.end_ns = (0, 0) if empty else (self._reader.start_time, self._reader.end_time)

    def messages(self, names: Collection[str], start_ns: int, end_ns: int) -> Iterator[tuple[str, int, bytes]]:
        wanted = {topic.name for topic in self.topics} & set(names)
        connections = [connection for connection in self._reader.connections if connection.topic in wanted]
        if not connections:
            return
        for connection, time_ns, data in self._reader.messages(connections, start_ns, end_ns):
            yield connection.topic, time_ns, data if self._is_ros2 else _cdr_of_ros1(data, connection.msgtype)

    def close(self) -> None:
        self._reader.close()


def _is_latched(extension: object) -> bool:
    profiles = extension.offered_qos_profiles if isinstance(extension, ConnectionExtRosbag2) else []
    return any(profile.durability == QosDurability.TRANSIENT_LOCAL for profile in profiles)


def _merged(topics: Iterator[Topic]) -> dict[str, Topic]:
    merged: dict[str, Topic] = {}
    for topic in topics:
        before = merged.get(topic.name)
        merged[topic.name] = replace(topic, count=topic.count + before.count) if before else topic
    return merged


def _decompressed(data: bytes) -> bytes:
    """A message of a bag with compressed messages whose metadata.yaml, which would say so, is lost."""
    if not data.startswith(ZSTD_MAGIC):
        return data
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError:
        return b""


def _cdr_of_ros1(data: bytes, message_type: str) -> bytes:
    """Empty if they are no such message."""
    try:
        return bytes(TYPES.ros1_to_cdr(data, message_type))
    except SerdeError:
        return b""


def _text(error: Exception) -> str:
    return one_line(error).rstrip(".")
