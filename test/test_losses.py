"""The terms of the losses: what they reward, and that their gradients are finite."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from mmcfusion_ros.evaluation import metrics
from mmcfusion_ros.training.losses import (
    DETAIL,
    LOSS_WEIGHTS,
    PAPER_WEIGHTS,
    bright_and_plain,
    edges_kept,
    fusion_losses,
    information_fidelity,
    lift_hot,
    paper_losses,
    sobel,
    unsteadiness,
)


def two_sources():
    """Texture of one source where the other one is black: the ideal fused image is their sum."""
    torch.manual_seed(0)
    texture = torch.rand(2, 1, 40, 48)
    left = torch.zeros_like(texture)
    left[..., :24] = texture[..., :24]
    return left, texture - left, texture


def total(losses, weights):
    assert losses.keys() == weights.keys()
    return sum(weights[name] * term for name, term in losses.items())


LOSSES = pytest.mark.parametrize(
    ("losses", "weights"), [(fusion_losses, LOSS_WEIGHTS), (paper_losses, PAPER_WEIGHTS)], ids=["ours", "paper"]
)


class TestLosses:
    @LOSSES
    def test_better_images_cost_less(self, losses, weights):
        thermal, visible, ideal = two_sources()
        candidates = [ideal, 0.7 * ideal + 0.1, ideal / 2, torch.zeros_like(ideal), 1 - ideal]
        costs = [total(losses(image, thermal, visible), weights).item() for image in candidates]
        assert costs[0] == min(costs)
        assert costs[0] < 0.8 * min(costs[1:])

    @LOSSES
    def test_a_batch_costs_the_mean_of_its_images(self, losses, weights):
        thermal, visible, fused = torch.rand(3, 4, 1, 40, 48) * torch.linspace(0.2, 1, 4).reshape(4, 1, 1, 1)
        batch = losses(fused, thermal, visible)
        alone = [losses(fused[i : i + 1], thermal[i : i + 1], visible[i : i + 1]) for i in range(4)]
        for name in weights:
            assert batch[name].item() == pytest.approx(np.mean([terms[name].item() for terms in alone]), rel=1e-5), name

    def test_each_of_our_terms_tells_the_ideal_image_from_its_negative(self):
        thermal, visible, ideal = two_sources()
        good, bad = fusion_losses(ideal, thermal, visible), fusion_losses(1 - ideal, thermal, visible)
        for name in LOSS_WEIGHTS:
            assert good[name] < 0.7 * bad[name], name

    def test_a_pair_of_equal_images_fused_to_itself_costs_nothing_where_it_should(self):
        image = (torch.rand(2, 1, 40, 48) > 0.5).float()
        terms = fusion_losses(image, image, image)
        assert terms["intensity"] == 0
        assert fusion_losses(DETAIL * image, image, image)["gradient"] == 0
        assert terms["structure"].item() == pytest.approx(0, abs=1e-5)
        assert terms["fidelity"].item() == pytest.approx(0, abs=0.01)
        assert sum(paper_losses(image, image, image).values()) == 0

    def test_intensity_is_the_mean_distance_to_the_brighter_source(self):
        thermal, visible = torch.tensor([[0.2, 0.4]]), torch.tensor([[0.35, 0.1]])
        shape = (1, 1, 20, 20)
        thermal, visible = (image.repeat(20, 10).reshape(shape) for image in (thermal, visible))
        terms = fusion_losses(torch.full(shape, 0.38), thermal, visible)
        assert terms["intensity"].item() == pytest.approx((0.03 + 0.02) / 2)

    def test_intensity_counts_what_is_white_or_hot_more(self):
        thermal, visible = torch.full((1, 1, 20, 20), 0.1), torch.full((1, 1, 20, 20), 0.5)
        thermal[..., 4:8, 4:8], visible[..., 12:18, :] = 0.9, 1.0  # the white part is too narrow for a sky
        fused = torch.maximum(lift_hot(thermal)[0], visible)

        def cost(part) -> float:
            spoilt = fused.clone()
            spoilt[part] -= 0.1
            return fusion_losses(spoilt, thermal, visible)["intensity"].item()

        grey, hot, white = (cost((..., row, 4)) for row in (0, 5, 15))
        assert hot == pytest.approx(5 * grey)
        assert white == pytest.approx(15 * grey)

    def test_what_is_warm_is_lifted_pixel_by_pixel(self):
        thermal = torch.tensor([0.2, 0.45, 0.6, 0.7, 0.9]).reshape(1, 1, 1, 5)
        lifted, hot = lift_hot(thermal)
        expected = torch.tensor([0.2, 0.45, 0.6 + 0.35 * 0.6 * 0.3, 0.7 + 0.35 * 0.4, 1.0])
        torch.testing.assert_close(lifted[0, 0, 0], expected)
        torch.testing.assert_close(hot[0, 0, 0], torch.tensor([0.0, 0.0, 0.6, 1.0, 1.0]))

    def test_a_sky_is_bright_and_plain_in_rgb_and_darker_without_edges_in_thermal(self):
        thermal, visible = torch.full((1, 1, 40, 120), 0.2), torch.full((1, 1, 40, 120), 0.9)
        thermal[..., 60:80] = 0.95  # a warm tower
        visible[..., 100:] = 0.4  # a wall
        sky = bright_and_plain(thermal, visible)[0, 0, 20]
        assert sky[:60].min() == 1
        assert sky[60:80].max() == 0
        assert sky[80:100].min() == 1
        assert sky[100:].max() == 0

    def test_a_sky_is_held_to_rgb(self):
        thermal, visible = torch.full((1, 1, 40, 40), 0.2), torch.full((1, 1, 40, 40), 0.9)
        grey = torch.full_like(visible, 0.5)
        lost, usual = (fusion_losses(sky - 0.1, thermal, sky)["intensity"].item() for sky in (visible, grey))
        assert lost == pytest.approx(41 * usual)

    def test_steady_is_what_changes_no_more_than_its_sources_nearby(self):
        thermal, visible = torch.rand(2, 3, 1, 80, 80)
        thermal[-1], visible[-1] = thermal[0], visible[0]
        thermal[-1, :, :10, :10] = 1.0
        near, far = thermal.clone(), thermal.clone()
        near[-1, :, 11:14, 11:14] += 0.2
        far[-1, :, 50:, 50:] += 0.2
        assert unsteadiness(thermal, thermal, visible) == 0
        assert unsteadiness(near, thermal, visible) < 0.1 * unsteadiness(far, thermal, visible)
        share = (30 * 30) / (80 * 80)
        assert unsteadiness(far, thermal, visible).item() == pytest.approx(0.2 * share, rel=0.15)

    def test_fidelity_rises_with_contrast_and_falls_with_noise(self):
        torch.manual_seed(1)
        reference = 0.3 + 0.2 * torch.rand(2, 1, 40, 48)
        weak, strong = 0.5 * reference, 0.1 + 1.5 * reference
        noisy = reference + 0.05 * torch.randn(2, 1, 40, 48)
        shares = [information_fidelity(reference, image).item() for image in (noisy, weak, reference, strong)]
        assert shares == sorted(shares)
        assert shares[2] == pytest.approx(1, abs=0.01)

    def test_edges_kept_are_those_of_the_metric_which_takes_a_turn_across_the_vertical_for_a_large_one(self):
        rng = np.random.default_rng(2)
        source, other = (np.pad(cv2.GaussianBlur(rng.random((120, 160)), (0, 0), 2), 2) for _ in range(2))
        for share in (1.0, 0.9, 0.7):
            fused = share * source + (1 - share) * other
            images = (torch.from_numpy(image)[None, None] for image in (source, fused))
            kept, whole = (value.item() for value in edges_kept(*images))
            expected, strength = metrics.edges_kept(source * 255, fused * 255)
            assert 0 < kept / whole - expected / strength < 0.06
            assert 8 * 255 * whole == pytest.approx(strength, rel=1e-3)
        inverted, _ = edges_kept(torch.from_numpy(source)[None, None], torch.from_numpy(1 - source)[None, None])
        assert inverted < 0.01 * whole

    def test_gradient_follows_the_sign_of_the_stronger_source(self):
        ramp = torch.linspace(0, 0.4, 16).expand(1, 1, 16, 16)
        flat = torch.full_like(ramp, 0.3)
        assert fusion_losses(DETAIL * ramp + 0.2, ramp, flat)["gradient"].item() == pytest.approx(0, abs=1e-6)
        inverted = fusion_losses(0.4 - DETAIL * ramp, ramp, flat)["gradient"]
        assert inverted > 1.9 * fusion_losses(flat, ramp, flat)["gradient"]

    def test_sobel_gives_the_slope_per_pixel(self):
        rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing="ij")
        slopes = sobel((3 * columns - 2 * rows)[None, None])
        torch.testing.assert_close(slopes[0, 0, 1:-1, 1:-1], torch.full((7, 5), 3.0))
        torch.testing.assert_close(slopes[0, 1, 1:-1, 1:-1], torch.full((7, 5), -2.0))

    def test_paper_loss_is_the_published_formula(self):
        """L1 to both sources, and 50 times L1 between the absolute Sobel responses, here with OpenCV's kernels."""
        rng = np.random.default_rng(0)
        fused, thermal, visible = rng.random((3, 30, 41))

        def edges(image):
            parts = (cv2.Sobel(image, cv2.CV_64F, *d, borderType=cv2.BORDER_REPLICATE) for d in ((1, 0), (0, 1)))
            return sum(np.abs(part) for part in parts)

        expected = np.abs(fused - thermal).mean() + np.abs(fused - visible).mean()
        expected += 50 * np.abs(edges(fused) - edges(np.maximum(thermal, visible))).mean()
        tensors = (torch.from_numpy(image)[None, None] for image in (fused, thermal, visible))
        assert total(paper_losses(*tensors), PAPER_WEIGHTS).item() == pytest.approx(expected)

    @LOSSES
    @pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
    @pytest.mark.parametrize("same", [True, False])
    def test_gradients_are_finite_on_flat_crops(self, losses, weights, level, same):
        thermal = torch.full((2, 1, 32, 32), level)
        visible = thermal if same else torch.rand(2, 1, 32, 32)
        for start in (thermal, torch.zeros_like(thermal), visible):
            fused = start.clone().requires_grad_()
            cost = total(losses(fused, thermal, visible), weights)
            cost.backward()
            assert torch.isfinite(cost)
            assert torch.isfinite(fused.grad).all()
