"""What a detector downstream does: it subscribes to the fused image and checks every message."""

from __future__ import annotations

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from mmcfusion_ros.stream.pairing import stamp_ns

KEPT_INPUTS = 60
Triple = Callable[[Image, Image, Image], None]


class CheckingDetector(Node):
    """Receives what the fusion node publishes and notes every fault in words.

    ``on_triple(thermal, rgb, fused)`` is called with each fused image, the RGB image of the same stamp and the thermal
    image nearest to it. ``diagnostics`` are the node's last values by key, ``problems`` its own last words.
    """

    def __init__(self, on_triple: Triple) -> None:
        super().__init__("checking_detector")
        self.faults: list[str] = []
        self.diagnostics: dict[str, str] = {}
        self.problems = ""
        self.fused_stamps: list[int] = []
        self._info_stamps: set[int] = set()
        self._inputs: dict[str, dict[int, Image]] = {"thermal": {}, "rgb": {}}
        self._on_triple = on_triple
        for camera in self._inputs:
            self.create_subscription(
                Image, f"{camera}/image_raw", lambda m, c=camera: self._keep(c, m), qos_profile_sensor_data
            )
        self.create_subscription(Image, "fused/image_raw", self._check, 10)
        self.create_subscription(CameraInfo, "fused/camera_info", self._check_info, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 10)

    def missing_camera_infos(self) -> int:
        """Fused images without a camera_info of the same stamp."""
        return len(set(self.fused_stamps) - self._info_stamps)

    def _keep(self, camera: str, message: Image) -> None:
        kept = self._inputs[camera]
        kept[stamp_ns(message)] = message
        while len(kept) > KEPT_INPUTS:
            del kept[next(iter(kept))]

    def _check(self, fused: Image) -> None:
        stamp = stamp_ns(fused)
        if self.fused_stamps and stamp <= self.fused_stamps[-1]:
            self.faults.append(f"stamp {stamp} does not come after {self.fused_stamps[-1]}")
        self.fused_stamps.append(stamp)
        if fused.encoding != "rgb8" or fused.step != 3 * fused.width or len(fused.data) != fused.step * fused.height:
            self.faults.append(
                f"fused image of {fused.width}x{fused.height}, {fused.encoding}, has {len(fused.data)} bytes"
            )
        rgb = self._inputs["rgb"].get(stamp)
        if rgb is None or not self._inputs["thermal"]:
            return
        if (fused.width, fused.height, fused.header.frame_id) != (rgb.width, rgb.height, rgb.header.frame_id):
            self.faults.append(f"fused image is not like the RGB image: {fused.width}x{fused.height} {fused.header}")
        nearest = min(self._inputs["thermal"], key=lambda other: abs(other - stamp))
        self._on_triple(self._inputs["thermal"][nearest], rgb, fused)

    def _check_info(self, info: CameraInfo) -> None:
        self._info_stamps.add(stamp_ns(info))

    def _diagnose(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if "fused_hz" in (values := {value.key: value.value for value in status.values}):
                self.diagnostics, self.problems = values, status.message
