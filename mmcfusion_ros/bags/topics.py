"""Which topics of a bag are the two cameras."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmcfusion_ros.stream.messages import THERMAL_LAYOUTS
from mmcfusion_ros.stream.pairing import Stream

IMAGE, COMPRESSED, CAMERA_INFO, POINTS = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/CameraInfo",
    "sensor_msgs/msg/PointCloud2",
)
THERMAL_WORDS = {"thermal", "ir", "lwir", "infrared", "boson", "lepton", "seek", "optris", "tau"}  # flir: Blackfly too
RGB_WORDS = {"rgb", "color", "colour", "visible", "vis", "eo"}
ENCODED: dict[str, Stream] = {"counts": "thermal", "colour": "rgb"}
ALIGNED_WORDS = {"aligned", "registered"}
OTHER_WORDS = {"depth", "aligned", "fused", "debug", "mask", "disparity", "compresseddepth"}


@dataclass(frozen=True)
class Topic:
    """A topic of a bag; ``type`` as in ``sensor_msgs/msg/Image``."""

    name: str
    type: str
    count: int
    transient_local: bool = False


@dataclass(frozen=True)
class CameraTopics:
    """The image topics of both cameras and their ``camera_info``, ``None`` where the bag has none; and those of depth,
    if it is used."""

    thermal: Topic
    rgb: Topic
    rgb_camera_info: Topic | None
    thermal_camera_info: Topic | None
    depth: tuple[Topic, ...] = ()

    def all(self) -> list[Topic]:
        """Those that are there."""
        topics = (self.thermal, self.rgb, self.rgb_camera_info, self.thermal_camera_info, *self.depth)
        return [topic for topic in topics if topic]


def find_cameras(
    topics: Mapping[str, Topic],
    thermal: str = "",
    rgb: str = "",
    encoding_of: Callable[[str], str] = lambda name: "",
) -> CameraTopics:
    """The topics named, or those that encoding and name tell, where they agree; raw before compressed.

    ``encoding_of`` gives the encoding or format of a topic's images, empty if it is not known. ``ValueError`` naming
    the bag's image topics where one is missing, or where it is not sure which.
    """
    images = {name: topic for name, topic in topics.items() if topic.type in (IMAGE, COMPRESSED)}
    thermal_topic = _given(thermal, topics) or _found("thermal", images, encoding_of, images)
    rest = {name: topic for name, topic in images.items() if name != thermal_topic.name}
    rgb_topic = _given(rgb, topics) or _found("rgb", rest, encoding_of, images)
    if rgb_topic == thermal_topic:
        raise ValueError(f"{rgb_topic.name} cannot be both cameras")
    encodings = encoding_of(thermal_topic.name), encoding_of(rgb_topic.name)
    if not (thermal and rgb) and seem_exchanged(*encodings):
        raise ValueError(
            f"by their names {thermal_topic.name} is the thermal camera and {rgb_topic.name} the RGB one, by their "
            f"encodings ({', '.join(encodings)}) it is the other way round; name them with --thermal-topic, --rgb-topic"
        )
    return CameraTopics(thermal_topic, rgb_topic, _camera_info(rgb_topic, topics), _camera_info(thermal_topic, topics))


def find_depth(topics: Mapping[str, Topic], name: str = "", aligned: bool = True) -> tuple[Topic, ...]:
    """The topic named, or the only one of depth images, or of points; the ``camera_info`` beside it; ``/tf_static``.

    Of several, those whose name says that they are ``aligned``, or that does not say it. ``ValueError`` naming them
    where it is not sure which; nothing if there are none.
    """
    if name:
        named = topics.get(name) or topics.get(f"/{name}")
        if named is None or named.type not in (IMAGE, POINTS):
            raise ValueError(f"the bag has no topic {name} of type {IMAGE} or {POINTS}")
        found = [named]
    else:
        found = [topic for topic in topics.values() if topic.type == IMAGE and "depth" in _words(topic.name)]
        likely = [topic for topic in found if bool(_words(topic.name) & ALIGNED_WORDS) == aligned]
        found = likely or found or [topic for topic in topics.values() if topic.type == POINTS]
    if len(found) > 1:
        listed = ", ".join(topic.name for topic in found)
        raise ValueError(f"the bag has several topics that may be depth ({listed}); name it with --depth-topic")
    infos = [info for topic in found if (info := _camera_info(topic, topics))]
    frames = topics.get("/tf_static")
    return (*found, *infos, *([frames] if frames and found else []))


def _camera_info(image: Topic, topics: Mapping[str, Topic]) -> Topic | None:
    """The topic beside an image topic."""
    info = topics.get(re.sub("/[^/]+$", "", image.name.removesuffix("/compressed")) + "/camera_info")
    return info if info and info.type == CAMERA_INFO else None


def _given(name: str, topics: Mapping[str, Topic]) -> Topic | None:
    if not name:
        return None
    topic = topics.get(name) or topics.get(f"/{name}")
    if topic is None:
        raise ValueError(f"the bag has no topic {name}; it has {', '.join(topics) or 'none'}")
    if topic.type not in (IMAGE, COMPRESSED):
        raise ValueError(f"{topic.name} is of type {topic.type}; it must be {IMAGE} or {COMPRESSED}")
    return topic


def camera_by_name(name: str) -> Stream | None:
    """Which camera the name of a topic, file or camera tells of; None if it tells of neither or of both."""
    words = _words(name)
    thermal, rgb = bool(words & THERMAL_WORDS), bool(words & RGB_WORDS)
    return None if thermal == rgb else "thermal" if thermal else "rgb"


def _words(name: str) -> set[str]:
    """Without what it says of the image after the camera, as in ``thermal/image_color``."""
    return set(re.split(r"[^a-z]+", re.sub(r"/image[^/]*(/compressed)?$", "", name.lower())))


def _likely(camera: Stream, images: Mapping[str, Topic], encoding_of: Callable[[str], str]) -> list[Topic]:
    """Those of which encoding and name say so; else those of which one does and the other says nothing; else those
    whose name says so against the encoding (a palette; a grey RGB camera), or of RGB those that say nothing."""
    tells: dict[tuple[Stream | None, Stream | None], list[Topic]] = {}
    for name, topic in images.items():
        if not _words(name) & OTHER_WORDS:
            by_encoding = ENCODED.get(kind_of(encoding_of(name) if topic.count else ""))
            tells.setdefault((by_encoding, camera_by_name(name)), []).append(topic)
    other: Stream = "rgb" if camera == "thermal" else "thermal"
    encoded, named = tells.get((camera, None), []), tells.get((None, camera), [])
    if agreed := tells.get((camera, camera)):
        return agreed
    if encoded or named:
        return encoded + named
    if tells.get((camera, other)):
        return tells[camera, other] + tells.get((other, camera), [])
    return tells.get((other, camera), []) or (tells.get((None, None), []) if camera == "rgb" else [])


def _found(
    camera: Stream, left: Mapping[str, Topic], encoding_of: Callable[[str], str], images: Mapping[str, Topic]
) -> Topic:
    """The only candidate that is left; of several of one camera the raw one, then the one named as the node names it.
    An error lists the ``images``."""
    candidates = _likely(camera, left, encoding_of)
    named = {camera_by_name(topic.name) for topic in candidates}
    for better in (
        lambda topic: topic.count > 0,
        lambda topic: topic.type == IMAGE,
        lambda topic: topic.name.removesuffix("/compressed").endswith("/image_raw"),
        lambda topic: f"/{camera}/image_raw" in topic.name,
    ):
        if len(named) < 2:
            candidates = [topic for topic in candidates if better(topic)] or candidates
    if len(candidates) == 1:
        return candidates[0]
    problem = "several topics that may be" if candidates else "no topic that looks like"
    listed = ", ".join(f"{topic.name} {encoding_of(topic.name)}".rstrip() for topic in candidates or images.values())
    raise ValueError(f"the bag has {problem} the {camera} images ({listed or 'none'}); name it with --{camera}-topic")


def kind_of(encoding: str) -> Literal["counts", "grey", "colour", ""]:
    """Counts (or temperatures) as of thermal cameras, 8 bits of grey as of either, colours, or not known.

    Takes the format of compressed images too, as in ``rgb8; jpeg compressed bgr8``.
    """
    name = encoding.partition(";")[0].strip()
    layout = THERMAL_LAYOUTS.get(name)
    if layout is None:
        return ""
    if layout.letters != "y":
        return "colour"
    return "grey" if layout.dtype == np.uint8 else "counts"


def seem_exchanged(thermal: str, rgb: str) -> bool:
    """Whether these encodings would rather be those of an RGB and of a thermal camera."""
    order = ["counts", "grey", "colour"]
    kinds = [kind_of(encoding) for encoding in (thermal, rgb)]
    return "" not in kinds and order.index(kinds[0]) > order.index(kinds[1])
