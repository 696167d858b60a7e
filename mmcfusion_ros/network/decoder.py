"""The decoder's building blocks: MSC (multi-scale cascade) and TEM (texture enhancement)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SOBEL_KERNEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


def resize_like(x: Tensor, reference: Tensor) -> Tensor:
    """``x`` resized bilinearly to the height and width of ``reference``."""
    return F.interpolate(x, size=reference.shape[-2:], mode="bilinear", align_corners=False)


def spatial_mean(x: Tensor) -> Tensor:
    """``B x C x 1 x 1``."""
    return x.mean(dim=(-2, -1), keepdim=True)


class MultiScaleCascade(nn.Module):
    """MSC: adds a coarser map to a finer one at three scales: doubled, as it is, and as a whole-image mean.

    A ``local`` one leaves out the mean, by which what is hot would dim things far from it.
    """

    def __init__(self, coarse_width: int, width: int, local: bool = False) -> None:
        super().__init__()
        self.project = nn.Conv2d(coarse_width, width, 1)
        self.local = local

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """``B x C' x h x w`` and ``B x C x H x W`` to ``B x C x H x W``."""
        coarse = self.project(coarse)
        fine_at_coarse = resize_like(fine, coarse)
        pooled = F.avg_pool2d(coarse, 2) + F.avg_pool2d(fine_at_coarse, 2)
        merged = coarse + fine_at_coarse + resize_like(pooled, coarse)
        cascaded = resize_like(merged, fine) + fine
        return cascaded if self.local else cascaded + spatial_mean(coarse) + spatial_mean(fine)


class TextureEnhancement(nn.Module):
    """TEM: a gated branch and a trainable Sobel branch beside the smooth features.

    The gate of a channel is its maximum over the image; in a ``local`` one each pixel is its own gate.
    """

    def __init__(self, width: int, local: bool = False) -> None:
        super().__init__()
        self.local = local
        self.smooth = nn.Conv2d(width, width, 3, padding=1)
        self.gated = nn.Conv2d(width, width, 3, padding=1)
        self.sobel = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.context = nn.Conv2d(width, width, 3, padding=1)
        self.merge = nn.Conv2d(2 * width, width, 1)
        with torch.no_grad():
            self.sobel.weight.copy_(torch.tensor(SOBEL_KERNEL).expand_as(self.sobel.weight))

    def forward(self, x: Tensor) -> Tensor:
        """``B x C x H x W`` to the same shape."""
        texture = F.leaky_relu(self.smooth(x), 0.2)
        gated = self.gated(texture)
        gated = gated * torch.sigmoid(gated if self.local else gated.amax(dim=(-2, -1), keepdim=True))
        edges = self.sobel(texture).abs()
        context = F.leaky_relu(self.context(texture), 0.2)
        context = F.leaky_relu(self.context(context), 0.2)
        return gated + texture + self.merge(torch.cat((edges, context), dim=1))


class DecoderBlock(nn.Module):
    """MSC, then TEM."""

    def __init__(self, coarse_width: int, width: int, local: bool = False) -> None:
        super().__init__()
        self.cascade = MultiScaleCascade(coarse_width, width, local)
        self.enhance = TextureEnhancement(width, local)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """``B x C' x h x w`` and ``B x C x H x W`` to ``B x C x H x W``."""
        return self.enhance(self.cascade(coarse, fine))
