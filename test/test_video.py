"""H.264 and HEVC streams: every picture with its stamp, and none that a lost packet has spoilt."""

from __future__ import annotations

import sys
from fractions import Fraction
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from bag_files import NS, START, Message, thermal, write_bag
from camera_messages import rgb_from_message, thermal_from_message

from mmcfusion_ros.bags.events import CameraEvents, Dropped, Paired
from mmcfusion_ros.bags.reading import TYPES, Bag
from mmcfusion_ros.bags.topics import find_cameras
from mmcfusion_ros.stream.messages import BadImage
from mmcfusion_ros.stream.pairing import PairingOptions
from mmcfusion_ros.stream.video import VideoDecoder, codec_of

av = pytest.importorskip("av", reason="PyAV is not installed")

PICTURES, GROUP, LOST = 300, 30, 100
HEIGHT, WIDTH = 96, 128
PERIOD_NS = 33_333_333
FORMATS = {"libx264": "h264", "libx265": "h265"}
POSSIBLE = [pytest.param(name, marks=() if name in av.codecs_available else pytest.mark.skip) for name in FORMATS]


def picture(i: int) -> np.ndarray:
    """A block pattern that moves to the right, 4 pixels a frame: each picture differs from every other by over 20."""
    blocks = np.random.default_rng(0).integers(0, 256, (HEIGHT // 16, WIDTH // 16), np.uint8)
    return np.roll(blocks.repeat(16, 0).repeat(16, 1), 4 * i, axis=1)[..., None].repeat(3, 2)


@cache
def packets(encoder: str, pictures: int = PICTURES) -> list[bytes]:
    """Without B-frames, a key frame every ``GROUP``."""
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate, context.gop_size = Fraction(1, 30), 30, GROUP
    context.options = {"tune": "zerolatency", "x265-params": "log-level=none"}
    frames = [av.VideoFrame.from_ndarray(picture(i), format="rgb24") for i in range(pictures)]
    return [bytes(packet) for frame in [*frames, None] for packet in context.encode(frame)]


def message(i: int, data: bytes, form: str) -> SimpleNamespace:
    sec, nanosec = divmod(START + i * PERIOD_NS, NS)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec)), format=form, data=data
    )


def decoded(decoder, messages) -> tuple[dict[int, np.ndarray], list[tuple[int, str]]]:
    """Pictures by number, from their stamps, and packets without one, with the reason."""
    pictures, bad = {}, []
    for i, packet in messages:
        try:
            for image in decoder(packet):
                stamp = image.header.stamp
                pictures[round((stamp.sec * NS + stamp.nanosec - START) / PERIOD_NS)] = rgb_from_message(image)
        except BadImage as error:
            bad.append((i, error.reason))
    return pictures, bad


def error_of(pictures: dict[int, np.ndarray]) -> float:
    return max(np.abs(pixels.astype(int) - picture(i)).mean() for i, pixels in pictures.items())


@pytest.mark.parametrize("encoder", POSSIBLE)
class TestStream:
    def messages(self, encoder, lost=()):
        return [(i, message(i, p, FORMATS[encoder])) for i, p in enumerate(packets(encoder)) if i not in lost]

    def test_every_picture_has_its_stamp(self, encoder):
        pictures, bad = decoded(VideoDecoder("rgb"), self.messages(encoder))
        assert (sorted(pictures), bad) == (list(range(PICTURES)), [])
        assert error_of(pictures) < 6

    def test_a_lost_packet_costs_the_pictures_up_to_the_next_key_frame(self, encoder):
        pictures, bad = decoded(VideoDecoder("rgb"), self.messages(encoder, lost=[LOST]))
        resumed = LOST + GROUP - LOST % GROUP
        assert sorted(pictures) == [*range(LOST), *range(resumed, PICTURES)]
        assert bad == [(i, "no_key_frame") for i in range(LOST + 1, resumed)]
        assert error_of(pictures) < 6

    def test_who_comes_late_waits_for_a_key_frame(self, encoder):
        pictures, bad = decoded(VideoDecoder("rgb"), self.messages(encoder)[10:60])
        assert sorted(pictures) == list(range(GROUP, 60))
        assert {reason for _, reason in bad} <= {"no_key_frame", "bad_data"}
        assert len(bad) == GROUP - 10

    def test_damaged_packets_cost_no_more(self, encoder):
        messages = self.messages(encoder)[:90]
        messages[40] = 40, message(40, b"\0\0\0\1\x41" + bytes(200), FORMATS[encoder])
        pictures, _ = decoded(VideoDecoder("rgb"), messages)
        assert set(range(40)) | set(range(60, 90)) <= set(pictures)

    def test_thermal_pictures_are_grey(self, encoder):
        (image,) = VideoDecoder("thermal")(message(0, packets(encoder)[0], FORMATS[encoder]))
        pixels = thermal_from_message(image)
        assert (pixels.shape, pixels.dtype) == ((HEIGHT, WIDTH), np.uint8)
        assert np.abs(pixels.astype(int) - picture(0)[..., 0]).mean() < 6


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        *(
            ("h264", "h264"),
            ("libx264", "h264"),
            ("hevc;yuv420p;bgr8", "hevc"),
            ("h265", "hevc"),
            ("hevc_nvenc", "hevc"),
        ),
        *(("rgb8; jpeg compressed bgr8", ""), ("png", ""), ("", "")),
    ],
)
def test_codecs_by_what_publishers_call_them(form, codec):
    assert codec_of(SimpleNamespace(format=form)) == codec_of(SimpleNamespace(encoding=form)) == codec


def test_images_pass():
    image = SimpleNamespace(format="jpeg", data=b"")
    assert VideoDecoder("rgb")(image) == [image]


def test_without_pyav_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadImage, match="video of h264 needs PyAV: pip install av"):
        VideoDecoder("rgb")(message(0, b"", "h264"))


def test_a_bag(tmp_path):
    """A lost packet of a recorded stream: the same pictures pair as live."""
    kind = "sensor_msgs/msg/CompressedImage"
    of_bag, data = TYPES.types[kind], packets("libx264", 60)
    messages: list[Message] = []
    for i in set(range(60)) - {20}:
        stamp = START + i * PERIOD_NS
        header = thermal(i, stamp).message.header
        compressed = of_bag(header=header, format="h264", data=np.frombuffer(data[i], np.uint8))
        messages += [Message("/rgb/image_raw/compressed", stamp + 5, compressed), thermal(i, stamp)]
    with Bag(write_bag(tmp_path / "bag", messages)) as bag:
        limits = PairingOptions(slop_ns=5_000_000, max_wait_ns=30_000_000, max_age_ns=2 * NS, queue_size=30)
        events = list(CameraEvents(bag, find_cameras(bag.topics), limits).read())
    pairs = [round((event.pair.rgb_stamp_ns - START) / PERIOD_NS) for event in events if isinstance(event, Paired)]
    assert pairs == [*range(20), *range(GROUP, 60)]
    dropped = [event.reason for event in events if isinstance(event, Dropped) and event.stream == "rgb"]
    assert dropped == ["no_key_frame"] * 9


def test_the_node_fuses_a_video_stream():
    """Over real DDS, as Isaac ROS publishes H.264; after a lost packet it waits for a key frame."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from ros_helpers import Bench
    from sensor_msgs.msg import CompressedImage

    with Bench(rgb__transport="compressed") as bench:
        rig = bench.rig
        rig.rgb = rig.node.create_publisher(CompressedImage, "rgb/image_raw/compressed", 10)
        rig.start()
        sent = iter(enumerate(packets("libx264") * 20))

        def publish() -> None:
            i, data = next(sent)
            if i != 45:
                rig.publish(rgb=CompressedImage(format="h264", data=data))

        rig.wait(lambda: rig.fused, publish)
        assert (rig.fused[0].height, rig.fused[0].width) == (HEIGHT, WIDTH)
        rig.wait(lambda: int(rig.values().get("dropped.no_key_frame", 0)) >= 10, publish)
        fused = len(rig.fused)
        rig.wait(lambda: len(rig.fused) > fused, publish)


def test_compressed_video_gets_a_header_for_node_and_doctor():
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from builtin_interfaces.msg import Time
    from sensor_msgs.msg import CompressedImage

    from mmcfusion_ros.ros.subscriptions import with_header

    video = SimpleNamespace(timestamp=Time(sec=7, nanosec=5), frame_id="cam", format="h264", data=packets("libx264")[0])
    (image,) = VideoDecoder("rgb")(with_header(video))
    assert (image.header.stamp.sec, image.header.stamp.nanosec, image.header.frame_id) == (7, 5, "cam")
    assert image.height == HEIGHT
    compressed = CompressedImage()
    assert with_header(compressed) is compressed


def test_a_transport_whose_messages_are_not_installed_is_refused_at_configure():
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from ros_helpers import Bench

    with Bench(thermal__transport="ffmpeg") as bench:
        assert not bench.rig.try_change("configure")
        bench.rig.wait(bench.rig.errors)
        assert "sudo apt install ros-$ROS_DISTRO-ffmpeg-image-transport-msgs" in bench.rig.errors()[0]
