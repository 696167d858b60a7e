"""A canvas that takes both spectra at once, and the pinhole projection of the street's world onto it.

World: metres; x to the right, y up from the road, z along the street; the camera stands at (0, 1.7, 0).
A *paint* is (red, green, blue, temperature): one drawn shape lands in both spectra on the very same pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import cv2
import numpy as np

WIDTH, HEIGHT = 640, 480
FOCAL_PX = 500.0
INTRINSICS = np.array([[FOCAL_PX, 0.0, 319.5], [0.0, FOCAL_PX, 239.5], [0.0, 0.0, 1.0]])
CAMERA = np.array([0.0, 1.7, 0.0])
YAW_LEFT, PITCH_UP = np.radians(4.5), np.radians(1.2)

COLDEST_CELSIUS, STEPS_PER_KELVIN = -25.0, 3.0

Paint = tuple[float, float, float, float]

_SUBPIXEL_BITS = 4
_HALF_CIRCLES = np.pi * np.stack([np.linspace(0.5, 1.5, 7), np.linspace(-0.5, 0.5, 7)])


def _camera_from_world() -> np.ndarray:
    """3x3, world directions to camera ones (x right, y down, z forward)."""
    yaw = np.array([[np.cos(YAW_LEFT), 0, np.sin(YAW_LEFT)], [0, 1, 0], [-np.sin(YAW_LEFT), 0, np.cos(YAW_LEFT)]])
    pitch = np.array([[1, 0, 0], [0, np.cos(PITCH_UP), np.sin(PITCH_UP)], [0, -np.sin(PITCH_UP), np.cos(PITCH_UP)]])
    return pitch @ yaw @ np.diag([1.0, -1.0, 1.0])


CAMERA_FROM_WORLD = _camera_from_world()
PIXEL_FROM_WORLD = INTRINSICS @ CAMERA_FROM_WORLD


def project(points: np.ndarray) -> np.ndarray:
    """World points ``... x 3`` to pixels ``... x 2`` (x, y); integer coordinates are pixel centres."""
    homogeneous = (points - CAMERA) @ PIXEL_FROM_WORLD.T
    return homogeneous[..., :2] / np.maximum(homogeneous[..., 2:], 0.3)


def pixels_per_metre(point: np.ndarray) -> float:
    """The scale of the picture at a world point."""
    return FOCAL_PX / max(float(CAMERA_FROM_WORLD[2] @ (point - CAMERA)), 0.3)


def to_level(celsius: float) -> float:
    """Degrees Celsius to the canvas's 8-bit temperature level."""
    return min(max((celsius - COLDEST_CELSIUS) * STEPS_PER_KELVIN, 0.0), 255.0)


def paint(rgb: Iterable[float], celsius: float) -> Paint:
    """A colour (0..255, clipped) at a temperature."""
    red, green, blue = (min(max(float(channel), 0.0), 255.0) for channel in rgb)
    return red, green, blue, to_level(celsius)


def paints(rgb: np.ndarray, celsius: np.ndarray) -> list[Paint]:
    """Colours ``N x 3`` (0..255, clipped) at ``N`` temperatures."""
    levels = (celsius - COLDEST_CELSIUS) * STEPS_PER_KELVIN
    return np.clip(np.column_stack([rgb, levels]), 0, 255).tolist()


class Canvas:
    """``pixels``: ``480 x 640 x 4`` uint8: red, green, blue, temperature level."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def surfaces(self, corners: np.ndarray, counts: Sequence[int], colours: Sequence[Paint]) -> None:
        """Fills flat outlines, anti-aliased, in the order given: the first ``counts[0]`` of the world points
        ``N x 3`` are the corners of the first outline, and so on."""
        points, start = _fixed_point(project(corners)), 0
        for count, colour in zip(counts, colours, strict=True):
            outline = points[start : start + count]
            cv2.fillPoly(self.pixels, [outline], colour, cv2.LINE_AA, _SUBPIXEL_BITS)
            start += count

    def disc(self, centre: np.ndarray, radius: float, colour: Paint) -> None:
        """Fills a disc; centre (x, y) and radius in pixels."""
        x, y = _fixed_point(centre).tolist()
        radius_fixed = max(int(radius * (1 << _SUBPIXEL_BITS)), 1)
        cv2.circle(self.pixels, (x, y), radius_fixed, colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)

    def capsules(self, ends: np.ndarray, radii: np.ndarray, colours: Sequence[Paint]) -> None:
        """Fills tapered capsules in the order given: ends ``N x 2 x 2`` and radii ``N x 2`` in pixels."""
        along = ends[:, 1] - ends[:, 0]
        angle = np.arctan2(along[:, 1], along[:, 0])[:, None, None] + _HALF_CIRCLES
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        outlines = _fixed_point(ends[:, :, None] + radii[:, :, None, None] * circle).reshape(len(ends), -1, 2)
        for outline, colour in zip(outlines, colours, strict=True):
            cv2.fillConvexPoly(self.pixels, outline, colour, cv2.LINE_AA, _SUBPIXEL_BITS)

    def darken(self, outline: np.ndarray, strength: float) -> None:
        """Casts a soft shadow, RGB only, over an outline of pixels ``N x 2``."""
        softness = int(np.clip(0.08 * np.ptp(outline, axis=0).min(), 1, 12))
        box = clipped_box(outline, margin=2 * softness)
        if box is None:
            return
        rows, columns = box
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        shifted = outline - (columns.start, rows.start)
        cv2.fillPoly(mask, [_fixed_point(shifted)], strength, cv2.LINE_8, _SUBPIXEL_BITS)
        mask = cv2.blur(mask, (2 * softness + 1, 2 * softness + 1))
        region = self.pixels[box]
        shadow = cv2.multiply(region, np.array([0.0, 0.0, 0.0, 1.0]))
        self.pixels[box] = cv2.blendLinear(region, shadow, 1 - mask, mask)

    def glow(self, centre: np.ndarray, half_width: float, half_height: float, rgb: tuple[float, float, float]) -> None:
        """Adds a soft blob of light, RGB only; centre (x, y) and extents in pixels."""
        width, height = 2 * round(half_width) + 1, 2 * round(half_height) + 1
        left, top = (np.rint(centre).astype(int) - (width // 2, height // 2)).tolist()
        box = clipped_box(np.array([(left, top), (left + width - 1, top + height - 1)]), margin=0)
        if box is None:
            return
        rows, columns = box
        blob = cv2.resize(_blob(rgb), (width, height), interpolation=cv2.INTER_LINEAR)
        blob = blob[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        self.pixels[box] = cv2.add(self.pixels[box], blob)


@cache
def _blob(rgb: tuple[float, float, float]) -> np.ndarray:
    """``65 x 65 x 4`` uint8, brightest in the middle, no temperature."""
    square = np.linspace(-1, 1, 65) ** 2
    falloff = np.maximum(1 - square[:, None] - square[None, :], 0) ** 3
    return (falloff[..., None] * np.array([*rgb, 0.0])).astype(np.uint8)


def clipped_box(points: np.ndarray, margin: float) -> tuple[slice, slice] | None:
    """Rows and columns of the picture that ``points`` (``N x 2`` pixels) cover, or None where they miss it."""
    left, top = np.floor(points.min(axis=0) - margin).astype(int)
    right, bottom = np.ceil(points.max(axis=0) + margin).astype(int) + 1
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, WIDTH), min(bottom, HEIGHT)
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def _fixed_point(points: np.ndarray) -> np.ndarray:
    return np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
