"""16-bit thermal images to 8 bits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

SAMPLES = 20_000
DEAD, SATURATED = 0, 65535


@dataclass(frozen=True)
class ThermalOptions:
    """How raw counts become grey values; ``ValueError`` naming the first option that makes no sense.

    Mode ``percentile`` spreads the counts between two percentiles of the frame, but at least ``min_span`` counts
    (about 20 times the camera's noise: a flat scene stays flat), over 0..255; ``smoothing`` is the share of the
    previous range that is kept at each frame (0: none). Mode ``fixed`` spreads ``fixed_low..fixed_high``.
    """

    mode: str = "percentile"
    low_percentile: float = 1.0
    high_percentile: float = 99.5
    min_span: float = 100.0
    smoothing: float = 0.9
    fixed_low: float = 0.0
    fixed_high: float = 65535.0

    def __post_init__(self) -> None:
        if self.mode not in ("percentile", "fixed"):
            raise ValueError(f"thermal mode is {self.mode!r}; it must be percentile or fixed")
        if not 0 <= self.low_percentile < self.high_percentile <= 100:
            raise ValueError(
                f"thermal percentiles are {self.low_percentile} and {self.high_percentile}; "
                "the low one must be below the high one, both from 0 to 100"
            )
        if not 1 <= self.min_span <= SATURATED:
            raise ValueError(f"thermal min_span is {self.min_span}; it must be from 1 to {SATURATED} counts")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"thermal smoothing is {self.smoothing}; it must be at least 0 and below 1")
        if not (self.fixed_low >= 0 and self.fixed_low + 1 <= self.fixed_high <= SATURATED):
            raise ValueError(
                f"thermal fixed range is {self.fixed_low} to {self.fixed_high}; "
                f"it must rise by at least one count and lie within 0 to {SATURATED}"
            )


class ThermalScaler:
    """Scales the frames of one thermal stream.

    ``range`` are the counts that become 0 and 255, ``None`` before the first frame of mode ``percentile``.
    """

    def __init__(self, options: ThermalOptions | None = None) -> None:
        self.options = options or ThermalOptions()
        self.reset()

    def reset(self) -> None:
        """Forgets the range: the next frame alone decides, as after a jump of the clock or a change of camera."""
        fixed = self.options.mode == "fixed"
        self.range = (self.options.fixed_low, self.options.fixed_high) if fixed else None

    def __call__(self, thermal: np.ndarray) -> np.ndarray:
        """``H x W`` uint16 counts to ``H x W`` uint8; uint8 is returned as it is, not copied.

        ``TypeError`` for any other type.
        """
        if thermal.dtype == np.uint8:
            return thermal
        if thermal.dtype != np.uint16:
            raise TypeError(f"thermal image of {thermal.dtype}; it must be uint8 or uint16")
        if self.options.mode == "percentile":
            self._follow(thermal)
        low, high = self.range or (DEAD, SATURATED)
        gain = 255 / (high - low)
        return cv2.addWeighted(thermal, gain, thermal, 0, -low * gain, dtype=cv2.CV_8U)

    def _follow(self, thermal: np.ndarray) -> None:
        """Moves the range towards that of the frame; dead and saturated pixels have no say."""
        options = self.options
        stride = max(1, math.isqrt(thermal.size // SAMPLES))
        sample = thermal[::stride, ::stride]
        sample = sample[(sample > DEAD) & (sample < SATURATED)]
        if not sample.size:
            return
        low, high = map(float, np.percentile(sample, (options.low_percentile, options.high_percentile)))
        margin = max(0.0, options.min_span - (high - low)) / 2
        low, high = low - margin, high + margin
        old_low, old_high = self.range or (low, high)
        keep = options.smoothing
        self.range = (keep * old_low + (1 - keep) * low, keep * old_high + (1 - keep) * high)
