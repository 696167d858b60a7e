"""While its shutter is closed (flat-field correction) a thermal camera sends the same frame again and again."""

from __future__ import annotations

import numpy as np

FROZEN_POLICIES = ("pass_through", "fuse", "drop")
LEAST_NOISE = 0.1  # real and simulated cameras: 0.13 (8 bits as JPEG) to 0.6 (16 bits); a noiseless simulator: 0
_SPARSE = np.s_[::16, ::16]
_ROWS = np.s_[::16]


class FrozenDetector:
    """Tells when the frames of one stream are old: the same for longer than ``after_s`` seconds, though noise told the
    present picture from the one before.

    A shorter repetition is normal: some cameras send each picture several times to reach a higher rate. Without noise
    it is normal too: of a simulator, or of one picture that is sent for ever. ``frames`` and ``freezes`` count frozen
    frames and how often they began; ``age_s`` is that of the present picture.
    """

    def __init__(self, after_s: float = 0.15) -> None:
        self.after_s = after_s
        self.frames = self.freezes = 0
        self.reset()

    def reset(self) -> None:
        """The next frame is a new one, as after a jump of the clock."""
        self.is_frozen = self.repeats = False  # without noise a picture that repeats itself is not frozen
        self.age_s = self._since_s = 0.0
        self._picture: np.ndarray | None = None
        self._before: np.ndarray | None = None

    def __call__(self, thermal: np.ndarray, stamp_s: float) -> bool:
        """Whether a frame is frozen; it is kept, and must not be changed afterwards."""
        same = self._picture is not None and _same(self._picture, thermal)
        if not same:
            self._before = self._picture
        if not same or stamp_s < self._since_s:
            self._picture, self._since_s = thermal, stamp_s
        before = self.is_frozen
        self.age_s = stamp_s - self._since_s
        self.repeats = self.age_s > self.after_s
        self.is_frozen = self.repeats and (before or (self._before is not None and _is_noisy(self._before, thermal)))
        self.frames += self.is_frozen
        self.freezes += self.is_frozen and not before
        return self.is_frozen


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Noise tells most frames apart at a glance."""
    return np.array_equal(a[_SPARSE], b[_SPARSE]) and np.array_equal(a, b)


def _is_noisy(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether noise tells two pictures apart.

    Of noise alone two thirds of the pixels change by more, or by less, than both pixels beside them; where smooth or
    flat things move, few do.
    """
    if a.shape != b.shape:
        return False
    left, middle, right = (np.subtract(b[_ROWS], a[_ROWS], dtype=np.int32)[:, i : i - 2 or None] for i in range(3))
    return bool((((middle > left) & (middle > right)) | ((middle < left) & (middle < right))).mean() > LEAST_NOISE)
