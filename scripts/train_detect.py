"""Trains weights for detectors, through frozen ones: what they find in the fused image is part of the loss.

    PYTHONPATH=. python scripts/train_detect.py ../shared --out runs/detect

The folder holds ``data/roadscene/train``, ``data/llvip/train`` (halved to 640x512) with labels in ``data/detection``,
``data/msrs/train``, and ``detectors``. Pairs without labels get the boxes on which both frozen detectors agree. Every
fourth labelled pair is kept out; the best weights are chosen on those, by a detector that is not trained through.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcfusion_ros.data.pair_folder import find_pairs, read_pair
from mmcfusion_ros.evaluation.detection.detectors import Detector, Found, join, load_detector
from mmcfusion_ros.evaluation.detection.labels import IGNORE, SMALLEST, Labels, read_labels
from mmcfusion_ros.evaluation.detection.scores import Scores
from mmcfusion_ros.fusion.colour import merge_luminance, split_luminance
from mmcfusion_ros.simulation.degradations import add_glare, add_noise, darken, misalign
from mmcfusion_ros.training.config import Folder, TrainingConfig
from mmcfusion_ros.training.frozen_detector import FrozenDetector, detection_loss
from mmcfusion_ros.training.learner import Learner, launch_fabric
from mmcfusion_ros.training.losses import bright_and_plain, sobel, unsteadiness
from mmcfusion_ros.training.run import Run
from mmcfusion_ros.training.train import StopRequest
from mmcfusion_ros.training.variation import disturb, leave_veil, vary_tone

KEPT_OUT = 4  # every so many of the labelled pairs
LOSS_WEIGHTS = {"detection": 0.5, "intensity": 2.0, "gradient": 20.0, "unsteadiness": 30.0}
RAMP = 800, 1200  # steps: from first to full weight of the detectors
SIDES = 160, 192, 224, 256  # that detectors see a crop at
STEADY_EVERY = 3  # steps


@dataclass(frozen=True)
class Sample:
    """A labelled pair, thermal white hot and RGB, uint8."""

    thermal: np.ndarray
    rgb: np.ndarray
    labels: Labels


def load(folder: Path, labels: Path | None, size: tuple[int, int] | None = None) -> tuple[list[Sample], list[Sample]]:
    """The pairs to train on, and those kept out; the labels of those without are empty."""
    known = read_labels(labels) if labels else {}
    nothing = Labels(np.zeros((0, 4)), np.zeros(0, int))
    train, kept_out = [], []
    for files in find_pairs(folder):
        thermal, rgb = read_pair(files)
        if rgb.ndim == 2:
            rgb = cv2.merge([rgb] * 3)
        if size:
            thermal, rgb = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (thermal, rgb))
        out = files.name in known and sorted(known).index(files.name) % KEPT_OUT == 0
        (kept_out if out else train).append(Sample(thermal, rgb, known.get(files.name, nothing)))
    return train, kept_out


def agreed(one: Found, other: Found, overlap: float = 0.5, sure: float = 0.3) -> Labels:
    """Boxes that two detectors share count; those that one alone is sure of are to be ignored."""
    corners: list[np.ndarray] = []
    kinds: list[int] = []
    for found, reference in ((one, other), (other, one)):
        for box, kind, score in zip(found.corners, found.kinds, found.scores, strict=True):
            if score < sure or any(_overlap(box, seen) > overlap for seen in corners):
                continue
            shared = any(
                k == kind and s >= sure and _overlap(box, b) > overlap
                for b, k, s in zip(reference.corners, reference.kinds, reference.scores, strict=True)
            )
            corners.append(box)
            kinds.append(int(kind) if shared else IGNORE)
    return Labels(np.array(corners).reshape(-1, 4), np.array(kinds, int))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    common = np.prod((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common + 1e-9))


def pseudo_labels(sample: Sample, detectors: list[Detector]) -> Labels:
    """What both detectors find in thermal, white and black hot, and RGB, taken together."""
    views = (sample.thermal, 255 - sample.thermal, sample.rgb)
    found = []
    for detect in detectors:
        first, *others = (detect(view) for view in views)
        for other in others:
            first = join(first, other)
        found.append(first)
    return agreed(*found)


class Crops:
    """Random crops; item ``step`` depends on the seed and the step alone."""

    def __init__(self, samples: list[list[Sample]], config: TrainingConfig) -> None:
        self.samples, self.config = samples, config
        weights = np.sqrt([len(part) for part in samples])
        self.weights = weights / weights.sum()

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
        """Thermal and visible inputs and targets (``B x 1 x H x W``; with a disturbed copy of the first at the end every
        ``STEADY_EVERY`` steps), RGB inputs (``B x 3 x H x W``), and of each image boxes and kinds."""
        rng = np.random.default_rng((self.config.seed, step))
        rows, colours, boxes = [], [], []
        for _ in range(self.config.batch):
            row, colour, box = self._crop(rng)
            rows.append(row)
            colours.append(colour)
            boxes.append(box)
        if step % STEADY_EVERY == 0:
            rows.append(disturb(*rows[0], rng))
        images = [
            torch.from_numpy(np.stack(planes).astype(np.float32)).unsqueeze(1) for planes in zip(*rows, strict=True)
        ]
        thermal_in, visible_in, thermal, visible = images
        rgb = torch.from_numpy(np.stack(colours)).permute(0, 3, 1, 2).contiguous()
        return 1 - thermal_in, visible_in, 1 - thermal, visible, rgb, boxes

    def _crop(self, rng: np.random.Generator) -> tuple[tuple[np.ndarray, ...], np.ndarray, tuple[Tensor, Tensor]]:
        part = self.samples[rng.choice(len(self.samples), p=self.weights)]
        sample = part[rng.integers(len(part))]
        side = self.config.crop
        scale = max(float(np.exp(rng.uniform(np.log(0.7), np.log(1.5)))), (side + 1) / min(sample.thermal.shape))
        images = [
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
            for image in (sample.thermal, sample.rgb)
        ]
        height, width = images[0].shape
        corners, kinds = sample.labels.corners * scale, sample.labels.kinds
        left, top = rng.integers(width - side + 1), rng.integers(height - side + 1)
        if len(corners) and rng.random() < 0.85:
            box = corners[rng.integers(len(corners))]
            middle = (box[:2] + box[2:]) / 2 - side * rng.uniform(0.15, 0.85, 2)
            left, top = (int(np.clip(m, 0, size - side)) for m, size in zip(middle, (width, height), strict=True))
        thermal, rgb = (image[top : top + side, left : left + side].astype(np.float32) / 255 for image in images)
        placed = (corners - (left, top, left, top)).clip(0, side)
        areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
        shown = (placed[:, 2:] - placed[:, :2]).prod(axis=1) / np.maximum(areas, 1e-6)
        kinds = np.where(
            (shown > 0.6) & (sample.labels.corners[:, 3] - sample.labels.corners[:, 1] >= SMALLEST), kinds, IGNORE
        )
        inside = shown > 0.05
        placed, kinds = placed[inside], kinds[inside]
        if rng.random() < 0.5:
            thermal, rgb = thermal[:, ::-1], rgb[:, ::-1]
            placed[:, [0, 2]] = side - placed[:, [2, 0]]
        row, colour = vary(np.ascontiguousarray(thermal), np.ascontiguousarray(rgb), rng)
        return row, colour, (torch.from_numpy(placed).float(), torch.from_numpy(kinds))


def vary(thermal: np.ndarray, rgb: np.ndarray, rng: np.random.Generator) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Inputs and targets of other cameras and worse light, and the RGB input."""
    if rng.random() < 0.5:
        thermal = vary_tone(thermal, rng)
    if rng.random() < 0.3:
        gain = rng.uniform(0.6, 1.3)
        rgb = np.minimum(np.float32(gain) * rgb, 1)
    visible = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
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
    gain = np.float32(gain)
    colour = (gain * rgb + (visible_in - gain * visible)[..., None]).clip(0, 1).astype(np.float32)
    return (thermal_in, visible_in, thermal, leave_veil(thermal, visible, visible_in)), colour


def target(thermal: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """What a pixel should be, thermal black hot, and where it is sky, 0 to 1.

    By night mostly thermal, by day mostly RGB, by the brightness around; a lamp by night is thermal; a sky is RGB.
    """
    around = F.avg_pool2d(visible, 65, stride=8, padding=32, count_include_pad=False)
    around = F.interpolate(around, size=visible.shape[-2:], mode="bilinear", align_corners=False)
    share = 0.75 - 0.3 * ((around - 0.25) / 0.3).clamp(0, 1)
    lamp = ((visible - 0.7) / 0.2).clamp(0, 1) * ((0.5 - around) / 0.2).clamp(0, 1)
    share = torch.maximum(share, 0.95 * lamp)
    sky = bright_and_plain(1 - thermal, visible)
    share = share * (1 - sky)
    return share * thermal + (1 - share) * visible, sky


class Objective(nn.Module):
    """From a batch to the terms of ``LOSS_WEIGHTS``."""

    def __init__(self, network: nn.Module, detectors: list[FrozenDetector]) -> None:
        super().__init__()
        self.network = network
        self.detectors = detectors  # a list, so that they are no part of what is trained
        self.step = 0

    def forward(
        self,
        thermal_in: Tensor,
        visible_in: Tensor,
        thermal: Tensor,
        visible: Tensor,
        rgb: Tensor,
        boxes: list[tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, ...]:
        fused = self.network(thermal_in, visible_in)
        steady = unsteadiness(fused, thermal_in, visible_in) if len(fused) > len(rgb) else fused.new_zeros(())
        rows = len(rgb)
        wanted, sky = target(thermal[:rows], visible[:rows])
        one, two = sobel(thermal[:rows]), sobel(visible[:rows])
        squared = [gradient.square().sum(1, keepdim=True) for gradient in (one, two)]
        stronger = torch.where((squared[0] > squared[1]) & (sky < 0.5), one, two)
        flat = 1 + 2 * torch.exp(-torch.maximum(*squared) / 0.01**2)
        intensity = ((1 + 6 * sky) * (fused[:rows] - wanted).abs()).mean()
        gradient = (flat * (sobel(fused[:rows]) - stronger).abs()).mean()
        ramp = min(1.0, max(0.0, (self.step - RAMP[0]) / (RAMP[1] - RAMP[0])))
        found = fused.new_zeros(())
        if ramp:
            found = ramp * self._detected(fused[:rows], visible_in[:rows], rgb, boxes)
        self.step += 1
        return found, intensity, gradient, steady

    def _detected(self, fused: Tensor, visible: Tensor, rgb: Tensor, boxes: list[tuple[Tensor, Tensor]]) -> Tensor:
        image = fused.clamp(0, 1) + 0.05 * (fused - fused.clamp(0, 1))  # what is clipped still learns
        gain = ((image.detach().clamp(0, 1) + 16 / 255) / (visible + 16 / 255)).clamp(max=1.5)  # as colour.py does
        image = (image + gain * (rgb - visible)).clamp(0, 1)
        side = SIDES[self.step // 2 % len(SIDES)]
        scale = side / image.shape[-1]
        image = F.interpolate(image, size=(side, side), mode="bilinear", align_corners=False)
        corners, scores = self.detectors[self.step % 2](image)
        losses = [
            detection_loss(corners[i], scores[i], box * scale, _large(kinds, box * scale))
            for i, (box, kinds) in enumerate(boxes)
        ]
        return torch.stack(losses).mean() / 4


def _large(kinds: Tensor, boxes: Tensor) -> Tensor:
    """What is too small for a detector at its input's size is neither asked for nor forbidden."""
    return torch.where(boxes[:, 3] - boxes[:, 1] >= 10, kinds, IGNORE)


def judge(learner: Learner, kept_out: list[Sample], detect: Detector) -> dict[str, float]:
    """AP50 of the kept-out pairs by a detector that is not trained through."""
    found = []
    multiple = learner.average.variant.size_multiple
    for sample in kept_out:
        luminance, _ = split_luminance(sample.rgb)
        height, width = luminance.shape
        padding = (0, -height % multiple, 0, -width % multiple, cv2.BORDER_REPLICATE)
        inputs = [
            torch.from_numpy(cv2.copyMakeBorder(image, *padding).astype(np.float32) / 255)[None, None]
            for image in (255 - sample.thermal, luminance)
        ]
        with torch.no_grad():
            fused = learner.average(*inputs)[0, 0, :height, :width].clamp(0, 1)
        found.append(detect(merge_luminance((fused * 255).round().byte().numpy(), sample.rgb)))
    table = Scores(found, [sample.labels for sample in kept_out]).table()
    person, vehicle = table[:, 0]
    return {"validation_loss": 1 - (person + vehicle) / 2, "person": person, "vehicle": vehicle}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", default="", help="weights to start from; black hot")
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--detection", type=float, default=LOSS_WEIGHTS["detection"], help="weight of that term")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=8, help="between checkpoints")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    data, files = options.shared / "data", options.shared / "detectors"
    through = [files / "yolox-nano.param", files / "nanodet-m-416.param"]
    parts = [
        load(data / "roadscene/train", data / "detection/roadscene/labels.json"),
        load(data / "llvip/train", data / "detection/llvip/labels.json", (640, 512)),
        load(data / "msrs/train", None),
    ]
    labellers = [load_detector(path, threads=1) for path in through]
    samples = [
        [s if len(s.labels.kinds) else Sample(s.thermal, s.rgb, pseudo_labels(s, labellers)) for s in train]
        for train, _ in parts
    ]
    kept_out = [sample for _, out in parts for sample in out]
    config = TrainingConfig(
        data=[Folder(str(data / name)) for name in ("roadscene/train", "llvip/train", "msrs/train")],
        init=options.init,
        thermal_polarity="black_hot",
        steps=options.steps,
        batch=3,
        crop=256,
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
    learner.loss_weights = {**LOSS_WEIGHTS, "detection": options.detection}
    objective = learner.objective = Objective(learner.network, [FrozenDetector(path).eval() for path in through])
    if not options.init:
        with torch.no_grad():
            learner.network.head.preference.zero_()
    if run.checkpoint.exists():
        learner.resume(run.checkpoint)
    objective.step = learner.step + 10**6 * bool(options.init)
    run.begin(config, learner.step)
    detect, crops = load_detector(files / "yolo11n.xml", threads=1), Crops(samples, config)
    due_at = time.monotonic() + 60 * options.minutes
    with StopRequest() as stop:
        while learner.step < config.steps and not stop.received:
            run.follow(learner, learner.learn(crops[learner.step]))
            if time.monotonic() > due_at or learner.step == config.steps:
                run.record(learner, judge(learner, kept_out, detect), np.zeros((8, 8), np.uint8))
                due_at = time.monotonic() + 60 * options.minutes
    learner.save(run.checkpoint)
    run.close()


if __name__ == "__main__":
    main()
