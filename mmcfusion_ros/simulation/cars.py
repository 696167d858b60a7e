"""Cars: a side profile extruded to the car's width, with wheels, windows and lights.

The camera always stands to the right of a car, so that a car has two visible sides: its end, and the one at +x.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from mmcfusion_ros.simulation.canvas import Canvas, paints, pixels_per_metre, project, to_level

RGB = tuple[int, int, int]

BODY_RGB = ((186, 30, 34), (34, 74, 148), (226, 226, 222), (34, 36, 40), (150, 156, 162), (236, 182, 44), (36, 104, 84))
GLASS_RGB, SKY_IN_GLASS_RGB, TYRE_RGB, RIM_RGB = (56, 70, 84), (78, 98, 118), (26, 26, 28), (168, 170, 172)
HALF_WIDTH_M, SHOULDER_M, WHEEL_RADIUS_M = 0.88, 0.95, 0.33
SEDAN = np.array([(0.0, 0.32), (0.0, 0.78), (0.12, 0.98), (0.75, 1.03), (1.45, 1.43), (2.55, 1.46),
                  (3.35, 1.02), (4.25, 0.84), (4.42, 0.62), (4.42, 0.30)])  # fmt: skip
VAN = np.array([(0.0, 0.34), (0.0, 1.0), (0.06, 1.30), (0.12, 1.95), (0.4, 2.05), (3.2, 2.05),
                (3.95, 1.28), (4.6, 1.02), (4.72, 0.66), (4.72, 0.32)])  # fmt: skip
REAR_WINDOW, WINDSHIELD = 3, 5
NEAREST_M = 0.4


@dataclass(frozen=True)
class Car:
    """A car at a moment: its middle at ``x``, its end nearest to the camera at ``z``, metres."""

    x: float
    z: float
    coming: bool
    rgb: RGB
    van: bool
    parked: bool = False

    @property
    def extent(self) -> np.ndarray:
        """World points around the car, ``8 x 3``."""
        return np.array([(self.x + a, y, self.z + z) for a in (-1.1, 1.1) for y in (0.0, 2.2) for z in (0.0, 4.8)])

    @property
    def middle(self) -> tuple[float, float, float]:
        """Where the light on the car is taken."""
        return self.x, 0.8, max(self.z + 2.2, NEAREST_M)


def random_car_look(rng: np.random.Generator) -> tuple[RGB, bool]:
    """A colour and whether it is a van."""
    return BODY_RGB[rng.integers(len(BODY_RGB))], bool(rng.random() < 0.3)


def draw_car(canvas: Canvas, car: Car, gain: np.ndarray, haze: np.ndarray, air: float) -> None:
    """Draws shadow and faces; ``gain`` (3) and ``haze`` (3) turn a surface colour into the one seen."""
    model = _model(car.van, car.coming, car.parked)
    at, before_lens = np.array([car.x, 0.0, car.z]), np.array([-np.inf, -np.inf, NEAREST_M])
    canvas.darken(project(np.maximum(at + model.footprint, before_lens)), 0.75)
    rgb = model.body_share[:, None] * np.array(car.rgb, dtype=float) + model.rgb
    canvas.surfaces(
        np.maximum(at + model.vertices, before_lens), model.counts, paints(rgb * gain + haze, air + model.warmth)
    )


def draw_lights(canvas: Canvas, car: Car, air: float) -> None:
    """By night: headlights with their glare and a pool of light on the road, or tail lights."""
    if car.z < 1.0:
        return
    scale = pixels_per_metre(np.array([car.x, 0.8, car.z]))
    if car.coming and car.z > 6:
        pool = project(np.array([(car.x, 0.0, car.z - near) for near in (0.3, 2.0, 4.5)]))
        canvas.glow(pool[1], 1.9 * scale, 0.5 * (pool[2, 1] - pool[0, 1]), (74, 70, 58))
    red, green, blue = (255.0, 246.0, 226.0) if car.coming else (225.0, 28.0, 20.0)
    glare = (30.0 if car.coming else 10.0) * (scale / 25.0) ** 0.45
    for side in (-0.7, 0.7):
        lamp = project(np.array([car.x + side, 0.69 if car.coming else 0.79, car.z - 0.03]))
        canvas.disc(lamp, 0.11 * scale + 0.8, (red, green, blue, to_level(air + 9.0)))
        canvas.glow(lamp, glare, glare, (0.8 * red, 0.8 * green, 0.8 * blue))
        if car.coming:
            canvas.glow(lamp, 3.0 * glare, 0.14 * glare, (100, 100, 96))


@dataclass(frozen=True)
class _Model:
    """The faces of a car from back to front: ``vertices`` in metres from the middle of its near end on the road,
    ``counts`` of them for each face; ``body_share`` of the car's colour plus an own ``rgb``; kelvin above the air."""

    vertices: np.ndarray
    counts: list[int]
    body_share: np.ndarray
    rgb: np.ndarray
    warmth: np.ndarray
    footprint: np.ndarray


@cache
def _model(van: bool, coming: bool, parked: bool) -> _Model:
    builder = _Builder(van, coming, parked)
    builder.shell()
    builder.side()
    builder.end()
    outlines, shares, colours, warmth = zip(*builder.faces, strict=True)
    along = np.array([-0.1, builder.length + 0.1, builder.length + 0.1, -0.1])
    return _Model(
        vertices=np.concatenate(outlines),
        counts=[len(outline) for outline in outlines],
        body_share=np.array(shares),
        rgb=np.array(colours, dtype=float),
        warmth=np.array(warmth),
        footprint=np.stack([1.08 * HALF_WIDTH_M * np.array([-1, -1, 1, 1]), np.zeros(4), along], axis=1),
    )


class _Builder:
    """Collects a car's faces. A corner is (metres from the rear, height); ``side`` is -1 to 1 across the car."""

    def __init__(self, van: bool, coming: bool, parked: bool) -> None:
        self.profile, self.van, self.coming = VAN if van else SEDAN, van, coming
        self.running = 0.0 if parked else 1.0
        self.length = float(self.profile[:, 0].max())
        self.faces: list[tuple[np.ndarray, float, RGB, float]] = []

    def add(self, corners: ArrayLike, side: ArrayLike, warmth: float, body: float = 0.0, rgb: RGB = (0, 0, 0)) -> None:
        """A face, ``body`` times the car's colour plus ``rgb``, ``warmth`` kelvin above the air."""
        along, height = np.array(corners, dtype=float).T
        lean = np.clip((height - SHOULDER_M) * 0.28, 0, 0.16)
        z = self.length - along if self.coming else along
        self.faces.append((np.stack([np.array(side) * (HALF_WIDTH_M - lean), height, z], axis=1), body, rgb, warmth))

    def shell(self) -> None:
        """Hood, windows, roof and boot: each step of the profile is a strip across the car, the farthest first."""
        for i in sorted(range(len(self.profile) - 1), reverse=not self.coming):
            start, end = self.profile[i : i + 2]
            strip = np.array([start, start, end, end])
            flatness = abs(end[0] - start[0]) / np.hypot(*(end - start))
            engine = max(0.0, 1 - abs(strip[:, 0].mean() - 0.86 * self.length))
            self.add(strip, (-1, 1, 1, -1), self.running * (3.5 + 15 * engine) - 1.5, body=0.62 + 0.5 * flatness)
            if i == WINDSHIELD or (i == REAR_WINDOW and not self.van):
                glass = strip + 0.1 * (strip.mean(axis=0) - strip)
                self.add(glass, (-0.86, 0.86, 0.86, -0.86), -3.0, rgb=SKY_IN_GLASS_RGB)

    def side(self) -> None:
        """Body side, sill, side windows, door line, wheels."""
        rear, roof_start, roof_end, hood = self.profile[REAR_WINDOW : REAR_WINDOW + 4, 0]
        self.add(self.profile, 1, 2.5 * self.running - 1.0, body=0.82)
        sill = [(0, 0.32), (self.length, 0.32), (self.length, 0.48), (0, 0.48)]
        self.add(sill, 1, 4.0 * self.running - 1.0, body=0.5)
        low, top = (1.28, 1.93) if self.van else (1.04, 1.36)
        door = 0.5 * (rear + hood) + (0.6 if self.van else 0.1)
        front_pane = [(door + 0.05, low), (door + 0.05, top), (roof_end, top), (hood - 0.12, low)]
        rear_pane = [(rear + 0.3, low), (roof_start + 0.05, top), (door - 0.05, top), (door - 0.05, low)]
        for pane in [front_pane] if self.van else [front_pane, rear_pane]:
            self.add(pane, 1, -1.0, rgb=GLASS_RGB)
        self.add([(door - 0.02, 0.4), (door, 0.4), (door, low), (door - 0.02, low)], 1, 1.0, body=0.4)
        for hub in (0.8, self.length - 0.85):
            self._wheel(np.array([hub, WHEEL_RADIUS_M]))

    def _wheel(self, hub: np.ndarray) -> None:
        angle = np.linspace(0, 2 * np.pi, 18, endpoint=False)
        rim = WHEEL_RADIUS_M * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        self.add(np.maximum(hub + 1.22 * rim, (-np.inf, 0.3)), 1, 1.0, rgb=(14, 14, 16))
        self.add(hub + rim, 1, 10.0 * self.running, rgb=TYRE_RGB)
        self.add(hub + 0.64 * rim, 1, 19.0 * self.running, rgb=RIM_RGB)
        for i in range(1, 18, 4):
            self.add([hub, hub + 0.56 * rim[i - 1], hub + 0.56 * rim[i]], 1, 20.0 * self.running, rgb=(92, 94, 97))

    def end(self) -> None:
        """Front with grille and headlights, or rear with tail lights and exhaust; tyres, bumper, number plate."""
        for side in (-1, 1):
            self._patch(0.98 * side, 0.76 * side, 0.0, 0.36, 12.0 * self.running, rgb=TYRE_RGB)
        self._patch(-0.97, 0.97, 0.32, 0.58, 5.0 * self.running, body=0.55)
        if self.coming:
            self._patch(-0.5, 0.5, 0.45, 0.69, 24.0 * self.running, rgb=(24, 24, 26))
            self._patch(-0.46, 0.46, 0.62, 0.64, 20.0 * self.running, rgb=(150, 152, 154))
        else:
            self._patch(0.55, 0.72, 0.25, 0.33, 44.0 * self.running, rgb=(80, 80, 82))
            if self.van:
                self._patch(-0.72, 0.72, 1.3, 1.85, -2.0, rgb=GLASS_RGB)
        self._patch(-0.27, 0.27, 0.47, 0.58, 1.0, rgb=(232, 230, 210))
        lamp, low, high = ((236, 238, 232), 0.62, 0.76) if self.coming else ((200, 24, 22), 0.70, 0.88)
        for side in (-1, 1):
            self._patch(0.62 * side, 0.95 * side, low, high, 5.0 * self.running, rgb=lamp)

    def _patch(
        self, left: float, right: float, low: float, high: float, warmth: float, body: float = 0.0, rgb: RGB = (0, 0, 0)
    ) -> None:
        """A rectangle on the end that faces the camera."""
        along = self.length + 0.02 if self.coming else -0.02
        corners = [(along, low), (along, low), (along, high), (along, high)]
        self.add(corners, (left, right, right, left), warmth, body, rgb)
