"""The MMCFusion graph, from its blocks up: encoder (PVT v2 in its linear form), ULCC (upper-lower level
cross-compensation, with the DCCR rule inside), decoder (MSC, TEM), heads."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from timm.models.pvt_v2 import OverlapPatchEmbed, PyramidVisionTransformerV2
from torch import Tensor, nn

from mmcfusion_ros.network.variants import Variant

SOBEL_KERNEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


class PVTv2Encoder(nn.Module):
    """One stream of the encoder: four feature maps at strides 2, 4, 8 and 16 of the stem's grid.

    Wang et al., "PVT v2: Improved Baselines with Pyramid Vision Transformer" (linear attention); the only change
    is the first patch embedding, 3x3 with stride 2 instead of 7x7 with stride 4. Of a folded variant the two finest
    stages have no attention and no stage has layer normalisation: many small nodes that a CPU pays for.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        stem_width = variant.widths[0]
        transformer = PyramidVisionTransformerV2(
            in_chans=stem_width,
            num_classes=0,
            depths=variant.depths,
            embed_dims=variant.widths,
            num_heads=variant.heads,
            mlp_ratios=variant.mlp_ratios,
            qkv_bias=True,
            linear=True,
        )
        self.patch_embed = OverlapPatchEmbed(patch_size=3, stride=2, in_chans=stem_width, embed_dim=variant.widths[0])
        self.patch_embed.apply(transformer._init_weights)
        self.stages = transformer.stages
        if variant.fold > 1:
            for stage in self.stages[:2]:
                blocks: nn.ModuleList = stage.blocks  # type: ignore[assignment]
                stage.blocks = nn.ModuleList(LocalBlock(block.mlp) for block in blocks)  # type: ignore[arg-type]
            _drop_normalisation(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """``B x C0 x H x W`` to four maps ``B x C_i x ceil(H / 2**(i+1)) x ceil(W / 2**(i+1))``."""
        x = self.patch_embed(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class LocalBlock(nn.Module):
    """PVT v2's block without attention: its convolutional feed-forward part."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp

    def forward(self, x: Tensor, size: list[int]) -> Tensor:
        """``B x N x C`` tokens of a map of ``size`` (height, width) to the same shape."""
        return x + self.mlp(x, size)


def _drop_normalisation(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.LayerNorm):
            setattr(module, name, nn.Identity())
        else:
            _drop_normalisation(child)


class CrossCompensation(nn.Module):
    """ULCC: fuses both streams' features of one level, given those of the deeper one (width 0: there is none)."""

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
