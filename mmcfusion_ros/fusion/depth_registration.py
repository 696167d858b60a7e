"""From the thermal camera's pixel grid to the RGB camera's, by the distance of every pixel.

Distance is kept as inverse depth, 1 / metres along the RGB camera's optical axis, 0 for a hole: parallax is linear in
it, and the noise of a stereo camera is even in it. It lies on a *coarse* grid over the RGB image, 320 pixels wide.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.fusion.geometry import Geometry
from mmcfusion_ros.fusion.registration import SEAM, Registration, Shape, on_grid

Places = tuple[np.ndarray, np.ndarray]

COARSE_WIDTH, FLOW_WIDTH = 320, 160
EDGE_PX = 2.0  # a step of parallax that is an edge; what is nearer by more than that hides what is behind it
EDGE_WINDOW = (7, 7)  # in coarse pixels
WINDOW, SPLIT_WINDOW, HOLE_WINDOW, FAR_WINDOW = (7, 7), (15, 15), (5, 5), (31, 31)  # in two of them
ENOUGH = 0.4
INFINITE = 1e3
RIMS = (1, (3, 3)), (4, (5, 5))  # what is left out beside a step of so many edges
LUMINANCE_NOISE = 12.0
CELL = 1.3  # of the z-buffer, in steps of the coarse grid, so that a surface leaves none empty
TABLE_STEP, TABLE_MARGIN = 4, 0.5
OUTSIDE = -1e5
NEAREST, FARTHEST = 1e-3, 1e-4  # m, 1 / m
THICKEST = 15  # coarse pixels for a line of a lidar
DENSITY = 1.0  # depth pixels for a coarse one, along a side


class DepthRegistration:
    """Brings thermal images of one shape onto the grid of RGB images of another (height, width), pixel by pixel.

    ``registration`` is that of a calibrated rig; its plane is for holes of which nothing is known. ``ValueError`` for
    another kind, for sizes that the calibration does not fit, or while intrinsics are missing.

    shapes: both. rgb: the intrinsics. is_aligned: depth images have the RGB camera's pixels. plane: its inverse depth
    on the coarse grid. parallax_rgb_px: of a thing at 1 m against things far away.
    """

    def __init__(self, registration: Registration, thermal_shape: Shape, rgb_shape: Shape) -> None:
        calibration = registration.calibration
        if calibration.kind != "calibrated":
            raise ValueError(f"registration by depth needs a calibrated rig, not {calibration.kind}")
        self.shapes = self._thermal_shape, self._rgb_shape = thermal_shape, rgb_shape
        self._calibration = calibration
        self.is_aligned = calibration.depth_rotation is None
        self._geometry = Geometry(calibration, thermal_shape[::-1], rgb_shape[::-1])
        thermal, rgb = self._geometry.thermal, self._geometry.rgb
        self.rgb = rgb
        self._shape = _divided(rgb_shape, max(1, round(rgb_shape[1] / COARSE_WIDTH)))
        # A thermal image that is enlarged twice or more is warped onto fewer pixels, then enlarged: far cheaper.
        self._fine_shape = _divided(rgb_shape, max(1, rgb_shape[1] // thermal_shape[1]))
        _, move, _ = self._geometry.thermal_points(np.zeros((1, 2)))
        self._to_thermal = _Lines(self._rays_in_thermal, move, thermal, self._shape, rgb_shape)
        self._far, self._fine_far = (on_grid(self._far_pixels, s, rgb_shape) for s in (self._shape, self._fine_shape))
        plane = on_grid(lambda points: self._geometry.thermal_points(points)[2], self._shape, rgb_shape)[0]
        self.plane = np.maximum(plane, FARTHEST)  # 0 would be a hole
        focal_px = thermal.camera_matrix[0, 0]
        baseline_m = float(np.linalg.norm(np.asarray(calibration.translation)))
        self.parallax_rgb_px = baseline_m * rgb.camera_matrix[0, 0]
        self._edge = EDGE_PX / max(baseline_m * focal_px, 1e-6)
        step = rgb_shape[1] / self._shape[1] * focal_px / rgb.camera_matrix[0, 0]
        self._cell_px = CELL * max(step, 1.0)
        self._to_rgb = lru_cache(maxsize=2)(self._lines_to_rgb)

    def from_image(self, depth: np.ndarray, metres: float, camera: Intrinsics | None = None) -> np.ndarray:
        """``h x w`` depth along the optical axis, in units of ``metres`` (0, NaN, inf: holes), as inverse depth on the
        coarse grid.

        Without ``camera`` it is aligned: on the pixels of the RGB image or of a scaled copy. Otherwise the calibration
        says where that camera is.
        """
        if camera is None:
            return _inverse(cv2.resize(depth, self._shape[::-1], interpolation=cv2.INTER_NEAREST), metres)
        lines = self._to_rgb(camera, depth.shape)
        inverse_depth = _inverse(cv2.resize(depth, lines.shape[::-1], interpolation=cv2.INTER_NEAREST), metres)
        _, (x, y), z = lines.pixels(inverse_depth)
        return self._seen(x, y, cv2.divide(inverse_depth, z))

    def from_points(self, points: np.ndarray) -> np.ndarray:
        """``N x 3`` points of a lidar, in metres, as inverse depth on the coarse grid, its lines made as thick as they
        are apart; ``ValueError`` if the calibration does not say where it is."""
        rotation, translation = self._calibration.depth_rotation, self._calibration.depth_translation
        if rotation is None:
            raise ValueError("depth/points needs depth_extrinsics in the calibration file")
        points = points @ rotation.T + translation
        points = points[np.isfinite(points).all(axis=1) & (points[:, 2] > NEAREST)]
        pixels = self._geometry.rgb.pixels(points[:, :2] / points[:, 2:])
        x, y = np.nan_to_num(pixels.T, nan=OUTSIDE).astype(np.float32)
        inverse_depth = self._seen(x, y, (1 / points[:, 2]).astype(np.float32))
        lines = np.flatnonzero(inverse_depth.any(axis=1))
        if not len(lines):
            return inverse_depth
        apart = int((lines[-1] + 1 - lines[0]) / len(lines))
        thick = cv2.dilate(inverse_depth, np.ones((min(apart, THICKEST) | 1, 1), np.uint8))
        return np.where(inverse_depth > 0, inverse_depth, thick)

    def warp(
        self, thermal: np.ndarray, luminance: np.ndarray, inverse_depth: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`Registration.warp`, where the weight is 0 also where the thermal camera sees something nearer.

        ``luminance``, ``H x W`` uint8, tells the edges of things; ``inverse_depth`` is of :meth:`from_image`.
        """
        inverse_depth = self.filled(inverse_depth, luminance)
        ideal, pixels, _ = self._to_thermal.pixels(inverse_depth)
        weight = self._weight(*pixels, self._hidden(*ideal, inverse_depth))
        size = self._fine_shape[::-1]
        x, y = (
            cv2.add(fine, cv2.resize(cv2.subtract(here, far), size, interpolation=cv2.INTER_NEAREST))
            for fine, here, far in zip(self._fine_far, pixels, self._far, strict=True)
        )
        warped = cv2.remap(thermal, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cv2.resize(warped, self._rgb_shape[::-1]), cv2.resize(weight, self._rgb_shape[::-1])

    def filled(self, inverse_depth: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """Without holes, its edges where the luminance has them; all on the coarse grid, but for the luminance.

        A hole, and what is near an edge, belongs to the near or to the far thing of its neighbourhood, by how like it
        is to either and how much there is of either.
        """
        guide = cv2.resize(luminance, self._shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
        inverse_depth = self._with_background(inverse_depth)
        hole = inverse_depth <= 0
        farthest = inverse_depth.copy()
        farthest[hole] = INFINITE
        slope, offset, near, far = self._things(inverse_depth, farthest, guide)
        best = np.where(cv2.multiply(guide, slope) > offset, near, far)
        window = np.ones(EDGE_WINDOW, np.uint8)
        edge = cv2.subtract(cv2.dilate(inverse_depth, window), cv2.erode(farthest, window)) > self._edge
        change = (edge & (cv2.absdiff(best, inverse_depth) > self._edge)) | hole
        return np.where(change, best, inverse_depth)

    def _with_background(self, inverse_depth: np.ndarray) -> np.ndarray:
        """With the middle of large holes filled: by what is far around if there is much, else by the plane."""
        some = np.ascontiguousarray(inverse_depth[::2, ::2])
        known = (some > 0).astype(np.float32)
        share = cv2.boxFilter(known, -1, FAR_WINDOW)
        far = known * (some * share <= cv2.boxFilter(some, -1, FAR_WINDOW))
        mean = cv2.boxFilter(far * some, -1, FAR_WINDOW) / np.maximum(cv2.boxFilter(far, -1, FAR_WINDOW), 1e-6)
        middle = (cv2.dilate(known, np.ones(HOLE_WINDOW, np.uint8)) == 0).astype(np.float32)
        fill = np.where(share > ENOUGH, mean, self.plane[::2, ::2]) * middle
        return cv2.max(inverse_depth, cv2.resize(fill, self._shape[::-1], interpolation=cv2.INTER_NEAREST))

    def _things(self, inverse_depth: np.ndarray, farthest: np.ndarray, guide: np.ndarray) -> list[np.ndarray]:
        """Of the near and the far thing around each pixel: ``slope`` and ``offset`` of a luminance that speaks for the
        near one (``luminance * slope > offset``), and the inverse depths of both. On every second pixel, then enlarged.
        """
        window = np.ones(SPLIT_WINDOW, np.uint8)  # larger, so that each of the things has seen the other one
        inverse_depth, farthest, guide = (np.ascontiguousarray(a[::2, ::2]) for a in (inverse_depth, farthest, guide))
        split = 0.5 * (cv2.dilate(inverse_depth, window) + cv2.erode(farthest, window))
        is_near = (inverse_depth > split).astype(np.float32)
        counts, greys, depths = [], [], []
        for share in (is_near, (inverse_depth > 0) - is_near):
            counts.append(cv2.boxFilter(share, -1, WINDOW) + 1e-4)
            greys.append(cv2.boxFilter(share * guide, -1, WINDOW) / counts[-1])
            depths.append(cv2.boxFilter(share * inverse_depth, -1, WINDOW) / counts[-1])
        (near, far), variance = greys, LUMINANCE_NOISE**2
        slope, offset = (near - far) / variance, np.log(counts[1] / counts[0]) + (near**2 - far**2) / (2 * variance)
        return [cv2.resize(a, self._shape[::-1]) for a in (slope, offset, *depths)]

    def _hidden(self, x: np.ndarray, y: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
        """Where the thermal camera sees something nearer than what the RGB camera sees, or just beside: 1, else 0."""
        height, width = (round(2 * side / self._cell_px) for side in self._thermal_shape)
        scale = 1 / self._cell_px
        column, row = x * scale + width / 4, y * scale + height / 4
        buffer, cell = _splatted(column, row, inverse_depth, (height, width))
        window = np.ones((3, 3), np.uint8)
        nearest = cv2.morphologyEx(buffer, cv2.MORPH_CLOSE, window).ravel()[cell]
        nearest = cv2.max(nearest, cv2.dilate(inverse_depth, window))
        step = cv2.subtract(nearest, inverse_depth)
        edges = ((step > times * self._edge).astype(np.uint8) for times, _ in RIMS)
        rims = [cv2.dilate(edge, np.ones(rim, np.uint8)) for edge, (_, rim) in zip(edges, RIMS, strict=True)]
        return cv2.max(*rims)

    def _weight(self, x: np.ndarray, y: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        """0 where thermal sees nothing of a pixel, rising to 255 over a seam: short at things, long at the border."""
        height, width = self._thermal_shape
        seen = ((x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)).astype(np.uint8)
        half = np.ascontiguousarray(seen[::2, ::2])
        distance = cv2.distanceTransform(half, cv2.DIST_L2, 3)  # huge where all is seen
        border = np.ceil(np.minimum((distance + 1) / (SEAM * half.shape[1] + 1), 1) * 255).astype(np.uint8)
        clear = cv2.blur(255 * (1 - hidden), (3, 3)) * seen
        return cv2.min(cv2.resize(border, self._shape[::-1]), clear)

    def _seen(self, x: np.ndarray, y: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
        """The nearest at each coarse pixel of the points at RGB pixels ``x``, ``y``; 0 where there is none."""
        height, width = self._shape
        across, down = width / self._rgb_shape[1], height / self._rgb_shape[0]
        column = x * across + (across / 2 - 0.5)
        row = y * down + (down / 2 - 0.5)
        return np.ascontiguousarray(_splatted(column, row, inverse_depth, self._shape)[0][1:-1, 1:-1])

    def _rays_in_thermal(self, rgb_pixels: np.ndarray) -> np.ndarray:
        return self._geometry.thermal_points(rgb_pixels)[0]

    def _far_pixels(self, rgb_pixels: np.ndarray) -> np.ndarray:
        """Where the thermal camera sees what these RGB pixels see of things far away."""
        return np.nan_to_num(self._geometry.thermal_pixels(rgb_pixels, np.inf), nan=OUTSIDE)

    def _lines_to_rgb(self, camera: Intrinsics, shape: Shape) -> _Lines:
        """For every pixel of a depth image, or of a reduced one as fine as the coarse grid, where it lies in RGB."""
        camera = camera.resized(*shape[::-1], "depth")
        rgb = self._geometry.rgb
        coarse_focal_px = rgb.camera_matrix[0, 0] * self._shape[1] / self._rgb_shape[1]
        reduced = _divided(shape, max(1.0, camera.camera_matrix[0, 0] / (DENSITY * coarse_focal_px)))
        rotation = np.asarray(self._calibration.depth_rotation)
        return _Lines(
            lambda points: np.column_stack([camera.rays(points), np.ones(len(points))]) @ rotation.T,
            np.asarray(self._calibration.depth_translation),
            rgb,
            reduced,
            shape,
        )


def followed(inverse_depth: np.ndarray, then: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Inverse depth at the time of one luminance (:func:`small`), moved to that of another by the motion between."""
    nothing = np.zeros((*now.shape, 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(now, then, nothing)
    height, width = inverse_depth.shape
    x, y = cv2.split(cv2.resize(flow, (width, height)))
    across, down = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    scale = width / now.shape[1]
    return cv2.remap(inverse_depth, across + scale * x, down + scale * y, cv2.INTER_NEAREST)


def small(luminance: np.ndarray) -> np.ndarray:
    """As :func:`followed` takes it."""
    height, width = luminance.shape
    return cv2.resize(luminance, (FLOW_WIDTH, round(FLOW_WIDTH * height / width)), interpolation=cv2.INTER_AREA)


class _Lines:
    """For every place of a grid over an image, where another camera sees it, as a function of its inverse depth.

    ``far`` gives the rays in that camera's frame (``N x 3``) of pixels (``N x 2``), ``move`` what inverse depth adds.
    """

    def __init__(
        self,
        far: Callable[[np.ndarray], np.ndarray],
        move: np.ndarray,
        camera: Intrinsics,
        shape: Shape,
        image_shape: Shape,
    ) -> None:
        self.shape, self._lens = shape, _Lens(camera)
        self._far = on_grid(lambda points: far(points) @ camera.camera_matrix.T, shape, image_shape)
        self._move = (camera.camera_matrix @ move).tolist()
        blind = ~np.isfinite(self._far[0])
        for values, value in zip(self._far, (OUTSIDE, OUTSIDE, 1.0), strict=True):
            values[blind] = value

    def pixels(self, inverse_depth: np.ndarray) -> tuple[Places, Places, np.ndarray]:
        """Pixels (x, y) of a lens that does not bend, those of the real one, and the depth there over that here."""
        x, y, z = (cv2.scaleAdd(inverse_depth, m, far) for m, far in zip(self._move, self._far, strict=True))
        z = np.maximum(z, NEAREST)
        ideal = cv2.divide(x, z), cv2.divide(y, z)
        return ideal, self._lens.bent(*ideal), z


class _Lens:
    """How far a lens moves pixels, from a table."""

    def __init__(self, camera: Intrinsics) -> None:
        width, height = camera.width, camera.height
        self._left, self._top = TABLE_MARGIN * width, TABLE_MARGIN * height
        columns = np.arange(-self._left, width + self._left, TABLE_STEP)
        rows = np.arange(-self._top, height + self._top, TABLE_STEP)
        pixels = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        rays = np.column_stack([pixels, np.ones(len(pixels))]) @ np.linalg.inv(camera.camera_matrix).T
        table = (camera.pixels(rays[:, :2]) - pixels).reshape(len(rows), len(columns), 2)
        self._table = np.nan_to_num(table, nan=OUTSIDE).astype(np.float32)
        self._straight = bool(abs(self._table).max() < 1e-3)

    def bent(self, x: np.ndarray, y: np.ndarray) -> Places:
        """Where this lens has what an ideal one has at x, y."""
        if self._straight:
            return x, y
        column = x * (1 / TABLE_STEP) + self._left / TABLE_STEP
        row = y * (1 / TABLE_STEP) + self._top / TABLE_STEP
        moved = cv2.remap(
            self._table, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(OUTSIDE, OUTSIDE)
        )
        dx, dy = cv2.split(moved)
        return cv2.add(x, dx), cv2.add(y, dy)


def _splatted(column: np.ndarray, row: np.ndarray, values: np.ndarray, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """The largest of the values at each place of a grid, 0 where there is none, with a frame of one place around it for
    all that lies beside it; and the index of each value's place when that is flat."""
    height, width = shape[0] + 2, shape[1] + 2
    column, row = ((a + 1.5).clip(0, side - 0.5).astype(np.int32) for a, side in ((column, width), (row, height)))
    cell = row * width + column
    grid = np.zeros(height * width, np.float32)
    np.maximum.at(grid, cell.ravel(), values.ravel())
    return grid.reshape(height, width), cell


def _divided(shape: Shape, by: float) -> Shape:
    return max(1, round(shape[0] / by)), max(1, round(shape[1] / by))


def _inverse(depth: np.ndarray, metres: float) -> np.ndarray:
    """1 / metres, float32; 0 where there is no depth."""
    values = depth.astype(np.float32)
    if depth.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return np.divide(1 / metres, values, out=np.zeros_like(values), where=values > NEAREST / metres)
