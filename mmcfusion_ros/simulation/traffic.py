"""Who is where on the street at a given time: people on both sidewalks and on the crossing, cars in both lanes.

Every ``CYCLE_S`` seconds people cross for the first ``CROSSING_S`` while oncoming cars wait at the stop line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmcfusion_ros.simulation.cars import Car, random_car_look
from mmcfusion_ros.simulation.people import Person, random_clothes
from mmcfusion_ros.simulation.street import CROSSING_Z, LEFT_KERB_X, MIDDLE_X, PARKING_X, RIGHT_KERB_X

CYCLE_S, CROSSING_S = 20.0, 9.0
APPROACH_S, APPROACH_M = 11.0, 100.0
COMING_LANE_X, LEAVING_LANE_X = 0.5 * (PARKING_X + MIDDLE_X), 0.5 * (MIDDLE_X + RIGHT_KERB_X)
STOP_Z, QUEUE_GAP_M = CROSSING_Z[1] + 2.2, 6.5
SIDEWALKS = ((1.3, 4.0, 3.2, 62.0, 9), (-12.0, -10.6, 14.0, 76.0, 7))


class Traffic:
    """The schedule of one street, a function of time alone; somebody walks to and fro at each of ``passers_z``."""

    def __init__(self, seed: int, passers_z: Sequence[float] = ()) -> None:
        self._seed = seed
        rng = np.random.default_rng([seed, 2])
        self._walkers = [
            _Walker(rng, (low, high), (near, far)) for low, high, near, far, count in SIDEWALKS for _ in range(count)
        ]
        self._passers = [_Passer(np.random.default_rng([seed, 5, i]), z) for i, z in enumerate(passers_z)]

    def people(self, time_s: float) -> list[Person]:
        """Everybody on foot."""
        cycle = int(time_s // CYCLE_S)
        rng = np.random.default_rng([self._seed, 3, cycle])
        crossing = [_crossing_person(rng, i, time_s - cycle * CYCLE_S) for i in range(5)]
        passers = [passer.at(time_s) for passer in self._passers]
        return [walker.at(time_s) for walker in self._walkers] + passers + [person for person in crossing if person]

    def cars(self, time_s: float) -> list[Car]:
        """All cars that drive or wait."""
        cars: list[Car | None] = []
        cycle = int(time_s // CYCLE_S)
        for i in (cycle, cycle + 1):
            rng = np.random.default_rng([self._seed, 4, i])
            local = time_s - i * CYCLE_S
            cars += [_coming_car(rng, place, local) for place in range(3)]
            cars += [_leaving_car(rng, place, local) for place in range(2)]
        return [car for car in cars if car]


class _Walker:
    """Walks up or down a sidewalk for ever, from one end to the other and again."""

    def __init__(self, rng: np.random.Generator, across: tuple[float, float], along: tuple[float, float]) -> None:
        self._look = _random_look(rng)
        self._x = float(rng.uniform(*across))
        self._near, self._length = along[0], along[1] - along[0]
        self._start = float(rng.uniform(0, self._length))
        self._speed = float(rng.uniform(1.05, 1.5) * rng.choice((-1, 1)))

    def at(self, time_s: float) -> Person:
        walked = self._start + self._speed * time_s
        heading = (0.0, 1.0 if self._speed > 0 else -1.0)
        return Person(self._x, self._near + walked % self._length, heading, abs(walked), *self._look)


class _Passer:
    """Walks to and fro before the camera, at one distance."""

    def __init__(self, rng: np.random.Generator, z: float) -> None:
        self._look, self._z = _random_look(rng), z
        self._middle, self._length = -0.08 * z, 1.1 * z + 0.6
        self._speed, self._start = float(rng.uniform(1.05, 1.5)), float(rng.uniform(0, 2 * self._length))

    def at(self, time_s: float) -> Person:
        walked = self._start + self._speed * time_s
        place = walked % (2 * self._length)
        outward = place < self._length
        x = self._middle - 0.5 * self._length + (place if outward else 2 * self._length - place)
        return Person(x, self._z, (1.0 if outward else -1.0, 0.0), walked, *self._look)


def _random_look(rng: np.random.Generator) -> tuple[float, np.ndarray, bool]:
    """Height, colours of clothes, whether with a backpack."""
    return float(rng.uniform(1.60, 1.88)), random_clothes(rng), bool(rng.random() < 0.3)


def _crossing_person(rng: np.random.Generator, place: int, local_s: float) -> Person | None:
    look = _random_look(rng)
    leftwards = place % 3 != 1
    speed, start_s = rng.uniform(1.2, 1.5), rng.uniform(-4.5, 1.5)
    z = CROSSING_Z[0] + 0.4 + 0.55 * place + rng.uniform(0, 0.2)
    walked = speed * (local_s - start_s)
    width = RIGHT_KERB_X - LEFT_KERB_X + 1.0
    if not 0 <= walked <= width:
        return None
    x = RIGHT_KERB_X + 0.5 - walked if leftwards else LEFT_KERB_X - 0.5 + walked
    return Person(x, z, (-1.0 if leftwards else 1.0, 0.0), walked, *look)


def _coming_car(rng: np.random.Generator, place: int, local_s: float) -> Car | None:
    """Brakes evenly to its place in the queue, waits, then passes the camera."""
    rgb, van = random_car_look(rng)
    stop = STOP_Z + QUEUE_GAP_M * place
    before_s, after_s = place * 0.8 - local_s, local_s - CROSSING_S - 0.9 * place
    if before_s > APPROACH_S:
        return None
    z = stop + APPROACH_M * max(before_s / APPROACH_S, 0.0) ** 2 - 0.9 * max(after_s, 0.0) ** 2
    return Car(COMING_LANE_X, z, True, rgb, van) if z > 2.0 else None


def _leaving_car(rng: np.random.Generator, place: int, local_s: float) -> Car | None:
    """Starts behind the camera when the crossing is free, and drives away."""
    rgb, van = random_car_look(rng)
    after_s = local_s - CROSSING_S - 2.2 * place
    z = -6.0 + 0.9 * max(after_s, 0.0) ** 2
    return Car(LEAVING_LANE_X, z, False, rgb, van) if -4.0 < z < 130.0 else None
