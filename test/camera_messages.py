"""Images as cameras send them, and what is in a message."""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="the ROS messages are not installed")

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mmcfusion_ros.stream.messages import BadImage, image_from_message

thermal_from_message, rgb_from_message = (partial(image_from_message, stream=stream) for stream in ("thermal", "rgb"))
READERS = [thermal_from_message, rgb_from_message]
NS = 1_000_000_000
WIDTH, HEIGHT = 64, 48


def ramp(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """A grey picture with some texture and a bright thing."""
    noise = np.random.default_rng(seed).integers(0, 40, (height, width))
    picture = np.linspace(20, 150, width)[None, :] + noise
    picture[height // 3 : height // 2, width // 4 : width // 2] += 60
    return picture.astype(np.uint8)


def image(pixels: np.ndarray, encoding: str) -> Image:
    """A message without a stamp."""
    message = Image(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1], step=pixels[0].nbytes)
    message.data.frombytes(np.ascontiguousarray(pixels).view(np.uint8))
    return message


def thermal_image(height: int = HEIGHT, width: int = WIDTH) -> Image:
    return image(ramp(height, width, seed=1), "mono8")


def rgb_image(height: int = HEIGHT, width: int = WIDTH) -> Image:
    grey = ramp(height, width, seed=2)
    return image(np.dstack([grey, grey // 2, 255 - grey]), "rgb8")


def pixels_of(message: Image) -> np.ndarray:
    """``H x W [x 3]`` uint8."""
    channels = 1 if message.encoding == "mono8" else 3
    pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, : message.width * channels]
    return pixels.reshape((message.height, message.width, channels)[: 2 if channels == 1 else 3])


def raw(pixels, encoding, padding=0, big_endian=False):
    """A message written byte by byte, the way a driver in C would."""
    wire = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    rows = [row.tobytes() + b"\xa5" * padding for row in wire]
    message = Image(encoding=encoding, height=len(rows), width=pixels.shape[1], step=len(rows[0]))
    message.is_bigendian = int(big_endian)
    message.data.frombytes(b"".join(rows))
    return message


def as_camera(rgb: np.ndarray, encoding: str) -> Image:
    """An even-sided RGB picture as a camera sends it, by the definition of the encoding, not by OpenCV."""
    if encoding.startswith("bayer"):
        pattern, bits = encoding[6:10], int(encoding[10:])
        colours = np.array([["rgb".index(pattern[2 * y + x]) for x in (0, 1)] for y in (0, 1)])
        height, width = rgb.shape[:2]
        chosen = np.take_along_axis(rgb, np.tile(colours, (height // 2, width // 2))[..., None], axis=2)[..., 0]
        return raw(chosen.astype(np.uint16) * 257 if bits == 16 else chosen, encoding)
    if encoding.endswith("16"):
        return raw(rgb[..., :: 1 if encoding.startswith("rgb") else -1].astype(np.uint16) * 257, encoding)
    # BT.601, limited range: https://docs.kernel.org/userspace-api/media/v4l/pixfmt-yuv.html
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = np.round(16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255).astype(np.uint8)
    u = np.round(128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255).astype(np.uint8)
    v = np.round(128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255).astype(np.uint8)
    if encoding in ("nv12", "nv21"):
        order = (u, v) if encoding == "nv12" else (v, u)
        chroma = np.stack([plane[::2, ::2] for plane in order], axis=-1).reshape(rgb.shape[0] // 2, -1)
        message = raw(np.vstack([y, chroma]), encoding)
        message.height = rgb.shape[0]
        return message
    chroma = np.where(np.arange(rgb.shape[1])[None] % 2, np.roll(v, 1, axis=1), u)
    pixels = np.stack([chroma, y] if encoding in ("yuv422", "uyvy") else [y, chroma], axis=-1)
    return raw(pixels, encoding)


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * NS + message.header.stamp.nanosec


def header(stamp: int, frame_id: str) -> Header:
    message = Header(frame_id=frame_id)
    message.stamp.sec, message.stamp.nanosec = divmod(stamp, NS)
    return message


def png_image(pixels: np.ndarray, encoding: str) -> CompressedImage:
    """As compressed_image_transport sends it, of ``H x W`` pixels."""
    message = CompressedImage(format=f"{encoding}; png compressed ")
    message.data.frombytes(cv2.imencode(".png", pixels)[1])
    return message


def noise(*shape, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def refused(reader, message) -> tuple[str, str]:
    """The reason and the text, of one line."""
    with pytest.raises(BadImage) as caught:
        reader(message)
    assert "\n" not in str(caught.value)
    return caught.value.reason, str(caught.value)
