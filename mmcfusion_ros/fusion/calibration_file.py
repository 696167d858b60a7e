"""Calibration files, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mmcfusion_ros.files import write_file
from mmcfusion_ros.fusion.calibration import (
    CONTRADICTION,
    Calibration,
    as_homography,
    as_rotation,
    as_translation,
    numbers,
    without_sides,
)
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.yaml_files import check_keys, described, read_yaml

CAMERA_KEYS = ("image_width", "image_height", "camera_matrix", "distortion_model", "distortion_coefficients")
OTHER_CAMERA_KEYS = ("camera_name", "rectification_matrix", "projection_matrix")  # which camera_calibration writes


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
    if calibration.kind == "homography" and None in calibration.sizes:
        raise ValueError("a homography file needs thermal_size and rgb_size")
    content: dict[str, Any] = {}
    if calibration.homography is not None:
        content["homography"] = calibration.homography.tolist()
    for name, size in (("thermal_size", calibration.thermal_size), ("rgb_size", calibration.rgb_size)):
        if size is not None:
            content[name] = [int(side) for side in size]
    for name, camera in (("thermal", calibration.thermal), ("rgb", calibration.rgb)):
        if camera is not None:
            lens = camera.distortion_model, [float(number) for number in camera.distortion_coefficients]
            values = camera.width, camera.height, camera.camera_matrix.tolist(), *lens
            content[name] = dict(zip(CAMERA_KEYS, values, strict=True))
    if calibration.from_frames:
        content["extrinsics"] = "tf"
    elif calibration.rotation is not None and calibration.translation is not None:
        content["extrinsics"] = _pose_content(calibration.rotation, calibration.translation)
    if calibration.kind == "calibrated":
        normal = np.asarray(calibration.plane_normal).tolist()
        content["plane"] = {"distance": float(calibration.plane_distance), "normal": normal}
    if calibration.depth_rotation is not None and calibration.depth_translation is not None:
        content["depth_extrinsics"] = _pose_content(calibration.depth_rotation, calibration.depth_translation)
    comments = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    write_file(Path(path), comments + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120))


def _pose_content(rotation: np.ndarray, translation: np.ndarray) -> dict[str, list[Any]]:
    return {"rotation": rotation.tolist(), "translation": translation.tolist()}


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
    from_frames = content["extrinsics"] == "tf"
    rotation, translation = (None, None) if from_frames else _pose("extrinsics", content["extrinsics"])
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
        from_frames=from_frames,
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
    data = without_sides(name, value)
    try:
        return tuple(float(number) for number in data)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be numbers, not {described(data)}") from error
