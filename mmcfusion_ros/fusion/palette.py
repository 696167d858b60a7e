"""Thermal images that a camera sends in false colours, back to grey."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

PALETTES = ("white_hot", "ironbow", "rainbow")
BITS = 6
_LEVELS = 1 << BITS

# Colours at even distances from cold to hot. Cameras differ: two of their tables of ironbow are recovered by this one
# within 5 levels, 2 on average.
_KEY_COLOURS = {
    "white_hot": [(0, 0, 0), (255, 255, 255)],
    "ironbow": [
        (0, 0, 0),
        (12, 0, 100),
        (52, 0, 140),
        (96, 0, 156),
        (132, 0, 160),
        (168, 0, 152),
        (188, 12, 136),
        (208, 28, 108),
        (224, 52, 60),
        (232, 80, 24),
        (244, 104, 4),
        (248, 132, 0),
        (252, 160, 0),
        (255, 188, 0),
        (255, 212, 24),
        (255, 232, 88),
        (255, 248, 172),
        (252, 255, 255),
    ],
    "rainbow": [(0, 0, 80), (0, 0, 255), (0, 128, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)],
}


class Palette:
    """The 256 colours of a palette, ``256 x 3`` uint8, red first, from cold to hot."""

    def __init__(self, colours: np.ndarray) -> None:
        self.colours = colours
        self._index, self._distance = _nearest(colours)

    @classmethod
    def from_name(cls, name: str) -> Palette:
        """One of ``PALETTES``, or a picture file of a colour bar: cold at its left or bottom, hot at the other end.

        ``ValueError`` naming what is wrong.
        """
        colours = np.array(_KEY_COLOURS[name], dtype=np.float64) if name in PALETTES else _read_bar(name)
        places = np.linspace(0, len(colours) - 1, 256)
        columns = [np.interp(places, np.arange(len(colours)), channel) for channel in colours.T]
        return cls(np.rint(np.column_stack(columns)).astype(np.uint8))

    def apply(self, grey: np.ndarray) -> np.ndarray:
        """``H x W`` uint8 to its colours, ``H x W x 3`` uint8."""
        return self.colours[grey]

    def luminance(self, rgb: np.ndarray) -> np.ndarray:
        """``H x W x 3`` uint8, red first, to the place ``H x W`` uint8 of the nearest colour of the palette."""
        return self._index[_cells(rgb)]

    def distance(self, rgb: np.ndarray) -> float:
        """How far the colours of ``H x W x 3`` lie from the palette's: mean Euclidean distance, 0 to 441."""
        return float(self._distance[_cells(rgb)].mean())


def _cells(rgb: np.ndarray) -> np.ndarray:
    """``H x W`` places in the tables."""
    red, green, blue = (cv2.extractChannel(rgb, i).astype(np.uint32) >> (8 - BITS) for i in range(3))
    return (red << 2 * BITS) | (green << BITS) | blue


def _nearest(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every cell of the cube of colours, red slowest: the nearest palette place uint8, and its distance float32."""
    centres = (np.arange(_LEVELS, dtype=np.float32) + 0.5) * (1 << (8 - BITS)) - 0.5
    plane = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)
    palette = colours.astype(np.float32)
    green_blue = np.square(plane).sum(1)[:, None] - 2 * plane @ palette[:, 1:].T + np.square(palette[:, 1:]).sum(1)
    places, distances = [], []
    for red in centres:
        square = green_blue + np.square(red - palette[:, 0])
        places.append(square.argmin(axis=1).astype(np.uint8))
        distances.append(np.sqrt(np.maximum(square.min(axis=1), 0)))
    return np.concatenate(places), np.concatenate(distances)


def _read_bar(name: str) -> np.ndarray:
    """``N x 3``, red first, along the longer side of a picture, cold first."""
    path = Path(name).expanduser()
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if picture is None:
        raise ValueError(
            f"thermal palette is {str(path)!r}; it must be {', '.join(PALETTES)} or a picture file of the colour bar"
        )
    height, width = picture.shape[:2]
    if max(height, width) < 16:
        raise ValueError(f"thermal palette {path} is {width}x{height}; a colour bar has at least 16 pixels")
    bar = picture.mean(axis=0) if width >= height else picture.mean(axis=1)[::-1]
    return bar[:, ::-1]
