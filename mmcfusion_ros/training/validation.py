"""How good the averaged weights are on the held-out pairs, as they are: not augmented, not degraded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from mmcfusion_ros.fusion.fuser import pad
from mmcfusion_ros.training.data import Pair
from mmcfusion_ros.training.learner import Learner

PICTURES = 6
PICTURE_WIDTH = 1280

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, float]]


@torch.inference_mode()
def validate(learner: Learner, pairs: Sequence[Pair], measure: Measure) -> tuple[dict[str, float], np.ndarray]:
    """The mean loss and metrics over ``pairs`` of all processes; a uint8 picture: thermal, visible, fused of the first.

    ``measure`` gives the metrics of one thermal, visible and fused image, each ``H x W`` uint8.
    """
    results: list[dict[str, float]] = []
    rows: list[np.ndarray] = []
    variant = learner.average.variant
    for pair in pairs:
        thermal, visible = (_central_part(image, learner.config.validate_crop) for image in pair)
        inputs = [learner.fabric.to_device(_as_tensor(pad(image, variant))) for image in (thermal, visible)]
        output = learner.average(*inputs)
        height, width = thermal.shape
        loss = learner.total(learner.loss_terms(*(image[..., :height, :width] for image in (output, *inputs)))).item()
        fused = (output[0, 0, :height, :width].clamp(0, 1) * 255).round().byte().cpu().numpy()
        results.append({"validation_loss": loss, **measure(thermal, visible, fused)})
        if len(rows) < PICTURES:
            row = np.concatenate((thermal, visible, fused), axis=1)
            rows.append(cv2.resize(row, (PICTURE_WIDTH, PICTURE_WIDTH * row.shape[0] // row.shape[1])))
    means = torch.tensor([np.mean([result[name] for result in results]) for name in results[0]])
    return dict(zip(results[0], learner.mean_of_processes(means), strict=True)), np.concatenate(rows)


def _central_part(image: np.ndarray, side: int) -> np.ndarray:
    """The whole image, or its central square of ``side`` pixels."""
    height, width = (min(side or size, size) for size in image.shape)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None, None].float() / 255
