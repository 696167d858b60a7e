"""From the last features to the fused image: the paper's head, and one that keeps full-resolution detail."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcfusion_ros.network.decoder import SOBEL_KERNEL


class PlainHead(nn.Module):
    """The paper's head: the image itself, from the last features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_image = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, features: Tensor, thermal: Tensor, visible: Tensor) -> Tensor:
        """Features ``B x C x H x W`` to an image ``B x 1 x H x W``."""
        return torch.tanh(self.to_image(features))


class MixingHead(nn.Module):
    """Mixes the sources at full resolution, then takes steps towards the stronger of their gradients.

    A weight per pixel between the sources lets their detail through unblurred. The steps add what a mixture of values
    cannot give, texture of one source on the brightness of the other: an unrolled descent (learned step kernels, and a
    gate that closes where gradients are noise) on the distance between the gradient of the image and the stronger
    gradient of the sources. Where both sources are black, so is the output. All of it works on the image folded
    ``fold x fold`` into channels, which costs a CPU a fraction of the same at full size.
    """

    def __init__(self, width: int, fold: int, hidden: int = 32, steps: int = 2) -> None:
        super().__init__()
        self.fold, self.pixels = fold, fold**2
        pixels = self.pixels
        self.sobel = nn.Conv2d(pixels, 2 * pixels, 3, padding=1, bias=False)
        self.preference = nn.Parameter(torch.tensor(4.0))  # for the brighter source
        self.hidden = nn.Sequential(
            nn.Conv2d(width + 4 * pixels, hidden, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.to_mixture = nn.Conv2d(hidden, 3 * pixels, 1)
        step_convolutions = [nn.Conv2d(2 * pixels, pixels, 3, padding=1) for _ in range(steps)]
        self.steps = nn.ModuleList(step_convolutions)
        kernels = folded_sobel(fold)
        with torch.no_grad():
            self.sobel.weight.copy_(kernels)
            self.to_mixture.weight.mul_(0.3)
            for step in step_convolutions:
                step.weight.copy_(0.7 * kernels.transpose(0, 1).flip(2, 3))  # the adjoint of Sobel

    def forward(self, features: Tensor, thermal: Tensor, visible: Tensor) -> Tensor:
        """Features ``B x C x H/fold x W/fold`` and the sources ``B x 1 x H x W`` to an image ``B x 1 x H x W``."""
        thermal, visible = F.pixel_unshuffle(thermal, self.fold), F.pixel_unshuffle(visible, self.fold)
        brighter, difference = torch.maximum(thermal, visible), thermal - visible
        gradient = self.stronger_gradient(thermal, visible)
        hidden = self.hidden(torch.cat((features, 8 * gradient, brighter, difference), dim=1))
        weight, correction, gate = self.to_mixture(hidden).split(self.pixels, dim=1)
        weight = torch.sigmoid(weight + self.preference * difference)
        fused = visible + weight * difference + torch.tanh(correction)
        gate = torch.sigmoid(torch.cat((gate, gate), dim=1))
        for step in self.steps:
            fused = fused + step(gate * (gradient - self.sobel(fused)))
        not_black = (255 * brighter).clamp(0, 1)
        return F.pixel_shuffle(fused * not_black, self.fold)

    def stronger_gradient(self, thermal: Tensor, visible: Tensor) -> Tensor:
        """Of each pixel (``B x n x h x w`` to ``B x 2n x h x w``: horizontal, vertical)."""
        of_thermal, of_visible = self.sobel(thermal), self.sobel(visible)
        stronger = (_squared_norm(of_thermal) > _squared_norm(of_visible)).to(thermal.dtype)
        return of_visible + torch.cat((stronger, stronger), dim=1) * (of_thermal - of_visible)


def _squared_norm(gradient: Tensor) -> Tensor:
    horizontal, vertical = gradient.chunk(2, dim=1)
    return horizontal.square() + vertical.square()


def folded_sobel(fold: int) -> Tensor:
    """Kernels ``2n x n x 3 x 3`` with ``n = fold**2`` that do to an image folded by ``pixel_unshuffle(image, fold)``
    what Sobel's kernels do to the image, in slope per pixel: n horizontal, then n vertical responses."""
    horizontal = -torch.tensor(SOBEL_KERNEL) / 8
    folded = torch.zeros(2, fold**2, fold**2, 3, 3)
    for row, column, down, right in product(range(fold), range(fold), range(3), range(3)):
        y, x = row + down - 1, column + right - 1
        source = fold * (y % fold) + x % fold
        for direction, kernel in enumerate((horizontal, horizontal.T)):
            target = folded[direction, fold * row + column, source]
            target[y // fold + 1, x // fold + 1] += kernel[down, right]
    return folded.flatten(0, 1)
