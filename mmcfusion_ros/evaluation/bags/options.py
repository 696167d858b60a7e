"""What of a bag is evaluated, and what is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmcfusion_ros.bags.reading import Bag


@dataclass(frozen=True)
class BagOptions:
    """What of a bag is evaluated, and what of the result is kept; ``ValueError`` names what makes no sense.

    Topics that are not named are found. ``every``: only each n-th pair is fused. ``start_s`` and ``end_s`` are receive
    times since the start of the bag. ``metrics``: fusion metrics and registration residual. ``images``: the fused bag
    and previews. ``report``: collects frames for the page.
    """

    thermal_topic: str = ""
    rgb_topic: str = ""
    depth_topic: str = ""
    every: int = 1
    start_s: float = 0.0
    end_s: float | None = None
    metrics: bool = True
    images: bool = True
    report: bool = True

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}; it must be 1 or more")
        if not 0 <= self.start_s < (math.inf if self.end_s is None else self.end_s):
            raise ValueError(f"the range {self.start_s} s to {self.end_s} s is empty or begins before the bag")

    def range_ns(self, bag: Bag) -> tuple[int, int]:
        """Receive times, start <= time < end; ``ValueError`` if the bag has none."""
        end_ns = bag.end_ns if self.end_s is None else bag.start_ns + round(self.end_s * 1e9)
        start_ns = bag.start_ns + round(self.start_s * 1e9)
        if start_ns > bag.end_ns:
            raise ValueError(f"the bag ends before {self.start_s} s, after {(bag.end_ns - bag.start_ns) / 1e9:.1f} s")
        return start_ns, min(end_ns, bag.end_ns)
