"""A node that publishes recorded messages at the pace of their recording, as ``ros2 bag play`` does."""

from __future__ import annotations

import importlib
import json
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock

from mmcfusion_ros.tools.player_node import player_node, wait_for_subscribers

if TYPE_CHECKING:
    from mmcfusion_ros.bags.reading import Recorded
    from mmcfusion_ros.bags.topics import Topic

CLOCK_PERIOD_S = 0.01
DEPTH = 10
STAMP_END = 12  # bytes: the encapsulation and a stamp
STAMPED = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo")


def play_messages(
    passes: Iterable[Iterable[Recorded]],
    topics: Mapping[str, Topic],
    *,
    rate: float = 1.0,
    clock: bool = False,
    restamp: bool = False,
    subscribers: int = 0,
    counts_file: Path | None = None,
    ros_args: Sequence[str] = (),
) -> Counter[str]:
    """Publishes each pass over a bag, one after the other, until they end or SIGINT or SIGTERM comes.

    Messages go out in their order, ``rate`` times as fast as they were received, late rather than not at all. With
    ``clock`` their receive times go to ``/clock``, also between them. With ``restamp`` images and camera_info get
    stamps as if they were recorded now. The first one waits, for a minute at most, until each image topic has that many
    ``subscribers``. Called in the main thread. Returns the number of messages published by topic, also logged, and
    written as JSON to ``counts_file``. ``ValueError`` for a rate that is not above 0.
    """
    if not rate > 0:
        raise ValueError(f"rate is {rate}; it must be above 0")
    with player_node("bag_player", ros_args) as (node, _, stop):
        player = _Player(node, topics, rate, clock, restamp, stop)
        try:
            player.wait_for(subscribers)
            for messages in passes:
                player.play(messages)
                if stop.is_set():
                    break
            player.flush()
        finally:
            node.get_logger().info(", ".join(f"{topic}: {n}" for topic, n in player.counts.items()) or "nothing played")
            node.destroy_node()
            if counts_file is not None:
                counts_file.write_text(json.dumps(player.counts))
    return player.counts


class _Player:
    def __init__(
        self, node: Node, topics: Mapping[str, Topic], rate: float, clock: bool, restamp: bool, stop: threading.Event
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._node, self._rate, self._restamp, self._stop = node, rate, restamp, stop
        self._types = {name: topic.type for name, topic in topics.items()}
        self._publishers = {name: publisher for name in topics if (publisher := self._publisher(topics[name]))}
        self._clock = node.create_publisher(Clock, "/clock", DEPTH) if clock else None

    def _publisher(self, topic: Topic) -> Any:
        try:
            package, _, name = topic.type.split("/")
            message_type = getattr(importlib.import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError, ValueError):
            self._node.get_logger().warning(f"{topic.name} is not played: type {topic.type!r} is not installed")
            return None
        durability = DurabilityPolicy.TRANSIENT_LOCAL if topic.transient_local else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
        return self._node.create_publisher(message_type, topic.name, qos)

    def wait_for(self, subscribers: int) -> None:
        """Until each image topic has that many."""
        images = [publisher for name, publisher in self._publishers.items() if "Image" in self._types[name]]
        wait_for_subscribers(self._node, images, subscribers, self._stop)

    def play(self, messages: Iterable[Recorded]) -> None:
        """One pass; its first message goes out at once."""
        started_s, start_ns, first_ns = 0.0, 0, None
        for message in messages:
            if first_ns is None:
                started_s, start_ns = time.monotonic(), self._node.get_clock().now().nanoseconds
                first_ns = message.time_ns
            elapsed_ns = round((message.time_ns - first_ns) / self._rate)
            self._wait_until(started_s + elapsed_ns / 1e9, message.time_ns)
            if self._stop.is_set():
                return
            self._tell(message.time_ns)
            self._publish(message, start_ns + elapsed_ns - message.time_ns)

    def _wait_until(self, due_s: float, time_ns: int) -> None:
        """Until it is ``due_s`` here and ``time_ns`` in the recording, or the player is stopped."""
        while (early_s := due_s - time.monotonic()) > 0 and not self._stop.is_set():
            self._tell(time_ns - round(early_s * self._rate * 1e9))
            self._stop.wait(min(early_s, CLOCK_PERIOD_S) if self._clock else early_s)

    def _publish(self, message: Recorded, shift_ns: int) -> None:
        publisher = self._publishers.get(message.topic)
        if publisher is None or not message.data:
            return
        stamped = self._types[message.topic] in STAMPED and len(message.data) >= STAMP_END
        publisher.publish(shift_stamp(message.data, shift_ns) if self._restamp and stamped else bytes(message.data))
        self.counts[message.topic] += 1

    def _tell(self, time_ns: int) -> None:
        if self._clock:
            self._clock.publish(Clock(clock=Time(nanoseconds=time_ns).to_msg()))

    def flush(self) -> None:
        """Lets the last messages reach their subscribers."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=2.0))


def shift_stamp(data: bytes, shift_ns: int) -> bytes:
    """CDR bytes of a message that begins with a header, its stamp ``shift_ns`` later."""
    layout = "<iI" if data[1] & 1 else ">iI"
    seconds, nanoseconds = struct.unpack_from(layout, data, 4)
    shifted = divmod(seconds * 1_000_000_000 + nanoseconds + shift_ns, 1_000_000_000)
    return data[:4] + struct.pack(layout, *shifted) + data[STAMP_END:]
