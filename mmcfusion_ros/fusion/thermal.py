"""Thermal frames as cameras send them (counts, temperatures, 8 bits, palette colours) to 8 bits, warm is bright."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np

from mmcfusion_ros.fusion.conditions import BadPixels
from mmcfusion_ros.network.metadata import POLARITIES

Unit = Literal["counts", "signed counts", "centikelvin"]

ZERO_CELSIUS = 273.15
COLDEST_KELVIN = 173.15  # a picture whose median is above is in kelvin: no scene has 174 degrees Celsius
LARGEST_KELVIN = 655.35  # in 16 bits of 0.01 K; a picture whose median is above is in counts
SIGN = 1 << 15
MEDIAN_SAMPLES = 1000
_NEIGHBOURS = np.ones((3, 3), np.uint8)

DEAD, SATURATED = 0, 65535
ENDS_OF_FEWER_BITS = {(1 << bits) - 1 for bits in (10, 12, 14)}
FULL = (0.0, 255.0)
STILL = 0.01  # a range that would move by less, relative to its width, stays: a static scene does not flicker
LARGEST_CLIPPED = 0.1  # share of a frame beyond what the percentiles clip; more is a jump, and nothing to smooth
LARGEST_MOVE, LEAST_MOVE = 0.1, 2.0  # of the range, and counts, by all quartiles of a frame: a jump too
LARGEST_SHRINK = 4.0  # times narrower, the range and the middle half of a frame: another one
NARROW, WIDE = 48.0, 80.0  # grey levels; real cameras with a gain of their own: 103 and more
EXTREME = 0.0005  # share of the pixels that do not count for that
LEAST_SPAN_OF_8_BITS = 8.0
SAMPLES = 20_000  # pixels of a frame that decide

MODES = ("auto", "percentile", "fixed", "equalize")
ROTATIONS = (0, 90, 180, 270)
FLIPS = ("none", "horizontal", "vertical")
LIMITS: dict[str, tuple[float, float]] = {
    "low_percentile": (0, 100),
    "high_percentile": (0, 100),
    "min_span": (1, SATURATED),
    "smoothing": (0, 0.999),
    "plateau": (1, 100),
    "fixed_low": (-SIGN, SATURATED),
    "fixed_high": (-SIGN, SATURATED),
    "kelvin_per_count": (0, 10),
    "kelvin_at_zero": (-1000, 1000),
    "crop_top": (0, 4096),
    "crop_bottom": (0, 4096),
}
STILL_CURVE = 0.5 / 255
LARGEST_DEAD = 0.02  # share of the pixels
BINS = 256
LINEAR_PART = 0.25
FOREIGN_COLOURS = {True: 12.0, False: 40.0}  # levels; whether the palette is grey


@dataclass(frozen=True)
class ThermalOptions:
    """How thermal frames become grey values; ``ValueError`` naming the first option that makes no sense.

    Mode ``percentile`` spreads the counts between two percentiles of the frame, but at least ``min_span`` counts
    (about 20 times the camera's noise: a flat scene stays flat; of 8 bits: 8 levels), over 0..255; ``smoothing`` is the
    share of the previous range that is kept at each frame (0: none) while the scene drifts. Mode ``equalize`` shares
    out the grey values within the same range by how many pixels need them; a temperature counts at most ``plateau``
    times as much as the average one. Mode ``fixed`` spreads ``fixed_low..fixed_high``: degrees Celsius of images that
    hold temperatures (float) and where ``kelvin_per_count`` is given, of which count 0 is ``kelvin_at_zero``
    (centikelvin, TLinear high: 0.01; TLinear low: 0.04); else counts. Mode ``auto`` is ``percentile``, but leaves 8
    bits as they are unless they use only a narrow part of their range. Colours of a palette are never scaled.

    ``polarity`` is how the camera sends warm things. ``palette`` is how it colours them, for streams in colour.
    ``crop_top`` and ``crop_bottom`` are rows of telemetry. ``rotate`` (degrees clockwise) and then ``flip`` turn the
    image of a camera that is mounted turned or looks into a mirror.
    """

    mode: str = "auto"
    low_percentile: float = 1.0
    high_percentile: float = 99.5
    min_span: float = 100.0
    smoothing: float = 0.9
    plateau: float = 4.0
    fixed_low: float = 0.0
    fixed_high: float = 65535.0
    kelvin_per_count: float = 0.0
    kelvin_at_zero: float = 0.0
    polarity: str = "white_hot"
    palette: str = "white_hot"
    crop_top: int = 0
    crop_bottom: int = 0
    rotate: int = 0
    flip: str = "none"
    replace_bad_pixels: bool = True

    def __post_init__(self) -> None:
        choices = {"mode": MODES, "polarity": POLARITIES, "rotate": ROTATIONS, "flip": FLIPS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                listed = ", ".join(map(str, allowed))
                raise ValueError(f"thermal {name} is {getattr(self, name)!r}; it must be one of {listed}")
        if not 0 <= self.low_percentile < self.high_percentile <= 100:
            raise ValueError(
                f"thermal percentiles are {self.low_percentile} and {self.high_percentile}; "
                "the low one must be below the high one, both from 0 to 100"
            )
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"thermal {name} is {getattr(self, name)}; it must be from {low} to {high}")
        low_count, high_count = self.fixed_counts()
        if not (low_count >= -SIGN and low_count + 1 <= high_count <= SATURATED):
            raise ValueError(
                f"thermal fixed range is {self.fixed_low} to {self.fixed_high}"
                + (f", counts {low_count:.0f} to {high_count:.0f}" if self.kelvin_per_count else "")
                + f"; it must rise by at least one count and lie within -{SIGN} to {SATURATED} counts"
            )

    @cached_property
    def turns(self) -> bool:
        """Whether images are turned or mirrored."""
        return bool(self.rotate) or self.flip != "none"

    def fixed_counts(self, unit: Unit = "counts") -> tuple[float, float]:
        """The fixed range in counts of that unit."""
        low, high = self.fixed_low, self.fixed_high
        if unit == "centikelvin":
            return 100 * (low + ZERO_CELSIUS), 100 * (high + ZERO_CELSIUS)
        if self.kelvin_per_count and self.mode == "fixed":
            zero = self.kelvin_at_zero - ZERO_CELSIUS
            low, high = (low - zero) / self.kelvin_per_count, (high - zero) / self.kelvin_per_count
        return (low + SIGN, high + SIGN) if unit == "signed counts" else (low, high)


def in_polarity(thermal: np.ndarray, polarity: str) -> np.ndarray:
    """A white-hot ``H x W`` uint8 image in that polarity, or one in that polarity to white hot: 255 - T or the same."""
    return cv2.bitwise_not(thermal) if polarity == "black_hot" else thermal


def as_counts(
    thermal: np.ndarray, kelvin_per_count: float = 0.0, kelvin_at_zero: float = 0.0
) -> tuple[np.ndarray, Unit]:
    """``H x W`` int16, float32 or float64 to ``H x W`` uint16, and what its values then are; others as they are.

    int16 is moved up by 32768. Floats are temperatures, by their median kelvin or degrees Celsius, and become 0.01 K;
    with ``kelvin_per_count`` the value 0 is ``kelvin_at_zero``. Floats too large for a temperature are counts. What is
    not finite becomes like a neighbour, or 0 (dead) where there is none that is.
    """
    if thermal.dtype == np.int16:
        return thermal.view(np.uint16) ^ np.uint16(SIGN), "signed counts"
    if thermal.dtype not in (np.float32, np.float64):
        return thermal, "counts"
    gain, offset, unit = _units(thermal, kelvin_per_count, kelvin_at_zero)
    counts = cv2.addWeighted(thermal, gain, thermal, 0, offset, dtype=cv2.CV_16U)
    bad = np.flatnonzero(~np.isfinite(thermal))
    if bad.size:
        counts.reshape(-1)[bad] = 0
        counts.reshape(-1)[bad] = cv2.dilate(counts, _NEIGHBOURS).reshape(-1)[bad]
    return counts, unit


def turned(thermal: np.ndarray, rotate: int, flip: str) -> np.ndarray:
    """``H x W [x 3]`` turned clockwise by 0, 90, 180 or 270 degrees, then mirrored left to right (``horizontal``) or
    upside down (``vertical``); the image itself where nothing is to be done (0, ``none``)."""
    if rotate:
        codes = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
        thermal = cv2.rotate(thermal, codes[rotate])
    return thermal if flip == "none" else cv2.flip(thermal, int(flip == "horizontal"))


def _units(thermal: np.ndarray, kelvin_per_count: float, kelvin_at_zero: float) -> tuple[float, float, Unit]:
    """Gain and offset from float values to counts, and the unit of those."""
    if kelvin_per_count:
        return 100 * kelvin_per_count, 100 * kelvin_at_zero, "centikelvin"
    every = max(1, int((thermal.size / MEDIAN_SAMPLES) ** 0.5))
    sample = thermal[::every, ::every]
    sample = sample[np.isfinite(sample)]
    median = float(np.median(sample)) if sample.size else 0.0
    if median > LARGEST_KELVIN:
        return 1.0, 0.0, "counts"
    return 100.0, 0.0 if median > COLDEST_KELVIN else 100 * ZERO_CELSIUS, "centikelvin"


class SceneRange:
    """Which counts become black and white: as the scene drifts, at once where the camera changes its scale.

    ``ends`` are those counts, None before the first frame; ``least_span`` is the narrowest range for frames of the last
    one's type.
    """

    def __init__(self, options: ThermalOptions, ends: tuple[float, float] | None) -> None:
        self._options, self.ends, self.least_span = options, ends, options.min_span
        self._quartiles: list[float] = []

    def follow(self, sample: np.ndarray) -> bool:
        """Moves towards the range of a frame, of which this is a sorted sample without dead pixels.

        Slowly while the scene drifts. At once, and True, where the frame would be white, black or grey for a while: the
        first one, after a change of gain, before and after a warm shutter.
        """
        options, (low, high) = self._options, self._range_of(sample)
        before, self._quartiles = self._quartiles, [float(sample[len(sample) * part // 4]) for part in (1, 2, 3)]
        if self.ends is None:
            self.ends = low, high
            return True
        old_low, old_high = self.ends
        keep = options.smoothing
        smooth = keep * old_low + (1 - keep) * low, keep * old_high + (1 - keep) * high
        # What that range would clip, beyond what the percentiles do.
        inside = np.searchsorted(sample, smooth[1], "right") - np.searchsorted(sample, smooth[0])
        clipped = (options.high_percentile - options.low_percentile) / 100 - inside / sample.size
        moves = [new - old for new, old in zip(self._quartiles, before, strict=True)]
        moved = min(map(abs, moves)) > max(LARGEST_MOVE * (old_high - old_low), LEAST_MOVE)
        moved = moved and min(moves) * max(moves) > 0
        middle, old_middle = (quartiles[2] - quartiles[0] for quartiles in (self._quartiles, before))
        shrunk = LARGEST_SHRINK * (high - low) < old_high - old_low and LARGEST_SHRINK * max(middle, 1.0) < old_middle
        jumps = bool(clipped > LARGEST_CLIPPED) or moved or shrunk
        if jumps:
            self.ends = low, high
        elif max(abs(low - old_low), abs(high - old_high)) > STILL * (old_high - old_low):
            self.ends = smooth
        return jumps

    def _range_of(self, sample: np.ndarray) -> tuple[float, float]:
        options, is_8_bits = self._options, sample.dtype == np.uint8
        shares = (options.low_percentile / 100, options.high_percentile / 100, EXTREME, 1 - EXTREME)
        places = np.multiply(shares, sample.size - 1)  # of a sorted sample: np.quantile takes 12 times as long
        below = places.astype(int)
        above = sample[np.minimum(below + 1, sample.size - 1)]
        low, high, lowest, highest = (sample[below] + (places - below) * (above - sample[below])).tolist()
        self.least_span = LEAST_SPAN_OF_8_BITS if is_8_bits else options.min_span
        margin = max(0.0, self.least_span - (high - low)) / 2
        low, high = low - margin, high + margin
        if is_8_bits and options.mode == "auto":  # all 8 bits, unless they fill only a narrow part of them
            share = min(max((highest - lowest - NARROW) / (WIDE - NARROW), 0.0), 1.0)
            low, high = ((1 - share) * end + share * full for end, full in zip((low, high), FULL, strict=True))
        return low, high


def live_sample(thermal: np.ndarray) -> np.ndarray:
    """Some ``SAMPLES`` values of ``H x W`` uint8 or uint16, on a grid, sorted, without dead and saturated pixels: those
    of 16 bits, or of a camera that uses fewer of them."""
    stride = max(1, math.isqrt(thermal.size // SAMPLES))
    if thermal.dtype == np.uint8:
        return np.sort(thermal[::stride, ::stride], axis=None, kind="stable")  # a radix sort: 20 times as fast
    sample = np.sort(thermal[::stride, ::stride], axis=None)
    sample = sample[slice(*np.searchsorted(sample, (DEAD + 1, SATURATED)))]
    if sample.size and int(sample[-1]) in ENDS_OF_FEWER_BITS:
        sample = sample[: int(np.searchsorted(sample, sample[-1])) or None]
    return sample


class ThermalScaler:
    """Scales the frames of one thermal stream.

    ``dead`` is where the last frame had no value (count 0; ``H x W`` bool), None if hardly anywhere.
    """

    def __init__(self, options: ThermalOptions | None = None) -> None:
        self.options = options or ThermalOptions()
        self.bad_pixels = BadPixels()
        self._palette = None
        if self.options.palette != "white_hot":
            from mmcfusion_ros.fusion.palette import Palette

            self._palette = Palette.from_name(self.options.palette)
        self._foreign = 0.0
        self.dead: np.ndarray | None = None
        self._unit: Unit = "counts"
        self.reset()

    def reset(self) -> None:
        """Forgets the range: the next frame alone decides, as after a jump of the clock or a change of camera."""
        options = self.options
        self._scene = SceneRange(options, options.fixed_counts(self._unit) if options.mode == "fixed" else None)
        self._curve: np.ndarray | None = None
        self._table = np.zeros(0, np.uint8)
        self._table_range = self.range

    @property
    def range(self) -> tuple[float, float] | None:
        """The counts that become 0 and 255; None before the first frame if they follow the scene."""
        return self._scene.ends

    def upright(self, thermal: np.ndarray) -> np.ndarray:
        """The next frame without telemetry, turned as the options say, temperatures and signed values as counts.

        ``h x w`` uint8, uint16, int16 (counts), float32 or float64 (kelvin or degrees Celsius, NaN where a pixel is
        bad), or ``h x w x 3`` uint8, to uint8 or uint16; a view where nothing is to be done. ``ValueError`` if nothing
        is left of it.
        """
        options = self.options
        unit: Unit = "counts"
        bottom = len(thermal) - options.crop_bottom
        if options.crop_top >= bottom:
            raise ValueError(
                f"thermal image of {len(thermal)} rows; crop_top {options.crop_top} and crop_bottom "
                f"{options.crop_bottom} leave nothing of it"
            )
        thermal = thermal[options.crop_top : bottom]
        if thermal.dtype not in (np.uint8, np.uint16):
            thermal, unit = as_counts(thermal, options.kelvin_per_count, options.kelvin_at_zero)
        if unit != self._unit:
            self._unit = unit
            self.reset()
        return turned(thermal, options.rotate, options.flip) if options.turns else thermal

    def __call__(self, thermal: np.ndarray) -> np.ndarray:
        """What :meth:`upright` gives, ``H x W`` uint16 counts, ``H x W`` uint8 or ``H x W x 3`` uint8 (red first), to
        ``H x W`` uint8.

        8 bits that fill their range, of a white-hot camera without bad pixels, are returned as they are, not copied.
        ``TypeError`` for any other type.
        """
        if thermal.dtype not in (np.uint8, np.uint16) or (thermal.ndim == 3 and thermal.dtype != np.uint8):
            raise TypeError(f"thermal image of {thermal.dtype}; it must be uint8 or uint16")
        coloured = thermal.ndim == 3
        if coloured:
            thermal = self._luminance(thermal)
            coloured = self._palette is not None or self._foreign > FOREIGN_COLOURS[True]
        if self.options.replace_bad_pixels:
            thermal = self.bad_pixels(thermal)
        self.dead = None
        if not coloured:
            if thermal.dtype == np.uint16 and (thermal[::8, ::8] == DEAD).mean() > LARGEST_DEAD:
                self.dead = thermal == DEAD
            thermal = self._scale(thermal)
        return thermal if self.options.polarity == "white_hot" else in_polarity(thermal, self.options.polarity)

    def problems(self) -> list[str]:
        """What looks wrong in the last frame, in words."""
        if self._foreign <= FOREIGN_COLOURS[self._palette is None]:
            return []
        return [
            f"the thermal image's colours are {self._foreign:.0f} levels away from thermal.palette "
            f"{self.options.palette}: choose another palette, or the cameras are exchanged"
        ]

    def _luminance(self, rgb: np.ndarray) -> np.ndarray:
        sparse = rgb[::16, ::16]
        if self._palette is None:
            self._foreign = float(np.ptp(sparse, axis=2).mean())
            return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        self._foreign = self._palette.distance(sparse)
        return self._palette.luminance(rgb)

    def _scale(self, thermal: np.ndarray) -> np.ndarray:
        if self.options.mode != "fixed":
            sample = live_sample(thermal)
            if sample.size:
                if self._scene.follow(sample):
                    self._curve = None
                if self.options.mode == "equalize":
                    self._equalize(sample)
        low, high = self._scene.ends or (DEAD, SATURATED)
        if self._curve is not None:
            return self._table[thermal]
        if thermal.dtype == np.uint8 and (low, high) == FULL:
            return thermal
        gain = 255 / (high - low)
        return cv2.addWeighted(thermal, gain, thermal, 0, -low * gain, dtype=cv2.CV_8U)

    def _equalize(self, sample: np.ndarray) -> None:
        """Moves the curve towards the frame's cumulative histogram with a plateau.

        Plateau equalization as thermal cameras do it (Vickers, Optical Engineering 35, 1996): bins count up to the
        plateau, a part is shared out evenly, and none gets more contrast than ``min_span`` allows to noise.
        """
        low, high = self.range or (DEAD, SATURATED)
        share = np.minimum(np.histogram(sample, BINS, (low, high))[0] * BINS / sample.size, self.options.plateau)
        share = LINEAR_PART + (1 - LINEAR_PART) * share / max(share.mean(), 1e-9)
        share = np.minimum(share, (high - low) / self._scene.least_span) / BINS
        share += (1 - share.sum()) / BINS
        curve = np.concatenate([[0.0], np.cumsum(share)])
        if self._curve is not None:
            curve += self.options.smoothing * (self._curve - curve)
            if np.abs(curve - self._curve).max() < STILL_CURVE and self._table_range == self.range:
                return
        self._curve, self._table_range = curve, self.range
        first, last = max(0, math.floor(low)), min(SATURATED, math.ceil(high))
        self._table = np.full(SATURATED + 1, 255, np.uint8)
        self._table[:first] = 0
        counts = np.arange(first, last + 1)
        levels = np.interp(counts, np.linspace(low, high, BINS + 1), 255 * curve)
        self._table[first : last + 1] = np.rint(levels)
