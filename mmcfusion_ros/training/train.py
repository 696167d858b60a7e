"""The training loop: resumable, deterministic by seed."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mmcfusion_ros.network.mmcfusion import MMCFusion
from mmcfusion_ros.network.variants import get_variant
from mmcfusion_ros.network.weights import load_network, save_weights, write_tensors
from mmcfusion_ros.training.data import PairSampler
from mmcfusion_ros.training.losses import LOSS_WEIGHTS, PAPER_WEIGHTS, fusion_losses, paper_losses

LOSSES = {"ours": (fusion_losses, LOSS_WEIGHTS), "paper": (paper_losses, PAPER_WEIGHTS)}


@dataclass(frozen=True)
class TrainingOptions:
    """What fixes a training run; a run resumes only with the same options. ``ValueError`` if they make no sense.

    ``init`` is a weights file to start from (fine-tuning), empty for random weights.
    """

    variant: str = "lite"
    init: str = ""
    loss: str = "ours"
    steps: int = 8000
    batch: int = 6
    crop: int = 160
    learning_rate: float = 6e-4
    warm_up: int = 400
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        variant = get_variant(self.variant)
        if self.loss not in LOSSES:
            raise ValueError(f"unknown loss {self.loss!r}; known losses: {', '.join(LOSSES)}")
        for name, value in (("steps", self.steps), ("batch", self.batch)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if self.crop % variant.size_multiple or self.crop < variant.smallest_size:
            raise ValueError(
                f"crop is {self.crop}; variant {variant.name} needs a multiple of {variant.size_multiple}, "
                f"at least {variant.smallest_size}"
            )


class Trainer:
    """A network, its moving average (EMA), its optimiser and the step they are at."""

    def __init__(self, options: TrainingOptions, folders: Sequence[str | Path], device: str = "cpu") -> None:
        if device not in ("cpu", "cuda"):
            raise ValueError(f"device is {device!r}; it must be cpu or cuda")
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device 'cuda' was asked for but PyTorch finds no CUDA device; use 'cpu'")
        torch.manual_seed(options.seed)
        self.options = options
        self.device = torch.device(device)
        self.sampler = PairSampler(folders, options.crop, options.seed)
        self.network = self._new_network()
        self.average = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self.step = 0

    def _new_network(self) -> MMCFusion:
        variant = get_variant(self.options.variant)
        network = load_network(self.options.init).train() if self.options.init else MMCFusion(variant)
        if network.variant != variant:
            raise ValueError(f"{self.options.init} holds variant {network.variant.name}, the run is of {variant.name}")
        return network.to(self.device).to(memory_format=torch.channels_last)

    def advance(self) -> float:
        """One optimiser step; returns the loss. A non-finite loss or gradient changes no weights."""
        options = self.options
        thermal, visible = (x.to(self.device) for x in self.sampler.batch(self.step, options.batch))
        loss = self.loss(self.network, thermal, visible)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if torch.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, options)
            self.optimizer.step()
            self._update_average()
        self.step += 1
        return loss.item()

    def _update_average(self) -> None:
        decay = min(self.options.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    def loss(self, network: MMCFusion, thermal: Tensor, visible: Tensor) -> Tensor:
        """The weighted sum of the loss terms for one batch."""
        function, weights = LOSSES[self.options.loss]
        terms = function(network(thermal, visible), thermal, visible)
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    @torch.inference_mode()
    def validate(self, preview: Path | None = None) -> float:
        """Mean loss of the averaged weights on the held-out pairs; writes pictures of the first ones to ``preview``."""
        losses: list[float] = []
        rows: list[np.ndarray] = []
        for images in self.sampler.validation:
            even = tuple(size // 2 * 2 for size in images[0].shape)
            thermal, visible = (
                torch.from_numpy(image[: even[0], : even[1]]).to(self.device)[None, None].float() / 255
                for image in images
            )
            losses.append(self.loss(self.average, thermal, visible).item())
            if preview and len(rows) < 6:
                fused = self.average(thermal, visible).clamp(0, 1)
                row = torch.cat((thermal, visible, fused), dim=-1)[0, 0].cpu().numpy() * 255
                rows.append(cv2.resize(row, (1280, 1280 * row.shape[0] // row.shape[1])))
        if preview:
            cv2.imwrite(str(preview), np.concatenate(rows).astype(np.uint8))
        return sum(losses) / len(losses)

    def save(self, path: Path) -> None:
        """Writes everything that resuming needs, atomically, as safetensors."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        metadata = {"options": json.dumps(asdict(self.options)), "step": str(self.step)}
        write_tensors(tensors, path, metadata)

    def resume(self, path: Path) -> None:
        """Takes up the run saved at ``path``; ``ValueError`` if it is damaged or was started with other options."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            saved = TrainingOptions(**json.loads(metadata["options"]))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a checkpoint of this training: {error}; choose another folder") from error
        if saved != self.options:
            raise ValueError(f"{path} was started with {saved}, not with {self.options}; choose another folder")

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        self.network.load_state_dict(part("network."))
        self.average.load_state_dict(part("average."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part("optimizer.").items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.step = int(metadata["step"])


def learning_rate(step: int, options: TrainingOptions) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < options.warm_up:
        return options.learning_rate * (step + 1) / options.warm_up
    progress = (step - options.warm_up) / max(1, options.steps - options.warm_up)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def train(
    options: TrainingOptions, folders: Sequence[str | Path], out: Path, device: str = "cpu", save_every: int = 500
) -> Path:
    """Trains, or goes on with the run in ``out``; returns the weights file (the averaged weights, float16)."""
    if save_every < 1:
        raise ValueError(f"save_every is {save_every}; it must be at least 1 step")
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(options, folders, device)
    checkpoint, weights = out / "last.safetensors", out / f"{options.variant}.safetensors"
    if checkpoint.exists():
        trainer.resume(checkpoint)
        print(f"resumed {checkpoint} at step {trainer.step}", flush=True)
    started, first_step, losses = time.monotonic(), trainer.step, []
    while trainer.step < options.steps:
        losses.append(trainer.advance())
        if trainer.step % save_every == 0 or trainer.step == options.steps:
            validation = trainer.validate(out / "preview.jpg")
            metadata = {
                "training_data": ", ".join(f"{Path(f).parent.name}/{Path(f).name}" for f in folders),
                "training_options": json.dumps(asdict(options)),
                "step": str(trainer.step),
                "validation_loss": f"{validation:.5f}",
            }
            save_weights(trainer.average, weights, metadata)
            trainer.save(checkpoint)
            seconds = (time.monotonic() - started) / (trainer.step - first_step)
            print(
                f"step {trainer.step}/{options.steps}  loss {np.mean(losses):.4f}  validation {validation:.4f}  "
                f"{options.batch / seconds:.1f} images/s  {seconds * (options.steps - trainer.step) / 60:.0f} min left",
                flush=True,
            )
            losses = []
    return weights
