"""The training loop: the same for a CPU, a GPU, several GPUs and several machines."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from mmcfusion_ros.training.config import SMALLEST_VALIDATED, TrainingConfig
from mmcfusion_ros.training.data import PairSampler
from mmcfusion_ros.training.learner import Learner, launch_fabric
from mmcfusion_ros.training.run import Run
from mmcfusion_ros.training.validation import Measure, validate


class StopRequest:
    """Notes the first SIGINT or SIGTERM; a second one acts as it does without this."""

    def __enter__(self) -> StopRequest:
        self.received = False
        self.handlers = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        self.__exit__()


@contextmanager
def lost_workers_named() -> Iterator[None]:
    """Makes an ``OSError`` that says what to do of PyTorch's ``RuntimeError`` about a process of its data loader."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OSError(
            f"a process that prepares the images is gone, often for want of memory ({error}); set fewer workers or a "
            "smaller cache_gb, and go on from the last checkpoint with --resume"
        ) from error


def train(config: TrainingConfig, run: Run, measure: Measure, data: PairSampler | None = None) -> None:
    """Trains to the last step, or until a SIGINT or SIGTERM; then ``run`` can be resumed.

    ``measure`` gives the metrics of a thermal, visible and fused image (``H x W`` uint8); ``data`` are other pairs than
    those of the configuration's folders. Raises ``ValueError`` or
    ``OSError`` naming what is wrong with the configuration, the data or the files of the run.
    """
    data = data or PairSampler(config)
    smallest = min(min(thermal.shape) for thermal, _ in data.validation)
    if smallest < SMALLEST_VALIDATED:  # said now, not after the steps to the first validation
        raise ValueError(
            f"a side of {smallest} pixels is too short to validate, {SMALLEST_VALIDATED} are needed; "
            "name other folders with validate_on"
        )
    fabric = launch_fabric(config)
    learner = Learner(config, fabric)
    if run.checkpoint.exists():
        learner.resume(run.checkpoint)
    fabric.barrier()  # before the first process writes what the others look for
    if fabric.is_global_zero:
        run.begin(config, learner.step)
        fabric.print(learner.describe(sum(map(len, data.chosen))))
    data.rank, data.world = fabric.global_rank, fabric.world_size
    due_at = time.monotonic() + 60 * config.validate_minutes
    with StopRequest() as stop, lost_workers_named():
        for batch in data.loader(learner.step):
            values = learner.learn(fabric.to_device(batch))
            if fabric.is_global_zero:
                run.follow(learner, values)
            due = time.monotonic() > due_at or learner.step == config.steps
            due, stopped = map(bool, learner.mean_of_processes(torch.tensor([due, stop.received], dtype=torch.float32)))
            if (due or stopped) and fabric.is_global_zero:
                learner.save(run.checkpoint)
            if due:
                means, picture = validate(learner, data.validation_share(), measure)
                if fabric.is_global_zero:
                    run.record(learner, means, picture)
                fabric.barrier()
                due_at = time.monotonic() + 60 * config.validate_minutes
            if stopped:
                break
    if fabric.is_global_zero:
        run.close()
    if learner.step < config.steps:
        fabric.print(f"stopped at step {learner.step}; go on with: mmcfusion train --out {run.folder} --resume")
    else:
        fabric.print(f"weights: {run.last}, the best ones: {run.best}")
