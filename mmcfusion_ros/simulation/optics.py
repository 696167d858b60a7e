"""The rig's two cameras: their lenses, their places, and which point of the drawn picture each of their pixels sees."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.simulation import canvas

RGB_SIZE = (canvas.WIDTH, canvas.HEIGHT)
THERMAL_SIZE = (640, 512)
RGB_INTRINSICS = canvas.INTRINSICS
THERMAL_INTRINSICS = np.array([[572.0, 0.0, 319.5], [0.0, 572.0, 255.5], [0.0, 0.0, 1.0]])
THERMAL_ROTATION_DEGREES = (-0.3, 0.4, 0.5)
NARROWER = np.diag([1.15, 1.15, 1.0])  # a lens that bends must not look beyond the drawn picture
THERMAL_DISTORTION = (-0.30, 0.10, 0.001, -0.001, 0.0)
RGB_DISTORTION = (-0.20, 0.05, -0.0005, 0.0005, 0.0)
PARALLAX_ITERATIONS = 4
DEPTH = Intrinsics(848, 480, np.array([[424.0, 0.0, 423.5], [0.0, 424.0, 239.5], [0.0, 0.0, 1.0]]))  # a D435's
DEPTH_X_M = -0.015  # its place beside the RGB camera


def _thermal_to_rgb() -> np.ndarray:
    homography = RGB_INTRINSICS @ _rotation() @ np.linalg.inv(THERMAL_INTRINSICS)
    return homography / homography[2, 2]


def _rotation() -> np.ndarray:
    return cv2.Rodrigues(np.radians(THERMAL_ROTATION_DEGREES))[0]


THERMAL_TO_RGB = _thermal_to_rgb()
"""3x3: a thermal pixel (x, y, 1) to the RGB pixel that sees the same point, at any distance, without distortion and
baseline."""


class Optics:
    """Both cameras, with lenses that bend if ``distorted``; the thermal one stands ``baseline_m`` to the right."""

    def __init__(self, baseline_m: float = 0.0, distorted: bool = False) -> None:
        lens = NARROWER if distorted else np.eye(3)
        self.thermal = Intrinsics(
            *THERMAL_SIZE, THERMAL_INTRINSICS @ lens, "plumb_bob", THERMAL_DISTORTION if distorted else (0.0,) * 5
        )
        self.rgb = Intrinsics(
            *RGB_SIZE, RGB_INTRINSICS @ lens, "plumb_bob", RGB_DISTORTION if distorted else (0.0,) * 5
        )
        self._baseline_m, self._distorted = baseline_m, distorted

    def calibration(self, plane_distance: float = np.inf, own_depth: bool = False) -> Calibration:
        """The truth, with a plane across the street at a distance in metres, and with the place of the depth camera."""
        return Calibration(
            rotation=_rotation(),
            translation=np.array([self._baseline_m, 0.0, 0.0]),
            thermal=self.thermal,
            rgb=self.rgb,
            plane_distance=plane_distance,
            depth_rotation=np.eye(3) if own_depth else None,
            depth_translation=np.array([DEPTH_X_M, 0.0, 0.0]) if own_depth else None,
        )

    def rgb_view(self, picture: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
        """The drawn picture, ``480 x 640 [x 3]``, as the RGB camera sees it."""
        if not self._distorted:
            return picture
        return cv2.remap(picture, *self._rgb_places, interpolation, borderMode=cv2.BORDER_REPLICATE)

    def thermal_view(self, picture: np.ndarray, inverse_depth: np.ndarray | None) -> np.ndarray:
        """The drawn picture, ``480 x 640``, as the thermal camera sees it, ``512 x 640``.

        With a baseline it needs the inverse depth (1 / metres) of the picture; what only the thermal camera could see
        repeats what is beside it.
        """
        x, y = self._thermal_places
        if self._baseline_m and inverse_depth is not None:
            x = _shifted(x, y, self._baseline_m, inverse_depth)
        return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def depth_view(self, inverse_depth: np.ndarray) -> np.ndarray:
        """The inverse depth (1 / metres) of the picture as the depth camera has it, ``480 x 848``; 0 beside it."""
        x, y = self._depth_places
        x = _shifted(x, y, DEPTH_X_M, inverse_depth)
        return cv2.remap(inverse_depth, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)

    @cached_property
    def _thermal_places(self) -> tuple[np.ndarray, np.ndarray]:
        return _places(self.thermal, _rotation())

    @cached_property
    def _depth_places(self) -> tuple[np.ndarray, np.ndarray]:
        return _places(DEPTH, np.eye(3))

    @cached_property
    def _rgb_places(self) -> tuple[np.ndarray, np.ndarray]:
        return _places(self.rgb, np.eye(3))


def _shifted(x: np.ndarray, y: np.ndarray, right_m: float, inverse_depth: np.ndarray) -> np.ndarray:
    """Where in the picture (x) a camera looks that stands so far to the right, and would look at x, y without that."""
    # A point at inverse depth w is drawn at x + w * shift: begin with the nearest that may come here.
    shift = np.float32(canvas.FOCAL_PX * right_m)
    reach = 2 * int(np.ceil(abs(shift) * inverse_depth.max())) + 1
    nearest = cv2.dilate(inverse_depth, np.ones((1, reach), np.uint8))
    shifted = x + shift * cv2.remap(nearest, x, y, cv2.INTER_NEAREST)
    for _ in range(PARALLAX_ITERATIONS):
        shifted = x + shift * cv2.remap(inverse_depth, shifted, y, cv2.INTER_LINEAR)
    return shifted


def _places(camera: Intrinsics, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel of a camera, at the place of the drawn picture's, the place (x, y) in it; float32."""
    columns, rows = np.meshgrid(np.arange(camera.width, dtype=float), np.arange(camera.height, dtype=float))
    rays = camera.rays(np.column_stack([columns.ravel(), rows.ravel()]))
    places = cv2.perspectiveTransform(rays.reshape(camera.height, camera.width, 2), canvas.INTRINSICS @ rotation)
    x, y = cv2.split(places.astype(np.float32))
    return x, y
