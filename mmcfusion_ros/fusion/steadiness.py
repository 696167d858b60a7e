"""Still parts of a stream stay still: the fused image does not follow the noise of the cameras."""

from __future__ import annotations

import cv2
import numpy as np

from mmcfusion_ros.fusion.conditions import BAND

ROOM = 8  # grey levels, by which the fused image may differ from the network's where nothing moves


class Steadiness:
    """Holds each pixel of the fused image as long as both sources hold still there, with some room.

    The room is ``ROOM`` grey levels where neither source has changed since the last frame, less by as much as one has,
    and none where one has changed by ``ROOM``: what moves is as the network gave it. What is held follows as soon as
    the network's image is further away, so slow changes of the light pass.
    """

    def __init__(self) -> None:
        self._last: tuple[np.ndarray, ...] = ()

    def reset(self) -> None:
        """Forgets the frames before, as at the start of another stream."""
        self._last = ()

    def __call__(self, thermal: np.ndarray, luminance: np.ndarray, fused: np.ndarray) -> np.ndarray:
        """The next frame as the network got it and gave it, ``H x W`` uint8, to the fused image that goes out. The
        arrays are kept: they may not be written to later."""
        last, steady = self._last, np.empty_like(fused)
        if not last or last[0].shape != fused.shape:
            last = thermal, luminance, fused
        for top in range(0, len(fused), BAND):
            rows = slice(top, top + BAND)
            changes = cv2.max(cv2.absdiff(thermal[rows], last[0][rows]), cv2.absdiff(luminance[rows], last[1][rows]))
            room = cv2.subtract(np.full_like(changes, ROOM), changes)
            least, most = cv2.subtract(fused[rows], room), cv2.add(fused[rows], room)
            cv2.min(cv2.max(last[2][rows], least), most, steady[rows])
        self._last = thermal, luminance, steady
        return steady
