"""Bag files without a usable index, as a crash or a full disk leaves them: read from the start as far as they go."""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader

from mmcfusion_ros.bags.topics import Topic


class _Scan:
    """A file whose topics and times one pass over it has found. ``ValueError`` if it holds no message."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.types: dict[str, str] = {}
        counts: Counter[str] = Counter()
        first, last = sys.maxsize, 0
        for name, time_ns, _ in self._records():
            counts[name] += 1
            first, last = min(first, time_ns), max(last, time_ns)
        if not counts:
            raise ValueError(f"{path.name} holds no message")
        self.start_ns, self.end_ns = first, last + 1
        self.topics: list[Topic] = [Topic(name, kind, counts[name]) for name, kind in self.types.items()]

    def messages(self, names: Collection[str], start_ns: int, end_ns: int) -> Iterator[tuple[str, int, bytes]]:
        """As of a whole bag, but in the order of the file."""
        for name, time_ns, data in self._records():
            if name in names and start_ns <= time_ns < end_ns:
                yield name, time_ns, data

    def _records(self) -> Iterator[tuple[str, int, bytes]]:
        raise NotImplementedError

    def close(self) -> None:
        """Files are closed after each pass."""


class McapScan(_Scan):
    """An MCAP file without summary or end, or of another writer than ROS 2."""

    def _records(self) -> Iterator[tuple[str, int, bytes]]:
        names: dict[int, str] = {}
        schemas: dict[int, str] = {0: ""}
        with open(self._path, "rb") as file:
            try:
                for record in StreamReader(file).records:
                    if isinstance(record, Schema):
                        schemas[record.id] = record.name
                    elif isinstance(record, Channel):
                        names[record.id] = record.topic
                        self.types[record.topic] = schemas[record.schema_id]
                    elif isinstance(record, Message):
                        yield names[record.channel_id], record.log_time, record.data
            except GeneratorExit:
                raise
            except Exception:  # the end of what can be read
                return


class Sqlite3Scan(_Scan):
    """An sqlite3 file that was cut off."""

    def _records(self) -> Iterator[tuple[str, int, bytes]]:
        database = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            # Lets SQLite open a file that is shorter than its header says.
            database.execute("PRAGMA writable_schema=ON")
            topics = {key: name for key, name, _ in self._topics(database)}
            for key, time_ns, data in database.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id"):
                if not data:  # its pages lie behind the end
                    return
                yield topics[key], time_ns, data
        except sqlite3.DatabaseError:  # the end of what can be read
            return
        finally:
            database.close()

    def _topics(self, database: sqlite3.Connection) -> list[tuple[int, str, str]]:
        rows = database.execute("SELECT id, name, type FROM topics").fetchall()
        self.types = {name: kind for _, name, kind in rows}
        return rows
