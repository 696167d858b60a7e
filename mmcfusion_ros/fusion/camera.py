"""One camera's lens: from pixels to rays and back, as ``sensor_msgs/CameraInfo`` and ``camera_calibration`` say it."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np

OTHER_NAMES = {"radtan": "plumb_bob", "fisheye": "equidistant"}  # of Kalibr and of OpenCV
COEFFICIENTS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
ITERATIONS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
WIDEST_RAY = 8.0  # tangent of the angle to the optical axis, 83 degrees
INVERSE_TOLERANCE_PIXELS = 0.1


@dataclass(frozen=True, eq=False)
class Intrinsics:
    """A camera's matrix K (3x3, with its skew) and distortion for images of one size, in the names of ROS.

    ``distortion_model`` is plumb_bob (0, 4 or 5 coefficients), rational_polynomial (8, 12 or 14) or equidistant (4);
    radtan and fisheye are other names of the first and the last.
    Pixels ``(x, y)`` count from 0 at the centre of the top left one. ``ValueError`` naming the first wrong value.
    """

    width: int
    height: int
    camera_matrix: np.ndarray
    distortion_model: str = "plumb_bob"
    distortion_coefficients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        matrix = np.array(self.camera_matrix, dtype=np.float64).reshape(3, 3)
        object.__setattr__(self, "camera_matrix", matrix)
        if self.width < 1 or self.height < 1:
            raise ValueError(f"image size is {self.width}x{self.height}; both must be positive")
        if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0):
            raise ValueError(
                f"focal lengths are {matrix[0, 0]:g} and {matrix[1, 1]:g} pixels; both must be positive: "
                "calibrate the camera"
            )
        if matrix[1, 0] or not np.array_equal(matrix[2], (0, 0, 1)):
            raise ValueError("camera_matrix must be [fx, skew, cx, 0, fy, cy, 0, 0, 1], row by row")
        model = OTHER_NAMES.get(self.distortion_model, self.distortion_model)
        object.__setattr__(self, "distortion_model", model)
        if self.distortion_model not in COEFFICIENTS:
            raise ValueError(f"distortion_model is {reprlib.repr(model)}; it must be one of {', '.join(COEFFICIENTS)}")
        if len(self.distortion_coefficients) not in (counts := COEFFICIENTS[self.distortion_model]):
            raise ValueError(
                f"{len(self.distortion_coefficients)} distortion_coefficients; {self.distortion_model} has "
                + " or ".join(map(str, counts))
            )
        if not np.isfinite(self.distortion_coefficients).all():
            raise ValueError("distortion_coefficients has a number that is not finite; calibrate the camera")

    def resized(self, width: int, height: int, camera: str) -> Intrinsics:
        """For the same image scaled to another size; ``ValueError`` naming the ``camera`` if that has another shape."""
        scale = resizing((self.width, self.height), (width, height), camera)
        return replace(self, width=width, height=height, camera_matrix=scale @ self.camera_matrix)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """``N x 2`` pixels to the points ``N x 2`` (x / z, y / z) that they see; NaN where the lens model has none."""
        # OpenCV ignores the skew, so it gets points on the plane z = 1, as if that were the image.
        points = _transformed(np.linalg.inv(self.camera_matrix), np.asarray(pixels, dtype=np.float64))[:, None]
        coefficients, eye = np.array(self.distortion_coefficients), np.eye(3)
        if self._straight:
            rays = points[:, 0]
        elif self._fisheye:
            rays = cv2.fisheye.undistortPoints(points, eye, coefficients).reshape(-1, 2)
        else:
            undistort: Any = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)  # of OpenCV 4, of OpenCV 5
            rays = undistort(points, eye, coefficients, R=eye, P=eye, criteria=ITERATIONS).reshape(-1, 2)
        wrong = ~(np.abs(self.pixels(rays) - pixels).max(axis=1) < INVERSE_TOLERANCE_PIXELS)
        rays[wrong] = np.nan
        return rays

    def pixels(self, rays: np.ndarray) -> np.ndarray:
        """``N x 2`` rays (x / z, y / z) to the pixels ``N x 2`` where they are seen; NaN beyond what the lens takes.

        Beyond its largest angle a distortion polynomial folds back into the image, where it means nothing.
        """
        rays = np.ascontiguousarray(rays, dtype=np.float64)
        coefficients = np.array(self.distortion_coefficients)
        if self._straight:
            bent = rays
        elif self._fisheye:
            bent = cv2.fisheye.distortPoints(rays[:, None], np.eye(3), coefficients).reshape(-1, 2)
        else:
            points = np.column_stack([rays, np.ones(len(rays))])
            bent = cv2.projectPoints(points, np.zeros(3), np.zeros(3), np.eye(3), coefficients)[0].reshape(-1, 2)
        pixels = _transformed(self.camera_matrix, bent)
        pixels[~(np.hypot(*rays.T) < self._widest)] = np.nan
        return pixels

    @property
    def _straight(self) -> bool:
        """Without distortion, where OpenCV would need a second for what is one product."""
        return not (self._fisheye or any(self.distortion_coefficients))

    @property
    def _fisheye(self) -> bool:
        return self.distortion_model == "equidistant"

    @cached_property
    def _widest(self) -> float:
        """The tangent up to which the distorted radius grows with the undistorted one."""
        tangents = np.linspace(0, WIDEST_RAY, 4001)
        k = np.zeros(8)
        k[: min(8, len(self.distortion_coefficients))] = self.distortion_coefficients[:8]
        if self._fisheye:
            angles = np.arctan(tangents)
            radii = angles * (1 + sum(k[i] * angles ** (2 * i + 2) for i in range(4)))
        else:
            powers = tangents[:, None] ** (2, 4, 6)
            radii = tangents * (1 + powers @ k[[0, 1, 4]]) / (1 + powers @ k[[5, 6, 7]])
        falling = np.flatnonzero(~(np.diff(radii) > 0))
        return float(tangents[falling[0]]) if len(falling) else WIDEST_RAY


def _transformed(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``N x 2`` points by a 3x3 matrix whose last row is (0, 0, 1)."""
    return cv2.transform(points[:, None], matrix[:2]).reshape(-1, 2)


def resizing(old: tuple[int, int], new: tuple[int, int], camera: str) -> np.ndarray:
    """3x3: pixels of an image of size (width, height) to those of its scaled copy.

    ``ValueError`` naming the ``camera`` if the shapes differ by more than a pixel.
    """
    x, y = new[0] / old[0], new[1] / old[1]
    if abs(x * old[1] - new[1]) > 1 and abs(y * old[0] - new[0]) > 1:
        raise ValueError(
            f"the {camera} image is {new[0]}x{new[1]}, no scaled copy of the {old[0]}x{old[1]} that the calibration is "
            "for; calibrate at this resolution, or check for cropping and for exchanged cameras"
        )
    return scaling(old, new)


def scaling(old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """3x3: pixels of an image of size (width, height) to those of the same image stretched to another size."""
    x, y = new[0] / old[0], new[1] / old[1]
    return np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5], [0, 0, 1]])
