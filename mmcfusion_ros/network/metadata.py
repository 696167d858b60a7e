"""What weights and exported graphs say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmcfusion_ros.network.variants import Variant, get_variant

POLARITIES = ("white_hot", "black_hot")


@dataclass(frozen=True)
class Metadata:
    """The graph, and which of ``POLARITIES`` the thermal image must have that it gets."""

    variant: Variant
    thermal_polarity: str = POLARITIES[0]

    @classmethod
    def parse(cls, texts: Mapping[str, str], source: object) -> Metadata:
        """From the texts in a file, whose name is ``source``; ``ValueError`` saying what this version cannot use.

        Without ``thermal_polarity`` it is white hot, without ``graph`` it is the first of its variant.
        """
        if "variant" not in texts:
            made = "make it with mmcfusion train, convert-checkpoint or export"
            raise ValueError(f"{source} does not name its network variant; {made}")
        try:
            variant = get_variant(texts["variant"])
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        if (graph := texts.get("graph", "1")) != str(variant.graph):
            raise ValueError(
                f"{source} is made for graph {graph} of variant {variant.name}, this version has graph "
                f"{variant.graph}; use the weights shipped with it, or train and export again"
            )
        polarity = texts.get("thermal_polarity", POLARITIES[0])
        if polarity not in POLARITIES:
            raise ValueError(f"{source}: thermal_polarity is {polarity!r}; it must be one of {', '.join(POLARITIES)}")
        return cls(variant, polarity)

    def texts(self) -> dict[str, str]:
        """The same as :meth:`parse` takes them."""
        return {
            "variant": self.variant.name,
            "graph": str(self.variant.graph),
            "thermal_polarity": self.thermal_polarity,
        }
