"""Which thermal pixel an RGB pixel sees, and vice versa. Sizes are (width, height), points ``N x 2`` (x, y)."""

from __future__ import annotations

import numpy as np

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.camera import Intrinsics, resizing, scaling

Size = tuple[int, int]
NEAREST_DEPTH = 1e-9


class Geometry:
    """A calibration for images of two given sizes.

    ``ValueError`` if a size is no scaled copy of the calibration's, or intrinsics or extrinsics are missing.
    """

    def __init__(self, calibration: Calibration, thermal_size: Size, rgb_size: Size) -> None:
        self._calibrated = calibration.kind == "calibrated"
        if self._calibrated:
            if calibration.rotation is None:
                raise ValueError("no extrinsics: /tf_static has not told where the thermal camera is")
            self.thermal = _intrinsics("thermal", calibration.thermal, thermal_size)
            self.rgb = _intrinsics("rgb", calibration.rgb, rgb_size)
            self._rotation = np.asarray(calibration.rotation)
            self._translation = np.asarray(calibration.translation)
            self._distance, self._normal = calibration.plane_distance, np.asarray(calibration.plane_normal)
        else:
            homography = _homography(calibration, thermal_size, rgb_size)
            # The third coordinate becomes positive on the side of the camera where the thermal centre lies.
            centre = ((thermal_size[0] - 1) / 2, (thermal_size[1] - 1) / 2, 1)
            self._homography = homography / (homography[2] @ centre)

    def thermal_pixels(self, rgb_pixels: np.ndarray, depth_m: float | None = None) -> np.ndarray:
        """Where the thermal camera sees what these RGB pixels see; NaN where it is behind it or beyond its lens.

        ``depth_m``: distance of the thing along the RGB camera's optical axis; without it, it lies on the plane.
        """
        if not self._calibrated:
            return apply_homography(np.linalg.inv(self._homography), rgb_pixels)
        far, move, on_plane = self.thermal_points(rgb_pixels)
        inverse_depth = on_plane if depth_m is None else np.full(len(far), 1 / depth_m)
        return self.thermal.pixels(_divide(far + inverse_depth[:, None] * move))

    def thermal_points(self, rgb_pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a calibrated rig, where what these RGB pixels see lies in the thermal camera's frame, up to scale.

        It is ``far + inverse_depth * move`` (``N x 3`` and 3), with the inverse depth (1 / metres) along the RGB
        camera's optical axis; the third result is that of the plane (``N``). It is finite for things at infinity.
        """
        rays = _homogeneous(self.rgb.rays(rgb_pixels))
        # X_thermal = R^T (X_rgb - t), divided by the depth.
        on_plane = np.maximum(rays @ self._normal, 0) / self._distance
        return rays @ self._rotation, -self._translation @ self._rotation, on_plane

    def rgb_pixels(self, thermal_pixels: np.ndarray) -> np.ndarray:
        """Where the overlay draws these thermal pixels: the RGB pixels of their points on the plane."""
        if not self._calibrated:
            return apply_homography(self._homography, thermal_pixels)
        # n (s R ray + t) = d, where s is the depth from the thermal camera.
        rays = _homogeneous(self.thermal.rays(thermal_pixels)) @ self._rotation.T
        inverse_depth = np.maximum(rays @ self._normal, 0) / (self._distance - self._normal @ self._translation)
        return self.rgb.pixels(_divide(rays + inverse_depth[:, None] * self._translation))


def _intrinsics(name: str, camera: Intrinsics | None, size: Size) -> Intrinsics:
    if camera is None:
        raise ValueError(
            f"no intrinsics of the {name} camera: no {name}/camera_info has come, and the calibration file has no key "
            f"{name}"
        )
    return camera.resized(*size, name)


def _homography(calibration: Calibration, thermal_size: Size, rgb_size: Size) -> np.ndarray:
    if calibration.homography is None:
        return scaling(thermal_size, rgb_size)
    from_thermal = resizing(calibration.thermal_size or thermal_size, thermal_size, "thermal")
    to_rgb = resizing(calibration.rgb_size or rgb_size, rgb_size, "rgb")
    return to_rgb @ calibration.homography @ np.linalg.inv(from_thermal)


def apply_homography(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``N x 2`` points through a 3x3 matrix; NaN where the third coordinate is not positive."""
    return _divide(_homogeneous(points) @ homography.T)


def _homogeneous(points: np.ndarray) -> np.ndarray:
    return np.column_stack([points, np.ones(len(points))])


def _divide(points: np.ndarray) -> np.ndarray:
    depth = np.where(points[:, 2] > NEAREST_DEPTH, points[:, 2], np.nan)
    return points[:, :2] / depth[:, None]
