"""The encodings of image messages: how their values lie in the data."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import cv2
import numpy as np


class Layout(NamedTuple):
    """``letters``: y (grey), rgb and the like, bayer and the colours of its first four pixels, or yuv and the order.

    A row of the data has ``channels`` values of ``dtype`` for each pixel; there are ``half_rows`` rows for two rows of
    pixels.
    """

    dtype: Any
    letters: str
    channels: int
    half_rows: int = 2

    def to(self, pixels: np.ndarray, target: Literal["RGB", "GRAY"]) -> np.ndarray:
        """``H x W x 3``, red first, or ``H x W``; as it is where it is so, or grey. ``cv2.error`` for odd sizes."""
        if self.letters in ("y", target.lower()):
            return pixels
        kind, _, order = self.letters.upper().partition("_")
        name = f"YUV2{target}_{order}" if kind == "YUV" else f"{self.letters.upper()}2{target}"
        return cv2.cvtColor(pixels, getattr(cv2, f"COLOR_{name}"))


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
