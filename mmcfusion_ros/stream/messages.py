"""Image messages to arrays: of any library whose messages have the fields of ROS 2's."""

from __future__ import annotations

import reprlib
import struct
from functools import cache
from types import SimpleNamespace
from typing import Any, Literal

import cv2
import numpy as np

from mmcfusion_ros.fusion.errors import FrozenThermalError, FusionError, NetworkBusy
from mmcfusion_ros.stream.encodings import LAYOUTS, Layout
from mmcfusion_ros.stream.pairing import Stream

MAX_COMPRESSED_PIXELS = 64_000_000
BIT_DEPTHS = (10, 12, 14, 16)

# (Encoding, shape of one pixel of the array): how to convert the array for the wire.
_TO_WIRE = {
    ("rgb8", (3,)): None,
    ("rgb8", ()): cv2.COLOR_GRAY2RGB,
    ("bgr8", (3,)): cv2.COLOR_RGB2BGR,
    ("bgr8", ()): cv2.COLOR_GRAY2BGR,
    ("mono8", (3,)): cv2.COLOR_RGB2GRAY,
    ("mono8", ()): None,
    ("mono16", ()): None,
    ("16UC1", ()): None,
}

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_FILL = 0xFFFF
_JPEG_FRAME_MARKERS = {0xFFC0, 0xFFC1, 0xFFC2, 0xFFC3, *range(0xFFC5, 0xFFC8), *range(0xFFC9, 0xFFCC)}
_JPEG_TABLE_MARKERS = {0xFFC4, 0xFFCC, 0xFFDB, 0xFFDD, 0xFFFE, *range(0xFFE0, 0xFFF0)}


class BadImage(ValueError):
    """An image message of ``stream`` that cannot be used; ``reason`` is the name of its drop counter.

    - ``bad_encoding``: a pixel or compression format that is not understood, or whose package is not installed
    - ``bad_size``: no pixels, fewer bytes than the header promises, or over ``MAX_COMPRESSED_PIXELS``
    - ``bad_data``: compressed bytes that cannot be decoded
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.stream: Stream = "rgb"


def drop_reason(error: Exception) -> str:
    """The name of the counter of frames and pairs that are dropped for this error."""
    if isinstance(error, BadImage):
        return error.reason
    if isinstance(error, NetworkBusy):
        return "network_busy"
    if isinstance(error, FusionError):
        return "backend_failed"
    if isinstance(error, FrozenThermalError):
        return "frozen_thermal"
    return "bad_pair" if isinstance(error, ValueError) else "internal_error"


def thermal_from_message(message: Any, colour: bool = False) -> np.ndarray:
    """``H x W``, uint8 or uint16 (raw counts), in the processor's byte order.

    Colour-coded images are taken as grey, or with ``colour`` given as ``H x W x 3`` uint8, red first. Read-only where
    it is a view of the message; rows may be padded, which OpenCV accepts. Raises ``BadImage``.
    """
    pixels, layout = _pixels(message, "thermal", other="rgb8" if colour else "mono8")
    return _converted(pixels, layout, "RGB" if colour else "GRAY", "thermal")


class BitDepth:
    """How many bits of 16-bit images one camera uses: the least of ``BIT_DEPTHS`` that holds every value so far."""

    def __init__(self) -> None:
        self.bits = BIT_DEPTHS[0]

    def to_8_bits(self, pixels: np.ndarray) -> np.ndarray:
        """uint16 to the upper 8 of the bits in use, uint8, of the same shape."""
        largest = int(pixels.max())
        self.bits = next(bits for bits in BIT_DEPTHS if bits >= self.bits and largest < 1 << bits)
        return (pixels >> (self.bits - 8)).astype(np.uint8)


def rgb_from_message(message: Any, depth: BitDepth | None = None) -> np.ndarray:
    """``H x W x 3`` uint8, red first, or ``H x W`` uint8 from a grey camera.

    16-bit values of 10, 12 or 14 bits fill the range as those of 16 do: ``depth`` remembers how many there are, from
    frame to frame; without it this image alone decides. Read-only where it is a view of the message; rows may be
    padded, which OpenCV accepts. Raises ``BadImage``.
    """
    pixels, layout = _pixels(message, "rgb", other="rgb8")
    if pixels.dtype == np.uint16:
        pixels = (depth or BitDepth()).to_8_bits(pixels)
    return _converted(pixels, layout, "RGB", "rgb")


def _converted(pixels: np.ndarray, layout: Layout, target: Literal["RGB", "GRAY"], stream: Stream) -> np.ndarray:
    try:
        return layout.to(pixels, target)
    except cv2.error as error:
        text = f"an image of {pixels.shape[1]}x{pixels.shape[0]} values cannot be {layout.letters}: {error.err}"
        bad = BadImage("bad_size", text)
        bad.stream = stream
        raise bad from error


def wire_pixels(image: np.ndarray, encoding: str) -> np.ndarray:
    """The contiguous pixels of an image message, ``H x W [x 3]``; takes what ``image_message`` takes."""
    kind = (encoding, image.shape[2:])
    if kind not in _TO_WIRE or image.dtype != LAYOUTS[encoding].dtype:
        raise ValueError(f"a {image.dtype} array of shape {image.shape} cannot be sent as encoding {encoding!r}")
    conversion = _TO_WIRE[kind]
    return np.ascontiguousarray(image if conversion is None else cv2.cvtColor(image, conversion))


def _pixels(message: Any, stream: Stream, other: str) -> tuple[np.ndarray, Layout]:
    """The pixels and their layout; an encoding that is not in ``LAYOUTS`` is converted to encoding ``other``."""
    try:
        return _read(message, other)
    except BadImage as error:
        error.stream = stream
        raise


def _read(message: Any, other: str) -> tuple[np.ndarray, Layout]:
    if hasattr(message, "format"):  # a CompressedImage
        return _decompress(message)
    if layout := LAYOUTS.get(message.encoding):
        return _view(message, layout.dtype, layout.channels, layout.half_rows), layout
    return _convert_with_cv_bridge(message, other), LAYOUTS[other]


def _view(message: Any, dtype: Any, channels: int, half_rows: int = 2) -> np.ndarray:
    """A read-only view of the data, or a copy where byte order or row padding do not suit the processor."""
    native = np.dtype(dtype)
    row_bytes = message.width * channels * native.itemsize
    rows = message.height * half_rows // 2
    needed = (rows - 1) * message.step + row_bytes
    if not row_bytes or not message.height or message.step < row_bytes or needed > len(message.data):
        raise BadImage(
            "bad_size",
            f"{message.width}x{message.height} {message.encoding} with rows of {message.step} bytes does not fit "
            f"{len(message.data)} bytes of data",
        )
    shape = (rows, message.width, channels)[: 2 if channels == 1 else 3]
    strides = (message.step, channels * native.itemsize, native.itemsize)[: len(shape)]
    wire = native.newbyteorder(">" if message.is_bigendian else "<")
    view: np.ndarray = np.ndarray(shape, wire, buffer=message.data, strides=strides)
    view.flags.writeable = False
    return np.require(view, native, "A")


@cache
def _cv_bridge() -> Any:
    try:
        from cv_bridge import CvBridge
    except (ImportError, AttributeError):  # AttributeError: compiled for another NumPy
        return None
    return CvBridge()


def _convert_with_cv_bridge(message: Any, encoding: str) -> np.ndarray:
    bridge = _cv_bridge()
    if bridge is None:
        name = reprlib.repr(message.encoding)
        raise BadImage("bad_encoding", f"encoding {name} is not understood; it must be one of {', '.join(LAYOUTS)}")
    try:
        dtype, channels = bridge.encoding_to_dtype_with_channels(message.encoding)
        pixels = np.ascontiguousarray(_view(message, dtype, channels))
        # cv_bridge mistakes padded rows and big-endian data.
        height, width = pixels.shape[:2]
        packed = SimpleNamespace(
            encoding=message.encoding, height=height, width=width, step=pixels[0].nbytes, is_bigendian=0, data=pixels
        )
        return bridge.imgmsg_to_cv2(packed, encoding)
    except BadImage:
        raise
    except Exception as error:
        text = f"cv_bridge cannot convert encoding {message.encoding!r} to {encoding}: {error}"
        raise BadImage("bad_encoding", text) from error


def _decompress(message: Any) -> tuple[np.ndarray, Layout]:
    if "compressedDepth" in message.format:
        text = f"format {message.format!r} is not supported; subscribe to the raw or the compressed topic instead"
        raise BadImage("bad_encoding", text)
    data = bytes(message.data)
    height, width = _size_in_file(data)
    if not 0 < height * width <= MAX_COMPRESSED_PIXELS:
        raise BadImage("bad_size", f"compressed image of {width}x{height}; at most {MAX_COMPRESSED_PIXELS} pixels")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadImage("bad_data", f"compressed image cannot be decoded: {error.err}") from error
    if pixels is None:
        raise BadImage("bad_data", f"compressed image of {len(data)} bytes cannot be decoded")
    encoding = "mono8" if pixels.ndim == 2 else ("bgr8", "bgra8")[pixels.shape[2] - 3]
    # "compressed rgb8" says that the colours were stored in exchanged places.
    return pixels, LAYOUTS[encoding.replace("bgr", "rgb") if "compressed rgb" in message.format else encoding]


def _size_in_file(data: bytes) -> tuple[int, int]:
    """Height and width from the header of a PNG or JPEG file, before anything is decoded."""
    try:
        if data.startswith(_PNG_SIGNATURE + b"\0\0\0\x0dIHDR"):
            width, height = struct.unpack_from(">II", data, 16)
            return height, width
        if data.startswith(_JPEG_START):
            return _size_in_jpeg(data)
    except struct.error as error:
        raise BadImage("bad_data", f"compressed image ends in its header, after {len(data)} bytes") from error
    raise BadImage("bad_encoding", f"compressed data that begin with {data[:8]!r} are neither JPEG nor PNG")


def _size_in_jpeg(data: bytes) -> tuple[int, int]:
    position = len(_JPEG_START)
    while True:
        marker, length = struct.unpack_from(">HH", data, position)
        if marker in _JPEG_FRAME_MARKERS:
            # Older OpenCV fills the rest of a truncated file with grey instead of refusing it.
            if data.rfind(_JPEG_END) < position:
                raise BadImage("bad_data", f"JPEG image of {len(data)} bytes is cut off")
            height, width = struct.unpack_from(">HH", data, position + 5)
            return height, width
        if marker == _JPEG_FILL:
            position += 1
            continue
        if marker not in _JPEG_TABLE_MARKERS:
            raise BadImage("bad_data", f"JPEG image with an unexpected marker {marker:#x} before its size")
        position += 2 + length
