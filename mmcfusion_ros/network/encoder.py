"""One stream of the dual-stream encoder: PVT v2 in its linear form, with a stride-2 first patch embedding."""

from __future__ import annotations

from timm.models.pvt_v2 import OverlapPatchEmbed, PyramidVisionTransformerV2
from torch import Tensor, nn

from mmcfusion_ros.network.variants import Variant


class PVTv2Encoder(nn.Module):
    """Four feature maps at strides 2, 4, 8 and 16 of the stem's grid.

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
