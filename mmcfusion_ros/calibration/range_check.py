"""A calibration held against a recording with depth: how far off the overlay is, range by range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from mmcfusion_ros.alignment.edges import edge_channels
from mmcfusion_ros.calibration.picture import captioned
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.depth_registration import DepthRegistration
from mmcfusion_ros.fusion.fuser import split_luminance
from mmcfusion_ros.fusion.geometry import Geometry
from mmcfusion_ros.fusion.overlay import thermal_edges
from mmcfusion_ros.fusion.registration import Registration

RANGES_M = ((1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, np.inf))
COLOURS = ((230, 60, 60), (240, 200, 40), (60, 190, 90), (70, 120, 240))  # of the ranges in the picture
WIDTH = 320  # that images are compared at
REACH, CLOSE, RIM = 16, 2, 2  # pixels of that: the largest error that is found, a small one, the outline of a thing
LEAST_SHARE, LEAST_CORRELATION = 0.003, 0.08
LARGEST_ERROR, LARGEST_DEVIATION = 3.0, 3.0  # pixels of 640
CLEARLY = 1.25


@dataclass(frozen=True, eq=False)
class View:
    """One pair and its distances: ``h x w`` uint8 thermal, ``H x W x 3`` uint8 RGB (red first), and the inverse depth
    (1 / m, 0: none) on a coarse grid over the RGB image."""

    thermal: np.ndarray
    rgb: np.ndarray
    inverse_depth: np.ndarray


@dataclass(frozen=True, eq=False)
class RangeError:
    """What is left at ``metres`` (nearest, farthest), which are ``share`` of the image: ``shift`` (x, y) is how far
    thermal would have to move, in RGB pixels, NaN if edges do not tell; ``deviation_px`` by the scatter over the
    views; ``plane_px`` the error that the plane of the calibration leaves there, in the median."""

    metres: tuple[float, float]
    share: float
    shift: np.ndarray
    deviation_px: float
    plane_px: float

    @property
    def error_px(self) -> float:
        """Length of the shift."""
        return float(np.linalg.norm(self.shift))

    @property
    def name(self) -> str:
        """In words."""
        near, far = self.metres
        return f"beyond {near:g} m" if np.isinf(far) else f"{near:g} to {far:g} m"

    def __str__(self) -> str:
        if np.isnan(self.error_px):
            return "too few edges in common"
        return f"{self.error_px:.1f} ± {self.deviation_px:.1f}"


def variants(calibration: Calibration) -> dict[str, Calibration]:
    """The calibration (named by nothing), and with each of its extrinsics the other way round, by their name."""
    found = {"": calibration}
    for name, prefix in (("extrinsics", ""), ("depth_extrinsics", "depth_")):
        rotation, translation = (getattr(calibration, prefix + part) for part in ("rotation", "translation"))
        if rotation is not None and np.linalg.norm(translation) > 0:
            turned = {f"{prefix}rotation": rotation.T, f"{prefix}translation": -rotation.T @ translation}
            found[name] = replace(calibration, **turned)
    return found


def range_errors(calibration: Calibration, views: Sequence[View]) -> tuple[list[RangeError], float]:
    """The errors of the ranges of which there is anything, and how well edges agree where they are, -1 to 1.

    The edges (:func:`edge_channels`) of the things of a range are correlated with those of the thermal image, brought
    to each of them by its distance, over all shifts of ``REACH`` pixels and summed over the views.
    """
    thermal, rgb = views[0].thermal, views[0].rgb
    scale = min(1.0, WIDTH / rgb.shape[1])
    size = round(rgb.shape[1] * scale), round(rgb.shape[0] * scale)
    grid = _Grid(Geometry(calibration, thermal.shape[::-1], size), size)
    prepared = [_prepared(view, size) for view in views]
    errors, sums = [], np.zeros((3, 2 * REACH + 1, 2 * REACH + 1))
    for metres in RANGES_M:
        of_views, shares, plane_px = [], [], []
        for thermal, edges, inverse_depth in prepared:
            inside = (inverse_depth > 1 / metres[1]) & (inverse_depth <= 1 / metres[0])
            shares.append(inside.mean())
            if shares[-1] > LEAST_SHARE:
                of_views.append(_agreement(grid, thermal, edges, inside, inverse_depth))
                plane_px.append(np.median(np.abs(inverse_depth - grid.plane)[inside]) * grid.parallax_px)
        if not of_views:
            continue
        sums += np.sum(of_views, axis=0)
        shift, deviation_px = _shift(np.array(of_views))
        plane = float(np.median(plane_px)) / scale
        errors.append(RangeError(metres, float(np.mean(shares)), shift / scale, deviation_px / scale, plane))
    middle = slice(REACH - CLOSE, REACH + CLOSE + 1)
    return errors, float(_correlation(sums)[middle, middle].max())


class _Grid:
    """Of an image's pixels: the inverse depth of the plane, and where the thermal camera sees things at others."""

    def __init__(self, geometry: Geometry, size: tuple[int, int]) -> None:
        self.size, self._lens = size, geometry.thermal
        pixels = np.stack(np.meshgrid(*(np.arange(side, dtype=np.float64) for side in size)), axis=-1).reshape(-1, 2)
        self._far, self._move, plane = geometry.thermal_points(pixels)
        self.plane = plane.reshape(size[::-1])
        self.parallax_px = float(np.linalg.norm(self._move)) * geometry.rgb.camera_matrix[0, 0]

    def thermal_pixels(self, inverse_depth: np.ndarray) -> np.ndarray:
        """``2 x H x W`` float32, x and y."""
        points = self._far + inverse_depth.reshape(-1, 1) * self._move
        return self._lens.pixels(points[:, :2] / points[:, 2:]).astype(np.float32).T.reshape(2, *self.size[::-1])


def _prepared(view: View, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Its thermal image; edges of RGB and inverse depth at this size."""
    luminance = cv2.resize(split_luminance(view.rgb)[0], size, interpolation=cv2.INTER_AREA)
    return view.thermal, edge_channels(luminance), cv2.resize(view.inverse_depth, size, interpolation=cv2.INTER_NEAREST)


def _agreement(
    grid: _Grid, thermal: np.ndarray, edges: np.ndarray, inside: np.ndarray, inverse_depth: np.ndarray
) -> np.ndarray:
    """For each shift of the thermal image: the product of its edges with those of RGB, and the energies of both."""
    seen = inside.astype(np.uint8)
    # What is around the things is brought along as if it were as far away as they are: nothing is cut.
    _, nearest = cv2.distanceTransformWithLabels(1 - seen, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    of_label = np.zeros(nearest.max() + 1)
    of_label[nearest[inside]] = inverse_depth[inside]
    x, y = grid.thermal_pixels(of_label[nearest])
    height, width = thermal.shape
    in_view = (x > 0) & (y > 0) & (x < width - 1) & (y < height - 1)
    warped = cv2.remap(thermal, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = (cv2.dilate(seen, np.ones((2 * RIM + 1,) * 2, np.uint8)) * in_view).astype(np.float32)
    warped_edges, rgb = edge_channels(warped), edges * mask[..., None]
    product = _correlated(rgb, warped_edges)
    energy = _correlated(mask, np.square(warped_edges).sum(axis=2))
    return np.stack([product, energy, np.full_like(product, np.square(rgb).sum())])


def _correlated(fixed: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """At each shift up to ``REACH``: the sum of the products, the second image moved by so much."""
    sums = np.zeros((2 * REACH + 1,) * 2)
    for one, other in zip(cv2.split(fixed), cv2.split(moved), strict=True):
        padded = cv2.copyMakeBorder(one, *(REACH,) * 4, cv2.BORDER_CONSTANT)
        sums += cv2.matchTemplate(padded, other, cv2.TM_CCORR)[::-1, ::-1]
    return sums


def _correlation(sums: np.ndarray) -> np.ndarray:
    product, thermal, rgb = sums
    return product / np.sqrt(np.maximum(thermal * rgb, 1e-9))


def _shift(of_views: np.ndarray) -> tuple[np.ndarray, float]:
    """Where edges agree best, x and y, and its deviation, each view left out in turn (the jackknife)."""
    sums, count = of_views.sum(axis=0), len(of_views)
    correlation = _correlation(sums)
    left_out = np.array([_peak(_correlation(sums - one)) for one in of_views]) if count > 1 else np.full((1, 2), np.nan)
    deviation_px = float(np.sqrt((count - 1) * np.square(left_out - left_out.mean(axis=0)).sum(axis=1).mean()))
    known = correlation.max() > LEAST_CORRELATION and not deviation_px > LARGEST_DEVIATION
    return (_peak(correlation) if known else np.full(2, np.nan)), deviation_px


def _peak(correlation: np.ndarray) -> np.ndarray:
    """The shift of its largest value, between those around it."""
    y, x = np.clip(np.unravel_index(correlation.argmax(), correlation.shape), 1, 2 * REACH - 1)
    parts = []
    for before, here, after in (correlation[y, x - 1 : x + 2], correlation[y - 1 : y + 2, x]):
        parts.append(np.clip((before - after) / min(2 * (before - 2 * here + after), -1e-9), -0.5, 0.5))
    return np.array([x, y]) + parts - REACH


def range_report(calibration: Calibration, views: Mapping[str, Sequence[View]]) -> tuple[str, list[RangeError], str]:
    """A table, the errors, and what is wrong, in words, or nothing; ``views`` are by the names of :func:`variants`."""
    errors, agreement = range_errors(calibration, views[""])
    lines = ["| things | share of the image | off by, RGB px | by the plane, px |", "|---|---|---|---|"]
    lines += [f"| {one.name} | {100 * one.share:.0f} % | {one} | {one.plane_px:.1f} |" for one in errors]
    lines += ["", f"edges agree by {agreement:.2f}"]
    for name, turned in variants(calibration).items():
        if name and views.get(name):
            _, other = range_errors(turned, views[name])
            if other > max(CLEARLY * agreement, LEAST_CORRELATION):
                problem = f"{name} are the wrong way round: edges agree by {other:.2f} with their inverse"
                return "\n".join(lines), errors, problem
    limit = LARGEST_ERROR * views[""][0].rgb.shape[1] / 640
    bad = [f"{one.error_px:.1f} px {one.name}" for one in errors if one.error_px > limit]
    problem = f"the overlay is off by {', '.join(bad)}" if bad else ""
    if all(np.isnan(one.error_px) for one in errors):
        problem = "nothing could be measured: too few edges in common; record things at several distances"
    return "\n".join(lines), errors, problem


def picture(calibration: Calibration, views: Sequence[View], errors: Sequence[RangeError]) -> np.ndarray:
    """Of the view with the most that is near: thermal edges on RGB by the plane and by depth, and the ranges in
    colours with their errors; ``H x W x 3`` uint8, red first."""
    view = max(views, key=lambda one: int((one.inverse_depth > 1 / RANGES_M[1][1]).sum()))
    registration, luminance = Registration(calibration), split_luminance(view.rgb)[0]
    by_depth = DepthRegistration(registration, view.thermal.shape, luminance.shape)
    panels = [
        captioned(thermal_edges(view.rgb, *warped), text)
        for text, warped in (
            ("by the plane", registration.warp(view.thermal, luminance.shape)),
            ("by depth", by_depth.warp(view.thermal, luminance, view.inverse_depth)),
        )
    ]
    inverse_depth = cv2.resize(view.inverse_depth, luminance.shape[::-1], interpolation=cv2.INTER_NEAREST)
    tinted, lines = view.rgb.copy(), []
    for error in errors:
        colour = COLOURS[RANGES_M.index(error.metres)]
        of = (inverse_depth > 1 / error.metres[1]) & (inverse_depth <= 1 / error.metres[0])
        tinted[of] = tinted[of] // 2 + np.array(colour, np.uint8) // 2
        lines.append((f"{error.name}: {error} px".replace("±", "+-"), colour))  # as far as OpenCV's letters go
    return np.hstack([*panels, captioned(tinted, *lines)])
