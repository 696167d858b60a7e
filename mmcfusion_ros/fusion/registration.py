"""From the thermal camera's pixel grid to the RGB camera's."""

from __future__ import annotations

import reprlib
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import yaml

Size = tuple[int, int]

MAX_CONDITION = 1e4


class Registration:
    """Brings thermal images onto the RGB pixel grid.

    ``homography`` (3x3) takes thermal pixels to RGB pixels, ``(x, y)`` from 0 at the centre of the top left pixel.
    Without one, both cameras see the same field of view. ``ValueError`` if the matrix is none.
    """

    def __init__(self, homography: np.ndarray | None = None) -> None:
        self.homography = None
        if homography is not None:
            self.homography = as_homography(homography)
            self._maps = lru_cache(maxsize=1)(partial(_build_maps, self.homography))

    def corrected(self, correction: np.ndarray) -> Registration:
        """This registration followed by a homography (3x3) from RGB pixels to RGB pixels."""
        return Registration(correction if self.homography is None else correction @ self.homography)

    def warp(self, thermal: np.ndarray, rgb_size: Size) -> tuple[np.ndarray, np.ndarray | None]:
        """``H x W`` uint8 or uint16 onto the grid of ``rgb_size`` (height, width), and where it is valid.

        The mask is uint8 of that size: 255 where the thermal camera sees the pixel, 0 where it does not and the
        nearest edge of the thermal image is repeated; ``None`` if it sees them all. An image that is on the grid
        already is returned as it is, not copied. ``ValueError`` if the thermal camera sees nothing of the RGB image.
        """
        if self.homography is not None:
            positions, weights, valid = self._maps(thermal.shape, rgb_size)
            return cv2.remap(thermal, positions, weights, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), valid
        if thermal.shape == rgb_size:
            return thermal, None
        return cv2.resize(thermal, rgb_size[::-1], interpolation=cv2.INTER_LINEAR), None


def fill_outside(image: np.ndarray, luminance: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """``image`` where ``valid`` is 255, ``luminance`` elsewhere; all ``H x W`` uint8.

    Before the network it keeps the border of the thermal image from being seen as an edge, after it it passes the
    RGB camera's luminance through. Without a mask ``image`` is returned as it is.
    """
    return image if valid is None else cv2.copyTo(image, valid, luminance.copy())


def load_homography(path: str | Path) -> np.ndarray:
    """The 3x3 float64 matrix under the key ``homography`` of a YAML file, see ``config/calibration.example.yaml``.

    Raises ``FileNotFoundError``, or ``ValueError`` naming the file and what is wrong in it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"calibration file {path} does not exist")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or "homography" not in content:
        raise ValueError(f"{path} has no key homography; write 'homography: [nine numbers, row by row]'")
    try:
        return as_homography(content["homography"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def as_homography(values: object) -> np.ndarray:
    """Nine numbers, row by row, or three rows of three, as a 3x3 float64 matrix; ``ValueError`` if it is none."""
    shape_error = f"homography must be nine numbers, row by row, not {reprlib.repr(values)}"
    try:
        matrix = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(shape_error) from error
    if matrix.shape not in ((9,), (3, 3)):
        raise ValueError(shape_error)
    if not np.isfinite(matrix).all():
        raise ValueError("homography has a number that is not finite; calibrate again")
    matrix = matrix.reshape(3, 3)
    kilopixels = np.diag([1e-3, 1e-3, 1])
    if not np.linalg.cond(kilopixels @ matrix @ np.linalg.inv(kilopixels)) < MAX_CONDITION:
        raise ValueError("homography is singular, or nearly: it maps the thermal image to a line; calibrate again")
    return matrix


def _build_maps(
    homography: np.ndarray, thermal_size: Size, rgb_size: Size
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The two fixed-point maps for ``cv2.remap`` and the mask of ``Registration.warp``."""
    (thermal_height, thermal_width), (height, width) = thermal_size, rgb_size
    # Scaled such that the third coordinate is positive on the side of the camera where the thermal centre lies.
    centre = np.array([(thermal_width - 1) / 2, (thermal_height - 1) / 2, 1])
    inverse = np.linalg.inv(homography) * (homography[2] @ centre)
    columns, rows = np.arange(width), np.arange(height)[:, None]
    x, y, depth = (a * columns + b * rows + c for a, b, c in inverse)
    in_front = depth > 1e-9
    depth[~in_front] = np.inf
    x /= depth
    y /= depth
    seen = in_front & (x > -0.5) & (x < thermal_width - 0.5) & (y > -0.5) & (y < thermal_height - 0.5)
    if not seen.any():
        raise ValueError(
            f"homography maps the {thermal_width}x{thermal_height} thermal image outside of the {width}x{height} RGB "
            "image; it must take thermal pixels to RGB pixels"
        )
    x = np.clip(x, -1, thermal_width).astype(np.float32)
    y = np.clip(y, -1, thermal_height).astype(np.float32)
    positions, weights = cv2.convertMaps(x, y, cv2.CV_16SC2)
    return positions, weights, None if seen.all() else seen.astype(np.uint8) * 255
