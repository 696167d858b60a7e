"""Which topics of a bag are the two cameras."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

IMAGE, COMPRESSED, CAMERA_INFO = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/CameraInfo",
)
THERMAL_WORDS = {"thermal", "ir", "lwir", "infrared", "flir", "boson", "lepton", "seek", "optris", "tau"}
RGB_WORDS = {"rgb", "color", "colour", "visible", "vis"}
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
    """The image topics of both cameras and their ``camera_info``, ``None`` where the bag has none."""

    thermal: Topic
    rgb: Topic
    rgb_camera_info: Topic | None
    thermal_camera_info: Topic | None

    def all(self) -> list[Topic]:
        """Those that are there."""
        topics = (self.thermal, self.rgb, self.rgb_camera_info, self.thermal_camera_info)
        return [topic for topic in topics if topic]


def find_cameras(topics: Mapping[str, Topic], thermal: str = "", rgb: str = "") -> CameraTopics:
    """The topics named, or those that type and name tell; raw before compressed.

    ``ValueError`` naming the bag's image topics where one is missing, or where several are possible.
    """
    images = {name: topic for name, topic in topics.items() if topic.type in (IMAGE, COMPRESSED)}
    thermal_topic = _given(thermal, topics) or _found("thermal", _speaking(images, THERMAL_WORDS), images)
    rest = {name: topic for name, topic in images.items() if name != thermal_topic.name}
    rgb_topic = _given(rgb, topics) or _found("rgb", _speaking(rest, RGB_WORDS) or _not_thermal(rest), images)
    if rgb_topic == thermal_topic:
        raise ValueError(f"{rgb_topic.name} cannot be both cameras")
    return CameraTopics(thermal_topic, rgb_topic, _camera_info(rgb_topic, topics), _camera_info(thermal_topic, topics))


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


def _words(name: str) -> set[str]:
    return set(re.split(r"[/_\d]+", name.lower()))


def _speaking(images: Mapping[str, Topic], words: Collection[str]) -> list[Topic]:
    return [topic for name, topic in images.items() if _words(name) & set(words) and not _words(name) & OTHER_WORDS]


def _not_thermal(images: Mapping[str, Topic]) -> list[Topic]:
    return [topic for name, topic in images.items() if not _words(name) & (THERMAL_WORDS | OTHER_WORDS)]


def _found(camera: str, candidates: list[Topic], images: Mapping[str, Topic]) -> Topic:
    """The only candidate; of several with messages the raw one, then the one named as the node names it."""
    for better in (
        lambda topic: topic.count > 0,
        lambda topic: topic.type == IMAGE,
        lambda topic: topic.name.removesuffix("/compressed").endswith("/image_raw"),
        lambda topic: f"/{camera}/image_raw" in topic.name,
    ):
        candidates = [topic for topic in candidates if better(topic)] or candidates
    if len(candidates) == 1:
        return candidates[0]
    problem = "several topics that may be" if candidates else "no topic that looks like"
    listed = ", ".join(topic.name for topic in candidates or images.values()) or "none"
    raise ValueError(f"the bag has {problem} the {camera} images ({listed}); name it with --{camera}-topic")
