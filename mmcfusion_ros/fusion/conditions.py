"""What is wrong with a camera's images, and what of it can be mended: darkness, glare, fog, a blinded or frozen camera,
noise, bad pixels.

The thresholds of darkness, glare and fog were set on the real pictures of RoadScene, MSRS, LLVIP and TNO and on what
``simulation.degradations`` makes of them; ``test_conditions.py`` has the shares that they recognise. Those of blindness
were set on 637 real thermal images of these, M3FD, drone video and radiometric cameras: ``test_blindness.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

ROWS, COLUMNS = 120, 160  # that are looked at for conditions, or up to twice as many
BAND = 64  # rows that are worked at together: their intermediate results stay in the processor's cache

DARK_MEDIAN = 45  # street lights at night: 6 to 40; daylight: 58 and more
WHITE, GLARE_SHARE, SATURATED_SHARE = 250, 0.1, 0.5
FOG_BLACK, FOG_SPAN = 110, 105  # airlight lifts the darkest pixels and leaves little contrast
FLAT_SPAN = {"uint8": 8, "uint16": 30}  # a closed shutter or a covered lens: not even the noise of a scene

BLOCKS_ACROSS, SMALLEST_BLOCK = 80, 4
LEAST_BLOCKS = 150  # to tell noise from a picture
LEAST_CONTRAST = 16.0  # grey levels between the darkest and the brightest block; real pictures: 92 and more
LARGEST_SLOW = 160.0  # grey levels across the image that lens and housing may make: 0.6 K at the least range
LEAST_COHERENCE = 0.3  # correlation of a block with the one beside it; noise: 0 to 0.15, real pictures: 0.45 and more
OUTLIER = 10.0  # deviations by which one block stands out of noise: a person far away; noise: 4
RECOVERY = 1.25  # times as much contrast as that ends blindness
CLIPPED = 252  # mean of a block that is white all over
LARGEST_CLIPPED = 0.25  # share of the image that one white thing may fill; the largest in a real picture: 0.06
HALF = 127
SEAM = 5  # blocks: side of the square by which such a part is widened
LOST = "saturated or dead"

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


class CameraWatch:
    """Tells what is wrong with the frames of one stream: which ``conditions`` (a function) finds, and whether they are
    old: the same for longer than ``after_s`` seconds, though noise told the present picture from the one before.

    A shorter repetition is normal: some cameras send each picture several times to reach a higher rate. Without noise
    it is normal too: of a simulator, or of one picture that is sent for ever. ``frames`` and ``freezes`` count frozen
    frames and how often they began; ``age_s`` is that of the present picture. ``found`` are the last frame's conditions
    (None: there was no frame), ``seen`` in how many frames each was, and ``frozen``, since the last reset.
    """

    def __init__(
        self, after_s: float = 0.15, conditions: Callable[[np.ndarray], set[str]] = thermal_conditions
    ) -> None:
        self.after_s, self._conditions = after_s, conditions
        self.frames = self.freezes = 0
        self.reset()

    def reset(self) -> None:
        """The next frame is a new one, as after a jump of the clock."""
        self.is_frozen = self.repeats = False  # without noise a picture that repeats itself is not frozen
        self.age_s = self._since_s = 0.0
        self._picture: np.ndarray | None = None
        self._before: np.ndarray | None = None
        self.found: set[str] | None = None
        self.seen: Counter[str] = Counter()

    def __call__(self, image: np.ndarray, stamp_s: float) -> bool:
        """Whether a frame is frozen; it is kept, and must not be changed afterwards."""
        old = self._picture  # noise tells most frames apart at a glance
        same = old is not None and np.array_equal(old[_SPARSE], image[_SPARSE]) and np.array_equal(old, image)
        if not same:
            self._before = self._picture
        if not same or stamp_s < self._since_s:
            self._picture, self._since_s = image, stamp_s
        before = self.is_frozen
        self.age_s = stamp_s - self._since_s
        self.repeats = self.age_s > self.after_s
        self.is_frozen = self.repeats and (before or (self._before is not None and _is_noisy(self._before, image)))
        self.frames += self.is_frozen
        self.freezes += self.is_frozen and not before
        self.found = self._conditions(image)
        self.seen.update(self.found)
        self.seen["frozen"] += self.repeats
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


class Blindness:
    """Judges the thermal images of one stream.

    ``reason`` says why the last one shows nothing, or is empty. ``weight`` (``h x w`` uint8) is 0 where a part of it
    is saturated or dead, rising to 255 over a seam; None where all is well; ``hidden`` the share that is left out.
    ``frames`` and ``parts`` count blind and partly blind images.
    """

    def __init__(self) -> None:
        self.frames = self.parts = 0
        self.reset()

    def reset(self) -> None:
        """Forgets the last image."""
        self.reason = ""
        self.hidden = 0.0
        self.weight: np.ndarray | None = None

    def __call__(self, thermal: np.ndarray, dead: np.ndarray | None = None) -> bool:
        """Whether an ``h x w`` uint8 image, white hot, shows nothing: flat, noise alone, or white.

        Slow changes across the image, as lens and housing make them, count for nothing. People and engines may be
        white: a part that is white, or ``dead`` (``h x w`` bool), is left out if it fills a quarter of the image, or a
        whole side of it.
        """
        strict = RECOVERY if self.reason else 1.0
        self.reason, self.hidden, self.weight = "", 0.0, None
        height, width = thermal.shape
        side = max(SMALLEST_BLOCK, round(width / BLOCKS_ACROSS))
        size = max(1, width // side), max(1, height // side)
        blocks = cv2.resize(thermal, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        lost = blocks >= CLIPPED
        if dead is not None:
            lost |= cv2.resize(255 * dead.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > HALF
        if lost.any() and (lost_part := _large_part(lost)) is not None:
            self.hidden = float(lost_part.mean())
            self.weight = _weight(lost_part, thermal.shape)
            blocks[lost_part] = blocks[~lost_part].mean() if not lost_part.all() else 0
        self.reason = _reason(blocks, strict)
        if self.reason and self.hidden:
            self.reason = LOST
        self.frames += bool(self.reason)
        self.parts += bool(self.hidden and not self.reason)
        return bool(self.reason)

    def problems(self) -> list[str]:
        """What is wrong with the last image, in words."""
        if self.reason:
            return [f"the thermal image shows nothing ({self.reason}): RGB goes out in its place"]
        if self.hidden:
            return [f"{100 * self.hidden:.0f} % of the thermal image are {LOST}: RGB goes out there"]
        return []


def _large_part(lost: np.ndarray) -> np.ndarray | None:
    """Where the blocks belong to, or lie at, a lost part that is too large to be a thing; None: there is none."""
    if lost.mean() <= LARGEST_CLIPPED and not any(side.all() for side in _sides(lost)):
        return None
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(lost.astype(np.uint8), connectivity=4)
    along_a_side = {int(side[0]) for side in _sides(labels) if np.ptp(side) == 0}
    large = [
        part
        for part in range(1, count)
        if statistics[part, cv2.CC_STAT_AREA] > LARGEST_CLIPPED * lost.size or part in along_a_side
    ]
    if not large:
        return None
    return cv2.dilate(np.isin(labels, large).astype(np.uint8), np.ones((SEAM, SEAM), np.uint8)) > 0


def _sides(blocks: np.ndarray) -> tuple[np.ndarray, ...]:
    return blocks[0], blocks[-1], blocks[:, 0], blocks[:, -1]


def _weight(lost: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``h x w`` uint8 from blocks to be left out: 0 in what is lost, 255 beyond the seam."""
    soft = cv2.blur(np.where(lost, np.uint8(0), np.uint8(255)), (3, 3))
    return cv2.resize(soft, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _reason(blocks: np.ndarray, strict: float) -> str:
    """Why the blocks show nothing; empty if they show something."""
    basis = _slow_changes(blocks.shape)
    slow = (basis @ (basis.T @ blocks.ravel())).reshape(blocks.shape)
    if np.ptp(slow) > strict * LARGEST_SLOW:
        return ""
    rest = blocks - slow
    if np.ptp(rest) < strict * LEAST_CONTRAST:
        return "flat"
    median = float(np.median(rest))
    deviation = 1.4826 * float(np.median(np.abs(rest - median))) + 1
    if rest.size < LEAST_BLOCKS or np.abs(rest - median).max() > strict * OUTLIER * deviation:
        return ""
    energy = float((rest * rest).mean())
    coherence = min(float((rest[1:] * rest[:-1]).mean()), float((rest[:, 1:] * rest[:, :-1]).mean())) / energy
    return "noise alone" if coherence < LEAST_COHERENCE else ""


@lru_cache(maxsize=4)
def _slow_changes(shape: tuple[int, int]) -> np.ndarray:
    """An orthonormal basis, ``H W x 6``, of the quadratic polynomials over an image of this shape."""
    y, x = (axis.ravel() for axis in np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij"))
    powers = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    return np.linalg.qr(powers)[0].astype(np.float32)


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
