"""Still parts of a stream stay still: the fused image does not follow the noise of the cameras."""

from __future__ import annotations

import cv2
import numpy as np

NOISE = 1  # grey levels, by which a source changes though nothing moves
BAND = 8  # grey levels, by which the fused image may differ from the network's where nothing moves


class Steadiness:
    """Holds each pixel of the fused image as long as both sources hold still there, within a band.

    The band is ``BAND`` grey levels wide where neither source has changed, narrower by as much as one has, and 0 where
    one has changed by ``BAND``: what moves is as the network gave it. What is held follows as soon as the network's
    image leaves the band, so slow changes of the light pass.
    """

    def __init__(self) -> None:
        self._held: tuple[np.ndarray, ...] = ()

    def reset(self) -> None:
        """Forgets the frames before, as at the start of another stream."""
        self._held = ()

    def __call__(self, thermal: np.ndarray, luminance: np.ndarray, fused: np.ndarray) -> np.ndarray:
        """The next frame as the network got it and gave it, ``H x W`` uint8, to the fused image that goes out."""
        images, held = (thermal, luminance, fused), self._held
        if not held or held[0].shape != fused.shape:
            held = images
        changes = cv2.max(cv2.absdiff(thermal, held[0]), cv2.absdiff(luminance, held[1]))
        noise = np.full_like(fused, NOISE)
        bands = noise, noise, cv2.subtract(np.full_like(fused, BAND), changes)
        self._held = held = tuple(
            cv2.min(cv2.max(old, cv2.subtract(new, band)), cv2.add(new, band))
            for old, new, band in zip(held, images, bands, strict=True)
        )
        return held[2]
