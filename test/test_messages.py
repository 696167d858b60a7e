"""Raw image messages: every encoding both ways, padding, byte order, bad headers."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sensor_msgs", reason="sensor_msgs is not installed")
from camera_messages import READERS, as_camera, noise, raw, refused, rgb_from_message, thermal_from_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mmcfusion_ros.fusion.thermal import ThermalScaler
from mmcfusion_ros.stream.messages import BitDepth, fill_image

GREY_8, GREY_16 = ("mono8", "8UC1"), ("mono16", "16UC1")
COLOUR = {
    "rgb8": [0, 1, 2],
    "rgba8": [0, 1, 2, 3],
    "bgr8": [2, 1, 0],
    "8UC3": [2, 1, 0],
    "bgra8": [2, 1, 0, 3],
    "8UC4": [2, 1, 0, 3],
}
SIZES = [(1, 1), (7, 5), (33, 48)]


@pytest.fixture(autouse=True)
def _check_fields(monkeypatch):
    """As with ROS_PYTHON_CHECK_FIELDS=1, which only counts before the first import."""
    for module in ("sensor_msgs.msg._image", "std_msgs.msg._header"):
        monkeypatch.setattr(f"{module}.ros_python_check_fields", "1", raising=False)


@pytest.fixture
def without_cv_bridge(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)


@pytest.fixture
def bridge():
    return pytest.importorskip("cv_bridge", reason="cv_bridge is not installed").CvBridge()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize("big_endian", [False, True])
class TestRead:
    @pytest.mark.parametrize("encoding", GREY_8)
    def test_grey(self, encoding, size, padding, big_endian):
        pixels = noise(*size)
        for reader in READERS:
            np.testing.assert_array_equal(reader(raw(pixels, encoding, padding, big_endian)), pixels)

    @pytest.mark.parametrize("encoding", GREY_16)
    def test_16_bits(self, encoding, size, padding, big_endian):
        pixels = noise(*size, dtype=np.uint16)
        message = raw(pixels, encoding, padding, big_endian)
        thermal = thermal_from_message(message)
        assert thermal.dtype == np.uint16
        assert thermal.dtype.isnative
        np.testing.assert_array_equal(thermal, pixels)
        np.testing.assert_array_equal(cv2.max(thermal, thermal), pixels)
        np.testing.assert_array_equal(rgb_from_message(message), pixels // 256)

    @pytest.mark.parametrize(
        ("encoding", "dtype"), [("mono12", "u2"), ("16SC1", "i2"), ("32FC1", "f4"), ("64FC1", "f8")]
    )
    def test_what_only_thermal_cameras_send(self, encoding, dtype, size, padding, big_endian):
        """Counts of 12 bits, signed counts, temperatures; the file's byte order is not the processor's."""
        pixels = (noise(*size, dtype=np.int16) // (1 if encoding == "16SC1" else 16) % 4096).astype(dtype)
        if dtype[0] == "f":
            pixels[0, 0] = np.nan
        thermal = thermal_from_message(raw(pixels, encoding, padding, big_endian))
        assert thermal.dtype == np.dtype(dtype)
        assert thermal.dtype.isnative
        np.testing.assert_array_equal(thermal, pixels)

    @pytest.mark.parametrize("encoding", COLOUR)
    def test_colour(self, encoding, size, padding, big_endian):
        order = COLOUR[encoding]
        rgba = noise(*size, 4)
        message = raw(rgba[..., order], encoding, padding, big_endian)
        np.testing.assert_array_equal(rgb_from_message(message), rgba[..., :3])
        np.testing.assert_array_equal(thermal_from_message(message), rgba[..., :3])


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_cameras_of_fewer_bits_than_16_are_as_bright(bits):
    """800 of 1023 is no 3 of 255; a darker frame later is not brightened."""
    depth, pixels = BitDepth(), np.full((4, 5), round(0.78 * 2**bits), np.uint16)
    assert (rgb_from_message(raw(pixels, "mono16"), depth=depth) == 199).all()
    assert (rgb_from_message(raw(pixels // 8, "mono16"), depth=depth) == 24).all()


@pytest.mark.parametrize(
    ("reader", "encoding", "channels"),
    [(thermal_from_message, "mono8", ()), (rgb_from_message, "mono8", ()), (rgb_from_message, "rgb8", (3,))],
)
@pytest.mark.parametrize("padding", [0, 4])
def test_no_copy_and_no_writing(reader, encoding, channels, padding):
    message = raw(noise(8, 9, *channels), encoding, padding)
    array = reader(message)
    assert np.shares_memory(array, np.frombuffer(message.data, np.uint8))
    assert not array.flags.writeable


@pytest.mark.parametrize("encoding", [*GREY_8, *GREY_16, *COLOUR])
def test_message_stays_as_it_was(encoding):
    dtype = np.uint16 if encoding in GREY_16 else np.uint8
    message = raw(noise(6, 8, *([len(COLOUR[encoding])] if encoding in COLOUR else []), dtype=dtype), encoding, 3)
    before = message.data.tobytes()
    for reader in READERS:
        reader(message)
    assert message.data.tobytes() == before


def test_last_row_need_not_be_padded():
    pixels = noise(4, 5)
    message = raw(pixels, "mono8", padding=3)
    del message.data[-3:]
    np.testing.assert_array_equal(thermal_from_message(message), pixels)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"height": 0},
        {"step": 0},
        {"step": 14},
        {"width": 6},
        {"height": 5},
        {"height": 2**32 - 1},
        {"width": 2**32 - 1},
        {"step": 2**32 - 1},
        {"width": 2**32 - 1, "height": 2**32 - 1, "step": 2**32 - 1},
    ],
)
@pytest.mark.parametrize("reader", READERS)
def test_header_that_does_not_fit_the_data(reader, change):
    message = raw(noise(4, 5, 3), "rgb8")
    for field, value in change.items():
        setattr(message, field, value)
    assert refused(reader, message)[0] == "bad_size"


@pytest.mark.parametrize("kept", [0, 1, 59])
def test_truncated_data(kept):
    message = raw(noise(4, 5, 3), "rgb8")
    del message.data[kept:]
    assert refused(rgb_from_message, message)[0] == "bad_size"


@settings(deadline=None)
@given(
    encoding=st.sampled_from([*GREY_8, *GREY_16, *COLOUR]),
    height=st.integers(0, 12) | st.integers(0, 2**32 - 1),
    width=st.integers(0, 12) | st.integers(0, 2**32 - 1),
    step=st.integers(0, 60) | st.integers(0, 2**32 - 1),
    big_endian=st.booleans(),
    data=st.binary(max_size=600),
)
def test_any_header_gives_an_image_or_bad_image(encoding, height, width, step, big_endian, data):
    message = Image(encoding=encoding, height=height, width=width, step=step, is_bigendian=int(big_endian))
    message.data.frombytes(data)
    row = width * (len(COLOUR[encoding]) if encoding in COLOUR else 2 if encoding in GREY_16 else 1)
    fits = height * width > 0 and row <= step and (height - 1) * step + row <= len(data)
    for reader in READERS:
        if fits:
            assert reader(message).shape[:2] == (height, width)
        else:
            assert refused(reader, message)[0] == "bad_size"


@pytest.mark.usefixtures("without_cv_bridge")
@pytest.mark.parametrize("reader", READERS)
def test_other_encoding_without_cv_bridge(reader):
    """What cv_bridge converts is understood without it, so it is not recommended."""
    reason, text = refused(reader, raw(noise(4, 6), "nv24"))
    assert reason == "bad_encoding"
    assert text.startswith("encoding 'nv24' is not understood; it must be one of mono8, ")
    assert "cv_bridge" not in text


COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "grey": (90, 90, 90),
    "orange": (230, 140, 40),
}


CAMERAS = [
    *("yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21", "rgb16", "bgr16"),
    *(f"bayer_{pattern}{bits}" for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)),
]


@pytest.mark.usefixtures("without_cv_bridge")
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("encoding", CAMERAS)
def test_what_cameras_send(encoding, colour):
    rgb = np.full((16, 24, 3), COLOURS[colour], np.uint8)
    seen = rgb_from_message(as_camera(rgb, encoding))
    assert (seen.shape, seen.dtype) == (rgb.shape, np.uint8)
    assert np.abs(seen.astype(int) - rgb).max() <= 3
    luminance = np.array(COLOURS[colour]) @ (0.299, 0.587, 0.114)
    scaler = ThermalScaler()  # as the node takes it; 16-bit colours were an internal error there
    scaled = scaler(scaler.upright(thermal_from_message(as_camera(rgb, encoding))))
    assert (scaled.shape, scaled.dtype) == (rgb.shape[:2], np.uint8)
    assert colour == "grey" or np.abs(scaled - luminance).max() <= 3  # grey values are scaled


@pytest.mark.usefixtures("without_cv_bridge")
@pytest.mark.parametrize("encoding", CAMERAS)
def test_where_things_are_in_what_cameras_send(encoding):
    """A bright square stays where it is, padded rows or not."""
    rgb = np.full((16, 24, 3), 20, np.uint8)
    rgb[4:10, 8:20] = 220
    message = as_camera(rgb, encoding)
    seen = rgb_from_message(message)
    inside = np.zeros((16, 24), bool)
    inside[5:9, 9:19] = True
    assert np.abs(seen[inside].astype(int) - 220).max() <= 3
    assert np.abs(seen[:3].astype(int) - 20).max() <= 3
    rows = np.frombuffer(message.data, np.uint8).reshape(-1, message.step)
    padded = Image(encoding=encoding, height=16, width=24, step=message.step + 8)
    padded.data.frombytes(np.pad(rows, ((0, 0), (0, 8)), constant_values=99).tobytes())
    np.testing.assert_array_equal(rgb_from_message(padded), seen)


@pytest.mark.usefixtures("without_cv_bridge")
@pytest.mark.parametrize("encoding", CAMERAS)
def test_too_few_bytes_of_what_cameras_send(encoding):
    message = as_camera(np.full((16, 24, 3), 20, np.uint8), encoding)
    del message.data[-1]
    assert refused(rgb_from_message, message)[0] == "bad_size"
    if encoding[:3] in ("yuv", "uyv", "nv1", "nv2"):
        message = as_camera(np.full((16, 24, 3), 20, np.uint8), encoding)
        message.width -= 1
        assert refused(rgb_from_message, message)[0] == "bad_size"


def test_raw_pictures_of_fewer_bits_fill_the_range():
    """12 bits in a Bayer picture of 16: its depth is remembered as that of mono16."""
    depth, bright = BitDepth(), np.full((8, 8), 3200, np.uint16)
    assert np.abs(rgb_from_message(raw(bright, "bayer_rggb16"), depth=depth).astype(int) - 200).max() <= 1
    assert depth.bits == 12


@pytest.mark.parametrize("encoding", ["", "nonsense", "32FC2"])
@pytest.mark.parametrize("reader", READERS)
def test_unusable_encoding_is_named(reader, encoding):
    reason, text = refused(reader, raw(noise(4, 16, 4), encoding))
    assert reason == "bad_encoding"
    assert repr(encoding) in text


@pytest.mark.parametrize("padding", [0, 2, 5])
@pytest.mark.parametrize(
    ("encoding", "shape", "dtype"),
    [
        ("bayer_rggb8", (8, 10), np.uint8),
        ("bayer_gbrg16", (8, 10), np.uint16),
        ("yuv422", (8, 10, 2), np.uint8),
        ("yuv422_yuy2", (8, 10, 2), np.uint8),
        ("rgb16", (8, 10, 3), np.uint16),
    ],
)
def test_other_encoding_through_cv_bridge(bridge, encoding, shape, dtype, padding):
    pixels = noise(*shape, dtype=dtype)
    unpadded = raw(pixels, encoding)
    message = raw(pixels, encoding, padding, big_endian=padding == 5)
    np.testing.assert_array_equal(rgb_from_message(message), bridge.imgmsg_to_cv2(unpadded, "rgb8"))
    np.testing.assert_array_equal(thermal_from_message(message), rgb_from_message(message))


def test_truncated_data_for_cv_bridge(bridge):
    message = raw(noise(4, 6), "bayer_rggb8")
    del message.data[-1]
    assert refused(rgb_from_message, message)[0] == "bad_size"


@pytest.mark.parametrize("encoding", [*GREY_8, *GREY_16, *COLOUR])
def test_agrees_with_cv_bridge(bridge, encoding):
    dtype = np.uint16 if encoding in GREY_16 else np.uint8
    message = raw(noise(9, 13, *([len(COLOUR[encoding])] if encoding in COLOUR else []), dtype=dtype), encoding)
    converted = "passthrough" if encoding in (*GREY_8, *GREY_16) else "rgb8"
    if encoding in ("8UC3", "8UC4"):  # not a colour format to cv_bridge
        message.encoding = {"8UC3": "bgr8", "8UC4": "bgra8"}[encoding]
    np.testing.assert_array_equal(thermal_from_message(message), bridge.imgmsg_to_cv2(message, converted))


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8", "mono16", "16UC1"])
def test_written_as_cv_bridge_does(bridge, encoding):
    rgb, counts = noise(9, 13, 3), noise(9, 13, dtype=np.uint16)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    wire = {"rgb8": rgb, "bgr8": rgb[..., ::-1].copy(), "mono8": grey}.get(encoding, counts)
    image = rgb if encoding in ("rgb8", "bgr8", "mono8") else counts
    assert fill_image(Image(), image, encoding) == bridge.cv2_to_imgmsg(wire, encoding)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
def test_8_bit_round_trip(encoding, size):
    header = Header(frame_id="camera")
    rgb, grey = noise(*size, 3), noise(*size)
    message = fill_image(Image(header=header), rgb, encoding)
    assert message.header is header
    assert (message.encoding, message.height, message.width) == (encoding, *size)
    assert len(message.data) == message.height * message.step
    luminance = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(rgb_from_message(message), luminance if encoding == "mono8" else rgb)
    again = rgb_from_message(fill_image(Image(header=header), grey, encoding))
    np.testing.assert_array_equal(again, grey if encoding == "mono8" else cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))


@pytest.mark.parametrize("encoding", GREY_16)
def test_16_bit_round_trip(encoding):
    counts = noise(9, 13, dtype=np.uint16)
    for array in (counts, counts[:, ::2]):
        np.testing.assert_array_equal(thermal_from_message(fill_image(Image(), array, encoding)), array)


@pytest.mark.parametrize(
    ("image", "encoding"),
    [
        (noise(4, 5, 3), "mono16"),
        (noise(4, 5), "16UC1"),
        (noise(4, 5, dtype=np.uint16), "mono8"),
        (noise(4, 5, 4), "rgb8"),
        (noise(4, 5).astype(np.float32), "mono8"),
        (noise(4, 5, 3), "rgba8"),
        (noise(4, 5, 3), "nonsense"),
    ],
)
def test_array_that_does_not_suit_the_encoding(image, encoding):
    with pytest.raises(ValueError, match=encoding):
        fill_image(Image(), image, encoding)


def test_temperatures_of_an_rgb_camera_are_refused(without_cv_bridge):
    assert refused(rgb_from_message, raw(np.zeros((4, 4), np.float32), "32FC1"))[0] == "bad_encoding"
