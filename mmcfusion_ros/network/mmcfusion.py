"""The MMCFusion graph: stems, dual-stream encoder, cross-compensation, decoder, head."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmcfusion_ros.network.cross_compensation import CrossCompensation
from mmcfusion_ros.network.decoder import DecoderBlock
from mmcfusion_ros.network.encoder import PVTv2Encoder
from mmcfusion_ros.network.heads import MixingHead, PlainHead
from mmcfusion_ros.network.variants import Variant


class MMCFusion(nn.Module):
    """Fuses a thermal and a visible luminance image (Li et al., "Infrared and Visible Image Fusion Based on
    Multi-modal and Multi-scale Cross-compensation")."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        widths, fold = variant.widths, variant.fold
        self.stem_thermal, self.stem_visible = (
            nn.Conv2d(1, widths[0], 3, padding=1) if fold == 1 else nn.Conv2d(fold**2, widths[0], 1) for _ in range(2)
        )
        self.encoder_thermal = PVTv2Encoder(variant)
        self.encoder_visible = PVTv2Encoder(variant)
        self.compensation = nn.ModuleList(
            CrossCompensation(width, deeper) for width, deeper in zip(widths, (*widths[1:], 0), strict=True)
        )
        fine_widths = (widths[0], *widths[:3])
        self.decoder = nn.ModuleList(
            DecoderBlock(coarse, fine, local=fold > 1) for coarse, fine in zip(widths, fine_widths, strict=True)
        )
        self.head: nn.Module = PlainHead(widths[0]) if fold == 1 else MixingHead(widths[0], fold)

    def forward(self, thermal: Tensor, visible: Tensor) -> Tensor:
        """Two images ``B x 1 x H x W`` in [0, 1] to the fused one, ``B x 1 x H x W``, not yet clipped to [0, 1].

        H and W are multiples of ``variant.size_multiple`` and at least ``variant.smallest_size``.
        """
        stem_thermal, stem_visible = self.stem_thermal(self._fold(thermal)), self.stem_visible(self._fold(visible))
        features_thermal = self.encoder_thermal(stem_thermal)
        features_visible = self.encoder_visible(stem_visible)
        levels = [stem_thermal + stem_visible]
        for i, compensate in enumerate(self.compensation):
            deeper = (features_thermal[i + 1], features_visible[i + 1]) if i < 3 else (None, None)
            levels.append(compensate(features_thermal[i], features_visible[i], *deeper))
        decoded = levels.pop()
        for block in reversed(self.decoder):
            decoded = block(decoded, levels.pop())
        return self.head(decoded, thermal, visible)

    def _fold(self, image: Tensor) -> Tensor:
        return F.pixel_unshuffle(image, self.variant.fold)
