"""What stands along the street and does not move: trees, lamps, awnings, a crossing sign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from mmcfusion_ros.simulation.buildings import Wall
from mmcfusion_ros.simulation.canvas import Canvas, paint, paints, pixels_per_metre, project
from mmcfusion_ros.simulation.cars import Car, draw_car, random_car_look
from mmcfusion_ros.simulation.light import LAMP_HEADS, LAMP_HEIGHT_M, TO_SUN, Light
from mmcfusion_ros.simulation.street import CROSSING_Z, LEFT_KERB_X, PARKING_X, RIGHT_KERB_X

LEAF_RGB = ((74, 112, 46), (98, 132, 54), (122, 138, 52), (60, 98, 54))
TREES_Z = (19.0, 29.5, 39.5, 49.5, 59.5, 70.0, 82.0)
BOLLARDS_Z = (5.6, 7.4, 13.4, 15.2, 17.0, 18.8)
AWNING_RGB = ((178, 48, 44), (44, 92, 120), (58, 110, 70), (206, 150, 52))


@dataclass(frozen=True)
class Item:
    """A thing at a distance ``z``; ``draw`` puts it onto a canvas."""

    z: float
    draw: Callable[[Canvas], None]


def furnish(walls: tuple[Wall, Wall], light: Light, air: float, rng: np.random.Generator) -> list[Item]:
    """All standing things, the farthest first."""
    maker = _Maker(light, air)
    items = [Item(z, partial(maker.lamp, head_x=x, z=z)) for x, _, z in LAMP_HEADS.tolist()]
    items += [Item(z, partial(maker.bollard, z=z)) for z in BOLLARDS_Z]
    items += [Item(z, partial(maker.tree, z=z, seed=int(rng.integers(1 << 32)))) for z in TREES_Z]
    items.append(Item(CROSSING_Z[1] + 0.4, maker.crossing_sign))
    for z in CROSSING_Z[1] + 6.2 * np.arange(1, 9):
        if rng.random() < 0.75:
            rgb, van = random_car_look(rng)
            car = Car(0.5 * (LEFT_KERB_X + PARKING_X), z, coming=True, rgb=rgb, van=van, parked=True)
            items.append(Item(z, partial(maker.parked_car, car=car)))
    for wall in walls:
        for i in np.flatnonzero((wall.bounds[:-1] > 5) & (rng.random(len(wall.heights)) < 0.6)).tolist():
            rgb = AWNING_RGB[rng.integers(len(AWNING_RGB))]
            items.append(Item(float(wall.bounds[i]), partial(maker.awning, wall=wall, building=i, rgb=rgb)))
    return sorted(items, key=lambda item: -item.z)


class _Maker:
    def __init__(self, light: Light, air: float) -> None:
        self.light, self.air = light, air

    def _seen(self, rgb: np.ndarray | tuple[float, ...], points: np.ndarray) -> np.ndarray:
        return self.light.seen(np.asarray(rgb, dtype=float), self.light.on(points), points[:, 2])

    def _rod(self, canvas: Canvas, start: tuple, end: tuple, radii: tuple, rgb: tuple, celsius: float) -> None:
        points = np.array([start, end], dtype=float)
        seen = self._seen(rgb, points[:1])[0]
        scale = np.array([pixels_per_metre(point) for point in points])
        ends, widths = project(points)[None], (np.array(radii) * scale)[None]
        canvas.capsules(ends, widths, [paint(seen * 0.8, celsius)])
        canvas.capsules(ends + 0.3 * widths[..., None] * (1, 0), 0.5 * widths, [paint(seen * 1.2, celsius + 0.3)])

    def parked_car(self, canvas: Canvas, car: Car) -> None:
        """A cold car in a parking bay."""
        middle = np.array([car.middle])
        clear, haze = self.light.haze(middle[:, 2])
        draw_car(canvas, car, (self.light.on(middle) * clear)[0], haze[0], self.air)

    def lamp(self, canvas: Canvas, head_x: float, z: float) -> None:
        """A pole at the kerb with an arm over the road."""
        foot_x = RIGHT_KERB_X + 0.3 if head_x > -5 else LEFT_KERB_X - 0.3
        top = LAMP_HEIGHT_M + 0.1
        steel = (88, 94, 98)
        self._rod(canvas, (foot_x, 0, z), (foot_x, 1.1, z), (0.10, 0.09), steel, self.air + 0.5)
        self._rod(canvas, (foot_x, 1.0, z), (foot_x, top - 0.3, z), (0.065, 0.045), steel, self.air - 0.8)
        bend = foot_x + 0.25 * (head_x - foot_x)
        self._rod(canvas, (foot_x, top - 0.3, z), (bend, top, z), (0.045, 0.04), steel, self.air - 1)
        self._rod(canvas, (bend, top, z), (head_x, top + 0.05, z), (0.04, 0.04), steel, self.air - 1)
        inner = 0.35 * np.sign(foot_x - head_x)
        self._rod(canvas, (head_x + inner, top, z), (head_x - inner, top, z), (0.09, 0.09), (70, 74, 78), self.air + 3)
        if self.light.night:
            bulb = np.array([head_x, top - 0.07, z])
            scale, centre = pixels_per_metre(bulb), project(bulb)
            across = centre + 0.25 * scale * np.array([[(-1.0, 0.0), (1.0, 0.0)]])
            canvas.capsules(across, np.full((1, 2), 0.07 * scale + 0.4), [paint((255, 240, 206), self.air + 12)])
            glare = 1.1 * scale**0.85 + 6
            canvas.glow(centre, glare, glare, (200, 158, 100))

    def bollard(self, canvas: Canvas, z: float) -> None:
        """A low iron post at the kerb, with a white ring."""
        x = RIGHT_KERB_X + 0.35
        self._rod(canvas, (x, 0.0, z), (x, 0.84, z), (0.075, 0.06), (46, 50, 52), self.air - 1.4)
        self._rod(canvas, (x, 0.69, z), (x, 0.70, z), (0.064, 0.064), (218, 216, 208), self.air - 1.4)
        self._rod(canvas, (x, 0.88, z), (x, 0.90, z), (0.075, 0.07), (46, 50, 52), self.air - 1.4)

    def tree(self, canvas: Canvas, z: float, seed: int) -> None:
        """A trunk with branches and a crown of leaf clusters, the sunlit ones drawn last."""
        rng = np.random.default_rng(seed)
        x, height = LEFT_KERB_X - 0.8, rng.uniform(5.2, 6.6)
        trunk = (86, 68, 54)
        self._rod(canvas, (x, 0, z), (x + 0.1, height - 1.5, z), (0.17, 0.09), trunk, self.air + 1.2)
        crown = np.array([x, height - 0.6, z])
        for angle in rng.uniform(-0.9, 0.9, 4):
            tip = crown + np.array([np.sin(angle) * 1.5, 0.6 * np.cos(angle), 0])
            self._rod(canvas, (x + 0.05, height - 2.4, z), tuple(tip), (0.08, 0.03), trunk, self.air + 0.8)
        spread = rng.normal(size=(420, 3))
        spread *= (rng.uniform(0.25, 1.0, 420) ** 0.4 / np.linalg.norm(spread, axis=1))[:, None]
        clumps = rng.normal(size=(9, 3)) * 0.55
        leaves = crown + spread * (1.05, 0.95, 1.05) + clumps[rng.integers(9, size=420)] * (1.3, 0.9, 1.3)
        towards_light = (leaves - crown) @ np.array([TO_SUN[0], TO_SUN[1], TO_SUN[2]])
        order = np.argsort(towards_light + 0.25 * rng.normal(size=420))
        shade = np.clip(0.72 + 0.34 * towards_light, 0.34, 1.3) * rng.uniform(0.85, 1.15, 420)
        colours = np.array(LEAF_RGB)[rng.integers(len(LEAF_RGB), size=420)] * shade[:, None]
        warmth = self.air - 0.4 + 1.6 * (shade - 0.8) + rng.normal(0, 0.4, 420)
        centres, seen = project(leaves), paints(self._seen(colours, leaves), warmth)
        scale, radius = pixels_per_metre(crown), rng.uniform(0.09, 0.24, 420)
        for i in order:
            canvas.disc(centres[i], radius[i] * scale, seen[i])

    def awning(self, canvas: Canvas, wall: Wall, building: int, rgb: tuple[int, ...]) -> None:
        """A striped awning over a shop front."""
        out = wall.x - np.sign(wall.x) * 1.1
        edges = np.linspace(wall.bounds[building] + 0.5, wall.bounds[building + 1] - 0.5, 13)
        for i in reversed(range(12)):
            stripe = np.array(rgb if i % 2 == 0 else (226, 222, 210), dtype=float)
            a, b = edges[i], edges[i + 1]
            self._plate(canvas, [(wall.x, 2.95, a), (out, 2.45, a), (out, 2.45, b), (wall.x, 2.95, b)], stripe)
            self._plate(canvas, [(out, 2.45, a), (out, 2.22, a), (out, 2.22, b), (out, 2.45, b)], 0.8 * stripe)

    def crossing_sign(self, canvas: Canvas) -> None:
        """The blue sign of the crossing, on a pole."""
        x, z = RIGHT_KERB_X + 0.35, CROSSING_Z[1] + 0.4
        self._rod(canvas, (x, 0, z), (x, 2.9, z), (0.035, 0.035), (150, 152, 154), self.air - 0.8)
        squares = [
            [(x + a * size, 2.6 + b * size, z) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
            for size in (0.34, 0.31)
        ]
        self._plate(canvas, squares[0], (236, 238, 240))
        self._plate(canvas, squares[1], (24, 74, 168))
        self._plate(canvas, [(x - 0.25, 2.36, z), (x + 0.25, 2.36, z), (x, 2.84, z)], (240, 240, 240))
        for foot in (-0.09, 0.09):
            legs = [(x - 0.03, 2.56, z), (x + 0.03, 2.56, z), (x + foot + 0.03, 2.38, z), (x + foot - 0.03, 2.38, z)]
            self._plate(canvas, legs, (30, 30, 34))
        self._rod(canvas, (x, 2.56, z), (x, 2.64, z), (0.04, 0.03), (30, 30, 34), self.air - 1.2)
        self._rod(canvas, (x, 2.72, z), (x, 2.72, z), (0.035, 0.035), (30, 30, 34), self.air - 1.2)

    def _plate(self, canvas: Canvas, corners: list, rgb: np.ndarray | tuple[int, ...]) -> None:
        """A thin flat thing, a little colder than the air."""
        points = np.array(corners, dtype=float)
        canvas.surfaces(points, [len(points)], [paint(self._seen(rgb, points[:1])[0], self.air - 1.1)])
