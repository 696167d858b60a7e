"""Which counts become black and white: as the scene's drift, at once where the camera changes its scale."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mmcfusion_ros.fusion.conditions import quantile

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


@dataclass
class SceneRange:
    """Follows the range between two percentiles (0 to 100) of the frames, but at least ``min_span`` counts.

    ``smoothing`` is the share of the former range that is kept at each frame. With ``leaves_8_bits`` the range of 8-bit
    frames is that of all 8 bits, unless they fill only a narrow part of it. ``ends`` are the counts that become black
    and white, None before the first frame.
    """

    low_percentile: float
    high_percentile: float
    min_span: float
    smoothing: float
    leaves_8_bits: bool
    ends: tuple[float, float] | None = None
    _quartiles: list[float] = field(default_factory=list)

    def follow(self, sample: np.ndarray) -> bool:
        """Moves towards the range of a frame, of which this is a sorted sample without dead pixels.

        Slowly while the scene drifts. At once, and True, where the frame would be white, black or grey for a while: the
        first one, after a change of gain, before and after a warm shutter.
        """
        low, high = self._range_of(sample)
        before, self._quartiles = self._quartiles, [float(sample[len(sample) * part // 4]) for part in (1, 2, 3)]
        if self.ends is None:
            self.ends = low, high
            return True
        old_low, old_high = self.ends
        keep = self.smoothing
        smooth = keep * old_low + (1 - keep) * low, keep * old_high + (1 - keep) * high
        # What that range would clip, beyond what the percentiles do.
        inside = np.searchsorted(sample, smooth[1], "right") - np.searchsorted(sample, smooth[0])
        clipped = (self.high_percentile - self.low_percentile) / 100 - inside / sample.size
        jumps = bool(clipped > LARGEST_CLIPPED) or self._jumps(before, high - low, old_high - old_low)
        if jumps:
            self.ends = low, high
        elif max(abs(low - old_low), abs(high - old_high)) > STILL * (old_high - old_low):
            self.ends = smooth
        return jumps

    def least_span(self, sample: np.ndarray) -> float:
        """The narrowest range for frames of the sample's type, in counts."""
        return LEAST_SPAN_OF_8_BITS if sample.dtype == np.uint8 else self.min_span

    def _range_of(self, sample: np.ndarray) -> tuple[float, float]:
        low, high = (quantile(sample, percent / 100) for percent in (self.low_percentile, self.high_percentile))
        margin = max(0.0, self.least_span(sample) - (high - low)) / 2
        low, high = low - margin, high + margin
        if self.leaves_8_bits and sample.dtype == np.uint8:
            span = quantile(sample, 1 - EXTREME) - quantile(sample, EXTREME)
            share = min(max((span - NARROW) / (WIDE - NARROW), 0.0), 1.0)
            low, high = ((1 - share) * end + share * full for end, full in zip((low, high), FULL, strict=True))
        return low, high

    def _jumps(self, before: list[float], span: float, old_span: float) -> bool:
        """Whether most of the frame is elsewhere in the range than it was, or fills far less of it."""
        moves = [new - old for new, old in zip(self._quartiles, before, strict=True)]
        moved = min(map(abs, moves)) > max(LARGEST_MOVE * old_span, LEAST_MOVE) and min(moves) * max(moves) > 0
        middle, old_middle = (quartiles[2] - quartiles[0] for quartiles in (self._quartiles, before))
        return moved or (LARGEST_SHRINK * span < old_span and LARGEST_SHRINK * max(middle, 1.0) < old_middle)


def live_part(sample: np.ndarray) -> np.ndarray:
    """A sorted sample without dead and saturated pixels, of 16 bits or of a camera that uses fewer of them."""
    if sample.dtype != np.uint16:
        return sample
    sample = sample[slice(*np.searchsorted(sample, (DEAD + 1, SATURATED)))]
    if sample.size and int(sample[-1]) in ENDS_OF_FEWER_BITS:
        sample = sample[: int(np.searchsorted(sample, sample[-1])) or None]
    return sample
