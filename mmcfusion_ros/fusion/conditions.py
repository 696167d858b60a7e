"""What is wrong with a camera's images, and what of it can be mended: darkness, glare, fog, a blinded or frozen camera,
noise, bad pixels.

The thresholds of darkness, glare, fog and blindness were set on the real pictures of RoadScene, MSRS, LLVIP and TNO and
on what ``simulation.degradations`` makes of them; ``test_conditions.py`` has the shares that they recognise.
"""

from __future__ import annotations

import cv2
import numpy as np

ROWS, COLUMNS = 120, 160  # that are looked at for conditions, or up to twice as many
BAND = 64  # rows that are worked at together: their intermediate results stay in the processor's cache

DARK_MEDIAN = 45  # street lights at night: 6 to 40; daylight: 58 and more
WHITE, GLARE_SHARE, SATURATED_SHARE = 250, 0.1, 0.5
FOG_BLACK, FOG_SPAN = 110, 105  # airlight lifts the darkest pixels and leaves little contrast
FLAT_SPAN = {"uint8": 8, "uint16": 30}  # a closed shutter or a covered lens: not even the noise of a scene

FROZEN_POLICIES = ("pass_through", "fuse", "drop")
LEAST_NOISE = 0.1  # real and simulated cameras: 0.13 (8 bits as JPEG) to 0.6 (16 bits); a noiseless simulator: 0
_SPARSE = np.s_[::16, ::16]
_ROWS = np.s_[::16]

BLOCK = 16  # pixels
ENOUGH_BLOCKS = 600
FLATTEST = 0.1  # of the blocks
MEAN_OF_FLATTEST = 0.70  # that quantile of the mean of 64 absolute values of unit normal noise
WINDOW = (5, 5)
REACH = 2  # rows beyond a pixel that its window has
LITTLE, MUCH = 0.06, 0.12  # noise to contrast: good pictures have less, those of the night or of cheap sensors more

LOOKS_TO_LEARN, FRAMES_BETWEEN_LOOKS = 8, 10
CONTRAST = 4.0  # a lens blurs a hot point: one of its neighbours stands out by a quarter as much, or more
LEAST_STEP = 8
LARGEST_SHARE = 0.01
NEIGHBOURS = 4
_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
_SQUARE = np.ones((5, 5), np.uint8)  # with the pixel itself, which counts for nothing where it is beyond its ring
_AROUND = np.array([(y, x) for y in range(-2, 3) for x in range(-2, 3) if (y, x) != (0, 0)])
_AROUND = _AROUND[np.argsort((_AROUND**2).sum(axis=1), kind="stable")]


def rgb_conditions(visible: np.ndarray) -> set[str]:
    """Of ``H x W [x 3]`` uint8: ``dark``, ``glare``, ``fog``, ``saturated``; green stands for the luminance."""
    grey = visible if visible.ndim == 2 else visible[..., 1]
    height, width = grey.shape
    grey = np.sort(grey[:: 1 + height // ROWS, :: 1 + width // COLUMNS], axis=None)
    black, median, white = (int(grey[int(share * (grey.size - 1))]) for share in (0.01, 0.5, 0.99))
    clipped = 1 - np.searchsorted(grey, WHITE) / grey.size
    tests = {
        "dark": median < DARK_MEDIAN,
        "glare": GLARE_SHARE < clipped <= SATURATED_SHARE,
        "saturated": clipped > SATURATED_SHARE,
        "fog": black > FOG_BLACK and white - black < FOG_SPAN and clipped <= GLARE_SHARE,
    }
    return {name for name, holds in tests.items() if holds}


def thermal_conditions(thermal: np.ndarray) -> set[str]:
    """Of ``H x W`` uint8 or uint16 counts, or ``H x W x 3`` colours of a palette: ``flat``, ``saturated``."""
    height, width = thermal.shape[:2]
    sample = np.sort(thermal[:: 1 + height // ROWS, :: 1 + width // COLUMNS], axis=None)
    low, high = (int(sample[int(share * (sample.size - 1))]) for share in (0.01, 0.99))
    tests = {
        "flat": high - low < FLAT_SPAN[str(thermal.dtype)],
        "saturated": thermal.ndim == 2 and (sample == np.iinfo(thermal.dtype).max).mean() > GLARE_SHARE,
    }
    return {name for name, holds in tests.items() if holds}


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
        old = self._picture  # noise tells most frames apart at a glance
        same = old is not None and np.array_equal(old[_SPARSE], thermal[_SPARSE]) and np.array_equal(old, thermal)
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


def _is_noisy(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether noise tells two pictures apart.

    Of noise alone two thirds of the pixels change by more, or by less, than both pixels beside them; where smooth or
    flat things move, few do.
    """
    if a.shape != b.shape:
        return False
    left, middle, right = (np.subtract(b[_ROWS], a[_ROWS], dtype=np.int32)[:, i : i - 2 or None] for i in range(3))
    return bool((((middle > left) & (middle > right)) | ((middle < left) & (middle < right))).mean() > LEAST_NOISE)


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of white noise, in grey levels; 0 below 16 pixels a side.

    From the diagonal detail of the finest Haar scale (Donoho and Johnstone 1994) in the flattest blocks that are not of
    one colour: texture hardly counts. Large images are looked at in some of their rows of blocks.
    """
    height, width = (size // BLOCK * BLOCK for size in image.shape)
    if not (height and width):
        return 0.0
    rows_of_blocks = image[:height, :width].reshape(-1, BLOCK, width)
    every = max(1, height * width // BLOCK**2 // ENOUGH_BLOCKS)
    part = rows_of_blocks[::every].reshape(-1, width)
    vertical = np.subtract(part[::2], part[1::2], dtype=np.int16)
    diagonal = np.abs(vertical[:, ::2] - vertical[:, 1::2]).astype(np.float32)
    blocks = cv2.resize(diagonal, (width // BLOCK, len(part) // BLOCK), interpolation=cv2.INTER_AREA) / 2
    blocks = np.sort(blocks[blocks > 0])
    return float(blocks[int(FLATTEST * (blocks.size - 1))]) / MEAN_OF_FLATTEST if blocks.size else 0.0


def denoise(image: np.ndarray) -> np.ndarray:
    """The image as it is where its noise is little beside its contrast; else with less noise, its edges kept.

    The local Wiener filter (Lee 1980), which sets in between ``LITTLE`` and ``MUCH``.
    """
    level = noise_level(image)
    if level < 1:
        return image
    _, contrast = cv2.meanStdDev(image)
    strength = np.clip((level / contrast.item() - LITTLE) / (MUCH - LITTLE), 0, 1)
    noise = np.float32(strength * level**2)
    if noise < 1:
        return image
    cleaned = np.empty_like(image)
    for top in range(0, len(image), BAND):
        first = max(0, top - REACH)
        rows = image[first : top + BAND + REACH]
        values, mean = rows.astype(np.float32), cv2.boxFilter(rows, cv2.CV_32F, WINDOW)
        variance = cv2.boxFilter(np.multiply(rows, rows, dtype=np.uint16), cv2.CV_32F, WINDOW) - mean * mean
        share_of_noise = noise / np.clip(variance, noise, np.float32(np.inf))
        filtered = cv2.convertScaleAbs(values + share_of_noise * (mean - values))
        cleaned[top : top + BAND] = filtered[top - first :][:BAND]
    return cleaned


class BadPixels:
    """Replaces the pixels of one stream that stood out look after look, by the median of their nearest good ones.

    A pixel stands out if it is outside the range of its eight neighbours by more than ``CONTRAST`` times that of the
    twenty-four around it, or if it is 0 in a 16-bit image. A look is taken at every tenth frame, so that what only
    looks like a bad pixel has time to move on.
    """

    def __init__(self) -> None:
        self._begin((0, 0))

    def _begin(self, shape: tuple[int, ...]) -> None:
        self._frames = 0
        self._score = np.zeros(shape, np.uint8)
        self._known = np.zeros(shape, bool)
        self._bad = np.zeros(0, np.intp)
        self._neighbours = np.zeros((0, NEIGHBOURS), np.intp)

    @property
    def count(self) -> int:
        """How many pixels are replaced."""
        return len(self._bad)

    def __call__(self, thermal: np.ndarray) -> np.ndarray:
        """``H x W`` uint8 or uint16; a copy where something is replaced."""
        if self._score.shape != thermal.shape:
            self._begin(thermal.shape)
        if self._frames % FRAMES_BETWEEN_LOOKS == 0:
            self._look(thermal)
        self._frames += 1
        if not len(self._bad):
            return thermal
        repaired = np.array(thermal, order="C")
        flat = repaired.reshape(-1)
        flat[self._bad] = np.median(flat[self._neighbours], axis=1)
        return repaired

    def _look(self, thermal: np.ndarray) -> None:
        rise = 2 * _stands_out(thermal).view(np.uint8)
        self._score = np.minimum(np.maximum(self._score + rise, 1) - 1, LOOKS_TO_LEARN)
        bad = (self._score == LOOKS_TO_LEARN) | (self._known & (self._score > 0))
        if not np.array_equal(bad, self._known):
            self._known = bad
            self._learn(bad if bad.mean() <= LARGEST_SHARE else np.zeros_like(bad))

    def _learn(self, bad: np.ndarray) -> None:
        height, width = bad.shape
        places = np.argwhere(bad)
        rows, columns = np.moveaxis(places[:, None] + _AROUND, -1, 0)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        good = inside & ~bad[rows.clip(0, height - 1), columns.clip(0, width - 1)]
        nearest = np.argsort(~good, axis=1, kind="stable")[:, :NEIGHBOURS]
        repairable = np.take_along_axis(good, nearest, axis=1).all(axis=1)
        self._bad = (places @ (width, 1))[repairable]
        self._neighbours = np.take_along_axis(rows * width + columns, nearest, axis=1)[repairable]


def _stands_out(thermal: np.ndarray) -> np.ndarray:
    highest, lowest = cv2.dilate(thermal, _RING), cv2.erode(thermal, _RING)
    floor, ceiling = cv2.erode(thermal, _SQUARE), cv2.dilate(thermal, _SQUARE)
    above = cv2.addWeighted(highest, CONTRAST, floor, -CONTRAST, LEAST_STEP)
    below = cv2.addWeighted(ceiling, CONTRAST, lowest, -CONTRAST, LEAST_STEP)
    outlier = (cv2.subtract(thermal, highest) > above) | (cv2.subtract(lowest, thermal) > below)
    return outlier | (thermal == 0) if thermal.dtype == np.uint16 else outlier
