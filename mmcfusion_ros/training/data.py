"""Training samples: random crops of image pairs, decoded once and kept in memory as far as that suffices."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mmcfusion_ros.data.pair_folder import PairFiles, find_pairs, read_pair
from mmcfusion_ros.fusion.fuser import split_luminance
from mmcfusion_ros.fusion.thermal import in_polarity
from mmcfusion_ros.training.config import TrainingConfig
from mmcfusion_ros.training.degradation import degrade
from mmcfusion_ros.training.variation import disturb, leave_veil, overexpose, vary_tone, whiten_sky

VALIDATION_EVERY = 12
DECODED = "MMCFUSION_DECODED"  # environment variable: where the processes of a run find the decoded pairs

Pair = tuple[np.ndarray, np.ndarray]
Batch = tuple[Tensor, Tensor, Tensor, Tensor]
Augment = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


class Pairs(Protocol):
    """Thermal white hot and luminance, ``H x W`` uint8, by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Pair: ...


class PairSource:
    """The pairs of a folder, thermal white hot and luminance, ``H x W`` uint8: as they are in ``decoded``, or decoded
    whenever they are asked for. Raises what ``read_pair`` raises."""

    def __init__(self, files: Sequence[PairFiles], decoded: Sequence[Pair | None]) -> None:
        self._files, self._decoded = files, decoded

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Pair:
        return self._decoded[index] or _load(self._files[index])


class PairSampler(Dataset[Batch]):
    """Seeded random batches from the folders of a configuration, or from ``sources``: pairs, thermal white hot and
    luminance, ``H x W`` uint8. ``augment`` may vary a crop of both, ``crop x crop`` float32 in [0, 1], after all else
    that varies inputs and targets alike. Every ``VALIDATION_EVERY``-th pair is validated, or the pairs of
    ``validate_on``; ``validate_pairs`` of them at most.

    Item ``step`` is the batch of that step: thermal and visible inputs, thermal and visible targets, each
    ``B x 1 x crop x crop`` float32 in [0, 1], the thermal ones in the configuration's polarity, as in ``validation``.
    Sample i of a step depends on seed, step and i alone, and process ``rank`` of ``world`` gets the samples
    ``rank, rank + world, ...``.
    """

    def __init__(
        self, config: TrainingConfig, sources: Sequence[Pairs] | None = None, augment: Augment | None = None
    ) -> None:
        self.config, self.augment = config, augment
        self.rank, self.world = 0, 1
        self.folders = _open_folders(config) if sources is None else sources
        held_out = config.hold_out and not config.validate_on
        self.chosen = [  # of each folder, to train on
            [i for i in range(len(pairs)) if i % VALIDATION_EVERY or not held_out] for pairs in self.folders
        ]
        for number, (pairs, chosen) in enumerate(zip(self.folders, self.chosen, strict=True)):
            if not chosen:
                name = config.data[number].path if sources is None else f"source {number + 1}"
                raise ValueError(f"{name} has too few pairs to train on ({len(pairs)})")
        validated = [(pairs, i) for pairs in self.folders for i in range(0, len(pairs), VALIDATION_EVERY)]
        if config.validate_on:
            files = [find_pairs(folder) for folder in config.validate_on]
            own = [PairSource(pairs, [None] * len(pairs)) for pairs in files]
            validated = [(pairs, i) for pairs in own for i in range(len(pairs))]
        every = -(-len(validated) // config.validate_pairs)
        self.validation = [
            (in_polarity(thermal, config.thermal_polarity), visible)
            for thermal, visible in (pairs[i] for pairs, i in validated[::every])
        ]
        given = [folder.weight for folder in config.data] if sources is None else [0.0] * len(sources)
        weights = [weight or len(pairs) ** 0.5 for weight, pairs in zip(given, self.chosen, strict=True)]
        self.weights = np.array(weights) / sum(weights)

    def validation_share(self) -> list[Pair]:
        """What this process validates: all have as many, so that the mean of their means is that of all."""
        each = len(self.validation) // self.world
        return self.validation[self.rank :: self.world][:each] or self.validation

    def __getitem__(self, step: int) -> Batch:
        rows = [self._sample(step, i) for i in range(self.rank, self.config.batch, self.world)]
        if self.config.steadiness:
            rng = np.random.default_rng((self.config.seed, step, self.config.batch + self.rank))
            rows.append(disturb(*rows[0], rng, self.config.thermal_polarity))
        thermal_in, visible_in, thermal, visible = (
            torch.from_numpy(np.stack(images)).unsqueeze(1) for images in zip(*rows, strict=True)
        )
        return thermal_in, visible_in, thermal, visible

    def loader(self, first_step: int) -> DataLoader[Batch]:
        """The batches from ``first_step`` to the last one, prepared ahead by the configured processes."""
        config = self.config
        cv2.setNumThreads(1)  # OpenCV's threads do not survive the fork into workers
        return DataLoader(
            self,
            batch_size=None,
            sampler=range(first_step, config.steps),
            num_workers=config.workers,
            prefetch_factor=4 if config.workers else None,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_leave_signals_to_the_parent,
        )

    def _sample(self, step: int, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        config, rng = self.config, np.random.default_rng((self.config.seed, step, i))
        folder = rng.choice(len(self.folders), p=self.weights)
        chosen = self.chosen[folder]
        images = self.folders[folder][chosen[rng.integers(len(chosen))]]
        height, width = images[0].shape
        largest = min(height, width, int(config.crop_scale * config.crop))
        side = int(rng.integers(min(config.crop, largest), largest + 1))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        crops: list[np.ndarray] = []
        for image in images:
            part = image[top : top + side, left : left + side]
            interpolation = cv2.INTER_AREA if side > config.crop else cv2.INTER_LINEAR
            part = cv2.resize(part, (config.crop, config.crop), interpolation=interpolation)
            part = np.rot90(part[:, ::-1] if flip else part, turns)
            crops.append(np.ascontiguousarray(part, dtype=np.float32) / 255)
        thermal, visible = (vary_tone(crop, rng) if rng.random() < config.photometric else crop for crop in crops)
        if rng.random() < config.overexposure:
            visible = overexpose(visible, rng)
        if rng.random() < config.white_sky:
            thermal, visible = whiten_sky(thermal, visible, rng)
        if self.augment:
            thermal, visible = self.augment(thermal, visible, rng)
        thermal_in, visible_in = degrade(thermal, visible, config.degradations, rng)
        visible = leave_veil(thermal, visible, visible_in)
        if config.thermal_polarity == "black_hot":
            thermal_in, thermal = 1 - thermal_in, 1 - thermal
        return thermal_in, visible_in, thermal, visible


def _open_folders(config: TrainingConfig) -> list[PairSource]:
    """All pairs are read once, and kept as long as ``cache_gb`` suffices: by the first process for those it starts,
    else by each for itself."""
    folders = [find_pairs(folder.path) for folder in config.data]
    rank = os.environ.get("LOCAL_RANK")  # of a process that the first one or torchrun has started
    if rank not in (None, "0") and DECODED in os.environ:
        memory = os.open(os.environ[DECODED], os.O_RDONLY)
    else:
        memory = os.memfd_create("pairs")  # anonymous: freed with the last process that maps it
        room = config.cache_gb * 1e9 / (config.devices if rank else 1)
        _decode([files for folder in folders for files in folder], room, memory)
        os.environ[DECODED] = f"/proc/{os.getpid()}/fd/{memory}"
    each = iter(_decoded(memory))
    if config.devices == 1:
        os.close(memory)
    return [PairSource(folder, [*islice(each, len(folder))]) for folder in folders]


def _decode(pairs: Sequence[PairFiles], room: float, memory: int) -> None:
    """Writes height, width and pixels of each pair, without pixels where ``room`` bytes do not suffice."""
    with os.fdopen(memory, "wb", closefd=False) as file:
        for files in tqdm(pairs, desc="reading", unit="pair", leave=False, disable=None):
            pair = np.stack(_load(files))
            if file.tell() + pair.nbytes > room:
                pair = pair[:, :0]
            file.write(np.array(pair.shape[1:], np.int32).tobytes() + pair.tobytes())


def _decoded(descriptor: int) -> list[Pair | None]:
    """What ``_decode`` wrote."""
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        memory = np.memmap(file, np.uint8, "c").view(np.ndarray)
    at, pairs = 0, []
    while at < len(memory):
        height, width = map(int, memory[at : at + 8].view(np.int32))
        end = at + 8 + 2 * height * width
        thermal, luminance = memory[at + 8 : end].reshape(2, height, width)
        pairs.append((thermal, luminance) if height else None)
        at = end
    return pairs


def _load(files: PairFiles) -> Pair:
    thermal, rgb = read_pair(files)
    return files.in_roles(thermal, split_luminance(rgb)[0])


def _leave_signals_to_the_parent(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
