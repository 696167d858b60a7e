"""Compressed image messages: formats both ways, damaged files, decompression bombs."""

from __future__ import annotations

import contextlib
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sensor_msgs", reason="sensor_msgs is not installed")
from camera_messages import READERS, noise, refused, rgb_from_message, thermal_from_message
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from mmcfusion_ros.stream.messages import BadImage, fill_compressed


@pytest.fixture(autouse=True)
def _check_fields(monkeypatch):
    """As with ROS_PYTHON_CHECK_FIELDS=1, which only counts before the first import."""
    for module in ("sensor_msgs.msg._compressed_image", "std_msgs.msg._header"):
        monkeypatch.setattr(f"{module}.ros_python_check_fields", "1", raising=False)


def smooth(*shape):
    return cv2.GaussianBlur(noise(*shape), (0, 0), 4)


def compressed(data, format="jpeg"):
    message = CompressedImage(format=format)
    message.data.frombytes(bytes(data))
    return message


def encoded(extension, pixels):
    return cv2.imencode(extension, pixels)[1].tobytes()


@pytest.mark.parametrize("format", ["jpeg", "", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8"])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_colour(format, extension):
    rgb = smooth(33, 47, 3)
    message = compressed(encoded(extension, rgb[..., ::-1]), format)
    tolerance = 0 if extension == ".png" else 12
    np.testing.assert_allclose(rgb_from_message(message), rgb, atol=tolerance)
    np.testing.assert_allclose(thermal_from_message(message), rgb, atol=tolerance)


def test_colour_with_transparency():
    rgba = noise(9, 12, 4)
    message = compressed(encoded(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)), "png")
    np.testing.assert_array_equal(rgb_from_message(message), rgba[..., :3])


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_stored_in_exchanged_places(channels):
    rgb = noise(9, 12, channels)
    message = compressed(encoded(".png", rgb), "rgb8; png compressed rgb8")
    np.testing.assert_array_equal(rgb_from_message(message), rgb[..., :3])


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_grey(extension):
    grey = smooth(33, 47)
    for reader in READERS:
        image = reader(compressed(encoded(extension, grey), "mono8; jpeg compressed "))
        np.testing.assert_allclose(image, grey, atol=0 if extension == ".png" else 8)


def test_16_bits():
    counts = noise(20, 31, dtype=np.uint16)
    message = compressed(encoded(".png", counts), "16UC1; png compressed ")
    np.testing.assert_array_equal(thermal_from_message(message), counts)
    np.testing.assert_array_equal(rgb_from_message(message), counts // 256)


def test_16_bit_colour():
    rgb = noise(20, 31, 3, dtype=np.uint16)
    message = compressed(encoded(".png", rgb[..., ::-1]), "rgb16; png compressed bgr16")
    np.testing.assert_array_equal(rgb_from_message(message), rgb // 256)


def test_orientation_mark_is_ignored():
    """Turning the image would break its camera_info."""
    quarter_turn = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = encoded(".jpg", smooth(16, 40))
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(quarter_turn) + 2) + quarter_turn + data[2:]
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (40, 16, 3)
    for reader in READERS:
        assert reader(compressed(data)).shape == (16, 40)


def test_fill_bytes_before_a_marker():
    data = encoded(".jpg", smooth(16, 40))
    assert thermal_from_message(compressed(data[:2] + b"\xff\xff" + data[2:])).shape == (16, 40)


@pytest.mark.parametrize("format", ["16UC1; compressedDepth png", "32FC1; compressedDepth"])
def test_compressed_depth(format):
    reason, text = refused(thermal_from_message, compressed(encoded(".png", noise(8, 8)), format))
    assert reason == "bad_encoding"
    assert format in text


@pytest.mark.parametrize("data", [b"", b"hello", encoded(".bmp", noise(8, 8)), encoded(".tiff", noise(8, 8))])
def test_neither_jpeg_nor_png(data):
    assert refused(rgb_from_message, compressed(data))[0] == "bad_encoding"


@pytest.mark.parametrize(
    ("size", "reason"), [((60_000, 60_000), "size"), ((8001, 8000), "size"), ((0, 16), "data"), ((16, 0), "data")]
)
def test_declared_size_is_refused(size, reason):
    height, width = size
    png = bytearray(encoded(".png", noise(16, 16)))
    struct.pack_into(">II", png, 16, width, height)
    struct.pack_into(">I", png, 29, zlib.crc32(png[12:29]))
    jpeg = bytearray(encoded(".jpg", noise(16, 16)))
    struct.pack_into(">HH", jpeg, jpeg.index(b"\xff\xc0") + 5, height, width)
    for data in (png, jpeg):
        assert refused(rgb_from_message, compressed(data))[0] == f"bad_{reason}"


def test_a_thumbnail_does_not_stand_for_the_image():
    thumbnail, data = encoded(".jpg", noise(16, 16)), encoded(".jpg", noise(64, 64))
    whole = data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    assert rgb_from_message(compressed(whole)).shape == (64, 64)
    assert refused(rgb_from_message, compressed(whole[:-400]))[0] == "bad_data"


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@settings(deadline=None)
@given(fraction=st.floats(0, 1, exclude_max=True))
def test_cut_off(extension, fraction):
    data = encoded(extension, smooth(24, 32, 3))
    data = data[: int(len(data) * fraction)]
    for reader in READERS:
        assert refused(reader, compressed(data))[0] in ("bad_encoding" if len(data) < 16 else "", "bad_data")


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@settings(deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), garbage=st.binary(min_size=1, max_size=40))
def test_damage_gives_an_image_or_bad_image(extension, position, garbage):
    data = bytearray(encoded(extension, smooth(24, 32, 3)))
    start = int(len(data) * position)
    data[start : start + len(garbage)] = garbage
    for reader in READERS:
        with contextlib.suppress(BadImage):
            assert reader(compressed(data)).dtype in (np.uint8, np.uint16)


@pytest.mark.parametrize("shape", [(33, 47, 3), (33, 47)])
def test_round_trip(shape):
    header = Header(frame_id="camera")
    image = smooth(*shape)
    message = fill_compressed(CompressedImage(header=header), image, 95)
    assert message.header is header
    np.testing.assert_allclose(rgb_from_message(message), image, atol=12)
    assert message.format == ("rgb8; jpeg compressed bgr8" if len(shape) == 3 else "mono8; jpeg compressed ")


def test_lower_quality_is_smaller():
    sizes = [len(fill_compressed(CompressedImage(), noise(48, 64, 3), quality).data) for quality in (30, 90)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("image", [noise(4, 5, dtype=np.uint16), noise(4, 5, 4), np.eye(4)])
def test_array_that_cannot_be_compressed(image):
    with pytest.raises(ValueError, match="cannot be compressed as JPEG"):
        fill_compressed(CompressedImage(), image, 90)


@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "16SC1", "mono12", "32FC1"])
@pytest.mark.parametrize("rest", ["; jpeg compressed ", "; jpeg compressed mono8", ""])
def test_counts_in_a_jpeg_are_refused(encoding, rest):
    """It holds 8 bits, white all over; a PNG holds them all."""
    counts = smooth(32, 48).astype(np.uint16) * 20 + 20_000
    white = np.full((32, 48), 255, np.uint8)
    reason, text = refused(thermal_from_message, compressed(encoded(".jpg", white), encoding + rest))
    assert reason == "bad_encoding"
    assert f"encoding {encoding} in a JPEG" in text
    assert "use PNG" in text
    png = compressed(encoded(".png", counts), f"{encoding}; png compressed ")
    np.testing.assert_array_equal(thermal_from_message(png), counts)


def test_8_bits_in_a_jpeg_are_taken():
    grey = smooth(32, 48)
    for form in ("mono8; jpeg compressed ", "rgb8; jpeg compressed bgr8", "jpeg"):
        assert thermal_from_message(compressed(encoded(".jpg", grey), form)).shape[:2] == grey.shape
