"""The two rows of buildings along the street, and what their fronts look like in both spectra."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

LEFT_WALL_X, RIGHT_WALL_X = -12.5, 4.6
STREET_START_Z, STREET_END_Z = -30.0, 140.0
GROUND_FLOOR_M, FLOOR_M, COLUMN_M = 3.8, 3.1, 2.3
FRONT_RGB = np.array(
    [
        (196, 150, 116), (214, 196, 160), (164, 84, 66), (186, 188, 186), (222, 184, 128), (150, 160, 170),
        (204, 138, 108), (232, 222, 200), (128, 92, 80), (178, 196, 172),
    ],
    np.float32,
)  # fmt: skip
SIGN_RGB = np.array([(30, 70, 60), (120, 28, 32), (28, 44, 92), (60, 44, 36), (24, 24, 28), (146, 96, 24)], np.float32)
SIGN_WORDS = ("BAKERY", "CAFE", "BOOKS", "HOTEL", "FLORIST", "MARKET", "PHARMACY", "TAILOR")
SIGN_PIXELS_PER_METRE = 48
SIGN_BOTTOM_M, SIGN_TOP_M = 2.95, 3.6


@dataclass(frozen=True)
class Wall:
    """One side of the street: building ``i`` stands from ``bounds[i]`` to ``bounds[i + 1]`` along z."""

    x: float
    bounds: np.ndarray
    heights: np.ndarray
    front_rgb: np.ndarray
    bricks: np.ndarray
    lit: np.ndarray
    signs: tuple[np.ndarray, ...]
    sign_rgb: np.ndarray
    warmth: np.ndarray

    def building_at(self, z: np.ndarray) -> np.ndarray:
        """The index of the building at each ``z``."""
        return np.clip(np.searchsorted(self.bounds, z) - 1, 0, len(self.heights) - 1)

    def height_at(self, z: np.ndarray) -> np.ndarray:
        """The height of the building at each ``z``, metres; 0 beyond the street's end."""
        return np.where(z < STREET_END_Z, self.heights[self.building_at(z)], 0.0)


def build_wall(x: float, rng: np.random.Generator) -> Wall:
    """A row of buildings of random width, height and colour."""
    widths = rng.uniform(8.0, 15.0, size=32)
    bounds = STREET_START_Z + np.concatenate([[0.0], np.cumsum(widths)])
    bounds = np.concatenate([bounds[bounds < STREET_END_Z - 5], [STREET_END_Z]])
    count = len(bounds) - 1
    floors = rng.integers(2, 5, size=count)
    palette = np.concatenate([rng.permutation(len(FRONT_RGB)) for _ in range(4)])[:count]
    words = np.concatenate([rng.permutation(len(SIGN_WORDS)) for _ in range(4)])[:count]
    return Wall(
        x=x,
        bounds=bounds.astype(np.float32),
        heights=(GROUND_FLOOR_M + FLOOR_M * floors + 0.9).astype(np.float32),
        front_rgb=FRONT_RGB[palette] * rng.uniform(0.9, 1.08, (count, 1)).astype(np.float32),
        bricks=rng.random(count) < 0.45,
        lit=rng.random((count, 8, 16), np.float32),
        signs=tuple(_sign(SIGN_WORDS[word]) for word in words),
        sign_rgb=SIGN_RGB[rng.integers(len(SIGN_RGB), size=count)],
        warmth=rng.standard_normal(count, np.float32),
    )


def _sign(word: str) -> np.ndarray:
    height = round((SIGN_TOP_M - SIGN_BOTTOM_M) * SIGN_PIXELS_PER_METRE)
    sign = np.zeros((height, 5 * SIGN_PIXELS_PER_METRE), np.uint8)
    (width, _), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, 0.8, 2)
    cv2.putText(
        sign, word, ((sign.shape[1] - width) // 2, height - 7), cv2.FONT_HERSHEY_DUPLEX, 0.8, 255, 2, cv2.LINE_AA
    )
    return sign / 255.0


@dataclass
class Material:
    """Per point: reflected colour ``N x 3`` and own light ``N x 3`` (0..255), degrees Celsius ``N``."""

    rgb: np.ndarray
    glow: np.ndarray
    celsius: np.ndarray

    def put(self, where: np.ndarray, rgb: np.ndarray | tuple[float, ...], celsius: np.ndarray | float) -> None:
        """Covers the points of a mask; ``rgb`` and ``celsius`` are given for all points or as one value."""
        self.rgb[where] = np.broadcast_to(rgb, self.rgb.shape)[where]
        self.celsius[where] = np.broadcast_to(celsius, self.celsius.shape)[where]


def front(wall: Wall, points: np.ndarray, grain: np.ndarray, air: float, night: bool) -> Material:
    """The street front of ``wall`` at world points ``N x 3``; ``grain`` is a soft noise of ``N`` values around 0."""
    y, z = points[:, 1], points[:, 2]
    building = wall.building_at(z)
    start, width = wall.bounds[building], np.diff(wall.bounds)[building]
    columns = np.maximum(np.round((width - 0.6) / COLUMN_M), 1)
    column, across = _split((z - start - 0.3) / (width - 0.6) * columns)
    floor, up = _split((y - GROUND_FLOOR_M) / FLOOR_M)
    material = _masonry(wall, building, y, z, grain, air)
    roof_distance = wall.heights[building] - y
    upper = (y > GROUND_FLOOR_M) & (roof_distance > 0.9) & (column >= 0) & (column < columns)
    seed = wall.lit[building, np.clip(floor, 0, 7), np.clip(column, 0, 15)]
    _windows(material, upper, across, up, seed, air, night)
    trim = (roof_distance < 0.55) | (np.abs(y - GROUND_FLOOR_M) < 0.12)
    material.put(trim, material.rgb * 1.12 + 8, material.celsius - 0.4)
    material.put((roof_distance > 0.55) & (roof_distance < 0.68), material.rgb * 0.6, material.celsius)
    _shop(material, wall, building, points, air, night)
    return material


def _masonry(wall: Wall, building: np.ndarray, y: np.ndarray, z: np.ndarray, grain: np.ndarray, air: float) -> Material:
    rgb = wall.front_rgb[building] * (1 + 0.22 * grain)[:, None]
    course, in_course = _split(y / 0.30)
    _, in_brick = _split(z / 0.62 + 0.5 * (course % 2))
    joint = ((in_course < 0.12) | (in_brick < 0.06)) & wall.bricks[building]
    near = np.exp(-np.abs(z) / 30)
    rgb *= (1 - 0.22 * joint * near)[:, None]
    rgb *= (1 - 0.25 * np.exp(-np.maximum(y, 0) / 0.5))[:, None]
    edge = np.minimum(z - wall.bounds[building], wall.bounds[building + 1] - z)
    rgb *= (1 - 0.35 * (edge < 0.07))[:, None]
    celsius = air + 1.2 + 0.5 * wall.warmth[building] + 1.6 * grain
    return Material(rgb, np.zeros_like(rgb), celsius)


def _windows(
    material: Material, upper: np.ndarray, across: np.ndarray, up: np.ndarray, seed: np.ndarray, air: float, night: bool
) -> None:
    dx, dy = np.abs(across - 0.5), np.abs(up - 0.52)
    surround = upper & (dx < 0.31) & (dy < 0.36)
    glass = upper & (dx < 0.24) & (dy < 0.29)
    bars = glass & ((dx < 0.018) | (np.abs(up - 0.64) < 0.018))
    sill = upper & (dx < 0.34) & (up > 0.12) & (up < 0.18)
    leak = np.where(surround & (up > 0.7), 1.4, 0.5)
    material.put(surround, material.rgb * 0.55 + 105, material.celsius + leak)
    material.put(sill, material.rgb * 0.4 + 120, material.celsius + 0.8)
    reflection = np.clip((up - 0.2) / 0.6 + 0.5 * (across - 0.5), 0, 1)[:, None]
    pane = np.array([46.0, 58.0, 72.0], np.float32) + reflection * np.array([58.0, 76.0, 92.0], np.float32)
    curtain = (seed * 7 % 1 < 0.4) & (dx > 0.10 + 0.08 * (seed * 13 % 1))
    pane = np.where(curtain[:, None], pane * 0.5 + 80, pane)
    material.put(glass, pane, air + 3.0 + 3.0 * seed)
    lit = glass & (seed < 0.38) & night
    lamp = np.array([255.0, 206.0, 128.0], np.float32) * (0.55 + 0.35 * up + 0.3 * (seed * 31 % 1 - 0.5))[:, None]
    material.glow[lit] = np.where(curtain[:, None], lamp * (0.72, 0.62, 0.5), lamp)[lit]
    material.put(bars, (215.0, 212.0, 205.0), material.celsius)
    material.glow[bars] *= 0.25


def _shop(material: Material, wall: Wall, building: np.ndarray, points: np.ndarray, air: float, night: bool) -> None:
    y, z = points[:, 1], points[:, 2]
    start, width = wall.bounds[building], np.diff(wall.bounds)[building]
    panes = np.maximum(np.round((width - 0.8) / 2.6), 1)
    pane, across = _split((z - start - 0.4) / (width - 0.8) * panes)
    inside = (pane >= 0) & (pane < panes)
    door = inside & (pane == building % 3) & (y < 2.55) & (np.abs(across - 0.5) < 0.26)
    glass = inside & (np.abs(across - 0.5) < 0.44) & (y > 0.55) & (y < 2.7)
    dark = wall.sign_rgb[building]
    material.put(inside & (y < 2.95), dark * 0.7 + 30, air + 1.5)
    reflection = 46 + 34 * np.clip((y - 0.6) / 2 + 0.6 * (across - 0.5), 0, 1)
    display = 0.62 * _goods(across * (width - 0.8) / panes + 9.0 * pane, y, building) + reflection[:, None]
    material.put(glass, display, air + 4.5 + 1.2 * (y < 1.0))
    material.put(door, dark * 0.8 + 12, air + 3.2)
    material.put(door & (y > 0.9) & (np.abs(across - 0.5) < 0.19), (72.0, 84.0, 96.0), air + 5.5)
    open_late = glass & ~door & (wall.lit[building, 7, 15] < 0.6) & night
    material.glow[open_late] = (np.array([70.0, 52.0, 16.0], np.float32) + display * (0.95, 0.82, 0.62))[open_late]
    board = inside & (y > SIGN_BOTTOM_M) & (y < SIGN_TOP_M)
    letters = np.zeros(len(y))
    letters[board] = _letters(wall, building[board], y[board], z[board])
    material.put(board, dark + letters[:, None] * (np.array([244.0, 232.0, 196.0], np.float32) - dark), air + 1.4)
    material.glow[board] = (letters[:, None] * np.array([150.0, 130.0, 90.0], np.float32))[board] * night


def _goods(x: np.ndarray, y: np.ndarray, building: np.ndarray) -> np.ndarray:
    """What lies in a shop window on shelves 0.55 m apart: coloured boxes of random height before a grey back."""
    shelf, up = _split((y - 0.6) / 0.55)
    item, across = _split(x / 0.22)
    chance = [_hash(item, shelf + 17 * building + 100 * i) for i in range(4)]
    box = (up < 0.25 + 0.55 * chance[0]) & (np.abs(across - 0.5) < 0.42) & (chance[0] > 0.25)
    colours = np.stack(chance[1:], axis=1) * 130.0 + 45.0
    back = np.broadcast_to((64.0, 70.0, 78.0), colours.shape) + 20 * np.clip(y - 1.2, 0, 1.5)[:, None]
    return np.where(box[:, None], colours, np.where((up < 0.06)[:, None], 120.0, back))


def _hash(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A value in 0..1 for each pair of integers."""
    return np.abs(np.sin(a * 12.9898 + b * 78.233) * 43758.5453) % 1.0


def _letters(wall: Wall, building: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    centre = 0.5 * (wall.bounds[building] + wall.bounds[building + 1])
    rightwards = (z - centre) * (1 if wall.x < 0 else -1)
    height, width = wall.signs[0].shape
    row = ((SIGN_TOP_M - y) * SIGN_PIXELS_PER_METRE).astype(int)
    column = np.round(rightwards * SIGN_PIXELS_PER_METRE + width / 2).astype(int)
    inside = (column >= 0) & (column < width)
    signs = np.stack(wall.signs)
    return signs[building, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)] * inside


def _split(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    whole = np.floor(value)
    return whole.astype(int), value - whole
