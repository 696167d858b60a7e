"""From the thermal camera's pixel grid to the RGB camera's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from mmcfusion_ros.fusion.calibration import Calibration, as_homography

Shape = tuple[int, int]

SEAM = 1 / 40
GRID_STEP = 4
LEAST_SEEN = 0.1
LARGEST_STRETCH = 1.03


class Registration:
    """Brings thermal images onto the RGB pixel grid.

    ``calibration`` says where the cameras are; a bare 3x3 array is a homography from thermal to RGB pixels, for the
    sizes of the first images that come and their scaled copies; None means that both see the same field of view.
    ``ValueError`` if the matrix is none.
    """

    def __init__(self, calibration: Calibration | np.ndarray | None = None) -> None:
        if not isinstance(calibration, Calibration):
            calibration = Calibration(homography=calibration)
        self.calibration = calibration
        self._correction: np.ndarray | None = None
        self._corrected_size: tuple[int, int] | None = None
        self._same_view = calibration.kind == "identity"
        self._maps = lru_cache(maxsize=2)(self._build_maps)

    def corrected(self, correction: np.ndarray) -> Registration:
        """This registration followed by a homography (3x3) from RGB pixels to RGB pixels.

        It is for the size of the first RGB images that come, and their scaled copies.
        """
        correction = as_homography(correction)
        registration = Registration(self.calibration)
        registration._correction = correction if self._correction is None else correction @ self._correction
        registration._corrected_size, registration._same_view = self._corrected_size, False
        return registration

    def parallax(self, cells: Shape, thermal_shape: Shape, rgb_shape: Shape, inverse_depth: float) -> np.ndarray | None:
        """How far from ``cells`` (rows, columns) of the RGB image the warped thermal image shows things that are
        1 / ``inverse_depth`` metres away along the RGB camera's optical axis: rows x columns x 2, in image widths.

        For images of these shapes (height, width); None without extrinsics.
        """
        if self.calibration.kind != "calibrated":
            return None
        from mmcfusion_ros.fusion.geometry import Geometry

        geometry = Geometry(self.calibration, thermal_shape[::-1], rgb_shape[::-1])
        down, across = (
            (np.arange(count) + 0.5) * side / count - 0.5 for count, side in zip(cells, rgb_shape, strict=True)
        )
        points = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
        depth_m = 1 / inverse_depth if inverse_depth else np.inf
        shift = geometry.rgb_pixels(geometry.thermal_pixels(points, depth_m)) - points
        return np.nan_to_num(shift).reshape(*cells, 2) / rgb_shape[1]

    def warp(self, thermal: np.ndarray, rgb_shape: Shape) -> tuple[np.ndarray, np.ndarray | None]:
        """``h x w`` uint8 or uint16 onto the grid of ``rgb_shape`` (height, width), and its weight in a blend.

        The weight is ``H x W`` uint8: 0 where the thermal camera does not see the pixel and the nearest edge of what
        it sees is repeated, rising to 255 over a short seam; ``weight > 0`` is the valid mask. It is None if the
        thermal camera sees them all. An image that is on the grid already is returned as it is, not copied.
        ``ValueError`` for sizes that the calibration does not fit, or if it sees nothing of the RGB image.
        """
        if self._same_view:
            if thermal.shape == rgb_shape:
                return thermal, None
            return cv2.resize(thermal, rgb_shape[::-1], interpolation=cv2.INTER_LINEAR), None
        maps = self._maps(thermal.shape, rgb_shape)
        positions, weights = maps.positions
        warped = cv2.remap(thermal, positions, weights, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if warped.shape != maps.box_shape:
            warped = cv2.resize(warped, maps.box_shape[::-1], interpolation=cv2.INTER_LINEAR)
        if any(maps.border):
            warped = cv2.copyMakeBorder(warped, *maps.border, cv2.BORDER_REPLICATE)
        return warped, maps.weight

    def doubts(self, thermal_shape: Shape, rgb_shape: Shape) -> list[str]:
        """What looks wrong for images of these shapes (height, width), in words; raises as :meth:`warp` does."""
        if not self._same_view:
            return self._maps(thermal_shape, rgb_shape).doubts
        stretch = thermal_shape[1] * rgb_shape[0] / (thermal_shape[0] * rgb_shape[1])
        if max(stretch, 1 / stretch) < LARGEST_STRETCH:
            return []
        sizes = [f"{width}x{height}" for height, width in (thermal_shape, rgb_shape)]
        return [
            f"registration is identity, but the thermal image is {sizes[0]} and the RGB image {sizes[1]}: of another "
            "shape, so hardly of the same field of view; run mmcfusion calibrate"
        ]

    def _hold_sizes(self, thermal_shape: Shape, rgb_shape: Shape) -> None:
        """What was given in pixels without sizes belongs to the first images."""
        if self.calibration.kind == "homography" and None in self.calibration.sizes:
            self.calibration = replace(self.calibration, thermal_size=thermal_shape[::-1], rgb_size=rgb_shape[::-1])
        if self._correction is not None and self._corrected_size is None:
            self._corrected_size = rgb_shape[::-1]

    def _build_maps(self, thermal_shape: Shape, rgb_shape: Shape) -> _Maps:
        self._hold_sizes(thermal_shape, rgb_shape)
        (thermal_height, thermal_width), (height, width) = thermal_shape, rgb_shape
        x, y = self._positions(thermal_shape, rgb_shape)
        seen = (x > -0.5) & (x < thermal_width - 0.5) & (y > -0.5) & (y < thermal_height - 0.5)
        if not seen.any():
            raise ValueError(
                f"the {self.calibration.kind} registration maps the {thermal_width}x{thermal_height} thermal image "
                f"outside of the {width}x{height} RGB image; it must take thermal pixels to RGB pixels"
            )
        (top, bottom), (left, right) = (np.flatnonzero(seen.any(axis))[[0, -1]].tolist() for axis in (1, 0))
        # A thermal image that is enlarged twice or more is warped onto fewer pixels, then enlarged: far cheaper.
        enlarged = np.sqrt(seen.sum() / ((np.ptp(x[seen]) + 1) * (np.ptp(y[seen]) + 1)))
        box_shape = (bottom - top + 1, right - left + 1)
        reduced = [max(1, round(side / max(1, int(enlarged)))) for side in reversed(box_shape)]
        x, y = (
            cv2.resize(
                np.nan_to_num(position[top : bottom + 1, left : right + 1], nan=-1.0).clip(-1.0, side),
                reduced,
                interpolation=cv2.INTER_AREA,
            )
            for position, side in ((x, thermal_width), (y, thermal_height))
        )
        return _Maps(
            positions=cv2.convertMaps(x, y, cv2.CV_16SC2),
            box_shape=box_shape,
            border=(top, height - 1 - bottom, left, width - 1 - right),
            weight=None if seen.all() else _weight(seen),
            doubts=_doubts(self.calibration, thermal_shape, rgb_shape, float(seen.mean())),
        )

    def _positions(self, thermal_shape: Shape, rgb_shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """For every RGB pixel the thermal pixel (x, y), ``H x W`` float32 each; NaN where there is none."""
        from mmcfusion_ros.fusion.camera import resizing
        from mmcfusion_ros.fusion.geometry import Geometry, apply_homography

        geometry = Geometry(self.calibration, thermal_shape[::-1], rgb_shape[::-1])
        height, width = rgb_shape

        def positions(points: np.ndarray) -> np.ndarray:
            if self._correction is not None and self._corrected_size is not None:
                scaled = resizing(self._corrected_size, rgb_shape[::-1], "rgb")
                inverse = scaled @ np.linalg.inv(self._correction) @ np.linalg.inv(scaled)
                points = apply_homography(inverse * np.sign(inverse[2] @ (width / 2, height / 2, 1)), points)
            return geometry.thermal_pixels(points)

        x, y = on_grid(positions, rgb_shape, rgb_shape)
        return x, y


@dataclass(frozen=True)
class _Maps:
    """For ``cv2.remap`` onto the part of the RGB image that the thermal camera sees, and what surrounds it."""

    positions: tuple[np.ndarray, np.ndarray]
    box_shape: Shape
    border: tuple[int, int, int, int]
    weight: np.ndarray | None
    doubts: list[str]


def on_grid(function: Callable[[np.ndarray], np.ndarray], shape: Shape, image_shape: Shape) -> list[np.ndarray]:
    """A function of an image's pixels (``N x 2`` to ``N x C``) on a grid of ``shape`` over it: ``C`` times float32.

    Calculated at every fourth place and interpolated: a lens bends less than 0.01 pixels between them.
    """
    step = np.array([image_shape[1] / shape[1], image_shape[0] / shape[0]])
    columns, rows = (np.arange(0, side + GRID_STEP - 1, GRID_STEP, dtype=np.float64) for side in reversed(shape))
    places = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    nodes = function((places + 0.5) * step - 0.5).reshape(len(rows), len(columns), -1).astype(np.float32)
    across, down = np.meshgrid(*(np.arange(side, dtype=np.float32) / GRID_STEP for side in reversed(shape)))
    return [
        cv2.remap(np.ascontiguousarray(values), across, down, cv2.INTER_LINEAR) for values in np.moveaxis(nodes, 2, 0)
    ]


def blend(image: np.ndarray, luminance: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``image`` where ``weight`` is 255, ``luminance`` where it is 0, a mixture between; all ``H x W`` uint8.

    Before the network it keeps the border of the thermal image from being seen as an edge, after it it passes the
    RGB camera's luminance through.
    """
    rest = cv2.bitwise_not(weight)
    return cv2.add(cv2.multiply(image, weight, scale=1 / 255), cv2.multiply(luminance, rest, scale=1 / 255))


def _weight(seen: np.ndarray) -> np.ndarray:
    """From 0 where not ``seen`` to 255 a seam's width further in."""
    distance = cv2.distanceTransform(seen.astype(np.uint8), cv2.DIST_L2, 3)
    return np.ceil(np.minimum(distance / (SEAM * seen.shape[1] + 1), 1) * 255).astype(np.uint8)


def _doubts(calibration: Calibration, thermal_shape: Shape, rgb_shape: Shape, share_seen: float) -> list[str]:
    doubts = []
    if calibration.sizes == (rgb_shape[::-1], thermal_shape[::-1]) and thermal_shape != rgb_shape:
        doubts.append(
            "the thermal image has the size of the calibration's RGB camera, and the other way round: "
            "are the cameras exchanged?"
        )
    if share_seen < LEAST_SEEN:
        doubts.append(
            f"the thermal camera sees only {100 * share_seen:.1f} % of the RGB image; does the calibration take "
            "thermal to RGB pixels, and not the other way round?"
        )
    return doubts
