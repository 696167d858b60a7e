"""Finds a chequerboard or a grid of circles in the images of both cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from mmcfusion_ros.alignment.find import ImagePair

Pattern = Literal["chessboard", "circles"]
SUB_PIXEL = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 40, 1e-3)


@dataclass(frozen=True)
class Board:
    """``columns`` and ``rows`` count the inner corners of a chessboard, or the circles of a symmetric grid.

    ``spacing_m``: between two neighbours in metres, None if it is not known.
    """

    pattern: Pattern
    columns: int
    rows: int
    spacing_m: float | None = None

    def __post_init__(self) -> None:
        if self.spacing_m is not None and not 1e-3 <= self.spacing_m <= 10:
            raise ValueError(f"the squares of the board are {self.spacing_m:g} m wide; name their width in metres")

    def __str__(self) -> str:
        return f"{self.columns}x{self.rows} {self.pattern}"


@dataclass(frozen=True, eq=False)
class BoardView:
    """The points of a board in the images of a pair, ``rows x columns x 2`` float32, in the same order; None where it
    was not found. ``index`` is that of the pair."""

    index: int
    thermal: np.ndarray | None
    rgb: np.ndarray | None


def find_boards(pairs: Sequence[ImagePair], board: Board) -> list[BoardView]:
    """One for each pair of thermal and RGB luminance, uint8."""
    views = []
    for index, (thermal_image, rgb_image) in enumerate(pairs):
        thermal, rgb = find_board(thermal_image, board), find_board(rgb_image, board)
        if thermal is not None and rgb is not None:
            thermal = _turned_like(rgb, thermal)
        views.append(BoardView(index, thermal, rgb))
    return views


def find_board(image: np.ndarray, board: Board) -> np.ndarray | None:
    """Its points, ``rows x columns x 2`` float32, in an image ``H x W`` uint8 of either contrast: a heated board has
    the inverted one in thermal."""
    low, high = np.percentile(image, (0.5, 99.5))
    clear = np.clip((image.astype(np.float32) - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
    size = (board.columns, board.rows)
    for candidate in (clear, 255 - clear):
        if board.pattern == "circles":
            found, points = cv2.findCirclesGrid(candidate, size, flags=cv2.CALIB_CB_SYMMETRIC_GRID)
        else:
            flags = cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
            found, points = cv2.findChessboardCornersSB(candidate, size, flags=flags)
            if found:
                window = max(2, int(_spacing(points, board.columns) / 3))
                points = cv2.cornerSubPix(candidate, points, (window, window), (-1, -1), SUB_PIXEL)
        if found:
            return points.reshape(board.rows, board.columns, 2)
    return None


def check_coverage(points: np.ndarray, shape: tuple[int, ...], camera: str, least: float) -> None:
    """``ValueError`` if the hull of ``N x 2`` points covers less than the share ``least`` of an ``H x W`` image."""
    share = cv2.contourArea(cv2.convexHull(points.astype(np.float32))) / (shape[0] * shape[1])
    if share < least:
        raise ValueError(
            f"no calibration: the boards cover {100 * share:.0f} % of the {camera} image, {100 * least:.0f} % are "
            "needed; show the board in the corners too"
        )


def rms(values: Sequence[float] | np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def _spacing(points: np.ndarray, columns: int) -> float:
    """Smallest distance of two neighbours in a row."""
    steps = np.diff(points.reshape(-1, columns, 2), axis=1)
    return float(np.linalg.norm(steps, axis=2).min())


def _turned_like(rgb: np.ndarray, thermal: np.ndarray) -> np.ndarray:
    """The thermal board from the corner of the RGB one: turned until its sides run as those of the RGB one do.

    Seen with inverted contrast a board may be found from its other end.
    """
    turns = [np.rot90(thermal, k) for k in range(4)]
    turns = [turn for turn in turns if turn.shape == rgb.shape]

    def sides(board: np.ndarray) -> np.ndarray:
        across, down = board[0, -1] - board[0, 0], board[-1, 0] - board[0, 0]
        return np.concatenate([across / np.linalg.norm(across), down / np.linalg.norm(down)])

    return max(turns, key=lambda turn: float(sides(turn) @ sides(rgb)))
