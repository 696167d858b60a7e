"""A moving street, drawn in both spectra on the same pixels: people, cars, buildings, trees, by day or by night."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mmcfusion_ros.simulation.buildings import LEFT_WALL_X, RIGHT_WALL_X, build_wall
from mmcfusion_ros.simulation.canvas import (
    COLDEST_CELSIUS,
    HEIGHT,
    PIXEL_FROM_WORLD,
    STEPS_PER_KELVIN,
    WIDTH,
    Canvas,
    clipped_box,
    project,
)
from mmcfusion_ros.simulation.cars import Car, draw_car, draw_lights
from mmcfusion_ros.simulation.furniture import furnish
from mmcfusion_ros.simulation.light import Light
from mmcfusion_ros.simulation.people import Person, draw_person
from mmcfusion_ros.simulation.street import AIR_CELSIUS, cast_street
from mmcfusion_ros.simulation.traffic import Traffic


def _inverse_depth_at_z_1() -> np.ndarray:
    """1 / depth along the optical axis, for every pixel, of the plane one metre down the street."""
    along_x, along_y, first = np.linalg.inv(PIXEL_FROM_WORLD)[2]
    return (first + along_x * np.arange(WIDTH) + along_y * np.arange(HEIGHT)[:, None]).astype(np.float32)


_INVERSE_DEPTH_AT_Z_1 = _inverse_depth_at_z_1()


class StreetScene:
    """A function of seed, day or night, and time: the same arguments give the same pixels; ``passers_z`` are distances
    in metres at which somebody walks to and fro.

    What stands still is drawn once, here (a second); a view then draws only what moves.
    """

    def __init__(self, seed: int = 0, night: bool = False, passers_z: Sequence[float] = ()) -> None:
        rng = np.random.default_rng([seed, 0])
        walls = (build_wall(LEFT_WALL_X, rng), build_wall(RIGHT_WALL_X, rng))
        self._light, self._air = Light(walls[1], night), AIR_CELSIUS[night]
        self._traffic = Traffic(seed, passers_z)
        backdrop = cast_street(walls, self._light, seed)
        levels = (backdrop.celsius - COLDEST_CELSIUS) * STEPS_PER_KELVIN
        pixels = np.dstack([backdrop.rgb, np.clip(levels, 0, 255)]).round().astype(np.uint8)
        self._celsius_of_level_zero = backdrop.celsius - pixels[..., 3].astype(np.float32) / STEPS_PER_KELVIN
        self._distance = np.full((HEIGHT, WIDTH), np.inf, np.float32)
        self._still_inverse_depth = backdrop.inverse_depth
        for item in furnish(walls, self._light, self._air, rng):
            before = pixels.copy()
            item.draw(Canvas(pixels))
            changed = (pixels.view(np.uint32) != before.view(np.uint32))[..., 0]
            self._distance[changed] = item.z
            self._still_inverse_depth[changed] = _INVERSE_DEPTH_AT_Z_1[changed] / item.z
        self._still = pixels
        self._drawn = float("nan"), pixels

    def rgb(self, time_s: float) -> np.ndarray:
        """The colour view at a time: ``480 x 640 x 3`` uint8, red first."""
        return cv2.cvtColor(self._draw(time_s), cv2.COLOR_RGBA2RGB)

    def celsius(self, time_s: float) -> np.ndarray:
        """The temperatures on the pixels of :meth:`rgb`: ``480 x 640`` float32, degrees Celsius."""
        level = cv2.extractChannel(self._draw(time_s), 3)
        return cv2.scaleAdd(level.astype(np.float32), 1 / STEPS_PER_KELVIN, self._celsius_of_level_zero)

    def inverse_depth(self, time_s: float) -> np.ndarray:
        """1 / metres along the optical axis on the pixels of :meth:`rgb`: ``480 x 640`` float32, 0 for the sky."""
        inverse_depth = self._still_inverse_depth.copy()
        self._draw_movers(Canvas(self._still.copy()), self._movers(time_s), inverse_depth)
        return inverse_depth

    def _draw(self, time_s: float) -> np.ndarray:
        if self._drawn[0] != time_s:
            canvas = Canvas(self._still.copy())
            self._draw_movers(canvas, self._movers(time_s))
            self._drawn = time_s, canvas.pixels
        return self._drawn[1]

    def _movers(self, time_s: float) -> list[Person | Car]:
        return [*self._traffic.people(time_s), *self._traffic.cars(time_s)]

    def _draw_movers(self, canvas: Canvas, movers: list[Person | Car], inverse_depth: np.ndarray | None = None) -> None:
        """Draws the farthest first, and after each puts back what stands nearer."""
        movers.sort(key=lambda mover: -mover.z)
        middles = np.array([mover.middle for mover in movers])
        clear, haze = self._light.haze(middles[:, 2])
        for mover, gain, veil in zip(movers, self._light.on(middles) * clear, haze, strict=True):
            box = clipped_box(project(mover.extent), margin=2)
            if box is None:
                continue
            if inverse_depth is not None:
                canvas.pixels[box][..., 3] = 0  # colder than anything: what is drawn shows
            if isinstance(mover, Person):
                draw_person(canvas, mover, gain, veil)
            else:
                draw_car(canvas, mover, gain, veil, self._air)
                if self._light.night:
                    draw_lights(canvas, mover, self._air)
            nearer = self._distance[box] < mover.z
            if inverse_depth is not None:
                drawn = (canvas.pixels[box][..., 3] > 0) & ~nearer
                inverse_depth[box][drawn] = _INVERSE_DEPTH_AT_Z_1[box][drawn] / mover.z
            cv2.copyTo(self._still[box], nearer.astype(np.uint8), canvas.pixels[box])
