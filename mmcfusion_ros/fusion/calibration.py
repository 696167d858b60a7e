"""Where the two cameras look."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from mmcfusion_ros.fusion.camera import Intrinsics

Kind = Literal["identity", "homography", "calibrated"]
MAX_CONDITION = 1e4
ROTATION_TOLERANCE = 1e-3
LONGEST_BASELINE_M = 10.0
CONTRADICTION = "a homography and extrinsics contradict each other; keep one of them"


@dataclass(frozen=True, eq=False)
class Calibration:
    """From the thermal camera's pixels to the RGB camera's: nothing (one field of view), a homography, or a rig.

    - ``homography`` (3x3) takes thermal pixels to RGB pixels, ``(x, y)`` from 0 at the centre of the top left one, of
      images of ``thermal_size`` and ``rgb_size`` (width, height). Files have both; without them it belongs to the
      first pair of images that a ``Registration`` gets.
    - A calibrated rig has ``rotation`` (3x3) and ``translation`` (3, metres): ``X_rgb = rotation @ X_thermal +
      translation``, in optical frames (x right, y down, z forward); ``from_frames``: TF will bring them. ``thermal``
      and ``rgb`` are the intrinsics, None where camera_info will bring them. The overlay is exact on the plane
      ``plane_normal @ X_rgb = plane_distance`` (metres; infinity: for things far away).
    - ``depth_rotation`` and ``depth_translation`` are those of a depth camera or lidar in the RGB camera's frame, as
      ``X_rgb = depth_rotation @ X_depth + depth_translation``; None if its images are aligned to the RGB camera's.

    ``ValueError`` naming the first value that is wrong.
    """

    homography: np.ndarray | None = None
    thermal_size: tuple[int, int] | None = None
    rgb_size: tuple[int, int] | None = None
    rotation: np.ndarray | None = None
    translation: np.ndarray | None = None
    thermal: Intrinsics | None = None
    rgb: Intrinsics | None = None
    plane_distance: float = np.inf
    plane_normal: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 1.0)
    depth_rotation: np.ndarray | None = None
    depth_translation: np.ndarray | None = None
    from_frames: bool = False

    def __post_init__(self) -> None:
        if self.homography is not None:
            self._set(homography=as_homography(self.homography))
        if (self.rotation is None) != (self.translation is None):
            raise ValueError("extrinsics need both a rotation and a translation")
        if self.homography is not None and self.rotation is not None:
            raise ValueError(CONTRADICTION)
        if self.rotation is not None:
            self._set(rotation=as_rotation(self.rotation), translation=as_translation(self.translation))
        if (self.depth_rotation is None) != (self.depth_translation is None):
            raise ValueError("depth_extrinsics need both a rotation and a translation")
        if self.depth_rotation is not None:
            self._set(
                depth_rotation=as_rotation(self.depth_rotation, "depth_extrinsics"),
                depth_translation=as_translation(self.depth_translation, "depth_extrinsics"),
            )
        if not self.plane_distance > 0:
            raise ValueError(
                f"plane.distance is {self.plane_distance}; it must be positive, in metres (.inf: far away)"
            )
        normal = numbers("plane.normal", self.plane_normal, (3,))
        if not np.linalg.norm(normal) > 1e-6:
            raise ValueError(f"plane.normal is {normal.tolist()}; it has no direction")
        self._set(plane_normal=normal / np.linalg.norm(normal))
        if self.translation is not None and not self.plane_distance > self.plane_normal @ self.translation:
            raise ValueError(f"plane.distance is {self.plane_distance}; the plane must lie before both cameras")

    @property
    def kind(self) -> Kind:
        """Which of the three ways it is."""
        if self.homography is not None:
            return "homography"
        return "identity" if self.rotation is None and not self.from_frames else "calibrated"

    @property
    def sizes(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """The sizes (width, height) of thermal and RGB images that it is for, None for any."""
        if self.kind != "calibrated":
            return self.thermal_size, self.rgb_size
        thermal, rgb = ((camera.width, camera.height) if camera else None for camera in (self.thermal, self.rgb))
        return thermal, rgb

    def with_intrinsics(self, thermal: Intrinsics | None, rgb: Intrinsics | None) -> Calibration:
        """Completed with intrinsics where it has none of its own."""
        return replace(self, thermal=self.thermal or thermal, rgb=self.rgb or rgb)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


def as_homography(values: object) -> np.ndarray:
    """Nine numbers, row by row, or three rows of three, as a 3x3 float64 matrix; ``ValueError`` if it is none."""
    matrix = numbers("homography", values, (3, 3))
    kilopixels = np.diag([1e-3, 1e-3, 1])
    if not np.linalg.cond(kilopixels @ matrix @ np.linalg.inv(kilopixels)) < MAX_CONDITION:
        raise ValueError("homography is singular, or nearly: it maps the thermal image to a line; calibrate again")
    if np.linalg.det(matrix / np.abs(matrix).max()) * matrix[2, 2] < 0:
        raise ValueError("homography mirrors the thermal image; its rows may be exchanged: calibrate again")
    return matrix


def as_rotation(values: object, name: str = "extrinsics") -> np.ndarray:
    """A rotation matrix as nine numbers, row by row, or a quaternion [x, y, z, w]; ``ValueError`` if it is none."""
    if np.size(np.array(values, dtype=object)) == 4:
        return _from_quaternion(numbers(f"{name}.quaternion", values, (4,)), name)
    matrix = numbers(f"{name}.rotation", values, (3, 3))
    error = np.abs(matrix @ matrix.T - np.eye(3)).max()
    if not error < ROTATION_TOLERANCE:
        raise ValueError(f"{name}.rotation is no rotation: its rows are off by {error:.2g} from unit and square")
    if np.linalg.det(matrix) < 0:
        raise ValueError(f"{name}.rotation mirrors (its determinant is -1); two of its rows may be exchanged")
    u, _, vt = np.linalg.svd(matrix)
    return u @ vt


def as_translation(values: object, name: str = "extrinsics") -> np.ndarray:
    """Three numbers in metres; ``ValueError`` if they are none, or longer than a rig can be."""
    translation = numbers(f"{name}.translation", values, (3,))
    if np.linalg.norm(translation) > LONGEST_BASELINE_M:
        raise ValueError(
            f"{name}.translation is {translation.tolist()}, {np.linalg.norm(translation):.3g} m long; "
            "it must be in metres"
        )
    return translation


def _from_quaternion(quaternion: np.ndarray, name: str) -> np.ndarray:
    norm = np.linalg.norm(quaternion)
    if not abs(norm - 1) < ROTATION_TOLERANCE:
        raise ValueError(f"{name}.quaternion has length {norm:.4g}; it must be 1: [x, y, z, w]")
    x, y, z, w = quaternion / norm
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def numbers(name: str, values: object, shape: tuple[int, ...]) -> np.ndarray:
    """A float64 array of this shape, from nested or flat lists or an OpenCV matrix; ``ValueError`` naming it."""
    values, length = without_sides(name, values), int(np.prod(shape))
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.zeros(0)
    if array.shape not in (shape, (length,)):
        from mmcfusion_ros.yaml_files import described

        count = {16: "sixteen", 9: "nine", 4: "four", 3: "three"}[length]
        row_by_row = ", row by row" * (len(shape) == 2)
        raise ValueError(f"{name} must be {count} numbers{row_by_row}, not {described(values)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has a number that is not finite; calibrate again")
    return array.reshape(shape)


def without_sides(name: str, value: Any) -> Any:
    """The numbers of a matrix as ``camera_calibration`` writes it (rows, cols and data; OpenCV adds dt); all else as it
    is. ``ValueError`` naming it."""
    if not isinstance(value, dict) or "data" not in value:
        return value
    from mmcfusion_ros.yaml_files import check_keys

    check_keys(name, value, ("rows", "cols", "data"), ("dt",))
    data, sides = value["data"], (value["rows"], value["cols"])
    if not (isinstance(data, list) and all(type(side) is int for side in sides) and sides[0] * sides[1] == len(data)):
        raise ValueError(f"{name} does not have as many values in data as its rows and cols say")
    return data
