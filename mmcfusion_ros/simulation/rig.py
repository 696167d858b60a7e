"""The synthetic rig: a thermal and an RGB camera at one place, looking at the street with a known homography."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from mmcfusion_ros.simulation import canvas
from mmcfusion_ros.simulation.frame import Camera, Frame, check_range, in_order_of_delivery
from mmcfusion_ros.simulation.scene import StreetScene

RGB_SIZE = (canvas.WIDTH, canvas.HEIGHT)
THERMAL_SIZE = (640, 512)
RGB_INTRINSICS = canvas.INTRINSICS
THERMAL_INTRINSICS = np.array([[572.0, 0.0, 319.5], [0.0, 572.0, 255.5], [0.0, 0.0, 1.0]])
THERMAL_ROTATION_DEGREES = (-0.3, 0.4, 0.5)
THERMAL_BLUR_PIXELS = 0.7
NETD_KELVIN, FIXED_PATTERN_KELVIN = 0.05, 0.03
RGB_NOISE_LEVELS = {False: 1.3, True: 4.0}
RATE_LIMITS_HZ = (0.1, 240.0)


def _thermal_to_rgb() -> np.ndarray:
    rotation, _ = cv2.Rodrigues(np.radians(THERMAL_ROTATION_DEGREES))
    homography = RGB_INTRINSICS @ rotation @ np.linalg.inv(THERMAL_INTRINSICS)
    return homography / homography[2, 2]


THERMAL_TO_RGB = _thermal_to_rgb()
"""3x3: a thermal pixel (x, y, 1) to the RGB pixel that sees the same point, at any distance."""


@dataclass(frozen=True)
class RigOptions:
    """What the rig shows and how well its drivers behave; a wrong value raises ``ValueError``.

    A frame is stamped up to ``stamp_jitter_s`` seconds after it was taken, delivered a constant latency after its
    stamp, and lost with ``loss_probability``. The jitter must be below both frame periods.
    """

    seed: int = 0
    night: bool = False
    thermal_rate_hz: float = 30.0
    rgb_rate_hz: float = 30.0
    stamp_jitter_s: float = 0.0
    thermal_latency_s: float = 0.0
    rgb_latency_s: float = 0.0
    loss_probability: float = 0.0

    def __post_init__(self) -> None:
        check_range("seed", self.seed, 0, 2**32 - 1)
        check_range("thermal_rate_hz", self.thermal_rate_hz, *RATE_LIMITS_HZ)
        check_range("rgb_rate_hz", self.rgb_rate_hz, *RATE_LIMITS_HZ)
        check_range("stamp_jitter_s", self.stamp_jitter_s, 0.0, 0.99 / max(self.thermal_rate_hz, self.rgb_rate_hz))
        check_range("thermal_latency_s", self.thermal_latency_s, 0.0, 10.0)
        check_range("rgb_latency_s", self.rgb_latency_s, 0.0, 10.0)
        check_range("loss_probability", self.loss_probability, 0.0, 0.99)


def rig_frames(options: RigOptions) -> Iterator[Frame]:
    """The endless frames of both cameras in order of delivery; the same options give the same bytes and times.

    Thermal: ``512 x 640`` uint16, centikelvin, 100 * (degrees Celsius + 273.15). RGB: ``480 x 640 x 3`` uint8.
    The scene is built in this call, which takes some seconds.
    """
    scene = StreetScene(options.seed, options.night)
    thermal, rgb = _ThermalCamera(scene, options.seed), _RgbCamera(scene, options.seed, options.night)
    return in_order_of_delivery(
        _stream("thermal", thermal.image, options.thermal_rate_hz, options.thermal_latency_s, options),
        _stream("rgb", rgb.image, options.rgb_rate_hz, options.rgb_latency_s, options),
    )


def _stream(
    camera: Camera,
    take: Callable[[float, np.random.Generator], np.ndarray],
    rate_hz: float,
    latency_s: float,
    options: RigOptions,
) -> Iterator[Frame]:
    index = 0
    while True:
        rng = np.random.default_rng([options.seed, camera == "rgb", index])
        lost, late = rng.random() < options.loss_probability, rng.random() * options.stamp_jitter_s
        taken_s = index / rate_hz
        index += 1
        if not lost:
            stamp_ns = round((taken_s + late) * 1e9)
            yield Frame(camera, stamp_ns, stamp_ns + round(latency_s * 1e9), partial(take, taken_s, rng))


class _ThermalCamera:
    def __init__(self, scene: StreetScene, seed: int) -> None:
        rng = np.random.default_rng([seed, 20])
        width, height = THERMAL_SIZE
        self._scene = scene
        self._noise = _noise_sheet((2 * height, 2 * width), NETD_KELVIN, rng)
        columns = rng.standard_normal((1, width), np.float32)
        pixels = rng.standard_normal((height, width), np.float32)
        self._fixed_pattern = FIXED_PATTERN_KELVIN * (0.8 * columns + 0.6 * pixels) + np.float32(273.15)

    def image(self, time_s: float, rng: np.random.Generator) -> np.ndarray:
        """``512 x 640`` uint16, centikelvin."""
        celsius = cv2.warpPerspective(
            self._scene.celsius(time_s), THERMAL_TO_RGB, THERMAL_SIZE, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        celsius = cv2.GaussianBlur(celsius, (0, 0), THERMAL_BLUR_PIXELS)
        kelvin = cv2.add(cv2.add(celsius, self._fixed_pattern), _piece(self._noise, celsius.shape, rng))
        return np.rint(100 * kelvin).astype(np.uint16)


class _RgbCamera:
    def __init__(self, scene: StreetScene, seed: int, night: bool) -> None:
        width, height = RGB_SIZE
        sheet = _noise_sheet((2 * height, 2 * width, 3), RGB_NOISE_LEVELS[night], np.random.default_rng([seed, 21]))
        self._scene, self._noise = scene, np.rint(sheet).astype(np.int16)

    def image(self, time_s: float, rng: np.random.Generator) -> np.ndarray:
        """``480 x 640 x 3`` uint8, red first."""
        rgb = self._scene.rgb(time_s)
        return cv2.add(rgb, _piece(self._noise, rgb.shape, rng), dtype=cv2.CV_8U)


def _noise_sheet(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Noise larger than an image: a frame takes a piece of it, which costs far less than drawing its own."""
    return deviation * rng.standard_normal(shape, np.float32)


def _piece(sheet: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    top, left = rng.integers(sheet.shape[0] - shape[0]), rng.integers(sheet.shape[1] - shape[1])
    return sheet[top : top + shape[0], left : left + shape[1]]
