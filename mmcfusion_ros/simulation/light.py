"""How bright a point of the street is, by day (sky and sun) and by night (street lamps), and how far haze hides it."""

from __future__ import annotations

import numpy as np

from mmcfusion_ros.simulation.buildings import RIGHT_WALL_X, Wall

TO_SUN = np.array([0.33, 0.82, -0.47], np.float32)
LAMP_HEIGHT_M = 6.2
LAMP_HEADS = np.array(
    [(-1.9, LAMP_HEIGHT_M, z) for z in (14.0, 34.0, 54.0, 76.0)]
    + [(-8.3, LAMP_HEIGHT_M, z) for z in (24.0, 44.0, 64.0, 90.0)],
    np.float32,
)
LAMP_RGB = np.array([1.0, 0.80, 0.52], np.float32)
NIGHT_AMBIENT = np.array([0.030, 0.036, 0.054], np.float32)
SKYLIGHT = np.array([0.56, 0.61, 0.70], np.float32)
SUNLIGHT = np.array([0.58, 0.52, 0.40], np.float32)
HAZE_METRES = {False: 260.0, True: 900.0}
HAZE_RGB = {False: np.array([198.0, 212.0, 226.0], np.float32), True: np.array([34.0, 36.0, 50.0], np.float32)}


class Light:
    """The light of one street, by day or by night."""

    def __init__(self, right_wall: Wall, night: bool) -> None:
        self.night = night
        self._right_wall = right_wall

    def sunlit(self, points: np.ndarray) -> np.ndarray:
        """``N x 3`` world points to ``N`` values in 0..1: 0 in the shadow of the right-hand buildings, or by night."""
        if self.night:
            return np.zeros(len(points), np.float32)
        to_wall = (RIGHT_WALL_X - points[:, 0]) / TO_SUN[0]
        height_there = points[:, 1] + to_wall * TO_SUN[1]
        roof = self._right_wall.height_at(points[:, 2] + to_wall * TO_SUN[2])
        return np.clip((height_there - roof) / 0.5, 0, 1) * (to_wall > 0)

    def on(self, points: np.ndarray, normal: tuple[float, float, float] | None = None) -> np.ndarray:
        """``N x 3`` world points to the RGB gain there, ``N x 3``; without a normal, that of something round."""
        if not self.night:
            facing = 0.8 if normal is None else max(0.0, float(TO_SUN @ normal)) / 0.8
            return SKYLIGHT + facing * self.sunlit(points)[:, None] * SUNLIGHT
        light = np.zeros(len(points), np.float32)
        for head in LAMP_HEADS:
            to_lamp = head - points
            distance = np.maximum(np.sqrt(np.einsum("ij,ij->i", to_lamp, to_lamp)), 1.0)
            facing = 0.6 if normal is None else np.maximum(to_lamp @ np.array(normal, np.float32), 0) / distance
            below = np.clip((head[1] + 0.3 - points[:, 1]) / 2.0, 0, 1)
            light += 21.0 * facing * below / (distance * distance + 4.0)
        return NIGHT_AMBIENT + (1 - np.exp(-light))[:, None] * LAMP_RGB

    def haze(self, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What ``N`` metres of haze let through, ``N x 1``, and the colour they add, ``N x 3``."""
        clear = np.exp(-distance / HAZE_METRES[self.night])[:, None]
        return clear, HAZE_RGB[self.night] * (1 - clear)

    def seen(self, rgb: np.ndarray, gain: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Surface colours ``N x 3`` (0..255) under a gain ``N x 3``, through ``N`` metres of haze."""
        clear, haze = self.haze(distance)
        return rgb * gain * clear + haze
