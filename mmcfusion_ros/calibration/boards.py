"""A calibration from a chequerboard or a grid of circles that both cameras see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from mmcfusion_ros.fusion.alignment import ImagePair, transformed

Pattern = Literal["chessboard", "circles"]

LARGEST_ERROR_PX = 3.0
OUTLIER_PX = 5.0
LEAST_POINTS = 12
LEAST_AREA = 0.1
SUB_PIXEL = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 1e-3)


@dataclass(frozen=True, eq=False)
class BoardCalibration:
    """``homography`` from thermal to RGB pixels, ``views`` (indices of the pairs in which both boards were found),
    and the reprojection error of each of them in RGB pixels (root mean square over its points)."""

    homography: np.ndarray
    views: list[int]
    errors_px: list[float]

    @property
    def rms_px(self) -> float:
        """Over all views."""
        return float(np.sqrt(np.mean(np.square(self.errors_px))))


def calibrate_from_boards(pairs: Sequence[ImagePair], pattern: Pattern, columns: int, rows: int) -> BoardCalibration:
    """The homography that takes the board's points in the thermal images to those in the RGB images.

    ``pairs`` are thermal and RGB luminance, uint8. ``columns`` and ``rows`` count the inner corners of a chessboard, or
    the circles of a grid. A heated board has inverted contrast in thermal: both are tried. The homography is exact at
    the distance of the board, so hold it where the robot looks. ``ValueError`` with the reason where the result would
    not be good enough.
    """
    found = []
    for index, (thermal, rgb) in enumerate(pairs):
        here, there = find_board(thermal, pattern, columns, rows), find_board(rgb, pattern, columns, rows)
        if here is not None and there is not None:
            found.append((index, *_in_one_order(here, there)))
    if not found:
        raise ValueError(f"no calibration: no pair of {len(pairs)} shows the {columns}x{rows} {pattern} in both images")
    sources = np.concatenate([here.reshape(-1, 2) for _, here, _ in found])
    targets = np.concatenate([there.reshape(-1, 2) for _, _, there in found])
    homography, inliers = cv2.findHomography(sources, targets, cv2.RANSAC, OUTLIER_PX)
    if homography is None or inliers.sum() < max(LEAST_POINTS, len(sources) // 2):
        raise ValueError("no calibration: the boards of the views do not agree; did a camera or the distance change?")
    errors = [_rms(homography, here, there) for _, here, there in found]
    result = BoardCalibration(homography, [one[0] for one in found], errors)
    _refuse_if_bad(result, targets, pairs[0][1].shape)
    return result


def find_board(image: np.ndarray, pattern: Pattern, columns: int, rows: int) -> np.ndarray | None:
    """The points of a board, ``rows x columns x 2`` float32, in an image ``H x W`` uint8 of either contrast."""
    low, high = np.percentile(image, (0.5, 99.5))
    clear = np.clip((image.astype(np.float32) - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
    for candidate in (clear, 255 - clear):
        if pattern == "circles":
            found, points = cv2.findCirclesGrid(candidate, (columns, rows), flags=cv2.CALIB_CB_SYMMETRIC_GRID)
        else:
            flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE
            found, points = cv2.findChessboardCorners(candidate, (columns, rows), flags=flags)
            if found:
                window = max(2, int(_spacing(points, columns) / 4))
                points = cv2.cornerSubPix(candidate, points, (window, window), (-1, -1), SUB_PIXEL)
        if found:
            return points.reshape(rows, columns, 2)
    return None


def _spacing(points: np.ndarray, columns: int) -> float:
    """Smallest distance of two neighbours in a row."""
    steps = np.diff(points.reshape(-1, columns, 2), axis=1)
    return float(np.linalg.norm(steps, axis=2).min())


def _in_one_order(thermal: np.ndarray, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both boards from the same corner: the thermal one turned until its sides run as those of the RGB one do.

    Seen with inverted contrast a board may be found from its other end.
    """
    turns = [np.rot90(thermal, k) for k in range(4)]
    turns = [turn for turn in turns if turn.shape == rgb.shape]

    def sides(board: np.ndarray) -> np.ndarray:
        across, down = board[0, -1] - board[0, 0], board[-1, 0] - board[0, 0]
        return np.concatenate([across / np.linalg.norm(across), down / np.linalg.norm(down)])

    return max(turns, key=lambda turn: float(sides(turn) @ sides(rgb))), rgb


def _rms(homography: np.ndarray, thermal: np.ndarray, rgb: np.ndarray) -> float:
    offsets = transformed(homography, thermal.reshape(-1, 2).astype(np.float64)) - rgb.reshape(-1, 2)
    return float(np.sqrt((offsets**2).sum(axis=1).mean()))


def _refuse_if_bad(result: BoardCalibration, points: np.ndarray, rgb_shape: tuple[int, ...]) -> None:
    scale = 640 / rgb_shape[1]
    if result.rms_px * scale > LARGEST_ERROR_PX:
        raise ValueError(
            f"no calibration: reprojection error {result.rms_px:.1f} RGB pixels; "
            "hold the board still and at one distance, and check the number of its corners"
        )
    if np.linalg.det(result.homography[:2, :2]) <= 0:
        raise ValueError("no calibration: the thermal image would be mirrored; is one of the cameras flipped?")
    share = cv2.contourArea(cv2.convexHull(points.astype(np.float32))) / (rgb_shape[0] * rgb_shape[1])
    if share < LEAST_AREA:
        raise ValueError(
            f"no calibration: the boards cover {100 * share:.0f} % of the RGB image, {100 * LEAST_AREA:.0f} % are "
            "needed; show the board in the corners too"
        )
