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
        self.age_s = 0.0
        self._since_s = 0.0
        self._picture: np.ndarray | None = None
        self._noisy = False

    def __call__(self, thermal: np.ndarray, stamp_s: float) -> bool:
        """Whether a frame is frozen; it is kept, and must not be changed afterwards."""
        same = self._picture is not None and _same(self._picture, thermal)
        if self._picture is not None and not same:
            self._noisy = _noise(self._picture, thermal) > LEAST_NOISE
        if not same or stamp_s < self._since_s:
            self._picture, self._since_s = thermal, stamp_s
        before = self.is_frozen
        self.age_s = stamp_s - self._since_s
        self.frames += self.is_frozen
        self.freezes += self.is_frozen and not before
        return self.is_frozen

    @property
    def is_frozen(self) -> bool:
        """Whether the last frame was."""
        return self._noisy and self.repeats

    @property
    def repeats(self) -> bool:
        """Whether the picture has been the same for longer than ``after_s``, be there noise or not."""
        return self.age_s > self.after_s


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Noise tells most frames apart at a glance."""
    return np.array_equal(a[_SPARSE], b[_SPARSE]) and np.array_equal(a, b)


def _noise(a: np.ndarray, b: np.ndarray) -> float:
    """The share of pixels that changed by more, or by less, than both pixels beside them: of noise alone two thirds, of
    smooth or flat things that move few."""
    if a.shape != b.shape:
        return 0.0
    left, middle, right = (np.subtract(b[_ROWS], a[_ROWS], dtype=np.int32)[:, i : i - 2 or None] for i in range(3))
    return float((((middle > left) & (middle > right)) | ((middle < left) & (middle < right))).mean())
