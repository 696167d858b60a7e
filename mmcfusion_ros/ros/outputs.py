"""The publishers of a configured node."""

from __future__ import annotations

from typing import Any

from lifecycle_msgs.msg import State
from rclpy.lifecycle import LifecycleNode, LifecycleState
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mmcfusion_ros.ros.node_parameters import qos_profile
from mmcfusion_ros.stream.settings import Settings


class Outputs:
    """Publishers by name, as the settings ask for them, and the trace of the frames, if one is asked for.

    ``image``, ``camera_info``, ``valid_mask`` and ``overlay`` are always there, ``display`` with ``output.purpose``
    detection, ``compressed`` with ``publish_compressed``; none are after ``close``.
    """

    def __init__(self, node: LifecycleNode, settings: Settings) -> None:
        self._node, self._qos = node, qos_profile(settings, "output")
        self.trace = settings.trace(node.get_logger().warning)
        topics = {
            "image": (Image, "fused/image_raw"),
            "camera_info": (CameraInfo, "fused/camera_info"),
            "valid_mask": (Image, "~/debug/valid_mask"),
            "overlay": (Image, "~/debug/overlay"),
        }
        if settings.text("output.purpose") == "detection":
            topics["display"] = (Image, "display/image_raw")
        self.fused_topic = node.resolve_topic_name(topics["image"][1])
        self.publishers: dict[str, Any] = {}
        for name, (message_type, topic) in topics.items():
            self.publishers[name] = node.create_lifecycle_publisher(message_type, topic, self._qos)
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Encoding, quality and compressed images as these settings say, from the next frame on."""
        self.encoding, self.jpeg_quality = settings.text("output_encoding"), settings.whole("jpeg_quality")
        others = {name: publisher for name, publisher in self.publishers.items() if name != "compressed"}
        compressed = self.publishers.get("compressed")
        if compressed and not settings.values["publish_compressed"]:
            self.publishers = others  # another thread may be going through them
            self._node.destroy_lifecycle_publisher(compressed)
        elif others and not compressed and settings.values["publish_compressed"]:
            topic = "fused/image_raw/compressed"
            compressed = self._node.create_lifecycle_publisher(CompressedImage, topic, self._qos)
            if others["image"].is_activated:
                compressed.on_activate(LifecycleState("active", State.PRIMARY_STATE_ACTIVE))
            self.publishers = {**others, "compressed": compressed}

    def close(self) -> None:
        """Takes the topics back. What a frame that was given up still publishes is lost."""
        publishers, self.publishers = self.publishers, {}
        for publisher in publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        if self.trace:
            self.trace.close()
