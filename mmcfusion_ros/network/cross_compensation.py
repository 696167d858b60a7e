"""ULCC: upper-lower level cross-compensation of the two streams, with the DCCR rule inside."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CrossCompensation(nn.Module):
    """Fuses the features of one level, given those of the next deeper one (``deeper_width`` 0 at the deepest)."""

    def __init__(self, width: int, deeper_width: int) -> None:
        super().__init__()
        self.from_deeper = nn.Conv2d(deeper_width, width, 3, padding=1) if deeper_width else None
        self.reduce = nn.Conv2d(2 * width, width, 1)

    def forward(
        self, thermal: Tensor, visible: Tensor, deeper_thermal: Tensor | None, deeper_visible: Tensor | None
    ) -> Tensor:
        """Two maps ``B x C x H x W`` of this level and two of the deeper level to one ``B x C x H x W``."""
        if self.from_deeper is not None:
            size = thermal.shape[-2:]
            thermal = thermal + F.interpolate(self.from_deeper(deeper_thermal), size=size, mode="nearest")
            visible = visible + F.interpolate(self.from_deeper(deeper_visible), size=size, mode="nearest")
        return self.compensate(thermal, visible)

    def compensate(self, thermal: Tensor, visible: Tensor) -> Tensor:
        """The DCCR rule: each stream receives what a common gate takes from the other one."""
        both = torch.cat((thermal, visible), dim=1)
        pooled = F.max_pool2d(both, 2) + F.avg_pool2d(both, 2)
        gate = torch.sigmoid(
            F.interpolate(self.reduce(pooled), size=thermal.shape[-2:], mode="bilinear", align_corners=False)
        )
        thermal_loss = thermal * gate - thermal
        visible_loss = visible * gate - visible
        return self.reduce(torch.cat((thermal + visible_loss, visible + thermal_loss), dim=1))
