"""Still parts of a stream stay still: the fused image does not follow the noise of the cameras."""

from __future__ import annotations

import cv2
import numpy as np

from mmcfusion_ros.fusion.conditions import BAND

NOISE = 1  # grey levels, by which a source changes though nothing moves
ROOM = 8  # grey levels, by which the fused image may differ from the network's where nothing moves


class Steadiness:
    """Holds each pixel of the fused image as long as both sources hold still there, with some room.

    The room is ``ROOM`` grey levels where neither source has changed, less by as much as one has, and none where one
    has changed by ``ROOM``: what moves is as the network gave it. What is held follows as soon as the network's image
    is further away, so slow changes of the light pass.
    """

    def __init__(self) -> None:
        self._held: list[np.ndarray] = []

    def reset(self) -> None:
        """Forgets the frames before, as at the start of another stream."""
        self._held = []

    def __call__(self, thermal: np.ndarray, luminance: np.ndarray, fused: np.ndarray) -> np.ndarray:
        """The next frame as the network got it and gave it, ``H x W`` uint8, to the fused image that goes out."""
        images, held = [thermal, luminance, fused], self._held
        if not held or held[0].shape != fused.shape:
            held = images
        result = [np.empty_like(image) for image in images]
        for top in range(0, len(fused), BAND):
            old, new, now = ([image[top : top + BAND] for image in three] for three in (held, images, result))
            changes = cv2.max(cv2.absdiff(new[0], old[0]), cv2.absdiff(new[1], old[1]))
            noise = np.full_like(changes, NOISE)
            for i, room in enumerate((noise, noise, cv2.subtract(np.full_like(changes, ROOM), changes))):
                cv2.min(cv2.max(old[i], cv2.subtract(new[i], room)), cv2.add(new[i], room), now[i])
        self._held = result
        return result[2]
