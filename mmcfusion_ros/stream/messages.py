"""Image messages to arrays and back: of any library whose messages have the fields of ROS 2's."""

from __future__ import annotations

import reprlib
from array import array
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import cv2
import numpy as np

from mmcfusion_ros.fusion.errors import FusionError, NetworkBusy, UnusableThermalError
from mmcfusion_ros.jpeg import JPEG_START, is_cut_off_jpeg
from mmcfusion_ros.stream.pairing import Stream

BIT_DEPTHS = (10, 12, 14, 16)


class Layout(NamedTuple):
    """``letters``: y (grey), rgb and the like, bayer and the colours of its first four pixels, or yuv and the order.

    A row of the data has ``channels`` values of ``dtype`` for each pixel; there are ``half_rows`` rows for two rows of
    pixels.
    """

    dtype: Any
    letters: str
    channels: int
    half_rows: int = 2

    def to_rgb(self, pixels: np.ndarray) -> np.ndarray:
        """``H x W x 3``, red first; ``BadImage`` for sizes that such images cannot have."""
        kind, _, order = self.letters.upper().partition("_")
        name = f"YUV2RGB_{order}" if kind == "YUV" else f"{self.letters.upper()}2RGB"
        try:
            return cv2.cvtColor(pixels, getattr(cv2, f"COLOR_{name}"))
        except cv2.error as error:
            text = f"an image of {pixels.shape[1]}x{pixels.shape[0]} values cannot be {self.letters}: {error.err}"
            raise BadImage("bad_size", text) from error


# By sensor_msgs/image_encodings.hpp. OpenCV names the same Bayer patterns as ROS does only in these constants.
LAYOUTS = {
    **{name: Layout(np.uint8, "y", 1) for name in ("mono8", "8UC1")},
    **{name: Layout(np.uint16, "y", 1) for name in ("mono16", "16UC1")},
    **{f"{name}8": Layout(np.uint8, name, len(name)) for name in ("rgb", "rgba", "bgr", "bgra")},
    **{f"{name}16": Layout(np.uint16, name, len(name)) for name in ("rgb", "rgba", "bgr", "bgra")},
    **{f"8UC{len(name)}": Layout(np.uint8, name, len(name)) for name in ("bgr", "bgra")},
    **{f"16UC{len(name)}": Layout(np.uint16, name, len(name)) for name in ("bgr", "bgra")},
    **{f"bayer_{order}8": Layout(np.uint8, f"bayer_{order}", 1) for order in ("rggb", "bggr", "gbrg", "grbg")},
    **{f"bayer_{order}16": Layout(np.uint16, f"bayer_{order}", 1) for order in ("rggb", "bggr", "gbrg", "grbg")},
    **{name: Layout(np.uint8, "yuv_uyvy", 2) for name in ("yuv422", "uyvy")},
    **{name: Layout(np.uint8, "yuv_yuy2", 2) for name in ("yuv422_yuy2", "yuyv")},
    **{name: Layout(np.uint8, f"yuv_{name}", 1, half_rows=3) for name in ("nv12", "nv21")},
}

# Thermal cameras have more of them: counts of other types, and temperatures.
THERMAL_LAYOUTS = LAYOUTS | {
    name: Layout(dtype, "y", 1)
    for name, dtype in {"mono12": np.uint16, "16SC1": np.int16, "32FC1": np.float32, "64FC1": np.float64}.items()
}
_DEEPER_THAN_JPEG = {name for name, layout in THERMAL_LAYOUTS.items() if layout.letters == "y"} - {"mono8", "8UC1"}

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
    ("32FC1", ()): None,
}

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class BadImage(ValueError):
    """An image message of ``stream`` that cannot be used; ``reason`` is the name of its drop counter.

    - ``bad_encoding``: a pixel or compression format that is not understood, or whose package is not installed
    - ``bad_size``: no pixels, fewer bytes than the header promises, or more pixels than OpenCV is allowed to decode
    - ``bad_data``: compressed bytes that cannot be decoded
    - ``no_key_frame``: a picture of a video that hangs on one that is lost
    """

    def __init__(self, reason: str, text: str, stream: Stream = "rgb") -> None:
        super().__init__(text)
        self.reason, self.stream = reason, stream


def drop_reason(error: Exception) -> str:
    """The name of the counter of frames and pairs that are dropped for this error."""
    if isinstance(error, (BadImage, UnusableThermalError)):
        return error.reason
    if isinstance(error, NetworkBusy):
        return "network_busy"
    if isinstance(error, FusionError):
        return "backend_failed"
    return "bad_pair" if isinstance(error, ValueError) else "internal_error"


class BitDepth:
    """How many bits of 16-bit images one camera uses: the least of ``BIT_DEPTHS`` that holds every value so far."""

    def __init__(self) -> None:
        self.bits = BIT_DEPTHS[0]

    def to_8_bits(self, pixels: np.ndarray) -> np.ndarray:
        """uint16 to the upper 8 of the bits in use, uint8, of the same shape."""
        largest = int(pixels.max())
        self.bits = next(bits for bits in BIT_DEPTHS if bits >= self.bits and largest < 1 << bits)
        return (pixels >> (self.bits - 8)).astype(np.uint8)


def image_from_message(message: Any, stream: Stream, depth: BitDepth | None = None) -> np.ndarray:
    """``H x W x 3`` uint8, red first, or ``H x W`` uint8 from a grey camera; from a thermal one also ``H x W`` counts
    (uint16, int16) or temperatures (float32, float64), in the processor's byte order.

    Other 16-bit values, of 10, 12 or 14 bits, fill the range as those of 16 do: ``depth`` remembers how many there
    are, from frame to frame; without it this image alone decides. Read-only where it is a view of the message; rows may
    be padded, which OpenCV accepts. Raises ``BadImage``.
    """
    try:
        if hasattr(message, "format"):  # a CompressedImage
            pixels, layout = _decompress(message, stream)
        else:
            layouts = THERMAL_LAYOUTS if stream == "thermal" else LAYOUTS
            layout = layouts.get(message.encoding) or _foreign_layout(message.encoding)
            native = np.dtype(layout.dtype)
            row_bytes, rows = message.width * layout.channels * native.itemsize, message.height * layout.half_rows // 2
            needed = (rows - 1) * message.step + row_bytes
            if not row_bytes or not message.height or message.step < row_bytes or needed > len(message.data):
                raise BadImage(
                    "bad_size",
                    f"{message.width}x{message.height} {message.encoding} with rows of {message.step} bytes does not "
                    f"fit {len(message.data)} bytes of data",
                )
            dimensions = 2 if layout.channels == 1 else 3
            shape = (rows, message.width, layout.channels)[:dimensions]
            strides = (message.step, layout.channels * native.itemsize, native.itemsize)[:dimensions]
            wire = native.newbyteorder(">" if message.is_bigendian else "<")
            view: np.ndarray = np.ndarray(shape, wire, buffer=message.data, strides=strides)
            view.flags.writeable = False
            pixels = np.require(view, native, "A")
        if not layout.letters:
            return _by_cv_bridge(message.encoding, pixels)
        grey = layout.letters == "y"
        if pixels.dtype == np.uint16 and not (grey and stream == "thermal"):
            pixels = (depth or BitDepth()).to_8_bits(pixels)
        return pixels if grey or layout.letters == "rgb" else layout.to_rgb(pixels)
    except BadImage as error:
        error.stream = stream
        raise


def fill_image(message: Any, image: np.ndarray, encoding: str) -> Any:
    """An ``Image`` message that has its header gets ``image`` in that encoding, with unpadded rows; it is returned.

    ``rgb8``, ``bgr8`` and ``mono8`` take ``H x W x 3`` uint8, red first, or ``H x W`` uint8, and convert; ``mono16``
    and ``16UC1`` take ``H x W`` uint16. Anything else raises ``ValueError``.
    """
    kind = (encoding, image.shape[2:])
    if kind not in _TO_WIRE or image.dtype != THERMAL_LAYOUTS[encoding].dtype:
        raise ValueError(f"a {image.dtype} array of shape {image.shape} cannot be sent as encoding {encoding!r}")
    conversion = _TO_WIRE[kind]
    pixels = np.ascontiguousarray(image if conversion is None else cv2.cvtColor(image, conversion))
    message.encoding, message.step = encoding, pixels[0].nbytes
    message.height, message.width = image.shape[:2]
    message.data.frombytes(pixels.view(np.uint8))
    return message


def plain_image(image: np.ndarray, encoding: str, header: Any = None) -> Any:
    """An image message of no library; see :func:`fill_image`."""
    return fill_image(SimpleNamespace(header=header, is_bigendian=0, data=array("B")), image, encoding)


def fill_compressed(message: Any, image: np.ndarray, quality: int) -> Any:
    """A ``CompressedImage`` message that has its header gets ``image`` as JPEG of that ``quality`` (1 to 100), and is
    returned; its format is described as compressed_image_transport does.

    ``H x W x 3`` uint8, red first, or ``H x W`` uint8; ``ValueError`` for anything else.
    """
    if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"a {image.dtype} array of shape {image.shape} cannot be compressed as JPEG")
    colour = image.ndim == 3
    message.format = "rgb8; jpeg compressed bgr8" if colour else "mono8; jpeg compressed "
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colour else image
    message.data.frombytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])
    return message


@cache
def _cv_bridge() -> Any:
    try:
        from cv_bridge import CvBridge
    except (ImportError, AttributeError):  # AttributeError: compiled for another NumPy
        return None
    return CvBridge()


def _foreign_layout(encoding: str) -> Layout:
    """Of an encoding that only cv_bridge knows; the letters tell nothing."""
    bridge = _cv_bridge()
    if bridge is None:
        known = ", ".join(LAYOUTS)
        raise BadImage(
            "bad_encoding", f"encoding {reprlib.repr(encoding)} is not understood; it must be one of {known}"
        )
    try:
        dtype, channels = bridge.encoding_to_dtype_with_channels(encoding)
    except Exception as error:
        raise BadImage("bad_encoding", f"cv_bridge does not know encoding {encoding!r}: {error}") from error
    return Layout(dtype, "", channels)


def _by_cv_bridge(encoding: str, pixels: np.ndarray) -> np.ndarray:
    # cv_bridge mistakes padded rows and big-endian data.
    packed, (height, width) = np.ascontiguousarray(pixels), pixels.shape[:2]
    message = SimpleNamespace(
        encoding=encoding, height=height, width=width, step=packed[0].nbytes, is_bigendian=0, data=packed
    )
    try:
        return np.asarray(_cv_bridge().imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:
        text = f"cv_bridge cannot convert encoding {encoding!r} to rgb8: {error}"
        raise BadImage("bad_encoding", text) from error


def _decompress(message: Any, stream: Stream) -> tuple[np.ndarray, Layout]:
    if "compressedDepth" in message.format:
        text = f"format {message.format!r} is not supported; subscribe to the raw or the compressed topic instead"
        raise BadImage("bad_encoding", text)
    data = bytes(message.data)
    if not data.startswith((_PNG_SIGNATURE, JPEG_START)):
        raise BadImage("bad_encoding", f"compressed data that begin with {data[:8]!r} are neither JPEG nor PNG")
    encoding = message.format.partition(";")[0].strip()
    if stream == "thermal" and encoding in _DEEPER_THAN_JPEG and data.startswith(JPEG_START):
        text = f"a thermal image of encoding {encoding} in a JPEG (format {message.format!r}): 8 of its bits are lost"
        raise BadImage("bad_encoding", f"{text}; use PNG: set the format of the camera's compressed topic to png")
    if is_cut_off_jpeg(data):
        raise BadImage("bad_data", f"JPEG image of {len(data)} bytes is cut off")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        reason = "bad_size" if "CV_IO_MAX" in error.err else "bad_data"
        raise BadImage(reason, f"compressed image cannot be decoded: {error.err}") from error
    if pixels is None:
        raise BadImage("bad_data", f"compressed image of {len(data)} bytes cannot be decoded")
    encoding = "mono8" if pixels.ndim == 2 else ("bgr8", "bgra8")[pixels.shape[2] - 3]
    # "compressed rgb8" says that the colours were stored in exchanged places.
    return pixels, LAYOUTS[encoding.replace("bgr", "rgb") if "compressed rgb" in message.format else encoding]
