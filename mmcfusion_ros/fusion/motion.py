"""The turning camera: an older thermal image is moved as far as the RGB image has moved since."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 128  # pixels, of the square that images are compared at
LEAST = 0.5  # pixels of the image: less is no motion
GAIN = 0.8  # times the difference without the shift: what explains the change must leave less


class CameraMotion:
    """Follows the RGB image from the moment of a thermal frame on, by phase correlation (Kuglin and Hines 1975;
    ``cv2.phaseCorrelate``). It is one shift for the whole image, as a camera that turns makes it: people who walk are
    not followed."""

    def __init__(self) -> None:
        self._thermal_stamp_ns = -1
        self._reference = np.zeros((0, 0), np.float32)
        self._window = cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F)

    def __call__(
        self, thermal: np.ndarray, weight: np.ndarray | None, luminance: np.ndarray, thermal_stamp_ns: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """A registered thermal image and its weight (see ``Registration.warp``) where they are at the moment of the
        luminance; all ``H x W`` uint8. What comes into view has the weight 0."""
        right, down = self.shift(luminance, thermal_stamp_ns)
        if not right and not down:
            return thermal, weight
        seen = np.full_like(thermal, 255) if weight is None else weight
        return _moved(thermal, right, down), _moved(seen, right, down, cv2.BORDER_CONSTANT)

    def shift(self, luminance: np.ndarray, thermal_stamp_ns: int) -> tuple[float, float]:
        """To the right and down, in pixels of the next luminance, from the first one with that thermal frame; 0 where
        none can be told."""
        small = cv2.resize(luminance, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        if thermal_stamp_ns != self._thermal_stamp_ns:
            self._thermal_stamp_ns, self._reference = thermal_stamp_ns, small
            return 0.0, 0.0
        copies = self._reference.copy(), small.copy()  # OpenCV multiplies them by the window in place
        (x, y), _ = cv2.phaseCorrelate(*copies, self._window)
        height, width = luminance.shape
        right, down = x * width / SIDE, y * height / SIDE
        found = np.hypot(right, down) >= LEAST and self._explains(small, x, y)
        return (right, down) if found else (0.0, 0.0)

    def _explains(self, small: np.ndarray, x: float, y: float) -> bool:
        margin = int(np.ceil(max(abs(x), abs(y))))
        if 4 * margin > SIDE:
            return False
        inside = np.s_[margin : SIDE - margin, margin : SIDE - margin]
        moved = _moved(self._reference, x, y)
        before, after = (cv2.absdiff(image[inside], small[inside]).mean() for image in (self._reference, moved))
        return bool(after < GAIN * before)


def _moved(image: np.ndarray, right: float, down: float, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float64)
    return cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=border)
