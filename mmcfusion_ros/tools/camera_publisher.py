"""A node that publishes a stream of frames in real time, as the drivers of two cameras do."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.simulation.frame import Camera, Frame
from mmcfusion_ros.stream.messages import fill_image
from mmcfusion_ros.tools.player_node import player_node, wait_for_subscribers

CAMERAS: tuple[Camera, Camera] = ("thermal", "rgb")
FRAMES_AHEAD = 6
TOO_LATE_NS = 50_000_000
ENCODINGS = {"uint8": "mono8", "uint16": "16UC1", "float32": "32FC1"}
QOS = QoSProfile(depth=5, history=QoSHistoryPolicy.KEEP_LAST, reliability=QoSReliabilityPolicy.RELIABLE)


@dataclass
class Count:
    """Frames of one camera: sent, and left out because the process fell behind."""

    published: int = 0
    skipped: int = 0


def publish_frames(
    frames: Iterable[Frame],
    node_name: str,
    *,
    intrinsics: Mapping[Camera, Intrinsics] | None = None,
    duration_s: float | None = None,
    subscribers: int = 0,
    counts_file: str | Path | None = None,
    ros_args: Sequence[str] | None = None,
) -> dict[Camera, Count]:
    """Publishes ``frames`` until they end, ``duration_s`` has passed, or SIGINT or SIGTERM; called in the main thread.

    Topics: ``thermal/image_raw`` (``16UC1``, ``mono8``, ``32FC1`` or ``rgb8``), ``rgb/image_raw`` (``rgb8``), with
    ``intrinsics`` of it ``depth/image_raw`` (``16UC1``), and a ``camera_info`` beside each, all zero (uncalibrated)
    without intrinsics. Stamps are those of the frames, counted from the node's clock at the first one. Where making
    images takes too long, a camera skips frames that are 50 ms late, but never the newest of them. The first frame
    waits, a minute at most, until each image topic has that many ``subscribers``.

    Returns what was sent and skipped, also logged, and written as JSON to ``counts_file``. Raises what making a
    frame's image raises.
    """
    with player_node(node_name, ros_args or ()) as (node, context, stop):
        publisher = _CameraPublisher(node, context, intrinsics or {}, stop)
        try:
            publisher.run(frames, subscribers, duration_s)
        finally:
            node.get_logger().info(publisher.report())
            publisher.executor.shutdown()
            node.destroy_node()
            if counts_file is not None:
                counts = {camera: vars(count) for camera, count in publisher.counts.items()}
                Path(counts_file).write_text(json.dumps(counts))
    return publisher.counts


class _CameraPublisher:
    def __init__(
        self, node: Node, context: Context, intrinsics: Mapping[Camera, Intrinsics], stop: threading.Event
    ) -> None:
        cameras = dict.fromkeys((*CAMERAS, *intrinsics))
        self.counts: dict[Camera, Count] = {camera: Count() for camera in cameras}
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(node)
        self._node, self._intrinsics, self._stop = node, intrinsics, stop
        self._images = {camera: node.create_publisher(Image, f"{camera}/image_raw", QOS) for camera in cameras}
        self._infos = {camera: node.create_publisher(CameraInfo, f"{camera}/camera_info", QOS) for camera in cameras}
        self._ready: queue.Queue[Frame | Exception | None] = queue.Queue(FRAMES_AHEAD)
        self._start_ns: int | None = None
        self._start_stamp_ns = 0

    def report(self) -> str:
        """The counts as one line."""
        return "; ".join(
            f"{camera}: {count.published} published, {count.skipped} skipped" for camera, count in self.counts.items()
        )

    def run(self, frames: Iterable[Frame], subscribers: int, duration_s: float | None) -> None:
        """Sends the frames at their delivery times, once the subscribers are there; another thread makes the images."""
        maker = threading.Thread(target=self._make_images, args=(frames,), name="make images")
        maker.start()
        try:
            wait_for_subscribers(self._node, self._images.values(), subscribers, self._stop)
            while (frame := self._next()) is not None:
                if duration_s is not None and frame.delivery_ns >= duration_s * 1e9:
                    break
                self._deliver(frame)
        finally:
            self._stop.set()
            maker.join()

    def _make_images(self, frames: Iterable[Frame]) -> None:
        try:
            for frame in self._newest(frames):
                if self._stop.is_set():
                    return
                _ = frame.image
                self._put(frame)
            self._put(None)
        except Exception as error:
            self._put(error)

    def _newest(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames without those that are too late and have a successor that is too."""
        late: dict[Camera, Frame] = {}
        for frame in frames:
            if self._lateness_ns(frame) > TOO_LATE_NS:
                self.counts[frame.camera].skipped += late.pop(frame.camera, None) is not None
                late[frame.camera] = frame
            else:
                yield from late.values()
                late.clear()
                yield frame
        yield from late.values()

    def _put(self, item: Frame | Exception | None) -> None:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def _next(self) -> Frame | None:
        """The next frame with its image, or None at the end. Raises what making the image raised."""
        while not self._stop.is_set():
            try:
                item = self._ready.get(timeout=0.1)
            except queue.Empty:
                continue
            if isinstance(item, Exception):
                raise item
            return item
        return None

    def _lateness_ns(self, frame: Frame) -> int:
        return 0 if self._start_ns is None else time.monotonic_ns() - self._start_ns - frame.delivery_ns

    def _deliver(self, frame: Frame) -> None:
        if self._start_ns is None:
            self._start_stamp_ns = self._node.get_clock().now().nanoseconds
            self._start_ns = time.monotonic_ns()
        while (early_ns := -self._lateness_ns(frame)) > 0:
            self.executor.spin_once(timeout_sec=min(early_ns * 1e-9, 0.1))
            if self._stop.is_set():
                return
        self._publish(frame)
        self.counts[frame.camera].published += 1

    def _publish(self, frame: Frame) -> None:
        stamp = Time(nanoseconds=self._start_stamp_ns + frame.stamp_ns).to_msg()
        header = Header(stamp=stamp, frame_id=frame.frame_id)
        encoding = "rgb8" if frame.image.ndim == 3 else ENCODINGS[frame.image.dtype.name]
        self._infos[frame.camera].publish(self._camera_info(frame, header))
        self._images[frame.camera].publish(fill_image(Image(header=header), frame.image, encoding))

    def _camera_info(self, frame: Frame, header: Header) -> CameraInfo:
        lens = self._intrinsics.get(frame.camera)
        height, width = frame.image.shape[:2]
        matrix = lens.camera_matrix if lens else np.zeros((3, 3))
        return CameraInfo(
            header=header,
            height=lens.height if lens else height,
            width=lens.width if lens else width,
            distortion_model=lens.distortion_model if lens else "plumb_bob",
            d=list(lens.distortion_coefficients) if lens else [0.0] * 5,
            k=matrix.ravel().tolist(),
            r=np.eye(3).ravel().tolist(),
            p=np.column_stack([matrix, np.zeros(3)]).ravel().tolist(),
        )
