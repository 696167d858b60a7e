"""The MMCFusion graph: stems, dual-stream encoder, cross-compensation, decoder, head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcfusion_ros.network.cross_compensation import CrossCompensation
from mmcfusion_ros.network.decoder import DecoderBlock
from mmcfusion_ros.network.encoder import PVTv2Encoder
from mmcfusion_ros.network.variants import Variant


class PlainHead(nn.Module):
    """The paper's head: the image itself, from the last features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_image = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, features: Tensor, thermal: Tensor, visible: Tensor) -> Tensor:
        """Features ``B x C x H x W`` to an image ``B x 1 x H x W``."""
        return torch.tanh(self.to_image(features))


class MixingHead(nn.Module):
    """Mixes the sources at full resolution: a weight per pixel between them, and a gain on the brighter of the two.

    Detail of both sources reaches the output unblurred, and where both are black the output is black.
    """

    def __init__(self, width: int, detail_width: int = 8) -> None:
        super().__init__()
        self.to_detail = nn.Conv2d(width, 4 * detail_width, 1)
        self.from_sources = nn.Conv2d(2, detail_width, 3, padding=1)
        self.to_mixture = nn.Conv2d(detail_width, 2, 3, padding=1)
        with torch.no_grad():
            self.to_mixture.weight[1].zero_()

    def forward(self, features: Tensor, thermal: Tensor, visible: Tensor) -> Tensor:
        """Features ``B x C x H/2 x W/2`` and the sources ``B x 1 x H x W`` to an image ``B x 1 x H x W``."""
        detail = F.pixel_shuffle(self.to_detail(features), 2) + self.from_sources(torch.cat((thermal, visible), dim=1))
        weight, gain = self.to_mixture(F.leaky_relu(detail, 0.2)).split(1, dim=1)
        difference = thermal - visible
        mixed = visible + torch.sigmoid(weight + 4.0 * difference) * difference
        return mixed + torch.tanh(gain) * torch.maximum(thermal, visible)


class MMCFusion(nn.Module):
    """Fuses a thermal and a visible luminance image (Li et al., "Infrared and Visible Image Fusion Based on
    Multi-modal and Multi-scale Cross-compensation")."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        widths = variant.widths
        source_channels = variant.size_multiple**2
        self.stem_thermal = nn.Conv2d(source_channels, widths[0], 3, padding=1)
        self.stem_visible = nn.Conv2d(source_channels, widths[0], 3, padding=1)
        self.encoder_thermal = PVTv2Encoder(variant)
        self.encoder_visible = PVTv2Encoder(variant)
        self.compensation = nn.ModuleList(
            CrossCompensation(width, deeper) for width, deeper in zip(widths, (*widths[1:], 0), strict=True)
        )
        fine_widths = (widths[0], *widths[:3])
        self.decoder = nn.ModuleList(
            DecoderBlock(coarse, fine) for coarse, fine in zip(widths, fine_widths, strict=True)
        )
        self.head: nn.Module = MixingHead(widths[0]) if variant.half_resolution else PlainHead(widths[0])

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
        return F.pixel_unshuffle(image, 2) if self.variant.half_resolution else image
