"""What fixes a training run: a YAML file of ``config/train/``, overridden value by value on the command line."""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mmcfusion_ros.network.metadata import POLARITIES
from mmcfusion_ros.network.variants import get_variant
from mmcfusion_ros.resources import package_file
from mmcfusion_ros.training.losses import LOSS_WEIGHTS, PAPER_WEIGHTS, fusion_losses, paper_losses
from mmcfusion_ros.yaml_files import read_yaml

LOSSES = {"ours": (fusion_losses, LOSS_WEIGHTS), "paper": (paper_losses, PAPER_WEIGHTS)}
CHOICES = {
    "thermal_polarity": POLARITIES,
    "schedule": ("cosine", "constant", "authors"),
    "precision": ("32-true", "bf16-mixed", "16-mixed"),
    "accelerator": ("auto", "cpu", "cuda"),
}
SMALLEST = {
    **dict.fromkeys(("steps", "batch", "crop_scale", "devices", "nodes", "validate_pairs"), 1),
    **dict.fromkeys(("warm_up", "seed", "workers", "threads", "cache_gb", "validate_minutes"), 0),
    **dict.fromkeys(("learning_rate", "weight_decay", "clip", "teacher_weight", "steadiness"), 0),
}
SHARES = ("photometric", "overexposure", "white_sky", "ema_decay")
MACHINE = {
    *("accelerator", "devices", "nodes", "workers", "threads", "wandb"),
    *("validate_minutes", "validate_crop", "validate_pairs", "validate_on", "cache_gb"),
}
SMALLEST_VALIDATED = 41  # pixels, for the metrics


@dataclass
class Folder:
    """A folder of pairs, drawn from in proportion to ``weight``; 0 stands for the root of its number of pairs."""

    path: str
    weight: float = 0.0


@dataclass
class Degradations:
    """The probability of each degradation of the input images; the strengths are in ``degradation.py``."""

    thermal_noise: float = 0.0
    thermal_contrast: float = 0.0
    misalignment: float = 0.0
    visible_noise: float = 0.0
    darkness: float = 0.0
    glare: float = 0.0
    fog: float = 0.0


@dataclass
class TrainingConfig:
    """All values of a run; those of ``MACHINE`` may change when it resumes. ``ValueError`` if they make no sense."""

    variant: str = "lite"
    init: str = ""  # weights file to start from
    data: list[Folder] = field(default_factory=list)
    thermal_polarity: str = POLARITIES[0]  # of inputs and targets, and so what the weights will expect

    loss: str = "ours"
    loss_weights: dict[str, float] = field(default_factory=dict)  # in place of those in losses.py
    teacher: str = ""  # variant with shipped weights, or weights file, to distil from
    teacher_weight: float = 1.0
    steadiness: float = 0.0  # weight of the flicker term, for which each batch gets a disturbed copy of its first pair

    steps: int = 8000
    batch: int = 6  # of all devices together
    crop: int = 160
    crop_scale: float = 2.0  # crops are taken up to so much larger and shrunk
    photometric: float = 0.5  # probability of another gamma and exposure, per image
    overexposure: float = 0.0  # probability of a visible image that is white in part
    white_sky: float = 0.0  # probability of a pair with a featureless white sky
    degradations: Degradations = field(default_factory=Degradations)

    learning_rate: float = 6e-4
    schedule: str = "cosine"
    warm_up: int = 400  # steps
    weight_decay: float = 0.01
    clip: float = 1.0  # largest norm of the gradient; 0: any
    ema_decay: float = 0.999
    seed: int = 0
    precision: str = "32-true"

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int = min(8, len(os.sched_getaffinity(0)) - 1)  # processes that prepare batches; 0: the training itself
    threads: int = 0  # of each training process; 0: PyTorch's choice
    validate_minutes: float = 10.0  # between validations, and so between checkpoints
    hold_out: bool = True  # every twelfth pair is validated only; false: it is trained on too
    validate_on: list[str] = field(default_factory=list)  # folders to validate on, in place of every twelfth pair
    validate_pairs: int = 60  # at most
    cache_gb: float = 8.0  # of decoded pairs kept in memory; the others are decoded whenever they are drawn
    validate_crop: int = 0  # side of the central crop that is validated; 0: whole images
    wandb: str = ""  # project of Weights & Biases that gets all that TensorBoard gets

    @property
    def warm_up_steps(self) -> int:
        """``warm_up``, but a quarter of the run at most."""
        return min(self.warm_up, self.steps // 4)

    def __post_init__(self) -> None:
        get_variant(self.variant)
        for name, choices in {**CHOICES, "loss": tuple(LOSSES)}.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}")
        for name, smallest in SMALLEST.items():
            if not smallest <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a finite number, at least {smallest}")
        for name, share in {**{name: getattr(self, name) for name in SHARES}, **vars(self.degradations)}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; it must be between 0 and 1")
        weights = {f"loss_weights.{name}": weight for name, weight in self.loss_weights.items()}
        for name, weight in {**weights, **{f"weight of {folder.path}": folder.weight for folder in self.data}}.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} is {weight}; it must be a number from 0 on")
        for name in sorted(self.loss_weights.keys() - LOSSES[self.loss][1].keys()):
            raise ValueError(f"loss {self.loss!r} has no term {name!r}; its terms: {', '.join(LOSSES[self.loss][1])}")
        if self.batch % (self.devices * self.nodes):
            raise ValueError(f"batch is {self.batch}; it must divide by the number of devices")
        check_crop("crop", self.crop, self.variant)
        if self.wandb and not find_spec("wandb"):
            raise ValueError("wandb is set, but not installed: pip install wandb")
        if 0 < self.validate_crop < SMALLEST_VALIDATED:
            raise ValueError(f"validate_crop is {self.validate_crop}; it must be at least {SMALLEST_VALIDATED}, or 0")


def check_crop(name: str, crop: int, variant_name: str) -> None:
    """``ValueError`` if the variant cannot take square images of ``crop`` pixels."""
    variant = get_variant(variant_name)
    if crop % variant.size_multiple or crop < variant.smallest_size:
        raise ValueError(
            f"{name} is {crop}; variant {variant_name} needs a multiple of {variant.size_multiple}, "
            f"at least {variant.smallest_size}"
        )


def load_config(source: str | Path, overrides: Sequence[str] = (), folders: Sequence[str] = ()) -> TrainingConfig:
    """The configuration of a shipped file by name (``lite``) or of a YAML file by path.

    ``overrides`` are like ``degradations.fog=0.1``; ``folders``, if any, replace the file's ``data``. Raises
    ``FileNotFoundError``, or ``ValueError`` naming the wrong key or value.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        path = package_file("config/train") / f"{source}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in package_file("config/train").glob("*.yaml")))
        raise FileNotFoundError(f"no training configuration {path}; give a .yaml file or one of {names}")
    for override in overrides:
        if "=" not in override:
            raise ValueError(f"--set {override}: not of the form key=value")
    try:
        layers = [
            OmegaConf.structured(TrainingConfig),
            OmegaConf.create(read_yaml(path) or {}),
            OmegaConf.from_dotlist(list(overrides)),
        ]
        if folders:
            layers.append(OmegaConf.create({"data": [{"path": str(folder)} for folder in folders]}))
        config = OmegaConf.to_object(OmegaConf.merge(*layers))
    except (OmegaConfBaseException, YAMLError, TypeError) as error:
        where = f" ({error.full_key})" if isinstance(error, OmegaConfBaseException) and error.full_key else ""
        raise ValueError(f"configuration {source}: {str(error).splitlines()[0]}{where}") from error
    assert isinstance(config, TrainingConfig)
    if not config.data:
        raise ValueError("no training data; name folders of pairs on the command line or under data: in the file")
    return config


def keys_text() -> str:
    """All keys with type, default and meaning, a line each: from the comments beside the fields."""
    lines = []
    for kind, prefix in ((TrainingConfig, ""), (Degradations, "degradations.")):
        meanings = re.findall(r"^    (\w+): .*?(?:  # (.*))?$", inspect.getsource(kind), re.MULTILINE)
        for field_, (name, meaning) in zip(fields(kind), meanings, strict=False):
            assert field_.name == name
            if name == "degradations":
                continue
            default = getattr(kind(), name)
            known = {**CHOICES, "loss": LOSSES}
            choices = f" ({', '.join(known[name])})" if name in known else ""
            lines.append(f"  {prefix}{name}={default}  {field_.type}{choices}{'; ' if meaning else ''}{meaning}")
    return "\n".join(lines)


def save_config(config: TrainingConfig, path: Path) -> None:
    """Writes the resolved configuration as YAML."""
    OmegaConf.save(OmegaConf.structured(config), path)


def differing_keys(one: dict, other: dict) -> list[str]:
    """The keys that make two runs of these configurations (as dictionaries) differ in what they learn.

    Data may have moved, if the last two parts of its paths are the same; a run may go on for more steps.
    """

    def learnt(config: dict) -> dict:
        data = [{**folder, "path": last_parts(folder["path"])} for folder in config.get("data", [])]
        return {key: value for key, value in {**config, "data": data}.items() if key not in MACHINE}

    a, b = learnt(one), learnt(other)
    if b.get("steps", 0) > a.get("steps", 0):
        a["steps"] = b["steps"]
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def last_parts(path: str) -> str:
    """What tells a folder or file from others, without where it lay on this machine."""
    return "/".join(Path(path).parts[-2:])
