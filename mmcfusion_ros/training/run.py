"""The folder of a training run: configuration, checkpoint, weights, log and TensorBoard."""

from __future__ import annotations

import csv
import fcntl
import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from mmcfusion_ros.network.weights import read_metadata, save_weights
from mmcfusion_ros.training.config import TrainingConfig, last_parts, save_config
from mmcfusion_ros.training.learner import Learner, learning_rate

SCALARS_EVERY = 20  # steps
LINE_EVERY_S = 60


class Run:
    """A new run in ``folder``, or with ``resume`` the one that is there.

    Raises ``ValueError`` where a run or somebody's weights would be overwritten, ``FileNotFoundError`` where there is
    none to resume.
    """

    def __init__(self, folder: Path, resume: bool = False) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.checkpoint = folder / "checkpoint.safetensors"
        self.best, self.last = folder / "best.safetensors", folder / "last.safetensors"
        if resume and not self.config.exists():
            raise FileNotFoundError(f"{folder} holds no training run; leave out --resume to begin one")
        if not resume and self.config.exists():
            raise ValueError(f"{folder} holds a training run; go on with --resume, or choose another folder")
        if weights := [path for path in (self.checkpoint, self.best, self.last) if path.exists() and not resume]:
            raise ValueError(f"{weights[0]} is there, but no {self.config.name}; choose another folder")

    def begin(self, config: TrainingConfig, step: int) -> None:
        """Opens the log and the progress bar at ``step``. ``ValueError`` if another training writes to the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however it ends
        except OSError:
            raise ValueError(f"another training runs in {self.folder}; choose another folder") from None
        if config.wandb:
            _follow_by_wandb(config, self.folder)
        save_config(config, self.config)
        self.board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)
        self.bar = tqdm(total=config.steps, initial=step, unit="image", unit_scale=config.batch, disable=None)
        self.line_due = 0.0
        self._begin_interval(step)

    def follow(self, learner: Learner, values: dict[str, float]) -> None:
        """Shows one step."""
        if math.isfinite(values["loss"]):
            self.losses.append(values["loss"])
        self.latest = time.monotonic()
        self.bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
        self.bar.update()
        if self.bar.disable and self.latest > self.line_due:  # no terminal: a log
            self.line_due = self.latest + LINE_EVERY_S
            print(f"step {learner.step}/{learner.config.steps}  loss {values['loss']:.4f}", flush=True)
        if learner.step % SCALARS_EVERY == 0 or learner.step == learner.config.steps:
            values = {**values, "learning_rate": learning_rate(learner.step, learner.config)}
            self._log("terms.csv", {"step": learner.step, **values})
            for name, value in values.items():
                self.board.add_scalar(f"training/{name}", value, learner.step)

    def record(self, learner: Learner, validation: dict[str, float], picture: np.ndarray) -> None:
        """Writes weights and a line of the log, after a validation."""
        row = {
            "step": learner.step,
            "loss": sum(self.losses) / len(self.losses) if self.losses else math.nan,
            "images_per_s": (learner.step - self.first_step) * learner.config.batch / (self.latest - self.begun),
            "skipped": learner.skipped,
            **validation,
        }
        self._save_weights(learner, validation)
        self._log("log.csv", row)
        images_left = (learner.config.steps - learner.step) * learner.config.batch
        self.bar.write(
            f"step {learner.step}/{learner.config.steps}  loss {row['loss']:.4f}  "
            f"validation {row['validation_loss']:.4f}  {row['images_per_s']:.1f} images/s  "
            f"{images_left / row['images_per_s'] / 60:.0f} min left"
        )
        for name, value in row.items():
            self.board.add_scalar(f"validation/{name}", value, learner.step)
        self.board.add_image("thermal, visible, fused", picture, learner.step, dataformats="HW")
        self._begin_interval(learner.step)

    def close(self) -> None:
        """Ends the progress bar and TensorBoard's file, and frees the folder."""
        self.lock.close()
        self.bar.close()
        self.board.close()

    def _begin_interval(self, step: int) -> None:
        self.first_step = step
        self.losses: list[float] = []
        self.begun = time.monotonic()

    def _save_weights(self, learner: Learner, validation: dict[str, float]) -> None:
        config, loss = asdict(learner.config), validation["validation_loss"]
        for folder in config["data"]:
            folder["path"] = last_parts(folder["path"])
        config |= {key: last_parts(config[key]) for key in ("init", "teacher")}
        config["validate_on"] = [*map(last_parts, config["validate_on"])]
        metadata = {
            "thermal_polarity": learner.config.thermal_polarity,
            "training_data": ", ".join(folder["path"] for folder in config["data"]),
            "training_config": json.dumps(config),
            "step": str(learner.step),
            "validation": json.dumps(validation),
        }
        save_weights(learner.average, self.last, metadata)
        best = json.loads(read_metadata(self.best)["validation"])["validation_loss"] if self.best.exists() else math.inf
        if loss < best:  # never of a run that has diverged: NaN
            save_weights(learner.average, self.best, metadata)

    def _log(self, name: str, row: dict[str, float]) -> None:
        path = self.folder / name
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if is_new:
                writer.writeheader()
            writer.writerow(row)


def _follow_by_wandb(config: TrainingConfig, folder: Path) -> None:
    """It gets what TensorBoard is told from now on. A run that is resumed is there another one of the same group."""
    import wandb

    try:
        wandb.init(
            project=config.wandb,
            group=folder.resolve().name,
            dir=folder,
            config=asdict(config),
            sync_tensorboard=True,
            reinit="finish_previous",
        )
    except wandb.Error as error:
        raise ValueError(f"wandb: {error}") from error
