"""The synthetic rig: a thermal and an RGB camera that look at the street with a known geometry and known faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.fusion.palette import PALETTES, Palette
from mmcfusion_ros.simulation.depth_camera import DepthCamera
from mmcfusion_ros.simulation.frame import Camera, Frame, check_range, in_order_of_delivery
from mmcfusion_ros.simulation.optics import DEPTH, RGB_SIZE, THERMAL_SIZE, Optics
from mmcfusion_ros.simulation.scene import StreetScene

THERMAL_BLUR_PIXELS = 0.7
NETD_KELVIN, FIXED_PATTERN_KELVIN = 0.05, 0.03
RGB_NOISE_LEVELS = {False: 1.3, True: 4.0}
RATE_LIMITS_HZ = (0.1, 240.0)
SHUTTER_CELSIUS = 38.0
ENCODINGS = ("16UC1", "mono8", "32FC1")
DEPTH_IMAGES = ("none", "aligned", "own")
PALETTE_COUNTS = {False: (28815, 31115), True: (27615, 31115)}


@dataclass(frozen=True)
class RigOptions:
    """What the rig shows and how well its cameras and drivers behave; a wrong value raises ``ValueError``.

    A frame is stamped up to ``stamp_jitter_s`` seconds after it was taken, delivered a constant latency after that,
    and lost with ``loss_probability``. The jitter must be below both frame periods. The clock that stamps thermal
    frames is ``clock_offset_s`` ahead of the RGB camera's, and gains ``clock_drift_ppm`` microseconds a second.

    The thermal camera stands ``baseline_m`` to the right of the RGB camera; with ``distorted`` both lenses bend.
    Every ``ffc_period_s`` seconds (0: never) it repeats a frame for ``ffc_duration_s`` (flat-field correction). It
    sends ``telemetry_rows`` above the image, or the colours of a ``palette`` instead of counts; ``bad_pixels`` are
    dead or stuck. With a ``warm_shutter`` it sends that, 38 degrees Celsius and noise, instead of repeating a frame.
    Every ``gain_switch_s`` seconds (0: never) it changes between counts of 0.01 and of 0.1 K. ``thermal_encoding`` is
    16UC1 (counts), mono8 (their upper 8 bits, as of a simulator: a scene has few levels) or 32FC1 (kelvin).

    ``depth``: a depth camera too, aligned to the RGB camera or with its own lens and place. Somebody walks to and fro
    at each distance of ``passers_z``, in metres.
    """

    seed: int = 0
    night: bool = False
    thermal_rate_hz: float = 30.0
    rgb_rate_hz: float = 30.0
    stamp_jitter_s: float = 0.0
    thermal_latency_s: float = 0.0
    rgb_latency_s: float = 0.0
    loss_probability: float = 0.0
    clock_offset_s: float = 0.0
    clock_drift_ppm: float = 0.0
    baseline_m: float = 0.0
    distorted: bool = False
    ffc_period_s: float = 0.0
    ffc_duration_s: float = 0.5
    telemetry_rows: int = 0
    palette: str = ""
    bad_pixels: int = 0
    warm_shutter: bool = False
    gain_switch_s: float = 0.0
    thermal_encoding: str = "16UC1"
    depth: str = "none"
    depth_rate_hz: float = 30.0
    depth_latency_s: float = 0.0
    passers_z: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seed", 0, 2**32 - 1),
            ("thermal_rate_hz", *RATE_LIMITS_HZ),
            ("rgb_rate_hz", *RATE_LIMITS_HZ),
            ("depth_rate_hz", *RATE_LIMITS_HZ),
            ("depth_latency_s", 0.0, 10.0),
            ("stamp_jitter_s", 0.0, 0.99 / max(self.thermal_rate_hz, self.rgb_rate_hz, 1e-9)),
            ("thermal_latency_s", 0.0, 10.0),
            ("rgb_latency_s", 0.0, 10.0),
            ("loss_probability", 0.0, 0.99),
            ("clock_offset_s", -86_400.0, 86_400.0),
            ("clock_drift_ppm", -10_000.0, 10_000.0),
            ("baseline_m", 0.0, 0.5),
            ("ffc_period_s", 0.0, 1e6),
            ("ffc_duration_s", 0.0, 60.0),
            ("telemetry_rows", 0, 16),
            ("bad_pixels", 0, 1000),
            ("gain_switch_s", 0.0, 1e6),
        ):
            check_range(name, getattr(self, name), low, high)
        if self.palette not in ("", *PALETTES):
            raise ValueError(f"palette is {self.palette!r}; it must be one of {', '.join(PALETTES)}, or empty")
        if self.depth not in DEPTH_IMAGES:
            raise ValueError(f"depth is {self.depth!r}; it must be one of {', '.join(DEPTH_IMAGES)}")
        if self.palette and self.telemetry_rows:
            raise ValueError(f"telemetry_rows is {self.telemetry_rows}; a camera with a palette must have 0")
        if self.thermal_encoding not in ENCODINGS:
            raise ValueError(f"thermal_encoding is {self.thermal_encoding!r}; it must be one of {', '.join(ENCODINGS)}")
        if self.palette and self.thermal_encoding != ENCODINGS[0]:
            raise ValueError(f"thermal_encoding is {self.thermal_encoding}; a camera with a palette sends colours")


def rig_frames(options: RigOptions) -> Iterator[Frame]:
    """The endless frames of both cameras in order of delivery; the same options give the same bytes and times.

    Thermal: ``512 x 640`` uint16, centikelvin, 100 * (degrees Celsius + 273.15), below the rows of telemetry, or what
    the options make of that; or ``512 x 640 x 3`` uint8, red first, in the colours of the palette. RGB: ``480 x 640 x
    3`` uint8. Depth: ``480 x 640``, or ``480 x 848`` with its own lens, uint16 millimetres, 0: none. The scene is built
    for the first frame, which takes a second.
    """
    scene = StreetScene(options.seed, options.night, options.passers_z)
    optics = Optics(options.baseline_m, options.distorted)
    streams = [
        _stream("thermal", _ThermalCamera(scene, optics, options), options),
        _stream("rgb", _RgbCamera(scene, optics, options), options),
    ]
    if options.depth != "none":
        source = DepthCamera(scene, optics, options.depth == "aligned", options.depth_rate_hz, options.seed)
        streams.append(_stream("depth", source, options))
    yield from in_order_of_delivery(*streams)


def rig_calibration(options: RigOptions, plane_distance: float = np.inf) -> Calibration:
    """The true geometry of the rig, exact at a distance in metres."""
    return Optics(options.baseline_m, options.distorted).calibration(plane_distance, options.depth == "own")


def rig_intrinsics(options: RigOptions) -> dict[Camera, Intrinsics]:
    """Of each camera that the rig has."""
    optics = Optics(options.baseline_m, options.distorted)
    depth: dict[str, dict[Camera, Intrinsics]] = {"aligned": {"depth": optics.rgb}, "own": {"depth": DEPTH}}
    return {"thermal": optics.thermal, "rgb": optics.rgb, **depth.get(options.depth, {})}


def _stream(camera: Camera, source: _ThermalCamera | _RgbCamera | DepthCamera, options: RigOptions) -> Iterator[Frame]:
    thermal = camera == "thermal"
    rate_hz = getattr(options, f"{camera}_rate_hz")
    latency_ns = round(1e9 * getattr(options, f"{camera}_latency_s"))
    index = 0
    while True:
        rng = np.random.default_rng([options.seed, ("thermal", "rgb", "depth").index(camera), index])
        lost, late = rng.random() < options.loss_probability, rng.random() * options.stamp_jitter_s
        if not lost:
            stamp_ns = clock_ns = round((index / rate_hz + late) * 1e9)
            if thermal:
                stamp_ns += round(options.clock_offset_s * 1e9 + clock_ns * options.clock_drift_ppm * 1e-6)
            aligned = camera == "depth" and options.depth == "aligned"
            yield Frame(camera, stamp_ns, clock_ns + latency_ns, partial(source.image, index), aligned)
        index += 1


class _ThermalCamera:
    def __init__(self, scene: StreetScene, optics: Optics, options: RigOptions) -> None:
        rng = np.random.default_rng([options.seed, 20])
        width, height = THERMAL_SIZE
        self._scene, self._optics, self._options = scene, optics, options
        self._noise = _noise_sheet((2 * height, 2 * width), NETD_KELVIN, rng)
        columns = rng.standard_normal((1, width), np.float32)
        pixels = rng.standard_normal((height, width), np.float32)
        self._fixed_pattern = FIXED_PATTERN_KELVIN * (0.8 * columns + 0.6 * pixels) + np.float32(273.15)
        self._bad = rng.choice(height * width, options.bad_pixels, replace=False)
        self._stuck_at = rng.choice([0, 24_000, 36_000], options.bad_pixels).astype(np.uint16)
        self._palette = Palette.from_name(options.palette) if options.palette else None

    def image(self, index: int) -> np.ndarray:
        """As ``rig_frames`` says."""
        shown = self._shown(index)
        rng = np.random.default_rng([self._options.seed, 22, shown])
        celsius = self._celsius(shown)
        kelvin = cv2.add(cv2.add(celsius, self._fixed_pattern), _piece(self._noise, celsius.shape, rng))
        counts = np.rint(100 * kelvin).astype(np.uint16)
        counts.reshape(-1)[self._bad] = self._stuck_at
        if self._palette:
            low, high = PALETTE_COUNTS[self._options.night]
            grey = np.clip((counts.astype(np.float32) - low) * (255 / (high - low)), 0, 255)
            return self._palette.apply(np.rint(grey).astype(np.uint8))
        if self._options.telemetry_rows:
            counts = np.vstack([self._telemetry(index), counts])
        return self._encoded(counts, index)

    def _celsius(self, index: int) -> np.ndarray:
        """What falls on the sensor, ``512 x 640`` float32: the scene, or a warm shutter."""
        if self._options.warm_shutter and self._frames_closed(index) is not None:
            return np.full(THERMAL_SIZE[::-1], SHUTTER_CELSIUS, np.float32)
        time_s = index / self._options.thermal_rate_hz
        inverse_depth = self._scene.inverse_depth(time_s) if self._options.baseline_m else None
        celsius = self._optics.thermal_view(self._scene.celsius(time_s), inverse_depth)
        return cv2.GaussianBlur(celsius, (0, 0), THERMAL_BLUR_PIXELS)

    def _encoded(self, counts: np.ndarray, index: int) -> np.ndarray:
        """Counts of 0.01 K as the camera sends them at this frame."""
        if self._options.thermal_encoding == "32FC1":
            return counts.astype(np.float32) / 100
        if self._options.thermal_encoding == "mono8":
            return (counts >> 8).astype(np.uint8)
        period = self._options.gain_switch_s * self._options.thermal_rate_hz
        return counts // 10 if period and index // period % 2 else counts

    def _shown(self, index: int) -> int:
        """The frame that is sent: while the shutter is closed, and shows nothing of its own, the last one before."""
        closed = None if self._options.warm_shutter else self._frames_closed(index)
        return index if closed is None else max(0, index - 1 - closed)

    def _frames_closed(self, index: int) -> int | None:
        """For how many frames the shutter has been closed; None: it is open."""
        rate_hz, period_s = self._options.thermal_rate_hz, self._options.ffc_period_s
        if not period_s or index / rate_hz < period_s:
            return None
        since = index % (period_s * rate_hz)
        return int(since) if since < self._options.ffc_duration_s * rate_hz - 1e-6 else None

    def _telemetry(self, index: int) -> np.ndarray:
        """Rows with a frame counter and the like, which change while the image stands still."""
        rng = np.random.default_rng([self._options.seed, 23, index])
        rows = rng.integers(0, 65536, (self._options.telemetry_rows, THERMAL_SIZE[0]), dtype=np.uint16)
        rows[:, 0] = index % 65536
        return rows


class _RgbCamera:
    def __init__(self, scene: StreetScene, optics: Optics, options: RigOptions) -> None:
        (width, height), rng = RGB_SIZE, np.random.default_rng([options.seed, 21])
        sheet = _noise_sheet((2 * height, 2 * width, 3), RGB_NOISE_LEVELS[options.night], rng)
        self._scene, self._optics, self._options = scene, optics, options
        self._noise = np.rint(sheet).astype(np.int16)

    def image(self, index: int) -> np.ndarray:
        """``480 x 640 x 3`` uint8, red first."""
        rgb = self._optics.rgb_view(self._scene.rgb(index / self._options.rgb_rate_hz))
        rng = np.random.default_rng([self._options.seed, 24, index])
        return cv2.add(rgb, _piece(self._noise, rgb.shape, rng), dtype=cv2.CV_8U)


def _noise_sheet(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Noise larger than an image: a frame takes a piece of it, which costs far less than drawing its own."""
    return deviation * rng.standard_normal(shape, np.float32)


def _piece(sheet: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    top, left = rng.integers(sheet.shape[0] - shape[0]), rng.integers(sheet.shape[1] - shape[1])
    return sheet[top : top + shape[0], left : left + shape[1]]
