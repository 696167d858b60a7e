"""An image in bands of rows: the intermediate results of one band stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

PIXELS = 1 << 16


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """The rows of an image of that shape (height, width, ...), top to bottom, some ``PIXELS`` pixels at a time."""
    rows = max(1, PIXELS // shape[1])
    return (slice(top, top + rows) for top in range(0, shape[0], rows))
