"""Images as cameras send them, and what is in a message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="the ROS messages are not installed")

from sensor_msgs.msg import Image
from std_msgs.msg import Header

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


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * NS + message.header.stamp.nanosec


def header(stamp: int, frame_id: str) -> Header:
    message = Header(frame_id=frame_id)
    message.stamp.sec, message.stamp.nanosec = divmod(stamp, NS)
    return message
