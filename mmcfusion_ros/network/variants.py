"""The named sizes of the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Variant:
    """Everything that fixes the graph of one network.

    ``widths`` are the channels ``C0..C3`` of the four levels. With ``fold`` 1 the graph is the paper's. With more the
    network works on images folded ``fold x fold`` into channels, its head mixes both sources at full resolution, and
    what far parts of an image do to each other is left to the attention of the two coarsest levels.
    """

    name: str
    widths: tuple[int, int, int, int]
    graph: int = 1  # one more with each change of the graph that does not fit weights made before
    depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    heads: tuple[int, int, int, int] = (1, 2, 5, 8)
    mlp_ratios: tuple[int, int, int, int] = (8, 8, 4, 4)
    fold: int = 1

    @cached_property
    def size_multiple(self) -> int:
        """Height and width of the input must be multiples of this many pixels."""
        return self.fold

    @cached_property
    def smallest_size(self) -> int:
        """Height and width of the input must be at least this many pixels: the deepest level is pooled by 2."""
        return 2 * 16 * self.fold


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("b1", widths=(64, 128, 320, 512)),
        Variant("b0", widths=(32, 64, 160, 256)),
        Variant(
            "lite",
            widths=(16, 32, 64, 96),
            graph=2,
            depths=(1, 1, 1, 1),
            heads=(1, 2, 4, 6),
            mlp_ratios=(4, 4, 4, 4),
            fold=4,
        ),
    )
}


def get_variant(name: str) -> Variant:
    """The variant of that name; ``ValueError`` naming the known ones if there is none."""
    if name not in VARIANTS:
        raise ValueError(f"unknown network variant {name!r}; known variants: {', '.join(VARIANTS)}")
    return VARIANTS[name]
