"""The network's blocks against the formulas of the paper, its sizes, cost and numerics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.models.pvt_v2 import OverlapPatchEmbed, PyramidVisionTransformerV2
from torch.utils.flop_counter import FlopCounterMode

from mmcfusion_ros.data.images import read_rgb, read_thermal
from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.network.mmcfusion import (
    CrossCompensation,
    DecoderBlock,
    MixingHead,
    MMCFusion,
    MultiScaleCascade,
    PVTv2Encoder,
    TextureEnhancement,
    folded_sobel,
)
from mmcfusion_ros.network.variants import VARIANTS, get_variant
from mmcfusion_ros.network.weights import load_network
from mmcfusion_ros.resources import package_file

ODD_SIZES = [(64, 64), (33, 57), (101, 203)]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(3)


@pytest.fixture(scope="module")
def lite():
    torch.manual_seed(4)
    return MMCFusion(get_variant("lite")).eval()


@pytest.fixture(scope="module")
def b1():
    torch.manual_seed(5)
    return MMCFusion(get_variant("b1")).eval()


def on_meta(name):
    """A network that has shapes, but no numbers."""
    with torch.device("meta"):
        return MMCFusion(get_variant(name)).eval()


class TestEncoder:
    @pytest.mark.parametrize("name", VARIANTS)
    @pytest.mark.parametrize(("height", "width"), ODD_SIZES)
    def test_strides_are_2_4_8_16_rounded_up(self, name, height, width):
        variant = get_variant(name)
        with torch.device("meta"):
            features = PVTv2Encoder(variant)(torch.zeros(2, variant.widths[0], height, width))
        for level, (feature, channels) in enumerate(zip(features, variant.widths, strict=True)):
            stride = 2 ** (level + 1)
            assert feature.shape == (2, channels, -(-height // stride), -(-width // stride))

    def test_stages_are_timms_own_with_a_stride_2_patch_embedding(self):
        variant = replace(get_variant("lite"), fold=1)
        encoder = PVTv2Encoder(variant).eval()
        reference = PyramidVisionTransformerV2(
            in_chans=16,
            num_classes=0,
            depths=(1, 1, 1, 1),
            embed_dims=(16, 32, 64, 96),
            num_heads=(1, 2, 4, 6),
            mlp_ratios=(4, 4, 4, 4),
            linear=True,
        ).eval()
        reference.patch_embed = OverlapPatchEmbed(patch_size=3, stride=2, in_chans=16, embed_dim=16)
        reference.load_state_dict(encoder.state_dict())
        x = torch.rand(1, 16, 51, 70)
        with torch.inference_mode():
            expected = reference.forward_intermediates(x, intermediates_only=True)
            for ours, theirs in zip(encoder(x), expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)

    def test_a_folded_variant_has_no_layer_norms_and_attention_at_the_two_coarsest_levels(self):
        encoder = PVTv2Encoder(get_variant("lite"))
        assert not any(isinstance(module, torch.nn.LayerNorm) for module in encoder.modules())
        attends = [any("attn" in name for name, _ in stage.named_modules()) for stage in encoder.stages]
        assert attends == [False, False, True, True]

    def test_layer_norms_have_the_epsilons_of_pvt_v2(self):
        """1e-5 in the patch embeddings and inside the attention, 1e-6 elsewhere."""
        for name, module in on_meta("b1").named_modules():
            if isinstance(module, torch.nn.LayerNorm):
                inner = any(part in name for part in ("patch_embed", "downsample", "attn"))
                assert module.eps == (1e-5 if inner else 1e-6), name


def bilinear(x, size):
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def mean_hw(x):
    return x.mean(3, keepdim=True).mean(2, keepdim=True)


def dccr(a, v, weight, bias):
    """``cov`` is the 1x1 convolution with those weights, at both places."""

    def cov(x):
        return torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], x) + bias[:, None, None]

    p = torch.cat((a, v), 1)
    g = 1 / (1 + torch.exp(-bilinear(cov(F.max_pool2d(p, 2) + F.avg_pool2d(p, 2)), a.shape[2:])))
    da, dv = a * g - a, v * g - v
    return cov(torch.cat((a + dv, v + da), 1))


class TestBlocksAgainstTheFormulas:
    @pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 13)])
    def test_deepest_level_is_dccr_alone(self, height, width):
        block = CrossCompensation(6, 0)
        a, v = torch.randn(2, 2, 6, height, width)
        expected = dccr(a, v, block.reduce.weight, block.reduce.bias)
        torch.testing.assert_close(block(a, v, None, None), expected)

    @pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 13)])
    def test_upper_levels_add_the_convolved_deeper_one_by_nearest_pixel(self, height, width):
        block = CrossCompensation(6, 10)
        x, y = torch.randn(2, 2, 6, height, width)
        deeper_x, deeper_y = torch.randn(2, 2, 10, (height + 1) // 2, (width + 1) // 2)

        def near(deeper):
            deeper = F.conv2d(deeper, block.from_deeper.weight, block.from_deeper.bias, padding=1)
            rows = [i * deeper.shape[2] // height for i in range(height)]
            columns = [j * deeper.shape[3] // width for j in range(width)]
            return deeper[:, :, rows][:, :, :, columns]

        expected = dccr(x + near(deeper_x), y + near(deeper_y), block.reduce.weight, block.reduce.bias)
        torch.testing.assert_close(block(x, y, deeper_x, deeper_y), expected)

    @pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 13)])
    def test_multi_scale_cascade(self, height, width):
        block = MultiScaleCascade(10, 6)
        x, y = torch.randn(2, 10, (height + 1) // 2, (width + 1) // 2), torch.randn(2, 6, height, width)
        x1 = torch.einsum("oc,bchw->bohw", block.project.weight[:, :, 0, 0], x) + block.project.bias[:, None, None]
        yd = bilinear(y, x.shape[2:])
        m = x1 + yd
        m = m + bilinear(F.avg_pool2d(x1, 2) + F.avg_pool2d(yd, 2), x.shape[2:])
        expected = bilinear(m, (height, width)) + y + mean_hw(x1) + mean_hw(y)
        torch.testing.assert_close(block(x, y), expected)

    @pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 13)])
    def test_texture_enhancement(self, height, width):
        block = TextureEnhancement(6)
        m = torch.randn(2, 6, height, width)

        def conv3x3(layer, x):
            return F.conv2d(x, layer.weight, layer.bias, padding=1)

        def leaky(x):
            return torch.where(x > 0, x, 0.2 * x)

        t = leaky(conv3x3(block.smooth, m))
        e = conv3x3(block.gated, t)
        e = e / (1 + torch.exp(-e.flatten(2).max(2).values[:, :, None, None]))
        padded = F.pad(t, (1, 1, 1, 1))
        left, right = padded[:, :, :, :-2], padded[:, :, :, 2:]
        s = (left - right)[:, :, :-2] + 2 * (left - right)[:, :, 1:-1] + (left - right)[:, :, 2:]
        c = leaky(conv3x3(block.context, leaky(conv3x3(block.context, t))))
        expected = e + t + F.conv2d(torch.cat((s.abs(), c), 1), block.merge.weight, block.merge.bias)
        torch.testing.assert_close(block(m), expected)

    def test_sobel_kernel_is_trainable_and_has_no_bias(self):
        block = TextureEnhancement(3)
        block(torch.randn(1, 3, 8, 8)).sum().backward()
        assert block.sobel.weight.grad.abs().sum() > 0
        assert block.sobel.bias is None

    def test_decoder_block_is_cascade_then_enhancement(self):
        block = DecoderBlock(10, 6)
        x, y = torch.randn(1, 10, 5, 6), torch.randn(1, 6, 9, 12)
        torch.testing.assert_close(block(x, y), block.enhance(block.cascade(x, y)))


class TestLocality:
    @pytest.mark.parametrize("block", [DecoderBlock(10, 6, local=True)])
    def test_what_is_far_does_not_count_in_a_local_decoder_block(self, block):
        coarse, fine = torch.randn(1, 10, 40, 40), torch.randn(1, 6, 80, 80)
        changed = fine.clone()
        changed[..., :8, :8] += 100
        difference = (block(coarse, changed) - block(coarse, fine)).abs().amax((0, 1))
        assert difference[:8, :8].min() > 0
        assert difference[32:, 32:].max() == 0

    def test_a_local_gate_is_the_pixel_itself(self):
        block = TextureEnhancement(6, local=True)
        m = torch.randn(2, 6, 8, 12)
        t = F.leaky_relu(block.smooth(m), 0.2)
        e = block.gated(t)
        e = e / (1 + torch.exp(-e))
        c = F.leaky_relu(block.context(F.leaky_relu(block.context(t), 0.2)), 0.2)
        torch.testing.assert_close(block(m), e + t + block.merge(torch.cat((block.sobel(t).abs(), c), 1)))


class TestMixingHead:
    def randomised(self, seed):
        torch.manual_seed(seed)
        head = MixingHead(16, fold=4)
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=2.0)
        return head

    @pytest.mark.parametrize("seed", range(5))
    def test_black_sources_give_exactly_black_whatever_the_weights(self, seed):
        black = torch.zeros(1, 1, 24, 36)
        fused = self.randomised(seed)(100 * torch.randn(1, 16, 6, 9), black, black)
        assert torch.count_nonzero(fused) == 0

    def test_black_parts_of_real_scenes_stay_exactly_black_through_the_whole_network(self, lite):
        thermal, visible = torch.rand(2, 1, 1, 128, 128)
        thermal[..., 20:60, 30:90] = visible[..., 20:60, 30:90] = 0
        with torch.inference_mode():
            fused = lite(thermal, visible)
        assert torch.count_nonzero(fused[..., 20:60, 30:90]) == 0
        assert torch.count_nonzero(fused) > 0.4 * fused.numel()

    def test_without_features_the_difference_of_the_sources_weighs_them(self):
        head = MixingHead(16, fold=2)
        for layer in (head.to_mixture, *head.steps):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        thermal, visible = torch.tensor([[1.0, 0.0], [0.5, 0.25]]), torch.tensor([[0.0, 1.0], [0.5, 0.75]])
        fused = head(torch.randn(1, 16, 1, 1), thermal[None, None], visible[None, None])[0, 0]
        expected = torch.tensor([[0.98201379, 0.98201379], [0.5, 0.75 - 0.5 * 0.11920292]])
        torch.testing.assert_close(fused, expected)

    @pytest.mark.parametrize("fold", [2, 4])
    def test_each_step_brings_the_image_nearer_to_thestronger_gradient(self, fold):
        """Untrained, with an open gate: the steps are plain gradient descent."""
        torch.manual_seed(0)
        thermal, visible = torch.rand(2, 1, 1, 32, 48) * 0.5 + 0.25
        folded = [F.pixel_unshuffle(image, fold) for image in (thermal, visible)]
        distances = []
        for steps in range(4):
            head = MixingHead(16, fold, steps=steps)
            for layer in (head.to_mixture.weight, head.to_mixture.bias, *(step.bias for step in head.steps)):
                torch.nn.init.zeros_(layer)
            torch.nn.init.constant_(head.to_mixture.bias[2 * fold**2 :], 20.0)
            features = torch.zeros(1, 16, 32 // fold, 48 // fold)
            fused = F.pixel_unshuffle(head(features, thermal, visible), fold)
            distances.append((head.sobel(fused) - head.stronger_gradient(*folded)).square().mean().item())
        assert sorted(distances, reverse=True) == distances
        assert distances[3] < 0.7 * distances[0]

    @pytest.mark.parametrize("fold", [2, 4])
    def test_folded_sobel_is_sobel(self, fold):
        image = torch.rand(2, 1, 12, 24)
        folded = F.conv2d(F.pixel_unshuffle(image, fold), folded_sobel(fold), padding=1)
        for responses, derivative in zip(folded.chunk(2, dim=1), ((1, 0), (0, 1)), strict=True):
            for response, plane in zip(F.pixel_shuffle(responses, fold)[:, 0], image[:, 0], strict=True):
                expected = cv2.Sobel(plane.numpy(), cv2.CV_32F, *derivative) / 8
                np.testing.assert_allclose(response[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-6)

    def test_thestronger_gradient_of_each_pixel_is_seen(self):
        """Thermal rises to the right on the left half, visible falls more steeply downwards on the right half."""
        rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(24.0), indexing="ij")
        thermal, visible = 0.01 * columns * (columns < 12), 0.5 - 0.03 * rows * (columns >= 12)
        folded = (F.pixel_unshuffle(image[None, None], 4) for image in (thermal, visible))
        horizontal, vertical = MixingHead(16, fold=4).stronger_gradient(*folded).detach().chunk(2, dim=1)
        for response, left, right in ((horizontal, 0.01, 0.0), (vertical, 0.0, -0.03)):
            full = F.pixel_shuffle(response, 4)[0, 0, 1:-1]
            torch.testing.assert_close(full[:, 1:10], torch.full((10, 9), left))
            torch.testing.assert_close(full[:, 14:-1], torch.full((10, 9), right))


class TestVariants:
    def test_names(self):
        assert list(VARIANTS) == ["b1", "b0", "lite"]
        assert get_variant("b1").widths == (64, 128, 320, 512)
        assert get_variant("b0").widths == (32, 64, 160, 256)

    def test_unknown_name_is_refused_with_the_known_ones(self):
        with pytest.raises(ValueError, match=r"'b7'.*b1, b0, lite"):
            get_variant("b7")

    @pytest.mark.parametrize(
        ("name", "sizes"), [("b1", ODD_SIZES), ("b0", ODD_SIZES), ("lite", [(128, 128), (148, 204)])]
    )
    def test_output_has_the_size_of_the_input(self, name, sizes):
        network = on_meta(name)
        for size in sizes:
            x = torch.zeros(2, 1, *size, device="meta")
            assert network(x, x).shape == (2, 1, *size)

    @pytest.mark.parametrize("name", VARIANTS)
    def test_smallest_size_runs(self, name):
        variant = get_variant(name)
        x = torch.zeros(1, 1, variant.smallest_size, variant.smallest_size, device="meta")
        assert on_meta(name)(x, x).shape == x.shape

    def test_b1_has_as_many_parameters_as_the_authors_use(self):
        assert sum(p.numel() for p in on_meta("b1").parameters()) / 1e6 == pytest.approx(31.5, abs=0.05)

    @pytest.mark.parametrize(("name", "low", "high"), [("lite", 2.6, 2.7), ("b1", 395, 415)])
    def test_cost_of_a_640x480_frame_in_gflop(self, name, low, high):
        network, x = on_meta(name), torch.zeros(1, 1, 480, 640, device="meta")
        with FlopCounterMode(display=False) as counter:
            network(x, x)
        assert low < counter.get_total_flops() / 1e9 <= high

    @pytest.mark.parametrize("name", ["b1", "lite"])
    def test_every_weight_matters(self, name):
        """All parameters receive a gradient: none is dead weight in the file."""
        torch.manual_seed(6)
        network = MMCFusion(get_variant(name))
        network(*torch.rand(2, 1, 1, 128, 128)).square().mean().backward()
        dead = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
        assert dead == []


def real_crops(folder: Path, size, count):
    """Centre crops of the first pairs, ``1 x 1 x H x W`` in [0, 1]."""
    for files in find_pairs(folder)[:count]:
        thermal = read_thermal(files.thermal)
        luminance = torch.from_numpy(read_rgb(files.rgb)).float() @ torch.tensor([0.299, 0.587, 0.114])
        top, left = (thermal.shape[0] - size[0]) // 2, (thermal.shape[1] - size[1]) // 2
        yield tuple(
            image[None, None, top : top + size[0], left : left + size[1]] / 255
            for image in (torch.from_numpy(thermal).float(), luminance)
        )


class TestHalfPrecision:
    """Finite, and within 2 of 255 grey levels of float32 in the mean, on real pairs."""

    def check(self, network, dtype, pairs):
        half = MMCFusion(network.variant).eval()
        half.load_state_dict(network.state_dict())
        half.to(dtype)
        with torch.inference_mode():
            for thermal, visible in pairs:
                exact = network(thermal, visible).clamp(0, 1)
                fused = half(thermal.to(dtype), visible.to(dtype)).float()
                assert torch.isfinite(fused).all()
                assert (fused.clamp(0, 1) - exact).abs().mean() * 255 < 2

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("folder", ["roadscene/test", "tno/test"])
    def test_lite(self, lite, dtype, folder, shared_data):
        shipped = package_file("models") / "lite.safetensors"
        network = load_network(shipped) if shipped.is_file() else lite
        self.check(network, dtype, real_crops(shared_data / folder, (160, 192), 3))

    @pytest.mark.parametrize(("dtype", "size"), [(torch.bfloat16, (160, 192)), (torch.float16, (64, 64))])
    def test_b1(self, b1, dtype, size, shared_data):
        """float16 has no fast convolutions on most CPUs, hence the small crop."""
        self.check(b1, dtype, real_crops(shared_data / "roadscene/test", size, 1))
