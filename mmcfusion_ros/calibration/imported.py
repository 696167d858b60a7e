"""Calibrations of other tools: ROS camera_info (as a file, or echoed), Kalibr's camchain, OpenCV's FileStorage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mmcfusion_ros.fusion.calibration import as_rotation, numbers
from mmcfusion_ros.fusion.calibration_file import (
    CAMERA_KEYS,
    coefficients,
    intrinsics,
    intrinsics_from_content,
    size_from_content,
)
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.stream.camera_info import intrinsics_from_message
from mmcfusion_ros.yaml_files import check_keys, read_yaml

BODY = "body"
KALIBR = ("camera_model", "intrinsics", "distortion_model", "distortion_coeffs", "resolution")
KALIBR_OTHER = ("rostopic", "T_cn_cnm1", "T_cam_imu", "cam_overlaps", "timeshift_cam_imu")
ROI = ("x_offset", "y_offset", "height", "width", "do_rectify")
PINHOLE = {  # of camodocal: the names of the projection and of the coefficients, and what ROS calls the model
    "PINHOLE": (("fx", "fy", "cx", "cy"), ("k1", "k2", "p1", "p2"), "plumb_bob"),
    "KANNALA_BRANDT": (("mu", "mv", "u0", "v0"), ("k2", "k3", "k4", "k5"), "equidistant"),
}


@dataclass(frozen=True, eq=False)
class ImportedCamera:
    """What a file says of one camera. ``label``: the words that may tell which one it is. ``pose`` (4x4, metres) takes
    points of its optical frame to those of ``frame``: another camera's, or a body's (IMU)."""

    name: str
    label: str
    intrinsics: Intrinsics | None
    frame: str = ""
    pose: np.ndarray | None = None


def read_cameras(path: Path) -> list[ImportedCamera]:
    """All cameras of a file. ``FileNotFoundError``, or ``ValueError`` naming the file and what is wrong in it."""
    content = read_yaml(path, "calibration file")
    try:
        if not isinstance(content, dict):
            raise ValueError("it holds no keys and values")
        for key, read in READERS.items():
            if any(re.fullmatch(key, str(name)) for name in content):
                return read(content, path)
        raise ValueError("it is neither ROS camera_info nor a Kalibr camchain nor OpenCV's with a known set of keys")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: a key is missing, or its value is of the wrong kind") from error


def _ros(content: Mapping[str, Any], path: Path) -> list[ImportedCamera]:
    """Of ``camera_calibration``; or of OpenCV's calibration samples, which do not name the model."""
    if "distortion_model" not in content and "avg_reprojection_error" in content:
        model = "fisheye" if content.get("fisheye_model") else _pinhole_model(content.get("distortion_coefficients"))
        content = {key: content[key] for key in CAMERA_KEYS if key in content} | {"distortion_model": model}
    lens = intrinsics_from_content("camera", content)
    return [ImportedCamera(path.stem, f"{path.stem} {content.get('camera_name', '')}", lens)]


def _echoed(content: Mapping[str, Any], path: Path) -> list[ImportedCamera]:
    """Of ``ros2 topic echo``, or of ROS 1, which writes D, K, R and P."""
    small = {key.lower() if key in "DKRP" else key: value for key, value in content.items()}
    required = ("height", "width", "distortion_model", "d", "k")
    check_keys("camera_info", small, required, ("header", "r", "p", "binning_x", "binning_y", "roi"))
    roi = check_keys("roi", small.get("roi", {}), optional=ROI)
    message = SimpleNamespace(**{"binning_x": 0, "binning_y": 0, **small})
    message.k = numbers("k", small["k"], (3, 3)).ravel()
    message.roi = SimpleNamespace(**{**dict.fromkeys(ROI, 0), **roi})
    frame = small.get("header", {}).get("frame_id", "") if isinstance(small.get("header"), dict) else ""
    return [ImportedCamera(path.stem, f"{path.stem} {frame}", intrinsics_from_message(message))]


def _kalibr(content: Mapping[str, Any], path: Path) -> list[ImportedCamera]:
    """``T_cn_cnm1`` takes points of the camera before to this one's, ``T_cam_imu`` those of the IMU."""
    cameras: list[ImportedCamera] = []
    pose = np.eye(4)
    for key in sorted(content):
        camera = check_keys(key, content[key], KALIBR, KALIBR_OTHER)
        if camera["camera_model"] != "pinhole":
            raise ValueError(f"{key}.camera_model must be pinhole")
        fx, fy, cx, cy = numbers(f"{key}.intrinsics", camera["intrinsics"], (4,))
        size = size_from_content(f"{key}.resolution", camera["resolution"])
        model, distortion = camera["distortion_model"], coefficients(key, camera["distortion_coeffs"])
        model, distortion = ("plumb_bob", ()) if model == "none" else (str(model), distortion)
        lens = intrinsics(key, size, _matrix(fx, fy, cx, cy), model, distortion)
        if cameras and "T_cn_cnm1" in camera:
            pose = pose @ np.linalg.inv(_transform(f"{key}.T_cn_cnm1", camera["T_cn_cnm1"]))
        elif cameras and "T_cam_imu" not in camera:
            raise ValueError(f"{key} has no T_cn_cnm1: it is not said where it stands")
        frame, there = str(path), pose
        if "T_cam_imu" in camera:
            frame, there = BODY, np.linalg.inv(_transform(f"{key}.T_cam_imu", camera["T_cam_imu"]))
        cameras.append(ImportedCamera(f"{path.stem}:{key}", str(camera.get("rostopic", "")), lens, frame, there))
    return cameras


def _camodocal(content: Mapping[str, Any], path: Path) -> list[ImportedCamera]:
    """The camera files of VINS."""
    if content["model_type"] not in PINHOLE:
        raise ValueError(f"model_type must be one of {', '.join(PINHOLE)}")
    projection, distortion, model = PINHOLE[content["model_type"]]
    sections = ["projection_parameters"] + ["distortion_parameters"] * (model == "plumb_bob")
    check_keys("it", content, ("model_type", "image_width", "image_height", *sections), ("camera_name",))
    all_names = projection if len(sections) == 2 else (*distortion, *projection)
    values = dict(check_keys("projection_parameters", content["projection_parameters"], all_names))
    if len(sections) == 2:
        values |= check_keys("distortion_parameters", content["distortion_parameters"], distortion)
    matrix = _matrix(*numbers("projection_parameters", [values[name] for name in projection], (4,)))
    lens = intrinsics("camera", _size(content), matrix, model, coefficients(model, [values[n] for n in distortion]))
    return [ImportedCamera(path.stem, f"{path.stem} {content.get('camera_name', '')}", lens)]


def _vins(content: Mapping[str, Any], path: Path) -> list[ImportedCamera]:
    """The configuration of VINS: ``body_T_camN`` takes points of a camera to those of the body."""
    cameras = []
    for key in sorted(name for name in content if re.fullmatch(r"body_T_cam\d", name)):
        number = key[-1]
        file = path.parent / str(content.get(f"cam{number}_calib", ""))
        lens = _camodocal(read_yaml(file), file)[0].intrinsics if file.is_file() else None
        pose = _transform(key, content[key])
        topic = str(content.get(f"image{number}_topic", ""))
        cameras.append(ImportedCamera(f"{path.stem}:cam{number}", topic, lens, BODY, pose))
    return cameras


def _stereo(content: Mapping[str, Any], path: Path) -> list[ImportedCamera]:
    """What ``cv::stereoCalibrate`` gives: ``X_2 = R X_1 + T``."""
    check_keys("it", content, ("M1", "D1", "M2", "D2", "R", "T", "image_width", "image_height"), [*content])
    transform = np.eye(4)
    transform[:3, :3] = as_rotation(numbers("R", content["R"], (3, 3)))
    transform[:3, 3] = numbers("T", content["T"], (3,))
    cameras = []
    for number, pose in (("1", np.eye(4)), ("2", np.linalg.inv(transform))):
        matrix, bent = numbers(f"M{number}", content[f"M{number}"], (3, 3)), content[f"D{number}"]
        distortion = coefficients(f"D{number}", bent)
        lens = intrinsics(f"camera {number}", _size(content), matrix, _pinhole_model(bent), distortion)
        cameras.append(ImportedCamera(f"{path.stem}:{number}", "", lens, str(path), pose))
    return cameras


READERS = {  # by a key that only this kind of file has
    "body_T_cam[0-9]": _vins,
    "model_type": _camodocal,
    "cam[0-9]": _kalibr,
    "M1": _stereo,
    "camera_matrix": _ros,
    "[kK]": _echoed,
}


def _size(content: Mapping[str, Any]) -> tuple[int, int]:
    return size_from_content("image_width and image_height", [content["image_width"], content["image_height"]])


def _pinhole_model(distortion: Any) -> str:
    """OpenCV's model of that many coefficients."""
    return "plumb_bob" if len(coefficients("distortion coefficients", distortion)) <= 5 else "rational_polynomial"


def _matrix(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _transform(name: str, values: Any) -> np.ndarray:
    """A rigid motion, 4x4."""
    matrix = numbers(name, values, (4, 4))
    if not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise ValueError(f"{name} must end with the row 0, 0, 0, 1")
    matrix[:3, :3] = as_rotation(matrix[:3, :3])
    return matrix
