"""A bag as the node would see it: what arrives, what pairs, what is dropped, at the receive times of the recording."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmcfusion_ros.bags.reading import Bag, Recorded, read_message
from mmcfusion_ros.bags.topics import CameraTopics, Topic
from mmcfusion_ros.stream.messages import BadImage
from mmcfusion_ros.stream.pairing import Pair, Pairer, PairingOptions, Stream, set_stamp, stamp_ns
from mmcfusion_ros.stream.video import VideoDecoder

if TYPE_CHECKING:
    from mmcfusion_ros.stream.depth import DepthInput


@dataclass(frozen=True)
class Arrived:
    """A message came; ``name`` as in the node's counters, such as ``thermal_in``."""

    name: str
    time_ns: int


@dataclass(frozen=True)
class Paired:
    """Two messages became a pair at ``time_ns``; with the newest ``camera_info`` of each camera of which one came."""

    pair: Pair[Any]
    camera_infos: Mapping[Stream, Any]
    time_ns: int


@dataclass(frozen=True)
class Dropped:
    """A message of ``stream``, or a pair, was dropped; ``stamp_ns`` is of the frame, or of the pair's RGB frame."""

    reason: str
    stream: str
    stamp_ns: int
    time_ns: int
    text: str = ""


@dataclass(frozen=True)
class DepthArrived:
    """A message for registration by depth came: an image, points, the ``camera_info`` of the images, or TF."""

    message: Any
    time_ns: int


Event = Arrived | Paired | Dropped | DepthArrived


INFO_NAMES: dict[Stream, str] = {"rgb": "camera_info", "thermal": "thermal_info"}


class CameraEvents:
    """The events of the two cameras of a bag, in order. ``problems`` tells what is odd about the streams."""

    def __init__(self, bag: Bag, cameras: CameraTopics, options: PairingOptions) -> None:
        self._bag = bag
        self._types = {topic.name: topic.type for topic in cameras.all()}
        self._streams: dict[str, Stream] = {cameras.thermal.name: "thermal", cameras.rgb.name: "rgb"}
        self._pairer: Pairer[Any] = Pairer(options, self._on_drop)
        self._videos = {name: VideoDecoder(stream) for name, stream in self._streams.items()}
        self._depth_topics = {topic.name for topic in cameras.depth}
        self._watches = {name: _Watch(name, bag.start_ns) for name in self._streams}
        self._events: list[Event] = []
        infos: dict[Stream, Topic | None] = {"thermal": cameras.thermal_camera_info, "rgb": cameras.rgb_camera_info}
        self._info_streams = {topic.name: stream for stream, topic in infos.items() if topic}
        self._camera_infos: dict[Stream, Any] = {}
        self._now_ns = 0

    @property
    def problems(self) -> list[str]:
        """In words, one for each kind and topic, and what the pairing found."""
        return [text for watch in self._watches.values() for text in watch.texts()] + self._pairer.problems()

    def read(self, start_ns: int | None = None, end_ns: int | None = None) -> Generator[Event, None, None]:
        """Once, between two receive times. Waits of the pairing end as they would live, on the recording's clock."""
        for recorded in self._bag.messages(list(self._types), start_ns, end_ns):
            yield from self._wait_until(recorded.time_ns)
            self._now_ns = max(self._now_ns, recorded.time_ns)
            self._take(recorded)
            yield from self._flush()
        yield from self._wait_until(None)
        self._pairer.reset("unpaired")
        yield from self._flush()

    def _take(self, recorded: Recorded) -> None:
        stream, is_depth = self._streams.get(recorded.topic), recorded.topic in self._depth_topics
        name = stream or ("depth" if is_depth else INFO_NAMES[self._info_streams[recorded.topic]])
        self._events.append(Arrived(f"{name}_in", self._now_ns))
        try:
            message = read_message(recorded.data, self._types[recorded.topic])
        except ValueError as error:
            text = f"{recorded.topic}: {error}"
            self._events.append(Dropped(f"bad_message_{name}", name, 0, self._now_ns, text))
            return
        if is_depth:
            self._events.append(DepthArrived(message, self._now_ns))
            return
        if stream is None:
            self._camera_infos[self._info_streams[recorded.topic]] = message
            return
        self._watches[recorded.topic].look(message, recorded.time_ns)
        if self._pairer.options.stamps == "arrival":
            set_stamp(message, recorded.time_ns)
        try:
            for image in self._videos[recorded.topic](message):
                self._add(self._pairer.add(stream, stamp_ns(image), image, self._now_ns, recorded.time_ns))
        except BadImage as error:
            self._events.append(Dropped(error.reason, stream, stamp_ns(message), self._now_ns, str(error)))

    def _wait_until(self, time_ns: int | None) -> Iterator[Event]:
        """Polls whenever a wait ends before the next message; without one, until nothing waits."""
        while (due := self._pairer.deadline_ns) is not None and (time_ns is None or due < time_ns):
            self._now_ns = max(self._now_ns, due)
            self._add(self._pairer.poll(self._now_ns))
            yield from self._flush()

    def _add(self, pairs: list[Pair[Any]]) -> None:
        self._events += [Paired(pair, dict(self._camera_infos), self._now_ns) for pair in pairs]

    def _on_drop(self, reason: str, message: Any) -> None:
        stream = reason.rpartition("_")[2]
        self._events.append(Dropped(reason, stream, stamp_ns(message), self._now_ns))

    def _flush(self) -> list[Event]:
        events, self._events = self._events, []
        return events


def with_depth(
    events: Iterable[Event], depth: DepthInput | None, take: Callable[[Any], object]
) -> Generator[Arrived | Paired | Dropped, None, None]:
    """The same events, without those of depth and TF, which ``take`` is called with; pairs wait for depth as they do in
    the node."""
    waiting: list[Paired] = []
    for event in events:
        while waiting and depth and depth.has_waited(waiting[0].pair.rgb_stamp_ns, event.time_ns - waiting[0].time_ns):
            yield waiting.pop(0)
        if isinstance(event, DepthArrived):
            take(event.message)
        elif isinstance(event, Paired) and depth:
            waiting.append(event)
        else:
            yield event
    yield from waiting


class _Watch:
    """Notices what is odd about one stream: how often, and when first."""

    def __init__(self, topic: str, start_ns: int) -> None:
        self._topic, self._start_ns = topic, start_ns
        self._last_stamp_ns = -1
        self._last: dict[str, str] = {}
        self._seen: dict[str, tuple[int, str]] = {}

    def look(self, message: Any, time_ns: int) -> None:
        stamp = stamp_ns(message)
        if stamp == 0:
            self._note("the stamp is zero", time_ns)
        elif stamp < self._last_stamp_ns:
            self._note("the stamp goes back", time_ns, f" by {(self._last_stamp_ns - stamp) / 1e9:.3f} s")
        self._last_stamp_ns = stamp
        if hasattr(message, "encoding"):
            self._compare("encoding", message.encoding, time_ns)
            self._compare("size", f"{message.width}x{message.height}", time_ns)
        else:
            self._compare("format", message.format, time_ns)

    def texts(self) -> list[str]:
        return [f"{self._topic}: {kind}{first} ({count}x)" for kind, (count, first) in self._seen.items()]

    def _compare(self, what: str, value: str, time_ns: int) -> None:
        before = self._last.get(what, value)
        if value != before:
            self._note(f"the {what} changes", time_ns, f" from {before} to {value}")
        self._last[what] = value

    def _note(self, kind: str, time_ns: int, detail: str = "") -> None:
        count, first = self._seen.get(kind, (0, f"{detail}, first at {(time_ns - self._start_ns) / 1e9:.3f} s"))
        self._seen[kind] = count + 1, first
