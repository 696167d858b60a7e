"""Where the two cameras look: what a calibration file says, checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.yaml_files import check_keys, described, read_yaml

Kind = Literal["identity", "homography", "calibrated"]
MAX_CONDITION = 1e4
ROTATION_TOLERANCE = 1e-3
LONGEST_BASELINE_M = 10.0
CONTRADICTION = "a homography and extrinsics contradict each other; keep one of them"
CAMERA_KEYS = ("image_width", "image_height", "camera_matrix", "distortion_model", "distortion_coefficients")
OTHER_CAMERA_KEYS = ("camera_name", "rectification_matrix", "projection_matrix")  # which camera_calibration writes


@dataclass(frozen=True, eq=False)
class Calibration:
    """From the thermal camera's pixels to the RGB camera's: nothing (one field of view), a homography, or a rig.

    - ``homography`` (3x3) takes thermal pixels to RGB pixels, ``(x, y)`` from 0 at the centre of the top left one, of
      images of ``thermal_size`` and ``rgb_size`` (width, height). Files have both; without them it belongs to the
      first pair of images that a ``Registration`` gets.
    - A calibrated rig has ``rotation`` (3x3) and ``translation`` (3, metres): ``X_rgb = rotation @ X_thermal +
      translation``, in optical frames (x right, y down, z forward). ``thermal`` and ``rgb`` are the intrinsics, None
      where camera_info will bring them. The overlay is exact on the plane ``plane_normal @ X_rgb = plane_distance``
      (metres; infinity: for things far away).
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
        return "identity" if self.rotation is None else "calibrated"

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


def load_calibration(path: str | Path) -> Calibration:
    """Reads a file like ``config/calibration.example.yaml``.

    Raises ``FileNotFoundError``, or ``ValueError`` naming the file and what is wrong in it.
    """
    content = read_yaml(path, "calibration file")
    try:
        return calibration_from_content(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def save_calibration(calibration: Calibration, path: str | Path, comment: str = "") -> None:
    """Writes a file that ``load_calibration`` reads; the lines of ``comment`` come first, behind ``#``.

    ``ValueError`` for a homography without the sizes that belong to it; an ``OSError`` keeps the file of before.
    """
    from mmcfusion_ros.files import write_file  # the node only reads

    if calibration.kind == "homography" and None in calibration.sizes:
        raise ValueError("a homography file needs thermal_size and rgb_size")
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    if calibration.homography is not None:
        lines += _matrix_lines("homography", calibration.homography)
    for name, size in (("thermal_size", calibration.thermal_size), ("rgb_size", calibration.rgb_size)):
        if size is not None:
            lines.append(f"{name}: [{size[0]}, {size[1]}]")
    for name, intrinsics in (("thermal", calibration.thermal), ("rgb", calibration.rgb)):
        if intrinsics is not None:
            lines += [f"{name}:", *("  " + line for line in _intrinsics_lines(intrinsics))]
    if calibration.rotation is not None and calibration.translation is not None:
        lines += _extrinsics_lines("extrinsics", calibration.rotation, calibration.translation)
        distance = ".inf" if np.isinf(calibration.plane_distance) else repr(float(calibration.plane_distance))
        lines += ["plane:", f"  distance: {distance}", f"  normal: {_row(np.asarray(calibration.plane_normal))}"]
    if calibration.depth_rotation is not None and calibration.depth_translation is not None:
        lines += _extrinsics_lines("depth_extrinsics", calibration.depth_rotation, calibration.depth_translation)
    write_file(Path(path), "\n".join(lines) + "\n")


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
    values = _data(name, values)
    count = {16: "sixteen", 9: "nine", 4: "four", 3: "three"}[int(np.prod(shape))]
    text = f"{name} must be {count} numbers{', row by row' * (len(shape) == 2)}, not {described(values)}"
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(text) from error
    if array.shape not in (shape, (int(np.prod(shape)),)):
        raise ValueError(text)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has a number that is not finite; calibrate again")
    return array.reshape(shape)


def calibration_from_content(content: object) -> Calibration:
    """Of a file's content; ``ValueError`` naming the first key or value that is wrong."""
    if not isinstance(content, dict) or not content.keys() & {"homography", "extrinsics"}:
        raise ValueError(
            "no key homography or extrinsics; write 'homography: [nine numbers, row by row]', "
            "or see config/calibration.example.yaml"
        )
    if "homography" in content and "extrinsics" in content:
        raise ValueError(CONTRADICTION)
    plain = "homography" in content
    required = ("homography", "thermal_size", "rgb_size") if plain else ("extrinsics",)
    check_keys("the file", content, required, () if plain else ("thermal", "rgb", "plane", "depth_extrinsics"))
    if plain:
        thermal_size, rgb_size = (size_from_content(name, content[name]) for name in ("thermal_size", "rgb_size"))
        return Calibration(as_homography(content["homography"]), thermal_size, rgb_size)
    thermal, rgb = (
        intrinsics_from_content(name, content[name]) if name in content else None for name in ("thermal", "rgb")
    )
    rotation, translation = _pose("extrinsics", content["extrinsics"])
    depth = _pose("depth_extrinsics", content["depth_extrinsics"]) if "depth_extrinsics" in content else (None, None)
    plane = check_keys("plane", content.get("plane", {}), optional=("distance", "normal"))
    return Calibration(
        rotation=rotation,
        translation=translation,
        depth_rotation=depth[0],
        depth_translation=depth[1],
        plane_distance=_distance(plane.get("distance", np.inf)),
        plane_normal=plane.get("normal", (0.0, 0.0, 1.0)),
        thermal=thermal,
        rgb=rgb,
    )


def _pose(name: str, content: object) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation of a file's key."""
    turn = "quaternion" if isinstance(content, dict) and "quaternion" in content else "rotation"
    extrinsics = check_keys(name, content, (turn, "translation"))
    return as_rotation(extrinsics[turn], name), as_translation(extrinsics["translation"], name)


def _distance(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"plane.distance is {described(value)}; it must be a number, in metres (.inf: far away)")
    return float(value)


def size_from_content(name: str, value: object) -> tuple[int, int]:
    """Width and height in pixels; ``ValueError`` naming it."""
    if not (isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)):
        raise ValueError(f"{name} must be [width, height] in pixels, not {described(value)}")
    return value[0], value[1]


def intrinsics_from_content(name: str, content: object) -> Intrinsics:
    """From the keys of a file that ROS ``camera_calibration`` wrote; ``ValueError`` naming the camera and the key."""
    camera = check_keys(name, content, CAMERA_KEYS, OTHER_CAMERA_KEYS)
    width, height = size_from_content(
        f"{name}.image_width and image_height", [camera["image_width"], camera["image_height"]]
    )
    matrix = numbers(f"{name}.camera_matrix", camera["camera_matrix"], (3, 3))
    distortion = coefficients(f"{name}.distortion_coefficients", camera["distortion_coefficients"])
    model = camera["distortion_model"]
    if not isinstance(model, str):
        raise ValueError(f"{name}.distortion_model is {described(model)}; it must be a name")
    return intrinsics(name, (width, height), matrix, model, distortion)


def intrinsics(
    name: str, size: tuple[int, int], matrix: np.ndarray, model: str, distortion: tuple[float, ...]
) -> Intrinsics:
    """Those of a camera of that name, whose errors name it; the centre must lie in the image of ``size``."""
    width, height = size
    if not (0 <= matrix[0, 2] < width and 0 <= matrix[1, 2] < height):
        raise ValueError(
            f"{name}.camera_matrix has its centre at ({matrix[0, 2]:g}, {matrix[1, 2]:g}), outside of the "
            f"{width}x{height} image; it belongs to another resolution or camera"
        )
    try:
        return Intrinsics(width, height, matrix, model, distortion)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def coefficients(name: str, value: object) -> tuple[float, ...]:
    """Any number of numbers; ``ValueError`` naming them."""
    data = _data(name, value)
    try:
        return tuple(float(number) for number in data)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be numbers, not {described(data)}") from error


def _data(name: str, value: Any) -> Any:
    """``camera_calibration`` writes a matrix as rows, cols and data; OpenCV adds dt."""
    if not isinstance(value, dict) or "data" not in value:
        return value
    check_keys(name, value, ("rows", "cols", "data"), ("dt",))
    data, sides = value["data"], (value["rows"], value["cols"])
    if not (isinstance(data, list) and all(type(side) is int for side in sides) and sides[0] * sides[1] == len(data)):
        raise ValueError(f"{name} does not have as many values in data as its rows and cols say")
    return data


def _intrinsics_lines(camera: Intrinsics) -> list[str]:
    return [
        f"image_width: {camera.width}",
        f"image_height: {camera.height}",
        *_matrix_lines("camera_matrix", camera.camera_matrix),
        f"distortion_model: {camera.distortion_model}",
        f"distortion_coefficients: {_row(np.array(camera.distortion_coefficients))}",
    ]


def _extrinsics_lines(name: str, rotation: np.ndarray, translation: np.ndarray) -> list[str]:
    indented = ("  " + line for line in _matrix_lines("rotation", rotation))
    return [f"{name}:", *indented, f"  translation: {_row(translation)}"]


def _matrix_lines(name: str, matrix: np.ndarray) -> list[str]:
    rows = [_row(row)[1:-1] for row in matrix]
    indent = " " * (len(name) + 3)
    return [f"{name}: [{rows[0]},", *(f"{indent}{row}," for row in rows[1:-1]), f"{indent}{rows[-1]}]"]


def _row(values: np.ndarray) -> str:
    return "[" + ", ".join(repr(float(value)) for value in values) + "]"
