"""Where sensors stand beside each other, by the fixed transforms of ``/tf_static``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mmcfusion_ros.fusion.calibration import Calibration, as_rotation, as_translation
from mmcfusion_ros.stream.camera_info import CameraInfoRegistration


class StaticFrames:
    """The transforms of ``tf2_msgs/TFMessage``, each by its child frame."""

    def __init__(self) -> None:
        self._parents: dict[str, Any] = {}

    def take(self, message: Any) -> None:
        """A message of ``/tf_static``."""
        self._parents |= {_bare(one.child_frame_id): one for one in message.transforms}

    def pose(self, target: str, source: str) -> tuple[np.ndarray, np.ndarray]:
        """Rotation (3x3) and translation (m): ``X_target = rotation @ X_source + translation``. ``ValueError`` naming
        the frames that nothing connects, or the transform that is none."""
        (root, to_root), (other, from_source) = self._to_root(_bare(target)), self._to_root(_bare(source))
        if root != other:
            raise ValueError(f"/tf_static does not connect {source} with {target}")
        place = np.linalg.inv(to_root) @ from_source
        return place[:3, :3], as_translation(place[:3, 3], f"/tf_static from {source} to {target}")

    def _to_root(self, frame: str) -> tuple[str, np.ndarray]:
        """The frame that has no parent, and the 4x4 matrix from this one to it."""
        matrix = np.eye(4)
        for _ in range(len(self._parents) + 1):
            if frame not in self._parents:
                return frame, matrix
            one = self._parents[frame].transform
            turn, move = one.rotation, one.translation
            step = np.eye(4)
            step[:3, :3] = as_rotation([turn.x, turn.y, turn.z, turn.w], f"/tf_static of {frame}")
            step[:3, 3] = move.x, move.y, move.z
            matrix, frame = step @ matrix, _bare(self._parents[frame].header.frame_id)
        raise ValueError(f"/tf_static goes in a circle at {frame}")


class PlacedRegistration(CameraInfoRegistration):
    """Completed also by where the thermal camera stands, by ``frames``."""

    def __init__(
        self, calibration: Calibration, before: CameraInfoRegistration | None = None, frames: StaticFrames | None = None
    ) -> None:
        super().__init__(calibration, before)
        self.frames = frames or StaticFrames()
        self._pose = np.zeros((3, 3)), np.zeros(3)

    def place(self, thermal_frame: str, rgb_frame: str) -> None:
        """Of images in these frames; what is wrong with them is in the problems."""
        try:
            if _bare(thermal_frame) == _bare(rgb_frame):
                raise ValueError(f"thermal and RGB images have the same frame, {rgb_frame or 'none'}")
            pose = self.frames.pose(rgb_frame, thermal_frame)
            if any(not np.array_equal(*both) for both in zip(pose, self._pose, strict=True)):
                self._calibration = replace(self._calibration, rotation=pose[0], translation=pose[1])
                self._pose = pose
                self._complete()
            self._wrong.pop("extrinsics", None)
        except ValueError as error:
            self._wrong["extrinsics"] = f"extrinsics: {error}"


def _bare(frame: str) -> str:
    return frame.removeprefix("/")
