"""Thermal images that show nothing, or nothing in a part of them: as the network would get them, frame by frame.

The thresholds were set on the 637 real thermal images of RoadScene, MSRS, LLVIP, TNO, M3FD, drone video and radiometric
cameras: ``test_blindness.py`` has what they make of those.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

BLOCKS_ACROSS, SMALLEST_BLOCK = 80, 4
ENOUGH_BLOCKS = 150  # to tell noise from a picture
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
        blocks = _blocks(thermal)
        lost = blocks >= CLIPPED
        if dead is not None:
            lost |= _blocks(255 * dead.astype(np.uint8)) > HALF
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


def _blocks(thermal: np.ndarray) -> np.ndarray:
    """The mean of each block of pixels, float32."""
    height, width = thermal.shape
    side = max(SMALLEST_BLOCK, round(width / BLOCKS_ACROSS))
    size = max(1, width // side), max(1, height // side)
    return cv2.resize(thermal, size, interpolation=cv2.INTER_AREA).astype(np.float32)


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
    if rest.size < ENOUGH_BLOCKS or np.abs(rest - median).max() > strict * OUTLIER * deviation:
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
