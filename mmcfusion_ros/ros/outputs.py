"""The publishers of a configured node."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mmcfusion_ros.ros.node_parameters import qos_profile
from mmcfusion_ros.stream.settings import Settings


class Outputs:
    """Publishers by name, as the settings ask for them, and the trace of the frames, if one is asked for.

    ``image``, ``camera_info`` and ``valid_mask`` are always there, ``display`` with ``output.purpose`` detection,
    ``compressed`` with ``publish_compressed``; none are after ``close``.
    """

    def __init__(self, node: LifecycleNode, settings: Settings) -> None:
        self._node = node
        self.encoding, self.jpeg_quality = settings.text("output_encoding"), settings.whole("jpeg_quality")
        self.trace = settings.trace(node.get_logger().warning)
        topics = {
            "image": (Image, "fused/image_raw"),
            "camera_info": (CameraInfo, "fused/camera_info"),
            "valid_mask": (Image, "~/debug/valid_mask"),
        }
        if settings.text("output.purpose") == "detection":
            topics["display"] = (Image, "display/image_raw")
        if settings.values["publish_compressed"]:
            topics["compressed"] = (CompressedImage, "fused/image_raw/compressed")
        self.fused_topic = node.resolve_topic_name(topics["image"][1])
        self.publishers: dict[str, Any] = {}
        qos = qos_profile(settings, "output")
        for name, (message_type, topic) in topics.items():
            self.publishers[name] = node.create_lifecycle_publisher(message_type, topic, qos)

    def close(self) -> None:
        """Takes the topics back. What a frame that was given up still publishes is lost."""
        publishers, self.publishers = self.publishers, {}
        for publisher in publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        if self.trace:
            self.trace.close()
