"""Both lenses and the place of the cameras from a board of known size in many poses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import cv2
import numpy as np

from mmcfusion_ros.alignment.find import ImagePair
from mmcfusion_ros.calibration.boards import Board, check_coverage, find_boards, rms
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.fusion.geometry import Geometry

LEAST_VIEWS = 8
LEAST_AREA = 0.25
LARGEST_ERROR_PX = 1.0
LARGEST_FOCAL_DEVIATION = 0.01
OUTLIER = 3.0  # times the median error of a view
ADVICE = "hold the board still, and check that both images are of the same moment and that no camera is flipped"


@dataclass(frozen=True, eq=False)
class Lens:
    """``intrinsics`` (plumb_bob, k3 = 0) from the images of ``views`` (indices of the pairs), the reprojection error in
    each (root mean square over the board's points, pixels), and the standard deviation of the focal lengths, as a share
    of them."""

    intrinsics: Intrinsics
    views: list[int]
    errors_px: list[float]
    focal_deviation: float


@dataclass(frozen=True, eq=False)
class BoardRig:
    """``calibration`` of both cameras. ``errors_px``: how far the overlay of the board is off in each of the ``views``
    (indices of the pairs) if the plane is the board's (root mean square over its points, RGB pixels), and
    ``distances_m`` of the boards from the RGB camera."""

    calibration: Calibration
    thermal: Lens
    rgb: Lens
    views: list[int]
    errors_px: list[float]
    distances_m: list[float]


class _Fit(Protocol):
    @property
    def errors_px(self) -> list[float]: ...


_F = TypeVar("_F", bound=_Fit)
_V = TypeVar("_V")


def rig_from_boards(pairs: Sequence[ImagePair], board: Board, plane_m: float | None = None) -> BoardRig:
    """Intrinsics, distortion and extrinsics from pairs of thermal and RGB luminance, uint8.

    Each lens by Zhang's method (2000) from all images that show the board, then the place of one camera beside the
    other from the pairs in which both do. Views that lie beside the others are left out. The plane is ``plane_m``
    before the RGB camera, by default at the median distance of the boards. ``ValueError`` with the reason where the
    result would not be good enough, or the board has no ``spacing_m``.
    """
    if board.spacing_m is None:
        raise ValueError("the width of the board's squares is needed for the distance between the cameras")
    views = find_boards(pairs, board)
    thermal_views = [(view.index, view.thermal) for view in views if view.thermal is not None]
    rgb_views = [(view.index, view.rgb) for view in views if view.rgb is not None]
    thermal = fitted_views(partial(_lens, "thermal", pairs[0][0].shape, board), thermal_views)
    rgb = fitted_views(partial(_lens, "rgb", pairs[0][1].shape, board), rgb_views)
    _refuse_bad_lens("thermal", thermal)
    _refuse_bad_lens("rgb", rgb)
    both = [(view.index, view.thermal, view.rgb) for view in views if view.thermal is not None and view.rgb is not None]
    if len(both) < LEAST_VIEWS:
        raise ValueError(
            f"no calibration: {len(both)} pairs show the {board} in both images, {LEAST_VIEWS} are needed; "
            "hold it where both cameras see all of it"
        )
    rig = fitted_views(partial(_rig, thermal, rgb, board), both)
    _refuse_bad_rig(rig)
    plane_m = float(np.median(rig.distances_m)) if plane_m is None else plane_m
    return replace(rig, calibration=replace(rig.calibration, plane_distance=plane_m))


def fitted_views(fit: Callable[[list[_V]], _F], views: list[_V]) -> _F:
    """The fit to the views that agree with each other, as long as enough of them do."""
    while True:
        fitted = fit(views)
        limit = OUTLIER * np.nanmedian(fitted.errors_px)  # NaN: seen where the lens model has no ray
        kept = [view for view, error in zip(views, fitted.errors_px, strict=True) if error <= limit]
        if len(kept) == len(views) or len(kept) < LEAST_VIEWS:
            return fitted
        views = kept


def _lens(camera: str, shape: tuple[int, ...], board: Board, views: list[tuple[int, np.ndarray]]) -> Lens:
    if len(views) < LEAST_VIEWS:
        raise ValueError(
            f"no calibration: the {board} was found in {len(views)} {camera} images, {LEAST_VIEWS} are needed; "
            "tilt it, and show it at all places and distances"
        )
    points = [seen.reshape(-1, 2) for _, seen in views]
    check_coverage(np.concatenate(points), shape, camera, LEAST_AREA)
    height, width = shape
    _, matrix, distortion, _, _, deviations, _, errors = cv2.calibrateCameraExtended(
        [_on_board(board)] * len(points), points, (width, height), np.eye(3), np.zeros(5), flags=cv2.CALIB_FIX_K3
    )
    deviation = float((deviations[:2, 0] / np.diag(matrix)[:2]).max())
    intrinsics = Intrinsics(width, height, matrix, "plumb_bob", tuple(distortion.ravel()[:4].tolist()))
    return Lens(intrinsics, [index for index, _ in views], errors.ravel().tolist(), deviation)


def _refuse_bad_lens(camera: str, lens: Lens) -> None:
    if not rms(lens.errors_px) * 640 / lens.intrinsics.width <= LARGEST_ERROR_PX:
        raise ValueError(
            f"no calibration: reprojection error {rms(lens.errors_px):.1f} {camera} pixels; hold the board still and "
            "flat, and check the number of its corners"
        )
    if not lens.focal_deviation <= LARGEST_FOCAL_DEVIATION:
        raise ValueError(
            f"no calibration: the {camera} focal length would be uncertain by {100 * lens.focal_deviation:.1f} %; tilt "
            "the board by 30 degrees to all sides, and show it near and far"
        )


def _rig(thermal: Lens, rgb: Lens, board: Board, views: list[tuple[int, np.ndarray, np.ndarray]]) -> BoardRig:
    points = [(there.reshape(-1, 2), here.reshape(-1, 2)) for _, there, here in views]
    rotation, translation = cv2.stereoCalibrate(
        [_on_board(board)] * len(views),
        [there for there, _ in points],
        [here for _, here in points],
        thermal.intrinsics.camera_matrix,
        _coefficients(thermal.intrinsics),
        rgb.intrinsics.camera_matrix,
        _coefficients(rgb.intrinsics),
        (rgb.intrinsics.width, rgb.intrinsics.height),
        flags=cv2.CALIB_FIX_INTRINSIC,
    )[5:7]
    try:
        calibration = Calibration(
            rotation=rotation, translation=translation.ravel(), thermal=thermal.intrinsics, rgb=rgb.intrinsics
        )
        overlays = [_overlay(calibration, board, *both) for both in points]
    except ValueError as error:
        raise ValueError(f"no calibration: the pairs contradict each other ({error}); {ADVICE}") from error
    errors, distances = map(list, zip(*overlays, strict=True))
    return BoardRig(calibration, thermal, rgb, [view[0] for view in views], errors, distances)


def _refuse_bad_rig(rig: BoardRig) -> None:
    width = rig.rgb.intrinsics.width
    if not rms(rig.errors_px) * 640 / width <= LARGEST_ERROR_PX:
        raise ValueError(
            f"no calibration: the overlay of the board is off by {rms(rig.errors_px):.1f} RGB pixels; {ADVICE}"
        )


def _overlay(calibration: Calibration, board: Board, thermal: np.ndarray, rgb: np.ndarray) -> tuple[float, float]:
    """Error of the overlay on the board's own plane in RGB pixels, and the distance of its middle in metres."""
    assert calibration.thermal is not None
    assert calibration.rgb is not None
    camera = calibration.rgb
    _, turn, place = cv2.solvePnP(_on_board(board), rgb, camera.camera_matrix, _coefficients(camera))
    rotation, place = cv2.Rodrigues(turn)[0], place.ravel()
    normal = rotation[:, 2] * np.sign(rotation[:, 2] @ place)
    on_board = replace(calibration, plane_distance=float(normal @ place), plane_normal=normal)
    sizes = [(lens.width, lens.height) for lens in (calibration.thermal, camera)]
    offsets = Geometry(on_board, *sizes).rgb_pixels(thermal.astype(np.float64)) - rgb
    middle = rotation @ _on_board(board).mean(axis=0) + place
    return rms(np.linalg.norm(offsets, axis=1)), float(middle[2])


def _on_board(board: Board) -> np.ndarray:
    """The points in metres, ``N x 3`` float32, in the plane z = 0 of the board."""
    assert board.spacing_m is not None
    columns, rows = np.meshgrid(np.arange(board.columns), np.arange(board.rows))
    return (board.spacing_m * np.dstack([columns, rows, 0 * columns])).reshape(-1, 3).astype(np.float32)


def _coefficients(camera: Intrinsics) -> np.ndarray:
    return np.array(camera.distortion_coefficients)
