"""Image messages to arrays and back: of any library whose messages have the fields of ROS 2's."""

from __future__ import annotations

import os
from functools import cache
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from mmcfusion_ros.fusion.errors import FrozenThermalError, FusionError, NetworkBusy
from mmcfusion_ros.stream.pairing import Stream

BIT_DEPTHS = (10, 12, 14, 16)

# Encoding: type of one value, letters of one pixel ("y" is grey).
_LAYOUTS = {
    "mono8": (np.uint8, "y"),
    "8UC1": (np.uint8, "y"),
    "mono16": (np.uint16, "y"),
    "16UC1": (np.uint16, "y"),
    "rgb8": (np.uint8, "rgb"),
    "rgba8": (np.uint8, "rgba"),
    "bgr8": (np.uint8, "bgr"),
    "8UC3": (np.uint8, "bgr"),
    "bgra8": (np.uint8, "bgra"),
    "8UC4": (np.uint8, "bgra"),
}

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
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


class BadImage(ValueError):
    """An image message of ``stream`` that cannot be used; ``reason`` is the name of its drop counter.

    - ``bad_encoding``: a pixel or compression format that is not understood, or whose package is not installed
    - ``bad_size``: no pixels, fewer bytes than the header promises, or more pixels than OpenCV is allowed to decode
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
    pixels, letters = _pixels(message, "thermal", other="rgb8" if colour else "mono8")
    target = "RGB" if colour else "GRAY"
    if letters in ("y", target.lower()):
        return pixels
    return cv2.cvtColor(pixels, getattr(cv2, f"COLOR_{letters.upper()}2{target}"))


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
    pixels, letters = _pixels(message, "rgb", other="rgb8")
    if pixels.dtype == np.uint16:
        pixels = (depth or BitDepth()).to_8_bits(pixels)
    return pixels if letters in ("y", "rgb") else cv2.cvtColor(pixels, getattr(cv2, f"COLOR_{letters.upper()}2RGB"))


def fill_image(message: Any, image: np.ndarray, encoding: str) -> Any:
    """An ``Image`` message that has its header gets ``image`` in that encoding, with unpadded rows; it is returned.

    ``rgb8``, ``bgr8`` and ``mono8`` take ``H x W x 3`` uint8, red first, or ``H x W`` uint8, and convert; ``mono16``
    and ``16UC1`` take ``H x W`` uint16. Anything else raises ``ValueError``.
    """
    kind = (encoding, image.shape[2:])
    if kind not in _TO_WIRE or image.dtype != _LAYOUTS[encoding][0]:
        raise ValueError(f"a {image.dtype} array of shape {image.shape} cannot be sent as encoding {encoding!r}")
    conversion = _TO_WIRE[kind]
    pixels = np.ascontiguousarray(image if conversion is None else cv2.cvtColor(image, conversion))
    message.encoding, message.step = encoding, pixels[0].nbytes
    message.height, message.width = image.shape[:2]
    message.data.frombytes(pixels.view(np.uint8))
    return message


def fill_compressed(message: Any, image: np.ndarray, format: str = "jpeg", quality: int = 90) -> Any:
    """A ``CompressedImage`` message that has its header gets ``image``, described as compressed_image_transport does.

    ``jpeg`` (``quality`` from 1 to 100) takes ``H x W x 3`` uint8, red first, or ``H x W`` uint8; ``png`` (lossless,
    no quality) takes ``H x W`` uint16 too. Anything else raises ``ValueError``. The message is returned.
    """
    encodings = {("u1", (3,)): "rgb8", ("u1", ()): "mono8", ("u2", ()): "mono16"}
    encoding = encodings.get((image.dtype.str[1:], image.shape[2:]))
    if encoding is None or format not in ("jpeg", "png") or (encoding, format) == ("mono16", "jpeg"):
        raise ValueError(f"a {image.dtype} array of shape {image.shape} cannot be compressed as {format!r}")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if format == "jpeg" else []
    colour = encoding == "rgb8"
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colour else image
    message.format = f"{encoding}; {format} compressed {'bgr8' if colour else ''}"
    message.data.frombytes(cv2.imencode(f".{format}", pixels, options)[1])
    return message


def _pixels(message: Any, stream: Stream, other: str) -> tuple[np.ndarray, str]:
    """The pixels and their letters; an encoding that is not in ``_LAYOUTS`` is converted to encoding ``other``.

    A read-only view of the data, or a copy where byte order or row padding do not suit the processor.
    """
    try:
        if hasattr(message, "format"):  # a CompressedImage
            return _decompress(message)
        known = message.encoding in _LAYOUTS
        dtype, letters = _LAYOUTS[message.encoding] if known else _foreign_layout(message.encoding)
        native, channels = np.dtype(dtype), len(letters)
        row_bytes = message.width * channels * native.itemsize
        needed = (message.height - 1) * message.step + row_bytes
        if not row_bytes or not message.height or message.step < row_bytes or needed > len(message.data):
            raise BadImage(
                "bad_size",
                f"{message.width}x{message.height} {message.encoding} with rows of {message.step} bytes does not fit "
                f"{len(message.data)} bytes of data",
            )
        shape = (message.height, message.width, channels)[: 2 if channels == 1 else 3]
        strides = (message.step, channels * native.itemsize, native.itemsize)[: len(shape)]
        wire = native.newbyteorder(">" if message.is_bigendian else "<")
        view: np.ndarray = np.ndarray(shape, wire, buffer=message.data, strides=strides)
        view.flags.writeable = False
        pixels = np.require(view, native, "A")
        return (pixels, letters) if known else (_converted(message.encoding, pixels, other), _LAYOUTS[other][1])
    except BadImage as error:
        error.stream = stream
        raise


@cache
def _cv_bridge() -> Any:
    try:
        from cv_bridge import CvBridge
    except (ImportError, AttributeError):  # AttributeError: compiled for another NumPy
        return None
    return CvBridge()


def _foreign_layout(encoding: str) -> tuple[Any, str]:
    """Of an encoding that only cv_bridge knows; the letters tell no more than the number of channels."""
    bridge = _cv_bridge()
    if bridge is None:
        package = f"ros-{os.environ.get('ROS_DISTRO', '<distro>')}-cv-bridge"
        raise BadImage("bad_encoding", f"encoding {encoding!r} needs cv_bridge; install {package}")
    try:
        dtype, channels = bridge.encoding_to_dtype_with_channels(encoding)
    except Exception as error:
        raise BadImage("bad_encoding", f"cv_bridge does not know encoding {encoding!r}: {error}") from error
    return dtype, "?" * channels


def _converted(encoding: str, pixels: np.ndarray, other: str) -> np.ndarray:
    # cv_bridge mistakes padded rows and big-endian data.
    packed, (height, width) = np.ascontiguousarray(pixels), pixels.shape[:2]
    message = SimpleNamespace(
        encoding=encoding, height=height, width=width, step=packed[0].nbytes, is_bigendian=0, data=packed
    )
    try:
        return np.asarray(_cv_bridge().imgmsg_to_cv2(message, other))
    except Exception as error:
        text = f"cv_bridge cannot convert encoding {encoding!r} to {other}: {error}"
        raise BadImage("bad_encoding", text) from error


def _decompress(message: Any) -> tuple[np.ndarray, str]:
    if "compressedDepth" in message.format:
        text = f"format {message.format!r} is not supported; subscribe to the raw or the compressed topic instead"
        raise BadImage("bad_encoding", text)
    data = bytes(message.data)
    if not data.startswith((_PNG_SIGNATURE, _JPEG_START)):
        raise BadImage("bad_encoding", f"compressed data that begin with {data[:8]!r} are neither JPEG nor PNG")
    # Older OpenCV fills the rest of a truncated file with grey instead of refusing it.
    if data.startswith(_JPEG_START) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise BadImage("bad_data", f"JPEG image of {len(data)} bytes is cut off")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        reason = "bad_size" if "CV_IO_MAX" in error.err else "bad_data"
        raise BadImage(reason, f"compressed image cannot be decoded: {error.err}") from error
    if pixels is None:
        raise BadImage("bad_data", f"compressed image of {len(data)} bytes cannot be decoded")
    letters = "y" if pixels.ndim == 2 else ("bgr", "bgra")[pixels.shape[2] - 3]
    # "compressed rgb8" says that the colours were stored in exchanged places.
    return pixels, letters.replace("bgr", "rgb") if "compressed rgb" in message.format else letters
