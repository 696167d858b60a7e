"""Detectors that somebody else trained, as differentiable functions: a fused image learns what they look for.

They are read from ncnn's files (``.param`` and ``.bin``), which hold them whole and small.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import reduce
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcfusion_ros.evaluation.detection.detectors import (
    BINS,
    COCO_CLASSES,
    NANODET_FACTOR,
    NANODET_MEAN,
    YOLOX_DEVIATION,
    YOLOX_MEAN,
)
from mmcfusion_ros.evaluation.detection.found import KINDS
from mmcfusion_ros.evaluation.detection.labels import IGNORE

NO_LABEL = -2  # the kind that fills up the labels of an image

CLASSES_OF_KIND = [[number for number, name in COCO_CLASSES.items() if name == kind] for kind in KINDS]
NORMAL = {  # mean and deviation of red, green and blue in [0, 1]
    "yolox": (YOLOX_MEAN, YOLOX_DEVIATION),
    "nanodet": ([m / 255 for m in reversed(NANODET_MEAN)], [1 / (255 * f) for f in reversed(NANODET_FACTOR)]),
}

ACTIVATIONS: dict[int, Callable[[Tensor], Tensor]] = {
    0: lambda x: x,
    1: F.relu,
    2: lambda x: F.leaky_relu(x, 0.1),
    4: torch.sigmoid,
}


class NcnnNetwork(nn.Module):
    """The graph of an ncnn file, of the layers that YOLOX and NanoDet have. ``ValueError`` for others."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.layers: list[tuple[str, list[str], list[str], dict[int, str]]] = []
        data = path.with_suffix(".bin").read_bytes()
        offset = 0
        for line in path.read_text().splitlines()[2:]:
            kind, name, inputs, outputs, *rest = line.split()
            tops, values = int(inputs), int(inputs) + int(outputs)
            options = {int(key): value for key, value in (item.split("=") for item in rest[values:])}
            self.layers.append((kind, rest[:tops], rest[tops:values], {**options, -1: name}))
            if kind.startswith("Convolution"):
                offset = self._read_convolution(name, options, data, offset)
        if offset != len(data):
            raise ValueError(f"{path}: its weights have {len(data)} bytes, its layers {offset}")
        self.requires_grad_(False)

    def _read_convolution(self, name: str, options: dict[int, str], data: bytes, offset: int) -> int:
        channels, size, kernel = int(options[0]), int(options[6]), int(options[1])
        (tag,) = struct.unpack_from("<I", data, offset)
        width = {0: 4, 0x01306B47: 2}[tag]
        weight = np.frombuffer(data, np.float32 if width == 4 else np.float16, size, offset + 4)
        offset += 4 + -(-size * width // 4) * 4
        bias = np.frombuffer(data, np.float32, channels, offset)
        shape = (channels, -1, kernel, kernel)
        self.register_buffer(f"{name}_weight", torch.from_numpy(weight.astype(np.float32)).reshape(shape))
        self.register_buffer(f"{name}_bias", torch.from_numpy(bias.copy()))
        return offset + 4 * channels

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """``B x 3 x H x W`` as the network wants it to what nothing reads, by name."""
        values: dict[str, Tensor] = {}
        for kind, inputs, outputs, options in self.layers:
            x = [values.pop(name) for name in inputs] or [image]
            values |= dict(zip(outputs, self._outputs_of(kind, x, outputs, options), strict=True))
        return values

    def _outputs_of(self, kind: str, x: list[Tensor], outputs: list[str], options: dict[int, str]) -> list[Tensor]:
        if kind.startswith("Convolution"):
            weight, bias = (getattr(self, f"{options[-1]}_{part}") for part in ("weight", "bias"))
            stride, padding, groups = (int(options.get(key, default)) for key, default in ((3, 1), (4, 0), (7, 1)))
            return [ACTIVATIONS[int(options.get(9, 0))](F.conv2d(x[0], weight, bias, stride, padding, 1, groups))]
        if kind in ("Split", "Input"):
            return x * len(outputs)
        if kind == "Slice":
            first = int(options[-23300].split(",")[1])
            return list(x[0].split((first, x[0].shape[1] - first), dim=1))
        return [SIMPLE[kind](x, options)]


def _focus(image: Tensor) -> Tensor:
    return torch.cat([image[:, :, y::2, x::2] for x in (0, 1) for y in (0, 1)], dim=1)


def _interpolate(x: Tensor, options: dict[int, str]) -> Tensor:
    factor = float(options[1])
    if int(options[0]) == 1:
        return F.interpolate(x, scale_factor=factor, mode="nearest")
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


SIMPLE: dict[str, Callable[[list[Tensor], dict[int, str]], Tensor]] = {
    "YoloV5Focus": lambda x, _: _focus(x[0]),
    "Swish": lambda x, _: F.silu(x[0]),
    "Sigmoid": lambda x, _: torch.sigmoid(x[0]),
    "BinaryOp": lambda x, _: x[0] + x[1],
    "Concat": lambda x, options: torch.cat(x, dim=2 if x[0].dim() == 3 else 1),
    "Interp": lambda x, options: _interpolate(x[0], options),
    "Pooling": lambda x, options: F.max_pool2d(x[0], int(options[1]), int(options.get(2, 1)), int(options.get(3, 0))),
    "ShuffleChannel": lambda x, _: _shuffle(x[0]),
    "Reshape": lambda x, _: x[0].flatten(2),
    "Permute": lambda x, _: x[0].transpose(1, 2),
}


def _shuffle(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    return x.reshape(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


class TorchDetector(nn.Module):
    """A detector by its ncnn file, whose name has ``yolox`` or ``nanodet`` in it; ``ValueError`` for others."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.form = next((form for form in NORMAL if form in path.stem), "")
        if not self.form:
            raise ValueError(f"{path}: not named for one of {', '.join(NORMAL)}")
        self.network = NcnnNetwork(path)
        mean, deviation = (torch.tensor(values)[:, None, None] for values in NORMAL[self.form])
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """``B x 3 x H x W`` in [0, 1], red first, sides multiples of 32, to ``B x N x 4`` corners in pixels and
        ``B x N x 2`` scores in [0, 1] of person and vehicle."""
        size = rgb.shape[-2:]
        normalised = (rgb - self.mean) / self.deviation
        outputs = self.network(normalised if self.form == "yolox" else normalised.flip(1))
        corners, scores = _decode_yolox(outputs, size) if self.form == "yolox" else _decode_nanodet(outputs, size)
        kinds = [reduce(torch.maximum, (scores[..., number] for number in numbers)) for numbers in CLASSES_OF_KIND]
        return corners, torch.stack(kinds, dim=-1)


def _cells(size: torch.Size, stride: int, device: torch.device) -> Tensor:
    axes = (torch.arange(side // stride, device=device) for side in size)
    y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack((x.flatten(), y.flatten()), dim=1).float()


def _decode_yolox(outputs: dict[str, Tensor], size: torch.Size) -> tuple[Tensor, Tensor]:
    rows = outputs["output"]
    cells = [_cells(size, stride, rows.device) for stride in (8, 16, 32)]
    strides = torch.cat([torch.full_like(c[:, :1], s) for c, s in zip(cells, (8, 16, 32), strict=True)])
    centre, extent = (rows[..., :2] + torch.cat(cells)) * strides, rows[..., 2:4].clamp(max=6).exp() * strides
    return torch.cat((centre - extent / 2, centre + extent / 2), dim=-1), rows[..., 4:5] * rows[..., 5:]


def _decode_nanodet(outputs: dict[str, Tensor], size: torch.Size) -> tuple[Tensor, Tensor]:
    corners, scores = [], []
    for stride in (8, 16, 32):
        bins = outputs[f"dis_pred_stride_{stride}"].unflatten(-1, (4, BINS)).softmax(-1)
        distances = (bins * torch.arange(float(BINS), device=bins.device)).sum(-1) * stride
        middle = (_cells(size, stride, bins.device) + 0.5) * stride
        corners.append(torch.cat((middle - distances[..., :2], middle + distances[..., 2:]), dim=-1))
        scores.append(outputs[f"cls_pred_stride_{stride}"])
    return torch.cat(corners, dim=1), torch.cat(scores, dim=1)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union, ``... x N x 4`` and ``... x M x 4`` corners to ``... x N x M``."""
    one, other = one.unsqueeze(-2), other.unsqueeze(-3)
    common = torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])
    common = common.clamp_min(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1) for boxes in (one, other)]
    return common / (areas[0] + areas[1] - common + 1e-6)


def detection_loss(corners: Tensor, scores: Tensor, boxes: Tensor, kinds: Tensor, best: int = 3) -> Tensor:
    """How badly images are detected, summed: ``B x N x 4`` corners and ``B x N x 2`` scores against ``B x M x 4``
    labelled boxes.

    ``kinds``: of each label 0 (person), 1 (vehicle), ``IGNORE`` (neither asked for nor forbidden) or ``NO_LABEL``. The
    ``best`` predictions for a label should be sure and lie on it; what lies on no label should have a low score.
    """
    overlaps = overlap(corners, boxes)
    scores_of = scores.gather(2, kinds.clamp_min(0).unsqueeze(1).expand_as(overlaps))
    chosen = (scores_of.detach().sqrt() * overlaps.detach() ** 2).topk(best, dim=1).indices
    score, iou = scores_of.gather(1, chosen), overlaps.gather(1, chosen)
    missed = (iou.detach() * -score.clamp(1e-4, 0.999).log() + 1.5 * (1 - iou)).mean(1)
    total = missed.masked_fill(kinds < 0, 0).sum()
    for kind in range(2):
        own = (kinds == kind) | (kinds == IGNORE)
        wrong = scores[..., kind].clamp(max=0.999)
        right = ((overlaps * own.unsqueeze(1)).amax(2) >= 0.35) | (wrong.detach() <= 0.03)
        total = total + 0.25 * (wrong.detach() * -(1 - wrong).log()).masked_fill(right, 0).sum()
    return total
