"""Trains weights for detectors, through frozen ones: what they find in the fused image is part of the loss.

    PYTHONPATH=. python scripts/train_detect.py ../shared --out runs/detect [--resume]

The folder holds ``data/roadscene/train``, ``data/llvip/train`` (halved to 640x512) and their labels in
``data/detection``, ``data/msrs/train``, and ``detectors``. Pairs without labels get the boxes on which both frozen
detectors, YOLOX and NanoDet, agree. Every fourth labelled pair is kept out; the best weights are chosen on those, by
YOLO11, which is not trained through.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch_detector import NO_LABEL, TorchDetector, detection_loss, overlap

from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.evaluation.detection.detectors import load_detector
from mmcfusion_ros.evaluation.detection.found import Detector, Found, join
from mmcfusion_ros.evaluation.detection.labels import IGNORE, SMALLEST, Labels, read_labels
from mmcfusion_ros.evaluation.detection.scores import Scores
from mmcfusion_ros.evaluation.folders import LabelledFolder
from mmcfusion_ros.fusion.fuser import daylight, merge_luminance, pad, split_luminance
from mmcfusion_ros.network.export import to_bytes
from mmcfusion_ros.simulation.degradations import Image, add_glare, add_noise, darken, misalign
from mmcfusion_ros.training.config import Folder, TrainingConfig
from mmcfusion_ros.training.learner import Learner, launch_fabric
from mmcfusion_ros.training.losses import bright_and_plain, gradient_distance, unsteadiness
from mmcfusion_ros.training.run import Run
from mmcfusion_ros.training.train import StopRequest
from mmcfusion_ros.training.variation import disturb, leave_veil, vary_tone

KEPT_OUT = 4  # every so many of the labelled pairs
LOSS_WEIGHTS = {"detection": 4.0, "intensity": 2.0, "gradient": 14.0, "unsteadiness": 200.0}
RAMP = 800, 1200  # steps: from first to full weight of the detectors
SMALLER = 96, 64, 32, 0  # pixels by which a crop is shrunk for a detector, by turns
FEW = 6  # objects, which a batch without any counts as
SMALLEST_SEEN = 10  # pixels of height, below which an object is too small for a detector
MOST = 48  # labels of a crop

Boxes = tuple[np.ndarray, np.ndarray]  # corners MOST x 4 in pixels, kinds MOST
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Sample:
    """A labelled pair, thermal white hot and RGB, uint8."""

    thermal: np.ndarray
    rgb: np.ndarray
    labels: Labels

    @cached_property
    def saturation(self) -> float:
        """That of the colours that detectors are to get."""
        return daylight(self.rgb)

    @cached_property
    def night(self) -> float:
        """0 by day, 1 in the light of lamps or in the dark."""
        dark = (60 - split_luminance(self.rgb)[0].mean()) / 30
        return float(np.clip(max(1 - self.saturation, dark), 0, 1))


def load(folder: Path, labels: Path | None, size: tuple[int, int] | None = None) -> tuple[list[Sample], list[Sample]]:
    """The pairs to train on, and those kept out; the labels of those without are empty."""
    known = read_labels(labels) if labels else {}
    nothing = Labels(np.zeros((0, 4)), np.zeros(0, int))
    train: list[Sample] = []
    kept_out: list[Sample] = []
    pairs = find_pairs(folder)
    reader = LabelledFolder(folder.name, pairs, size=size)
    for files in pairs:
        thermal, rgb = reader.read(files)
        out = files.name in known and sorted(known).index(files.name) % KEPT_OUT == 0
        (kept_out if out else train).append(Sample(thermal, rgb, known.get(files.name, nothing)))
    return train, kept_out


def pseudo_labels(sample: Sample, detectors: Sequence[Detector]) -> Labels:
    """What two detectors find in thermal, white and black hot, and RGB: what they agree on; what one alone finds is to
    be ignored."""
    one, other = (
        reduce(join, (detect(view) for view in (sample.thermal, 255 - sample.thermal, sample.rgb)))
        for detect in detectors
    )
    return agreed(one, other)


def agreed(one: Found, other: Found, same: float = 0.5, sure: float = 0.3) -> Labels:
    """Boxes of a score of ``sure`` or more; the kind is that of both, where they overlap by ``same`` (IoU)."""
    corners = np.concatenate((one.corners[one.scores >= sure], other.corners[other.scores >= sure]))
    kinds = np.concatenate((one.kinds[one.scores >= sure], other.kinds[other.scores >= sure]))
    by = np.repeat((0, 1), [(found.scores >= sure).sum() for found in (one, other)])
    overlaps = overlap(torch.from_numpy(corners), torch.from_numpy(corners)).numpy() > same
    shared = (overlaps & (by[:, None] != by) & (kinds[:, None] == kinds)).any(axis=1)
    first = ~np.tril(overlaps, -1).any(axis=1)  # of the boxes of one place
    return Labels(corners[first], np.where(shared, kinds, IGNORE)[first])


class Crops(Dataset[Batch]):
    """Random crops; item ``step`` depends on the seed and the step alone."""

    def __init__(self, samples: Sequence[Sequence[Sample]], config: TrainingConfig) -> None:
        self.samples, self.config = samples, config
        weights = np.sqrt([len(part) for part in samples])
        self.weights = weights / weights.sum()

    def __getitem__(self, step: int) -> Batch:
        """Thermal (black hot) and visible inputs and targets (``B + 1 x 1 x H x W``; the last is a disturbed copy of
        the first), RGB inputs (``B x 3 x H x W``), corners and kinds of labels (``B x MOST x 4``, ``B x MOST``), and
        how much night (``B x 1 x 1 x 1``)."""
        rng = np.random.default_rng((self.config.seed, step))
        crops = [self._crop(rng) for _ in range(self.config.batch)]
        rows = [row for row, *_ in crops]
        rows.append(disturb(*rows[0], rng, self.config.thermal_polarity))
        thermal_in, visible_in, thermal, visible = (
            torch.from_numpy(np.stack(planes)).unsqueeze(1) for planes in zip(*rows, strict=True)
        )
        rgb = torch.from_numpy(np.stack([colour for _, colour, *_ in crops])).permute(0, 3, 1, 2).contiguous()
        corners, kinds = (
            torch.from_numpy(np.stack(part)) for part in zip(*(boxes for *_, boxes, _ in crops), strict=True)
        )
        night = torch.tensor([[[[night]]] for *_, night in crops])
        return thermal_in, visible_in, thermal, visible, rgb, corners, kinds, night

    def _crop(self, rng: np.random.Generator) -> tuple[tuple[Image, Image, Image, Image], Image, Boxes, float]:
        part = self.samples[rng.choice(len(self.samples), p=self.weights)]
        sample = part[int(rng.integers(len(part)))]
        side = self.config.crop
        scale = max(float(np.exp(rng.uniform(np.log(0.7), np.log(1.5)))), (side + 1) / min(sample.thermal.shape))
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        images = [
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=interpolation)
            for image in (sample.thermal, sample.rgb)
        ]
        height, width = images[0].shape
        corners = sample.labels.corners * scale
        left, top = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
        if len(corners) and rng.random() < 0.85:
            box = corners[rng.integers(len(corners))]
            middle = (box[:2] + box[2:]) / 2 - side * rng.uniform(0.15, 0.85, 2)
            left, top = (int(np.clip(m, 0, size - side)) for m, size in zip(middle, (width, height), strict=True))
        thermal, rgb = (
            (image[top : top + side, left : left + side] / np.float32(255)).astype(np.float32) for image in images
        )
        placed, kinds = _inside(corners - (left, top, left, top), sample.labels, side)
        if rng.random() < 0.5:
            thermal, rgb = np.ascontiguousarray(thermal[:, ::-1]), np.ascontiguousarray(rgb[:, ::-1])
            placed[:, [0, 2]] = side - placed[:, [2, 0]]
        (thermal_in, visible_in, thermal, visible), colour = vary(thermal, rgb, rng)
        grey = visible_in[..., None]
        colour = grey + np.float32(sample.saturation) * (colour - grey)
        boxes = np.zeros((MOST, 4), np.float32), np.full(MOST, NO_LABEL)
        for padded, values in zip(boxes, (placed[:MOST], kinds[:MOST]), strict=True):
            padded[: len(values)] = values
        return (1 - thermal_in, visible_in, 1 - thermal, visible), colour, boxes, sample.night


def _inside(corners: np.ndarray, labels: Labels, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners and kinds of what a crop shows; less than 60 % of an object, or a small one, is to be ignored."""
    placed = corners.clip(0, side)
    areas, shown = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (corners, placed))
    share = shown / np.maximum(areas, 1e-6)
    large = labels.corners[:, 3] - labels.corners[:, 1] >= SMALLEST
    kinds = np.where((share > 0.6) & large, labels.kinds, IGNORE)
    return placed[share > 0.05], kinds[share > 0.05]


def vary(thermal: Image, rgb: Image, rng: np.random.Generator) -> tuple[tuple[Image, Image, Image, Image], Image]:
    """Inputs and targets (white hot) of other cameras and worse light, and the RGB input."""
    if rng.random() < 0.5:
        thermal = vary_tone(thermal, rng)
    if rng.random() < 0.3:
        rgb = np.minimum(np.float32(rng.uniform(0.6, 1.3)) * rgb, np.float32(1))
    visible: Image = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
    thermal_in, visible_in, gain = thermal, visible, 1.0
    if rng.random() < 0.1:
        thermal_in = add_noise(thermal_in, rng, sigma=rng.uniform(0, 15 / 255))
    if rng.random() < 0.12:
        thermal_in = misalign(thermal_in, rng, pixels=int(rng.integers(1, 3)))
    if rng.random() < 0.12:
        gain = rng.uniform(0.1, 0.5)
        visible_in = darken(visible_in, rng, gain=gain, sigma=rng.uniform(0, 6 / 255))
    if rng.random() < 0.12:
        visible_in = add_glare(visible_in, rng, strength=rng.uniform(0.5, 1.0), radius=rng.uniform(0.1, 0.8))
    colour = np.float32(gain) * rgb + (visible_in - np.float32(gain) * visible)[..., None]
    return (thermal_in, visible_in, thermal, leave_veil(thermal, visible, visible_in)), colour.clip(0, 1)


def target(thermal: Tensor, visible: Tensor, night: Tensor) -> tuple[Tensor, Tensor]:
    """What a pixel should be, thermal black hot, and where it is sky, 0 to 1.

    By day half of both, by night mostly thermal; a lamp in the dark is thermal, a sky is RGB.
    """
    around = F.avg_pool2d(visible, 65, stride=8, padding=32, count_include_pad=False)
    around = F.interpolate(around, size=visible.shape[-2:], mode="bilinear", align_corners=False)
    lamp = ((visible - 0.7) / 0.2).clamp(0, 1) * ((0.5 - around) / 0.2).clamp(0, 1)
    sky = bright_and_plain(1 - thermal, visible)
    share = torch.maximum((0.5 + 0.35 * night).expand_as(lamp), 0.95 * lamp) * (1 - sky)
    return share * thermal + (1 - share) * visible, sky


class Objective(nn.Module):
    """From a batch to the terms of ``LOSS_WEIGHTS``; a detector sees crops scaled to its side of ``sides``."""

    def __init__(self, network: nn.Module, detectors: Sequence[nn.Module], sides: Sequence[int]) -> None:
        super().__init__()
        self.network, self.sides = network, sides
        self.detectors = tuple(detectors)  # no modules of this one: they are not trained

    def forward(
        self,
        thermal_in: Tensor,
        visible_in: Tensor,
        thermal: Tensor,
        visible: Tensor,
        rgb: Tensor,
        corners: Tensor,
        kinds: Tensor,
        night: Tensor,
    ) -> tuple[Tensor, ...]:
        """The unweighted terms, in the order of ``LOSS_WEIGHTS``."""
        fused = self.network(thermal_in, visible_in)
        steady = unsteadiness(fused, thermal_in, visible_in)
        fused, visible_in, thermal, visible = fused[:-1], visible_in[:-1], thermal[:-1], visible[:-1]
        wanted, sky = target(thermal, visible, night)
        intensity = ((1 + 6 * sky) * (fused - wanted).abs()).mean()
        gradient = gradient_distance(fused, thermal, visible, sky, flat=2.0)
        return self._found(fused, visible_in, rgb, corners, kinds), intensity, gradient, steady

    def _found(self, fused: Tensor, visible: Tensor, rgb: Tensor, corners: Tensor, kinds: Tensor) -> Tensor:
        """What the detectors lose on the fused images, in the colours that ``merge_luminance`` gives them."""
        clipped = fused.clamp(0, 1)
        gain = ((clipped.detach() + 16 / 255) / (visible + 16 / 255)).clamp(max=1.5)
        image = clipped + 0.05 * (fused - clipped) + gain * (rgb - visible)  # what is clipped still learns
        total, objects = fused.new_zeros(()), fused.new_full((), FEW)
        for side, detector in zip(self.sides, self.detectors, strict=True):
            scale = side / image.shape[-1]
            small = F.interpolate(image.clamp(0, 1), size=(side, side), mode="bilinear", align_corners=False)
            height = scale * (corners[..., 3] - corners[..., 1])
            asked = kinds.masked_fill((height < SMALLEST_SEEN) & (kinds >= 0), IGNORE)
            found, scores = detector(small)
            total = total + detection_loss(found, scores, scale * corners, asked)
            objects = objects + (asked >= 0).sum()
        return total / objects


def judge(learner: Learner, kept_out: Sequence[Sample], detect: Detector) -> dict[str, float]:
    """AP50 of the kept-out pairs by a detector that is not trained through."""
    found = []
    for sample in kept_out:
        luminance, _ = split_luminance(sample.rgb)
        height, width = luminance.shape
        inputs = [
            torch.from_numpy(pad(image, learner.average.variant).astype(np.float32) / 255)[None, None]
            for image in (255 - sample.thermal, luminance)
        ]
        with torch.no_grad():
            pixels = to_bytes(learner.average(*learner.fabric.to_device(inputs)))[0, 0, :height, :width].cpu().numpy()
        found.append(detect(merge_luminance(pixels, sample.rgb, sample.saturation)))
    person, vehicle = Scores(found, [sample.labels for sample in kept_out]).table()[:, 0]
    return {"validation_loss": 1 - (person + vehicle) / 2, "person": person, "vehicle": vehicle}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", default="", help="weights to start from; black hot")
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--crop", type=int, default=256, help="a multiple of 32, in pixels")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches")
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=8, help="between checkpoints")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    data, files = options.shared / "data", options.shared / "detectors"
    through = [files / "yolox-nano.param", files / "nanodet-m-416.param"]
    parts = {
        "roadscene/train": load(data / "roadscene/train", data / "detection/roadscene/labels.json"),
        "llvip/train": load(data / "llvip/train", data / "detection/llvip/labels.json", (640, 512)),
        "msrs/train": load(data / "msrs/train", None),
    }
    labellers = [load_detector(path, threads=1) for path in through]
    samples = [
        [s if len(s.labels.kinds) else Sample(s.thermal, s.rgb, pseudo_labels(s, labellers)) for s in train]
        for train, _ in parts.values()
    ]
    config = TrainingConfig(
        data=[Folder(str(data / name)) for name in parts],
        init=options.init,
        thermal_polarity="black_hot",
        steps=options.steps,
        batch=options.batch,
        crop=options.crop,
        learning_rate=options.rate,
        warm_up=200,
        ema_decay=0.998,
        seed=options.seed,
        threads=1,
        workers=0,
    )
    run = Run(options.out, options.resume)
    cv2.setNumThreads(1)
    learner = Learner(config, launch_fabric(config))
    crops, detect = Crops(samples, config), load_detector(files / "yolo11n.xml", threads=1)
    detectors = [learner.fabric.to_device(TorchDetector(path).eval()) for path in through]
    sides = [config.crop - smaller for smaller in SMALLER]
    turns = [Objective(learner.network, detectors, pair) for pair in zip(sides, sides[2:] + sides[:2], strict=True)]
    alone = Objective(learner.network, (), ())  # as long as the detectors have no weight
    if run.checkpoint.exists():
        learner.resume(run.checkpoint)
    run.begin(config, learner.step)
    kept_out = [sample for _, out in parts.values() for sample in out]
    due_at = time.monotonic() + 60 * options.minutes
    with StopRequest() as stop:
        for batch in DataLoader(
            crops, batch_size=None, sampler=range(learner.step, config.steps), num_workers=options.workers
        ):
            ramp = float(np.clip((learner.step - RAMP[0]) / (RAMP[1] - RAMP[0]), 0, 1)) if not options.init else 1.0
            learner.loss_weights = {**LOSS_WEIGHTS, "detection": ramp * LOSS_WEIGHTS["detection"]}
            learner.objective = turns[learner.step % len(turns)] if ramp else alone
            run.follow(learner, learner.learn(learner.fabric.to_device(batch)))
            if time.monotonic() > due_at or learner.step == config.steps:
                run.record(learner, judge(learner, kept_out, detect), np.zeros((8, 8), np.uint8))
                due_at = time.monotonic() + 60 * options.minutes
            if stop.received:
                break
    learner.save(run.checkpoint)
    run.close()


if __name__ == "__main__":
    main()
