"""Bags of every kind give the same messages; damaged ones give what is left of them and say what is wrong."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from bag_files import (
    INFO,
    RGB,
    START,
    THERMAL,
    drive,
    storage_file,
    write_bag,
    write_foxy_bag,
    write_ros1_bag,
    write_split_bag,
)
from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionMode
from rosbags.typesys import Stores, get_typestore

from mmcfusion_ros.bags.bag_files import is_bag
from mmcfusion_ros.bags.reading import TYPES, Bag, read_message
from mmcfusion_ros.bags.topics import CAMERA_INFO, COMPRESSED, IMAGE, POINTS, Topic, find_cameras, find_depth

MESSAGES = drive(8)
WRITERS = {
    "mcap": lambda path: write_bag(path, MESSAGES),
    "sqlite3": lambda path: write_bag(path, MESSAGES, "sqlite3"),
    "version 9": lambda path: write_bag(path, MESSAGES, version=9),
    "mcap, compressed chunks": lambda path: write_bag(path, MESSAGES, compression=CompressionMode.STORAGE),
    "mcap, compressed messages": lambda path: write_bag(path, MESSAGES, compression=CompressionMode.MESSAGE),
    "sqlite3, compressed messages": lambda path: write_bag(path, MESSAGES, "sqlite3", CompressionMode.MESSAGE),
    "mcap, compressed file": lambda path: write_bag(path, MESSAGES, compression=CompressionMode.FILE),
    "sqlite3, compressed file": lambda path: write_bag(path, MESSAGES, "sqlite3", CompressionMode.FILE),
    "mcap, split": lambda path: write_split_bag(path, MESSAGES),
    "sqlite3, split": lambda path: write_split_bag(path, MESSAGES, "sqlite3"),
    "Foxy": lambda path: write_foxy_bag(path, MESSAGES),
    "ROS 1": lambda path: write_ros1_bag(path.with_suffix(".bag"), MESSAGES),
}


def content(messages):
    """Comparable: topic, time, and the message as text and bytes."""
    return [(m.topic, m.time_ns, bytes(TYPES.serialize_cdr(m.message, m.message.__msgtype__))) for m in messages]


def read(bag, *arguments):
    return [(r.topic, r.time_ns, bytes(r.data)) for r in bag.messages(bag.topics, *arguments)]


def digests(path: Path):
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns) for file in files}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_bag_gives_the_same_messages_and_is_left_as_it_was(kind, tmp_path):
    path = WRITERS[kind](tmp_path / "drive")
    before = digests(path)
    assert is_bag(path)
    with Bag(path) as bag:
        assert read(bag) == content(MESSAGES)
        assert bag.problems == []
        assert {name: topic.count for name, topic in bag.topics.items()} == {THERMAL: 8, RGB: 8, INFO: 8}
        assert (bag.start_ns, bag.end_ns) == (MESSAGES[0].time_ns, MESSAGES[-1].time_ns + 1)
        middle = START + 350_000_000
        assert read(bag, middle, middle + 200_000_000) == [
            item for item in content(MESSAGES) if middle <= item[1] < middle + 200_000_000
        ]
    assert digests(path) == before


def test_a_bag_on_a_medium_without_write_permission_can_be_read(tmp_path):
    path = write_bag(tmp_path / "drive", MESSAGES, "sqlite3")
    os.chmod(storage_file(path), 0o444)
    os.chmod(path, 0o555)
    with Bag(path) as bag:
        assert read(bag) == content(MESSAGES)
    os.chmod(path, 0o755)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", [CompressionMode.NONE, CompressionMode.MESSAGE])
def test_without_metadata_the_files_are_read(storage, compression, tmp_path):
    path = write_bag(tmp_path / "drive", MESSAGES, storage, compression)
    (path / "metadata.yaml").unlink()
    with Bag(path) as bag:
        assert read(bag) == content(MESSAGES)
        assert len(bag.problems) == 1
        assert "metadata" in bag.problems[0]
    with Bag(storage_file(path)) as bag:
        assert read(bag) == content(MESSAGES)
        assert bag.problems == []


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_split_files_without_metadata_are_read_in_order_of_time(storage, tmp_path):
    path = write_split_bag(tmp_path / "drive", MESSAGES, storage)
    (path / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: 8}")
    with Bag(path) as bag:
        assert read(bag) == content(MESSAGES)
        assert "metadata key is missing" in bag.problems[0]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", [CompressionMode.NONE, CompressionMode.MESSAGE])
def test_of_a_truncated_file_the_beginning_is_read(storage, compression, tmp_path):
    many = drive(200)
    path = write_bag(tmp_path / "drive", many, storage, compression)
    file = storage_file(path)
    os.truncate(file, int(file.stat().st_size * 0.7))
    with Bag(path) as bag:
        got = read(bag)
        assert 100 < len(got) < 0.8 * len(many)
        if not got[-1][-1]:  # of this one a part was left; it is reported where it is to be used
            got.pop()
        assert got == content(many)[: len(got)]
        assert any(f"{file.name} is damaged" in problem for problem in bag.problems)


def test_of_a_split_bag_only_the_damaged_file_loses_messages(tmp_path):
    path = write_split_bag(tmp_path / "drive", MESSAGES)
    last = sorted(path.glob("*.mcap"))[-1]
    last.write_bytes(b"\x89MCAP0\r\nnothing")
    with Bag(path) as bag:
        assert read(bag) == content(MESSAGES)[: len(MESSAGES) // 2]
        assert any(last.name in problem and "cannot be read" in problem for problem in bag.problems)


def test_an_interrupted_chunk_is_named_with_the_time_that_was_reached(tmp_path):
    path = write_bag(tmp_path / "drive", drive(400), compression=CompressionMode.STORAGE)
    file = storage_file(path)
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    file.write_bytes(data)
    with Bag(path) as bag:
        got = read(bag)
        assert 0 < len(got) < 1200
        assert got == content(drive(400))[: len(got)]
        assert "reading ended" in bag.problems[0]


@pytest.mark.parametrize("profile", ["ros2", ""])
@pytest.mark.parametrize("chunks", [True, False])
def test_mcap_without_index_or_of_another_writer(profile, chunks, tmp_path):
    path = tmp_path / "foreign.mcap"
    writer = McapWriter(
        str(path),
        compression=CompressionType.LZ4,
        use_chunking=chunks,
        index_types=IndexType.NONE,
        use_summary_offsets=False,
        use_statistics=False,
        repeat_channels=False,
        repeat_schemas=False,
    )
    writer.start(profile, "a test")
    channels = {}
    for item in MESSAGES:
        kind = item.message.__msgtype__
        if item.topic not in channels:
            schema = writer.register_schema(kind, "ros2msg", b"")
            channels[item.topic] = writer.register_channel(item.topic, "cdr", schema)
        data = bytes(TYPES.serialize_cdr(item.message, kind))
        writer.add_message(channels[item.topic], item.time_ns, data, item.time_ns)
    writer.finish()
    with Bag(path) as bag:
        assert read(bag) == content(MESSAGES)
        assert {name: topic.count for name, topic in bag.topics.items()} == {THERMAL: 8, RGB: 8, INFO: 8}


def test_message_definitions_that_nobody_understands_do_not_matter(tmp_path):
    path = tmp_path / "custom.mcap"
    writer = McapWriter(str(path))
    writer.start("ros2", "a test")
    unknown = writer.register_schema("my_msgs/msg/Odd", "protobuf", b"\x00\xff")
    odd = writer.register_channel("/odd", "protobuf", unknown)
    image = writer.register_channel(RGB, "cdr", writer.register_schema(IMAGE, "ros2msg", b"no definition at all"))
    for _, time_ns, data in content([m for m in MESSAGES if m.topic == RGB]):
        writer.add_message(image, time_ns, data, time_ns)
        writer.add_message(odd, time_ns, b"\x01", time_ns)
    writer.finish()
    with Bag(path) as bag:
        assert bag.topics["/odd"].type == "my_msgs/msg/Odd"
        messages = list(bag.messages([RGB]))
        assert len(messages) == 8
        assert read_message(messages[0].data, IMAGE).width == 64


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("none.mcap", None, "does not exist"),
        ("empty.mcap", b"", "empty.mcap cannot be read"),
        ("junk.mcap", b"junk" * 100, "junk.mcap cannot be read"),
        ("junk.db3", b"junk" * 100, "junk.db3 cannot be read"),
        ("junk.bag", b"junk" * 100, "junk.bag cannot be read"),
        ("folder", None, "holds no .mcap, .db3, .bag file"),
    ],
)
def test_what_is_no_bag_is_named(name, data, word, tmp_path):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        assert not is_bag(path)
    elif data is not None:
        path.write_bytes(data)
    with pytest.raises((ValueError, FileNotFoundError), match=word):
        Bag(path)


def test_of_ros_1_what_is_no_image_is_left_out_and_a_damaged_one_comes_empty(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / "drive.bag"
    with Writer1(path) as writer:
        image = writer.add_connection(RGB, IMAGE, typestore=store)
        string = writer.add_connection("/said", "std_msgs/msg/String", typestore=store)
        for _, time_ns, data in content([m for m in MESSAGES if m.topic == RGB]):
            writer.write(image, time_ns, TYPES.cdr_to_ros1(data, IMAGE))
            writer.write(string, time_ns, b"\x01\x00\x00\x00a")
        writer.write(image, MESSAGES[-1].time_ns + 1, b"damaged")
    with Bag(path) as bag:
        assert set(bag.topics) == {RGB}
        got = read(bag)
    assert got[:-1] == content([m for m in MESSAGES if m.topic == RGB])
    assert got[-1] == (RGB, MESSAGES[-1].time_ns + 1, b"")


def test_bytes_that_are_no_such_message_are_named():
    with pytest.raises(ValueError, match="not a sensor_msgs/msg/Image"):
        read_message(b"\x00\x01\x00\x00\x01\x02", IMAGE)


def topics(**types):
    return {f"/{n.replace('__', '/')}": Topic(f"/{n.replace('__', '/')}", kind, 5) for n, kind in types.items()}


class TestTopics:
    @pytest.mark.parametrize(
        ("bag", "thermal", "rgb"),
        [
            (topics(thermal__image_raw=IMAGE, rgb__image_raw=IMAGE), "/thermal/image_raw", "/rgb/image_raw"),
            (topics(boson__image_raw=IMAGE, camera__image_raw=IMAGE), "/boson/image_raw", "/camera/image_raw"),
            (topics(thermal__image_color=IMAGE, cam__image_raw=IMAGE), "/thermal/image_color", "/cam/image_raw"),
            (
                topics(lwir__image_raw__compressed=COMPRESSED, cam__color__image_raw=IMAGE, cam__depth__image=IMAGE),
                "/lwir/image_raw/compressed",
                "/cam/color/image_raw",
            ),
            (
                topics(
                    thermal__image_raw=IMAGE,
                    thermal__image_raw__compressed=COMPRESSED,
                    rgb__image_raw__compressed=COMPRESSED,
                    rgb__image_rect__compressed=COMPRESSED,
                ),
                "/thermal/image_raw",
                "/rgb/image_raw/compressed",
            ),
        ],
    )
    def test_type_and_name_tell_the_cameras(self, bag, thermal, rgb):
        cameras = find_cameras(bag)
        assert (cameras.thermal.name, cameras.rgb.name) == (thermal, rgb)
        assert cameras.rgb_camera_info is None

    @pytest.mark.parametrize(
        ("encodings", "thermal", "rgb"),
        [
            ({"/flir/image_raw": "16UC1", "/cam/image_raw": "rgb8"}, "/flir/image_raw", "/cam/image_raw"),
            ({"/flir/image_raw": "bayer_rggb8", "/cam/image_raw": "mono16"}, "/cam/image_raw", "/flir/image_raw"),
            ({"/flir/image_raw": "mono8", "/cam/image_raw": "rgb8"}, None, None),
            ({"/flir/image_raw": "bgr8", "/cam/image_raw": "rgb8"}, None, None),
            ({"/a/image_raw": "16UC1", "/b/image_raw": "32FC1"}, None, None),
            ({"/thermal/image_raw": "rgb8", "/rgb/image_raw": "rgb8"}, "/thermal/image_raw", "/rgb/image_raw"),
            ({"/thermal/image_raw": "mono8", "/rgb/image_raw": "mono16"}, None, None),
            ({"/thermal/image_raw": "rgb8", "/rgb/image_raw": "16UC1"}, None, None),
            ({"/thermal/image_raw": "mono8", "/cam/image_raw": "mono16"}, None, None),
            ({"/thermal/image": "16UC1", "/thermal/image_raw": "mono8", "/c": "bgr8"}, "/thermal/image", "/c"),
            ({"/x": "16UC1", "/y": "mono8"}, "/x", "/y"),
            (
                {"/x/compressed": "16UC1; png compressed ", "/y/compressed": "bgr8; jpeg"},
                "/x/compressed",
                "/y/compressed",
            ),
        ],
    )
    def test_encodings_count_more_than_names(self, encodings, thermal, rgb):
        """FLIR makes the Blackfly too, an RGB camera. Where it is not sure it asks."""
        bag = {name: Topic(name, COMPRESSED if "compressed" in name else IMAGE, 5) for name in encodings}
        if thermal is None:
            with pytest.raises(ValueError, match=r"-topic") as caught:
                find_cameras(bag, encoding_of=encodings.get)
            assert all(encoding in str(caught.value) for encoding in encodings.values())
            return
        cameras = find_cameras(bag, encoding_of=encodings.get)
        assert (cameras.thermal.name, cameras.rgb.name) == (thermal, rgb)

    def test_a_bag_tells_the_encoding_of_its_images(self, tmp_path):
        with Bag(write_bag(tmp_path / "bag", MESSAGES)) as bag:
            assert (bag.encoding_of(RGB), bag.encoding_of(THERMAL)) == ("rgb8", "16UC1")

    def test_camera_info_lies_beside_the_images(self):
        info = {"/rgb/camera_info": Topic("/rgb/camera_info", "sensor_msgs/msg/CameraInfo", 5)}
        bag = topics(thermal__image_raw=IMAGE, rgb__image_raw__compressed=COMPRESSED) | info
        assert find_cameras(bag).rgb_camera_info == info["/rgb/camera_info"]

    @pytest.mark.parametrize(
        ("bag", "given", "words"),
        [
            (topics(rgb__image_raw=IMAGE), {}, ["no topic", "thermal", "/rgb/image_raw", "--thermal-topic"]),
            (topics(thermal__image_raw=IMAGE), {}, ["no topic", "rgb", "/thermal/image_raw", "--rgb-topic"]),
            ({}, {}, ["no topic", "thermal", "none"]),
            (
                topics(thermal__image_raw=IMAGE, left__image_raw=IMAGE, right__image_raw=IMAGE),
                {},
                ["several", "/left/image_raw, /right/image_raw", "--rgb-topic"],
            ),
            (topics(thermal__image_raw=IMAGE, rgb=IMAGE), {"rgb": "/no"}, ["no topic /no", "/thermal/image_raw, /rgb"]),
            (topics(a="std_msgs/msg/String", b=IMAGE), {"thermal": "a", "rgb": "b"}, ["/a", "std_msgs/msg/String"]),
            (topics(a=IMAGE), {"thermal": "a", "rgb": "a"}, ["/a cannot be both"]),
        ],
    )
    def test_what_is_missing_or_unclear_is_named(self, bag, given, words):
        with pytest.raises(ValueError, match=r"/a|topic") as caught:
            find_cameras(bag, **given)
        for word in words:
            assert word in str(caught.value)


def test_topics_of_depth_are_found_by_their_names():
    def found(*names, name="", aligned=True, kind=IMAGE):
        topics = {topic: Topic(topic, CAMERA_INFO if topic.endswith("info") else kind, 9) for topic in names}
        return [topic.name for topic in find_depth(topics, name, aligned)]

    own, aligned = "/camera/depth/image_rect_raw", "/camera/aligned_depth_to_color/image_raw"
    info = "/camera/depth/camera_info"
    assert found("/rgb/image_raw") == []
    assert found("/rgb/image_raw", own, info) == [own, info]
    assert found(own, aligned) == [aligned]
    assert found(own, aligned, info, aligned=False) == [own, info]
    assert found("/points", kind=POINTS) == ["/points"]
    assert found(own, aligned, name=own) == [own]
    assert found(own, "/tf_static") == [own, "/tf_static"]
    with pytest.raises(ValueError, match="several topics that may be depth"):
        found(own, "/other/depth/image_raw")
    with pytest.raises(ValueError, match="no topic /depth of type"):
        found(own, name="/depth")
