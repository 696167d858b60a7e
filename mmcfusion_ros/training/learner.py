"""What is trained: a network, its moving average (EMA), its optimiser, and the step they are at."""

from __future__ import annotations

import copy
import ctypes
import json
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmcfusion_ros.fusion.models import find_model
from mmcfusion_ros.network.mmcfusion import MMCFusion
from mmcfusion_ros.network.variants import get_variant
from mmcfusion_ros.network.weights import describe, load_network, read_header, write_tensors
from mmcfusion_ros.training.config import LOSSES, TrainingConfig, check_crop, differing_keys
from mmcfusion_ros.training.losses import unsteadiness

MOST_SKIPPED = 50
AUTHORS_DROP = 11 / 400  # of a run: after that many epochs the authors' code lowers the rate, once

LossTerms = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]  # of fused image, thermal and visible target


class ImagePrecision(MixedPrecision):
    """Mixed precision that leaves the images in float32, for the sake of the head that mixes them."""

    def convert_input(self, data: Any) -> Any:
        return data


def launch_fabric(config: TrainingConfig) -> Fabric:
    """The devices of the configuration, with their processes; ``ValueError`` if this machine lacks them."""
    accelerator = config.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and torch.cuda.device_count() < config.devices:
        raise ValueError(f"{config.devices} CUDA devices asked for, PyTorch finds {torch.cuda.device_count()}")
    if accelerator == "cpu" and config.precision == "16-mixed":
        raise ValueError("precision 16-mixed needs CUDA; on a CPU use bf16-mixed or 32-true")
    fabric = Fabric(
        accelerator=accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy="ddp" if config.devices * config.nodes > 1 else "auto",
        plugins=None if config.precision == "32-true" else ImagePrecision(config.precision, accelerator),  # type: ignore[arg-type]
    )
    fabric.launch()
    if config.threads:
        torch.set_num_threads(config.threads)
    _keep_freed_memory()
    return fabric


def _keep_freed_memory() -> None:
    """Spares a fifth of a step on large crops: glibc gives large blocks back, and the kernel clears them once more."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no block in a mapping of its own
        libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD: never


class Objective(nn.Module):
    """The network and the terms of its loss that have ``names``, as one graph from images to values."""

    def __init__(
        self, network: nn.Module, teacher: nn.Module | None, loss_terms: LossTerms, names: list[str], fabric: Fabric
    ) -> None:
        super().__init__()
        self.network, self.teacher = network, teacher
        self.loss_terms, self.names, self.fabric = loss_terms, names, fabric

    def forward(self, thermal_in: Tensor, visible_in: Tensor, thermal: Tensor, visible: Tensor) -> tuple[Tensor, ...]:
        """Inputs and targets, ``B x 1 x H x W`` each, to the unweighted terms."""
        with self.fabric.autocast():
            fused = self.network(thermal_in, visible_in).float()
        terms = self.loss_terms(fused, thermal, visible)
        if "unsteadiness" in self.names:
            terms["unsteadiness"] = unsteadiness(fused, thermal_in, visible_in)
        if self.teacher:
            with torch.no_grad(), self.fabric.autocast():
                target = self.teacher(thermal, visible)
            terms["distillation"] = F.l1_loss(fused, target.float().clamp(0, 1))
        return tuple(terms[name] for name in self.names)


class Learner:
    """Learns from one batch after the other; saves and resumes all that it needs to end with the same bits."""

    def __init__(self, config: TrainingConfig, fabric: Fabric) -> None:
        torch.manual_seed(config.seed)
        self.config, self.fabric = config, fabric
        self.loss_terms, weights = LOSSES[config.loss]
        self.loss_weights = {**weights, **config.loss_weights}
        if config.teacher:
            self.loss_weights["distillation"] = config.teacher_weight
        if config.steadiness:
            self.loss_weights["unsteadiness"] = config.steadiness
        network = _new_network(config).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(
            network.parameters(),
            config.learning_rate,
            weight_decay=config.weight_decay,
            fused=config.precision != "16-mixed",  # fused, it would undo the scale of the loss after the clipping
        )
        self.average = copy.deepcopy(network).eval()
        self.teacher = _load_teacher(config) if config.teacher else None
        for frozen in filter(None, (self.average, self.teacher)):
            fabric.to_device(frozen)
        self.network, self.optimizer = fabric.setup(network, optimizer)
        trained = network if fabric.world_size == 1 else self.network
        self.objective: nn.Module = Objective(trained, self.teacher, self.loss_terms, list(self.loss_weights), fabric)
        if fabric.device.type == "cuda" and fabric.world_size == 1:  # its thousands of small kernels as one CUDA graph
            rows = config.batch + bool(config.steadiness)
            images = torch.rand(4, rows, 1, config.crop, config.crop, device=fabric.device)
            self.objective = torch.cuda.make_graphed_callables(self.objective, tuple(images))  # type: ignore[assignment]
        self.step = self.skipped = self.skipped_in_a_row = 0

    def describe(self, pairs: int) -> str:
        """What is about to be trained, on how many pairs, where; one line."""
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        config = self.config
        image = torch.zeros(1, 1, config.crop, config.crop, device=self.fabric.device)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self.average(image, image)
        gflop = counter.get_total_flops() / 1e9
        shorter = f", warm-up {config.warm_up_steps} steps" if config.warm_up_steps < config.warm_up else ""
        return (
            f"{config.variant}: {parameters / 1e6:.2f} million parameters, {pairs} pairs, steps {self.step} to "
            f"{config.steps} of {config.batch} crops of {config.crop} pixels ({gflop:.2f} GFLOP forward each), "
            f"on {self.fabric.device}, {config.precision}{shorter}"
        )

    def learn(self, batch: Sequence[Any]) -> dict[str, float]:
        """One optimiser step with what the objective takes (a ``Batch``); returns the loss, its terms and the norm of
        the gradient, the mean of all processes.

        If one of them is not finite, weights, average and optimiser stay as they are; ``ValueError`` after
        ``MOST_SKIPPED`` such steps in a row.
        """
        terms = dict(zip(self.loss_weights, self.objective(*batch), strict=True))
        loss = self.total(terms)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=self.config.clip or math.inf, error_if_nonfinite=False
        )
        assert norm is not None
        values = self.mean_of_processes(torch.stack([loss, *terms.values(), norm]))
        self._update(finite=all(map(math.isfinite, values)))
        return dict(zip(("loss", *terms, "gradient_norm"), values, strict=True))

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms of the loss."""
        return torch.stack([self.loss_weights[name] * term for name, term in terms.items()]).sum()

    def mean_of_processes(self, values: Tensor) -> list[float]:
        """The mean of each of ``values`` (1-D) over all processes, the same list in all of them."""
        mean = self.fabric.all_reduce(values.detach())
        assert isinstance(mean, Tensor)
        return mean.tolist()

    def _update(self, finite: bool) -> None:
        if finite:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, self.config)
            self.optimizer.step()
            decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        elif scaler := getattr(self.fabric.strategy.precision, "scaler", None):
            scaler.update()
        self.step += 1
        self.skipped += not finite
        self.skipped_in_a_row = 0 if finite else self.skipped_in_a_row + 1
        if self.skipped_in_a_row == MOST_SKIPPED:
            raise ValueError(
                f"step {self.step}: loss or gradient not finite {MOST_SKIPPED} times in a row; "
                "lower learning_rate, raise warm_up, or use precision 32-true"
            )

    def save(self, path: Path) -> None:
        """Writes everything that resuming needs, atomically, as safetensors; ``OSError`` keeps the previous file."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        metadata = {
            "config": json.dumps(asdict(self.config)),
            "step": str(self.step),
            "skipped": str(self.skipped),
            "scaler": json.dumps(self.fabric.strategy.precision.state_dict()),
        }
        write_tensors(tensors, path, metadata)

    def resume(self, path: Path) -> None:
        """Takes up the run saved at ``path``; ``ValueError`` if it is damaged or was started with other values."""
        try:
            metadata = read_header(path)
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            saved = {**asdict(TrainingConfig()), **json.loads(metadata["config"])}  # older runs lack newer keys
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a checkpoint of this training: {error}; choose another folder") from error
        asked = asdict(self.config)
        if keys := differing_keys(saved, asked):
            changes = ", ".join(f"{key} was {saved.get(key)}, now {asked.get(key)}" for key in keys)
            raise ValueError(
                f"{path} was started with other values: {changes}; resume with those or choose another folder"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        self.network.load_state_dict(part("network."))
        self.average.load_state_dict(part("average."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part("optimizer.").items():
            index, key = name.split(".")
            if tensor.dim() == 4:  # the fused optimiser reads it in the memory order of the weights
                tensor = tensor.to(memory_format=torch.channels_last)
            state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.fabric.strategy.precision.load_state_dict(json.loads(metadata["scaler"]))
        self.step, self.skipped = int(metadata["step"]), int(metadata["skipped"])


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then constant, a cosine to zero, or .95 of it after ``AUTHORS_DROP``."""
    warm_up = config.warm_up_steps
    if step < warm_up:
        return config.learning_rate * (step + 1) / warm_up
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "authors":
        return config.learning_rate * (0.95 if step >= AUTHORS_DROP * config.steps else 1)
    progress = (step - warm_up) / max(1, config.steps - warm_up)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def _new_network(config: TrainingConfig) -> MMCFusion:
    if not config.init:
        return MMCFusion(get_variant(config.variant))
    weights = find_model(config.init).safetensors
    if not weights:
        raise ValueError(f"init {config.init!r} has no .safetensors file; a run begins with weights")
    network = load_network(weights).train()
    if network.variant.name != config.variant:
        raise ValueError(f"{config.init} holds variant {network.variant.name}, the run is of {config.variant}")
    return network


def _load_teacher(config: TrainingConfig) -> MMCFusion:
    weights = find_model(config.teacher).safetensors
    if not weights:
        raise ValueError(f"teacher {config.teacher!r} has no .safetensors file; a teacher needs its weights")
    polarity = describe(weights).thermal_polarity
    if polarity != config.thermal_polarity:
        raise ValueError(f"teacher {config.teacher!r} is for {polarity} images, the run for {config.thermal_polarity}")
    teacher = load_network(weights).requires_grad_(False).to(memory_format=torch.channels_last)
    check_crop("crop", config.crop, teacher.variant.name)
    return teacher
