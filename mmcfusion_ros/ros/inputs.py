"""The subscriptions of an active node."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mmcfusion_ros.ros.camera_info_subscription import CameraInfoSubscription
from mmcfusion_ros.ros.node_parameters import qos_profile
from mmcfusion_ros.ros.subscriber import Subscriber
from mmcfusion_ros.stream.pairing import Stream
from mmcfusion_ros.stream.settings import Settings

STREAMS: tuple[Stream, Stream] = ("thermal", "rgb")


class Inputs:
    """Subscribes to the images and ``camera_info`` of both cameras.

    ``on_frame(message, stream)`` and ``on_camera_info(message, stream)`` are called by the thread that spins the node.
    ``topics`` are the full names, by ``thermal_in``, ``rgb_in`` and ``camera_info_in``.
    """

    def __init__(
        self,
        node: Node,
        settings: Settings,
        on_frame: Callable[[Image | CompressedImage, Stream], object],
        on_camera_info: Callable[[CameraInfo, Stream], object],
    ) -> None:
        self._node = node
        self._qos = qos_profile(settings, "input")
        self._subscribers: dict[str, Any] = {}
        self._infos: dict[Stream, CameraInfoSubscription] = {}
        try:
            self._subscribe_to_all(settings, on_frame, on_camera_info)
        except Exception:
            self.close()
            raise
        self.topics = {name: subscriber.sub.topic_name for name, subscriber in self._subscribers.items()}
        self.topics["camera_info_in"] = self._infos["rgb"].topic

    def _subscribe_to_all(self, settings: Settings, on_frame: Any, on_camera_info: Any) -> None:
        for stream in STREAMS:
            compressed = settings.text(f"{stream}.transport") == "compressed"
            topic = f"{stream}/image_raw" + ("/compressed" if compressed else "")
            self._subscribe(f"{stream}_in", CompressedImage if compressed else Image, topic, on_frame, stream)
            take = partial(on_camera_info, stream=stream)
            self._infos[stream] = CameraInfoSubscription(self._node, f"{stream}/camera_info", take, self._qos)

    def _subscribe(self, name: str, message_type: type, topic: str, *callback: Any) -> None:
        subscriber = Subscriber(self._node, message_type, topic, qos_profile=self._qos)
        subscriber.registerCallback(*callback)
        self._subscribers[name] = subscriber

    def close(self) -> None:
        """Unsubscribes."""
        while self._infos:
            self._infos.popitem()[1].close()
        for name in list(self._subscribers):
            self._node.destroy_subscription(self._subscribers[name].sub)
            del self._subscribers[name]

    def problems(self) -> list[str]:
        """Publishers that cannot be heard, and cameras that share a topic, by name."""
        problems = []
        for name, topic in self.topics.items():
            publishers = self._node.get_publishers_info_by_topic(topic)
            names = [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in publishers]
            for info, publisher in zip(publishers, names, strict=True):
                compatibility, reason = qos_check_compatible(info.qos_profile, self._qos)
                if compatibility == QoSCompatibility.ERROR:
                    problems.append(f"{publisher} cannot be heard on {topic}: {reason.strip().rstrip(';')}")
            if len(names) > 1 and name in ("thermal_in", "rgb_in"):
                problems.append(f"{len(names)} publishers on {topic}: {', '.join(sorted(names))}")
        return problems
