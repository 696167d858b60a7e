"""A homography from a board that both cameras see at one distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mmcfusion_ros.alignment.find import ImagePair, transformed
from mmcfusion_ros.calibration.boards import Board, check_coverage, find_boards, rms

LARGEST_ERROR_PX = 3.0
OUTLIER_PX = 5.0
LEAST_POINTS = 12
LEAST_AREA = 0.1


@dataclass(frozen=True, eq=False)
class BoardHomography:
    """``homography`` from thermal to RGB pixels, ``views`` (indices of the pairs in which both boards were found),
    and the reprojection error of each of them in RGB pixels (root mean square over its points)."""

    homography: np.ndarray
    views: list[int]
    errors_px: list[float]


def homography_from_boards(pairs: Sequence[ImagePair], board: Board) -> BoardHomography:
    """The homography that takes the board's points in the thermal images to those in the RGB images.

    ``pairs`` are thermal and RGB luminance, uint8. It is exact at the distance of the board, so hold it where the robot
    looks. ``ValueError`` with the reason where the result would not be good enough.
    """
    found = [
        (view.index, view.thermal.reshape(-1, 2), view.rgb.reshape(-1, 2))
        for view in find_boards(pairs, board)
        if view.thermal is not None and view.rgb is not None
    ]
    if not found:
        raise ValueError(f"no calibration: no pair of {len(pairs)} shows the {board} in both images")
    sources, targets = (np.concatenate([view[i] for view in found]) for i in (1, 2))
    homography, inliers = cv2.findHomography(sources, targets, cv2.RANSAC, OUTLIER_PX)
    if homography is None or inliers.sum() < max(LEAST_POINTS, len(sources) // 2):
        raise ValueError("no calibration: the boards of the views do not agree; did a camera or the distance change?")
    errors = [_rms(homography, thermal, rgb) for _, thermal, rgb in found]
    result = BoardHomography(homography, [view[0] for view in found], errors)
    _refuse_if_bad(result, targets, pairs[0][1].shape)
    return result


def _rms(homography: np.ndarray, thermal: np.ndarray, rgb: np.ndarray) -> float:
    offsets = transformed(homography, thermal.astype(np.float64)) - rgb
    return rms(np.linalg.norm(offsets, axis=1))


def _refuse_if_bad(result: BoardHomography, points: np.ndarray, rgb_shape: tuple[int, ...]) -> None:
    if rms(result.errors_px) * 640 / rgb_shape[1] > LARGEST_ERROR_PX:
        raise ValueError(
            f"no calibration: reprojection error {rms(result.errors_px):.1f} RGB pixels; "
            "hold the board still and at one distance, and check the number of its corners"
        )
    if np.linalg.det(result.homography[:2, :2]) <= 0:
        raise ValueError("no calibration: the thermal image would be mirrored; thermal.flip=horizontal mirrors it back")
    check_coverage(points, rgb_shape, "RGB", LEAST_AREA)
