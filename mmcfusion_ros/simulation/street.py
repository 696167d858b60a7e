"""The empty street, ray-cast once: for every pixel which surface it sees, its colour under the light, its warmth."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from mmcfusion_ros.simulation import canvas
from mmcfusion_ros.simulation.buildings import Material, Wall, front
from mmcfusion_ros.simulation.canvas import HEIGHT, PIXEL_FROM_WORLD, WIDTH
from mmcfusion_ros.simulation.light import Light

LEFT_KERB_X, RIGHT_KERB_X = -9.3, -0.6
PARKING_X, MIDDLE_X = -7.2, -3.9
CROSSING_Z = (9.4, 12.6)
SUPERSAMPLING, BAND_ROWS = 2, 16
AIR_CELSIUS = {False: 14.0, True: 7.0}
SKYLINE_Z = 320.0
SKY_RGB = {
    False: np.array([(206, 222, 236), (92, 148, 214), (250, 249, 246)], np.float32),
    True: np.array([(38, 36, 52), (8, 11, 28), (44, 43, 58)], np.float32),
}
SKYLINE_RGB = {
    False: ((158, 172, 190), (142, 155, 171), (112, 136, 120)),
    True: ((34, 36, 48), (176, 150, 104), (16, 20, 22)),
}
CAMERA = canvas.CAMERA.astype(np.float32)
NOISE_SIZE, REMAP_LIMIT = 512, 1 << 14


@dataclass(frozen=True)
class Backdrop:
    """The empty street: ``rgb`` 0..255 ``480 x 640 x 3`` float32, ``celsius`` ``480 x 640`` float32, and
    ``inverse_depth`` like it: 1 / metres along the optical axis, 0 for skyline and sky."""

    rgb: np.ndarray
    celsius: np.ndarray
    inverse_depth: np.ndarray


def cast_street(walls: tuple[Wall, Wall], light: Light, seed: int) -> Backdrop:
    """Ray-casts ground, both walls, the skyline and the sky, ``SUPERSAMPLING`` squared rays a pixel."""
    noise = fractal_noise(NOISE_SIZE, np.random.default_rng([seed, 1]))
    caster = _Caster(walls, light, np.pad(noise, (0, 1), mode="wrap").astype(np.float32))
    picture = caster.picture()
    picture = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return Backdrop(
        np.clip(picture[..., :3], 0, 255), *(np.ascontiguousarray(picture[..., channel]) for channel in (3, 4))
    )


def fractal_noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """A tileable ``size x size`` noise of many scales: mean 0, standard deviation 0.35."""
    frequency = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.fftfreq(size)[None, :] ** 2
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal((size, size))) / frequency**0.55
    noise = np.fft.ifft2(spectrum).real
    return 0.35 * noise / noise.std()


class _Caster:
    def __init__(self, walls: tuple[Wall, Wall], light: Light, noise: np.ndarray) -> None:
        self.walls, self.light, self.noise = walls, light, noise
        self.air = AIR_CELSIUS[light.night]

    def picture(self) -> np.ndarray:
        """The supersampled picture, cast band by band: RGB, degrees Celsius, inverse depth; ``960 x 1280 x 5``."""
        with ThreadPoolExecutor() as pool:
            bands = pool.map(lambda top: self._cast(_rays(top, top + BAND_ROWS)), range(0, HEIGHT, BAND_ROWS))
        return np.concatenate(list(bands)).reshape(HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING, 5)

    def _cast(self, ray: np.ndarray) -> np.ndarray:
        """``N x 3`` directions, as far as depth 1, to ``N x 5``."""
        picture = np.empty((len(ray), 4), np.float32)
        nearest = np.full(len(ray), np.inf, np.float32)
        for wall in self.walls:
            towards = ray[:, 0] * wall.x > 1e-6
            distance = wall.x / np.where(towards, ray[:, 0], np.sign(wall.x))
            height, z = CAMERA[1] + distance * ray[:, 1], distance * ray[:, 2]
            towards &= (height < wall.height_at(z)) & (z > 0)
            self._see(ray, nearest, picture, distance, towards, partial(self._front, wall))
            self._gables(ray, nearest, picture, wall)
        self._see(ray, nearest, picture, -CAMERA[1] / np.minimum(ray[:, 1], -1e-6), ray[:, 1] < 0, self._ground)
        if len(beyond := np.flatnonzero(np.isinf(nearest))):
            picture[beyond] = self._beyond(ray[beyond])
        return np.column_stack([picture, 1 / nearest]).astype(np.float32)

    def _see(
        self,
        ray: np.ndarray,
        nearest: np.ndarray,
        picture: np.ndarray,
        distance: np.ndarray,
        hit: np.ndarray,
        shade: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        """Shades the rays that hit a surface nearer than all before."""
        seen = np.flatnonzero(hit & (distance < nearest))
        if len(seen):
            nearest[seen] = distance[seen]
            picture[seen] = shade(CAMERA + ray[seen] * distance[seen, None])

    def _gables(self, ray: np.ndarray, nearest: np.ndarray, picture: np.ndarray, wall: Wall) -> None:
        for i, z in enumerate(wall.bounds[:-1]):
            if not 4.0 < z < 70.0:
                continue
            distance = z / np.maximum(ray[:, 2], 1e-6)
            x, y = distance * ray[:, 0], CAMERA[1] + distance * ray[:, 1]
            hit = ((x - wall.x) * np.sign(wall.x) > 0) & (y < wall.heights[i]) & (y > 0)
            self._see(ray, nearest, picture, distance, hit, partial(self._gable, wall.front_rgb[i]))

    def _front(self, wall: Wall, points: np.ndarray) -> np.ndarray:
        facing = (-np.sign(wall.x), 0.0, 0.0)
        material = front(wall, points, self._grain(points[:, 1], points[:, 2], 12), self.air, self.light.night)
        material.celsius += 5.0 * self.light.sunlit(points)
        return self._finish(material, points, facing)

    def _gable(self, front_rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
        grain = self._grain(points[:, 0], points[:, 1], 12)
        rgb = front_rgb * 0.86 * (1 + 0.2 * grain)[:, None]
        material = Material(rgb, np.zeros_like(rgb), self.air + 0.6 + grain)
        return self._finish(material, points, (0.0, 0.0, -1.0))

    def _ground(self, points: np.ndarray) -> np.ndarray:
        x, z = points[:, 0], points[:, 2]
        fine, coarse = self._grain(x, z, 60), self._grain(x, z, 6)
        road = (x > LEFT_KERB_X) & (x < RIGHT_KERB_X)
        grey = np.where(road, 92 + 16 * fine + 16 * coarse, 158 + 12 * fine + 18 * coarse)
        rgb = grey[:, None] * np.where(road[:, None], (1.0, 1.0, 1.03), (1.0, 0.97, 0.92))
        warmth = 1.5 + 3.0 * self.light.night + 9.0 * self.light.sunlit(points)
        material = Material(rgb, np.zeros_like(rgb), self.air + warmth * np.where(road, 1.0, 0.75) + 0.9 * coarse)
        _pave(material, x, z, road)
        _mark(material, x, z, fine)
        return self._finish(material, points, (0.0, 1.0, 0.0))

    def _finish(self, material: Material, points: np.ndarray, normal: tuple[float, float, float]) -> np.ndarray:
        gain = self.light.on(points, normal)
        rgb = self.light.seen(material.rgb, gain, points[:, 2]) + material.glow
        return np.concatenate([rgb, material.celsius[:, None]], axis=1)

    def _grain(self, a: np.ndarray, b: np.ndarray, samples_per_metre: float) -> np.ndarray:
        """The noise at ``N`` positions of a plane, bilinear, repeating."""
        sheets = (value * (samples_per_metre / NOISE_SIZE) for value in (a, b))
        row, column = (((value - np.floor(value)) * NOISE_SIZE).astype(np.float32) for value in sheets)
        pieces = [slice(i, i + REMAP_LIMIT) for i in range(0, len(row), REMAP_LIMIT)]
        return np.concatenate([cv2.remap(self.noise, column[i], row[i], cv2.INTER_LINEAR).ravel() for i in pieces])

    def _beyond(self, ray: np.ndarray) -> np.ndarray:
        """The sky and, at the street's end, far towers with a line of trees before them."""
        up, clouds = np.clip(ray[:, 1] / 0.45, 0, 1), self._clouds(ray)
        horizon, zenith, cloud = SKY_RGB[self.light.night]
        clear = horizon + up[:, None] * (zenith - horizon)
        celsius = self.air - 9 - 17 * up**0.5 + 6 * clouds
        picture = np.column_stack([clear + clouds[:, None] * (cloud - clear), celsius])
        x, y = SKYLINE_Z * ray[:, 0] / ray[:, 2], CAMERA[1] + SKYLINE_Z * ray[:, 1] / ray[:, 2]
        block = np.floor(x / 11.0)
        towers = (y < 14 + 34 * (np.sin(block * 12.9898) * 43758.5453 % 1)) & (y > 0)
        trees = (y < 9 + 5 * self._grain(x, np.zeros_like(x), 2)) & (y > 0)
        tower_rgb, pane_rgb, tree_rgb = SKYLINE_RGB[self.light.night]
        picture[towers] = (*tower_rgb, self.air - 1.0)
        panes = towers & (y % 4 < 2) & (x % 3.7 < 1.8) & (np.sin(np.floor(x / 3.7) * 7.1 + np.floor(y / 4) * 3.3) > 0.3)
        picture[panes, :3] = pane_rgb
        picture[trees] = (*tree_rgb, self.air - 0.5)
        return picture

    def _clouds(self, ray: np.ndarray) -> np.ndarray:
        height = np.maximum(ray[:, 1], 0.02) + 0.12
        noise = self._grain(90 + ray[:, 0] / height, 40 + 0.6 / height, 70)
        return np.clip(noise * 1.5 + 0.12, 0, 1) * np.clip(ray[:, 1] / 0.08, 0, 1)


def _pave(material: Material, x: np.ndarray, z: np.ndarray, road: np.ndarray) -> None:
    """Kerbs, paving slabs, wheel tracks, manholes."""
    joints = ~road & ((x % 0.6 < 0.03) | ((z + 0.3 * (np.floor(x / 0.6) % 2)) % 0.6 < 0.03)) & (z < 32)
    material.put(joints, material.rgb * 0.78, material.celsius - 0.4)
    kerb = np.minimum(np.abs(x - LEFT_KERB_X), np.abs(x - RIGHT_KERB_X))
    material.put(kerb < 0.10, (184.0, 182.0, 176.0), material.celsius - 0.8)
    gutter = road & (kerb > 0.10) & (kerb < 0.35)
    material.put(gutter, material.rgb * 0.82, material.celsius - 0.3)
    for lane in (0.5 * (PARKING_X + MIDDLE_X), 0.5 * (MIDDLE_X + RIGHT_KERB_X)):
        track = np.exp(-(((np.abs(x - lane) - 0.75) / 0.28) ** 2))
        material.rgb *= (1 - 0.10 * track)[:, None]
        material.celsius += 1.1 * track
    for hole_x, hole_z in ((-2.9, 7.6), (-5.6, 17.0), (-2.6, 25.0)):
        radius = np.hypot(x - hole_x, z - hole_z)
        pattern = 0.5 + 0.2 * np.sign(np.sin(x * 42) * np.sin(z * 42))
        material.put(radius < 0.36, material.rgb * 0.85, material.celsius + 1.5)
        material.put(radius < 0.31, material.rgb * pattern[:, None], material.celsius + 4.0)


def _mark(material: Material, x: np.ndarray, z: np.ndarray, fine: np.ndarray) -> None:
    """Lane lines, the zebra crossing, stop line and parking bays: colour alone, the temperature stays."""
    wear = (fine > -0.62).astype(float) * (0.93 + 0.1 * fine)
    middle = (np.abs(x - MIDDLE_X) < 0.07) & (z % 6.0 < 3.4) & (z > CROSSING_Z[1] + 3)
    bays = (np.abs(x - PARKING_X) < 0.05) & (z > CROSSING_Z[1] + 3)
    bays |= (x < PARKING_X) & (x > LEFT_KERB_X + 0.1) & (z % 6.2 < 0.12) & (z > CROSSING_Z[1] + 3)
    crossing = (z > CROSSING_Z[0]) & (z < CROSSING_Z[1])
    zebra = crossing & (x > LEFT_KERB_X + 0.2) & (x < RIGHT_KERB_X - 0.2) & ((x + 0.1) % 1.0 < 0.5)
    stop = (np.abs(z - CROSSING_Z[1] - 1.6) < 0.2) & (x > PARKING_X + 0.15) & (x < MIDDLE_X - 0.1)
    white = np.array([226.0, 226.0, 220.0], np.float32) * wear[:, None] + material.rgb * (1 - wear)[:, None] * 0.3
    material.put((middle | bays | zebra | stop) & (wear > 0), white, material.celsius)


def _rays(top: int, bottom: int) -> np.ndarray:
    """World directions ``N x 3`` of the supersampled rows of the picture's rows ``top`` to ``bottom``."""
    x = (np.arange(WIDTH * SUPERSAMPLING, dtype=np.float32) + 0.5) / SUPERSAMPLING - 0.5
    y = (np.arange(top * SUPERSAMPLING, bottom * SUPERSAMPLING, dtype=np.float32) + 0.5) / SUPERSAMPLING - 0.5
    pixels = np.ones((len(y), len(x), 3), np.float32)
    pixels[..., 0], pixels[..., 1] = x, y[:, None]
    return cv2.transform(pixels, np.linalg.inv(PIXEL_FROM_WORLD)).reshape(-1, 3)
