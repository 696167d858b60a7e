"""The camera publisher over real DDS: what a subscriber gets, counts, endings."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
import rclpy
from camera_messages import stamp_ns
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from waiting import wait_until

from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.resources import transport_environment
from mmcfusion_ros.simulation.frame import Frame
from mmcfusion_ros.tools.camera_publisher import Count, publish_frames

MATRIX = np.array([[40.0, 0, 15.5], [0, 41.0, 11.5], [0, 0, 1]])
INTRINSICS = {"thermal": Intrinsics(32, 24, MATRIX, "equidistant", (0.1, 0.02, 0.003, 0.0004))}
RELIABLE = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)
CHILD = """
import itertools, numpy
from mmcfusion_ros.tools.camera_publisher import publish_frames
from mmcfusion_ros.simulation.frame import Frame
image = numpy.zeros((24, 32, 3), numpy.uint8)
frames = (Frame("rgb", i * 20_000_000, i * 20_000_000, lambda: image) for i in itertools.count())
publish_frames(frames, "cameras")
"""


@pytest.fixture(autouse=True)
def _own_domain(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.randint(1, 100)))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


class Listener:
    """Collects what arrives on the four topics, in a thread of its own."""

    def __init__(self, qos=RELIABLE, namespace=""):
        self.images = {"thermal": [], "rgb": []}
        self.infos = {"thermal": [], "rgb": []}
        self._context = Context()
        rclpy.init(context=self._context)
        self._node = Node("listener", context=self._context, namespace=namespace)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        for camera in ("thermal", "rgb"):
            self._node.create_subscription(Image, f"{camera}/image_raw", self.images[camera].append, qos)
            self._node.create_subscription(CameraInfo, f"{camera}/camera_info", self.infos[camera].append, qos)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self):
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def got(self, count):
        return all(len(got) >= count for topics in (self.images, self.infos) for got in topics.values())

    def close(self):
        self._stop.set()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()


def pairs(done=lambda: False, rate_hz=50.0, thermal_type=np.uint16):
    """Pairs of small frames until ``done()``; frame i is filled with i mod 256, and delivered 5 ms after its stamp."""
    for i in itertools.count():
        if done():
            return
        stamp_ns = round(i / rate_hz * 1e9)
        for camera, shape, dtype in (("thermal", (24, 32), thermal_type), ("rgb", (30, 40, 3), np.uint8)):
            image = np.full(shape, i % 256, dtype)
            yield Frame(camera, stamp_ns, stamp_ns + 5_000_000, lambda image=image: image)


def test_a_subscriber_gets_what_two_drivers_would_send(listener):
    before = time.time_ns()
    publish_frames(pairs(lambda: listener.got(10)), "cameras", intrinsics=INTRINSICS)
    thermal, rgb = listener.images["thermal"][0], listener.images["rgb"][0]
    assert (thermal.encoding, thermal.height, thermal.width, thermal.step) == ("16UC1", 24, 32, 64)
    assert (rgb.encoding, rgb.height, rgb.width, rgb.step) == ("rgb8", 30, 40, 120)
    assert set(np.frombuffer(thermal.data, np.uint16)) == {thermal.data[0]}
    for camera, images in listener.images.items():
        assert {image.header.frame_id for image in images} == {f"{camera}_optical_frame"}
        stamps = [stamp_ns(image) for image in images]
        assert (np.diff(stamps) > 0).all()
        assert before < stamps[0] < time.time_ns()
        steps = np.diff([image.data[0] for image in images]) % 256
        np.testing.assert_array_equal(np.diff(stamps), 20_000_000 * steps)


def test_camera_info_goes_with_each_image(listener):
    publish_frames(pairs(lambda: listener.got(5)), "cameras", intrinsics=INTRINSICS)
    for camera, images in listener.images.items():
        infos = {stamp_ns(info): info for info in listener.infos[camera]}
        for image in images[1:]:
            info = infos[stamp_ns(image)]
            assert info.header.frame_id == image.header.frame_id
            assert (info.height, info.width) == (image.height, image.width)
    thermal, rgb = listener.infos["thermal"][0], listener.infos["rgb"][0]
    np.testing.assert_array_equal(thermal.k.reshape(3, 3), MATRIX)
    np.testing.assert_array_equal(thermal.p.reshape(3, 4)[:, :3], MATRIX)
    assert (thermal.distortion_model, list(thermal.d)) == ("equidistant", [0.1, 0.02, 0.003, 0.0004])
    assert not rgb.k.any()


def test_eight_bit_thermal_is_mono8_and_best_effort_subscribers_match():
    listener = Listener(qos_profile_sensor_data)
    try:
        publish_frames(pairs(lambda: listener.got(3), thermal_type=np.uint8), "cameras")
        assert {image.encoding for image in listener.images["thermal"]} == {"mono8"}
    finally:
        listener.close()


def test_topics_are_relative():
    listener = Listener(namespace="/robot")
    try:
        frames = pairs(lambda: listener.got(1))
        publish_frames(frames, "cameras", ros_args=["--ros-args", "-r", "__ns:=/robot"])
    finally:
        listener.close()


def test_counts_are_returned_and_written(tmp_path):
    path = tmp_path / "counts.json"
    counts = publish_frames(itertools.islice(pairs(), 9), "cameras", counts_file=path)
    assert {camera: sum(vars(count).values()) for camera, count in counts.items()} == {"thermal": 5, "rgb": 4}
    assert json.loads(path.read_text()) == {camera: vars(count) for camera, count in counts.items()}


def test_a_process_that_falls_behind_skips_frames():
    def slow(image):
        time.sleep(0.03)
        return image

    image = np.zeros((4, 4), np.uint16)
    frames = (Frame("thermal", i * 10**7, i * 10**7, lambda: slow(image)) for i in range(40))
    count = publish_frames(frames, "cameras")["thermal"]
    assert count.published + count.skipped == 40
    assert count.skipped > 5
    assert count.published > 0


def test_a_camera_that_is_always_late_sends_its_newest_frame():
    made = []

    def slow(i, image):
        time.sleep(0.06)
        made.append(i)
        return image

    image = np.zeros((4, 4), np.uint16)
    frames = (
        Frame(camera, i * 10**7, i * 10**7, lambda i=i: slow(i, image))
        for i in range(40)
        for camera in ("thermal", "rgb")
    )
    counts = publish_frames(frames, "cameras")
    assert made[-2:] == [39, 39]
    assert sum(count.published for count in counts.values()) == len(made)
    assert sum(count.skipped for count in counts.values()) == 80 - len(made) > 0


def test_duration_ends_an_endless_stream_that_has_the_profile_for_large_images(monkeypatch):
    monkeypatch.delenv(next(iter(transport_environment())), raising=False)
    profile = transport_environment()
    counts = publish_frames(pairs(rate_hz=100), "cameras", duration_s=0.2)
    assert 1 <= sum(vars(counts["rgb"]).values()) <= 20
    assert profile.items() <= os.environ.items()


def test_what_makes_an_image_fail_is_raised_and_the_counts_are_kept(tmp_path):
    def broken():
        raise ValueError("vi/7.png: not a readable image")

    frames = [*itertools.islice(pairs(), 2), Frame("rgb", 10**8, 10**8, broken)]
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ValueError, match=r"^vi/7\.png: not a readable image$"):
        publish_frames(frames, "cameras", counts_file=tmp_path / "counts.json")
    assert json.loads((tmp_path / "counts.json").read_text())["rgb"] == vars(Count(published=1))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], [signal.SIGINT] * 2, [signal.SIGTERM]], ids=["SIGINT", "two SIGINTs", "SIGTERM"]
)
def test_signals_end_the_process_cleanly(listener, signals):
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    child = subprocess.Popen([sys.executable, "-c", CHILD], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: listener.images["rgb"])
        for number in signals:
            child.send_signal(number)
        _, errors = child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == 0
    assert "Traceback" not in errors


def test_an_awaited_subscriber_gets_the_first_frame(listener):
    publish_frames(pairs(lambda: listener.got(1)), "cameras", subscribers=1)
    assert listener.images["thermal"][0].data[0] == 0


def test_cameras_begin_without_the_subscribers_in_the_end(monkeypatch):
    monkeypatch.setattr("mmcfusion_ros.tools.player_node.PATIENCE_S", 0.2)
    counts = publish_frames(itertools.islice(pairs(), 4), "cameras", subscribers=1)
    assert counts["rgb"].published + counts["rgb"].skipped == 2


def test_a_depth_camera_publishes_too_where_it_has_a_lens():
    image = np.full((24, 32), 2000, np.uint16)
    frames = (Frame("depth", i * 20_000_000, i * 20_000_000, lambda: image) for i in range(5))
    counts = publish_frames(frames, "cameras", intrinsics={"depth": INTRINSICS["thermal"]})
    assert counts == {"thermal": Count(), "rgb": Count(), "depth": Count(published=5)}
