"""What a fused image should be like, as differentiable terms. All images: ``B x 1 x H x W`` float in [0, 1]."""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

LOSS_WEIGHTS = {
    "intensity": 4.0,
    "gradient": 58.0,
    "edges": 5.0,
    "structure": 4.0,
    "fidelity": 2.5,
    "correlation": 0.5,
}
DETAIL = 1.2  # of the gradients of the sources, for eyes


def sobel(image: Tensor) -> Tensor:
    """Horizontal and vertical Sobel responses, ``B x 2 x H x W``, scaled to the slope per pixel; edges replicated."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    column = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    row = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return torch.cat((column[..., 2:] - column[..., :-2], row[..., 2:, :] - row[..., :-2, :]), dim=1) / 8


def local_mean(image: Tensor, window: int) -> Tensor:
    """Means of all ``window x window`` windows inside the images."""
    if image.is_cuda:
        return F.avg_pool2d(image, window, stride=1)
    for dim in (-1, -2):  # sums of slices: on a CPU a fifth of the time of avg_pool2d
        size = image.shape[dim] - window + 1
        image = reduce(torch.add, [image.narrow(dim, i, size) for i in range(window)]) / window
    return image


def local_moments(x: Tensor, y: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Means of x and y, variances of x and y, and covariance in all windows."""
    mean_x, mean_y = local_mean(x, window), local_mean(y, window)
    variance_x = (local_mean(x * x, window) - mean_x**2).clamp_min(0)
    variance_y = (local_mean(y * y, window) - mean_y**2).clamp_min(0)
    return mean_x, mean_y, variance_x, variance_y, local_mean(x * y, window) - mean_x * mean_y


def local_similarity(x: Tensor, y: Tensor, window: int = 7, data_range: float = 0.05) -> Tensor:
    """Mean structural similarity (Wang et al. 2004) in uniform windows.

    The small ``data_range`` puts the stabilising constants at the level of 8-bit rounding: faint texture counts.
    """
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y, variance_x, variance_y, covariance = local_moments(x, y, window)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * (2 * covariance + c2) / (variance_x + variance_y + c2)).mean()


def information_fidelity(reference: Tensor, image: Tensor, window: int = 9, scales: int = 2) -> Tensor:
    """Share of a reference's information that an image carries (Sheikh and Bovik 2006), here in uniform windows on a
    pyramid; above 1 where the contrast is raised, and 1.5 at most. Noise variance 2 of 8-bit grey levels."""
    noise, shares = 2 / 255**2, []
    for _ in range(scales):
        _, _, variance, variance_image, covariance = local_moments(reference, image, window)
        gain = (covariance / (variance + 1e-6)).clamp_min(0)
        residual = (variance_image - gain * covariance).clamp_min(0)
        carried = torch.log1p(gain**2 * variance / (residual + noise)).sum((1, 2, 3))
        whole = torch.log1p(variance / noise).sum((1, 2, 3))
        shares.append((carried / (whole + 1e-3)).clamp(max=1.5).mean())
        reference, image = F.avg_pool2d(reference, 2), F.avg_pool2d(image, 2)
    return torch.stack(shares).mean()


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson correlation of each image of a batch, averaged; the small constant keeps flat images at 0."""
    x = x - x.mean(dim=(1, 2, 3), keepdim=True)
    y = y - y.mean(dim=(1, 2, 3), keepdim=True)
    covariance = (x * y).mean(dim=(1, 2, 3))
    return (covariance / ((x * x).mean(dim=(1, 2, 3)) * (y * y).mean(dim=(1, 2, 3)) + 1e-6).sqrt()).mean()


def lift_hot(thermal: Tensor, gain: float = 0.35) -> tuple[Tensor, Tensor]:
    """Thermal images in which what is warm stands out more, not above 1; and how warm, 0 to 1. Pixel by pixel, so that
    a hot thing does not change what is far from it."""
    hot = (4 * (thermal - 0.45)).clamp(0, 1)
    return (thermal + gain * hot * (thermal - 0.3)).clamp(max=1), hot


def bright_and_plain(thermal: Tensor, visible: Tensor, window: int = 9) -> Tensor:
    """Where the visible image is bright and without a feature and the thermal one darker and without an edge, as a sky
    is: 0 to 1. It reaches to what stands before the sky: a strip left out there turns dark."""

    def steepest(image: Tensor) -> Tensor:
        return F.max_pool2d(sobel(image).abs().amax(1, keepdim=True), window, stride=1, padding=window // 2)

    plain = (1.5 - 100 * steepest(visible)).clamp(0, 1) * (1.5 - 20 * steepest(thermal)).clamp(0, 1)
    reached = F.max_pool2d(plain, 2 * window - 1, stride=1, padding=window - 1)
    return reached * (10 * (visible - 0.5)).clamp(0, 1) * (10 * (visible - thermal)).clamp(0, 1)


def gradient_distance(fused: Tensor, thermal: Tensor, visible: Tensor, sky: Tensor, flat: float = 1.0) -> Tensor:
    """Mean distance of the signed gradient to that of the source with the stronger one, in a ``sky`` (over .5) to that
    of the visible image. Where both are small it counts ``1 + flat`` times: no grid, no noise."""
    gradients = sobel(thermal), sobel(visible)
    squared = [gradient.square().sum(1, keepdim=True) for gradient in gradients]
    stronger = torch.where((squared[0] > squared[1]) & (sky < 0.5), *gradients)
    weight = 1 + flat * torch.exp(-torch.maximum(*squared) / 0.01**2)
    return (weight * (sobel(fused) - stronger).abs()).mean()


def edges_kept(source: Tensor, fused: Tensor) -> tuple[Tensor, Tensor]:
    """Strength of a source's edges that a fused image keeps, and of all its edges, summed over each image of a batch
    (Xydeas and Petrovic 2000); an edge that is turned over is not kept."""
    (x, y), (fused_x, fused_y) = (sobel(image).unbind(1) for image in (source, fused))
    strength, fused_strength = (torch.sqrt(a * a + b * b + 1e-8) for a, b in ((x, y), (fused_x, fused_y)))
    ratio = torch.minimum(strength, fused_strength) / torch.maximum(strength, fused_strength)
    turned = torch.atan2((x * fused_y - y * fused_x).abs(), x * fused_x + y * fused_y + 1e-8)
    kept = torch.sigmoid(15 * (ratio - 0.5)) * torch.sigmoid(22 * (0.2 - turned / (torch.pi / 2)))
    return (kept * strength).sum((1, 2)), strength.sum((1, 2))


def fusion_losses(fused: Tensor, thermal: Tensor, visible: Tensor) -> dict[str, Tensor]:
    """The terms of the training loss by name, unweighted.

    - ``intensity``: distance to the brighter source, warm things in the thermal image lifted (people stand out); these
      count five times, what is white (a sky is not glare) fifteen times, skies 41 times;
    - ``gradient``: distance of the signed gradient to that of the source with the stronger one (no halos, no
      inverted edges), warm things lifted here too; where the gradient is small it counts twice (no grid, no
      noise), and in skies it is the visible image's; all ``DETAIL`` times as strong, since a mean of possible edges is
      weaker than each;
    - ``edges``: the share of both sources' edges that is not kept, in strength and direction (Qabf);
    - ``structure``: local similarity to both sources;
    - ``fidelity``: information of both sources, which asks for their contrast, not only for their pattern;
    - ``correlation``: what fusion adds to one source should look like the other (SCD, Aslantas and Bendes 2015).
    """
    lifted, hot = lift_hot(thermal)
    sky = bright_and_plain(thermal, visible)
    kept, whole = torch.stack([torch.stack(edges_kept(source, fused)) for source in (thermal, visible)]).sum(0)
    white = (20 * (visible - 0.95)).clamp(0, 1)
    weight = 1 + 4 * hot + 14 * white + 40 * sky
    return {
        "intensity": (weight * (fused - torch.maximum(lifted, visible)).abs()).mean(),
        "gradient": gradient_distance(fused, DETAIL * lifted, DETAIL * visible, sky),
        "edges": 1 - (kept / whole).mean(),
        "structure": 1 - (local_similarity(fused, thermal) + local_similarity(fused, visible)) / 2,
        "fidelity": 1 - (information_fidelity(thermal, fused) + information_fidelity(visible, fused)) / 2,
        "correlation": 1 - (correlation(fused - visible, thermal) + correlation(fused - thermal, visible)) / 2,
    }


def unsteadiness(fused: Tensor, thermal: Tensor, visible: Tensor, near: int = 9) -> Tensor:
    """How much more the last image of a batch differs from the first one in ``fused`` than in its sources nearby.

    The last is to be the first as ``disturb`` leaves it: with a little noise, it may not flicker more than its sources;
    with another part, it may not change what is more than ``near // 2`` pixels from that.
    """

    def change(images: Tensor) -> Tensor:
        return F.avg_pool2d((images[-1:] - images[:1]).abs(), 7, stride=1, padding=3, count_include_pad=False)

    allowed = F.max_pool2d(torch.maximum(change(thermal), change(visible)), near, stride=1, padding=near // 2)
    return (change(fused) - allowed).clamp_min(0).mean()


def paper_losses(fused: Tensor, thermal: Tensor, visible: Tensor) -> dict[str, Tensor]:
    """The terms of the authors' loss by name, unweighted: L1 to both sources, and the summed absolute Sobel response
    against that of the brighter source."""

    def edges(image: Tensor) -> Tensor:
        return 8 * sobel(image).abs().sum(1, keepdim=True)

    return {
        "thermal": F.l1_loss(fused, thermal),
        "visible": F.l1_loss(fused, visible),
        "edges": F.l1_loss(edges(fused), edges(torch.maximum(thermal, visible))),
    }


PAPER_WEIGHTS = {"thermal": 1.0, "visible": 1.0, "edges": 50.0}
