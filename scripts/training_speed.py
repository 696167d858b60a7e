"""Seconds and images per second of one training step: ours, and with ``--authors`` that of the authors' code.

    PYTHONPATH=. python scripts/training_speed.py --authors MMCFusion

``--authors`` is a checkout of github.com/leemt0127/MMCFusion (it has no licence, so no line of it is here; it needs
the package einops). Its step is the one of its ``train1.py``, from batches in memory to the optimiser. Counted is the
CPU time of one thread, with ``--device cuda`` the time until the GPU has finished.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcfusion_ros.training.config import TrainingConfig
from mmcfusion_ros.training.learner import Learner, launch_fabric


def our_step(variant: str, precision: str, images: Tensor) -> Callable[[], object]:
    """One step of ``mmcfusion train`` on a batch ``B x 1 x H x W`` for thermal and visible image alike."""
    batch, _, _, side = images.shape
    config = TrainingConfig(variant, batch=batch, crop=side, precision=precision, accelerator=images.device.type)
    learner = Learner(config, launch_fabric(config))
    return lambda: learner.learn((images, images.flip(-1), images, images.flip(-1)))


def authors_step(checkout: Path, images: Tensor) -> Callable[[], object]:
    """The same of the authors' training script."""
    sys.path.insert(0, str(checkout))
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        from last.last25 import system  # type: ignore[import-not-found]
        from loss_all import Gradient_Loss  # type: ignore[import-not-found]
    network, gradient_loss = system().to(images.device), Gradient_Loss().to(images.device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    thermal, visible = images, images.flip(-1)

    def step() -> None:
        optimizer.zero_grad()
        fused = network(thermal, visible)
        loss = F.l1_loss(fused, visible) + F.l1_loss(fused, thermal)
        loss = loss + 50 * gradient_loss(fused, torch.maximum(thermal, visible))
        loss.backward(create_graph=True)
        torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm=1.0)
        optimizer.step()

    return step


def seconds_per_step(
    network: str, precision: str, checkout: Path | None, size: tuple[int, int, int], device: str
) -> float:
    """The least time of some steps after a first one; of a CPU its own time, which other processes hardly change."""
    batch, side, steps = size
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = torch.rand(batch, 1, side, side, device=device)
    step = authors_step(checkout, images) if checkout else our_step(network, precision, images)

    def clock() -> float:
        if device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    times = []
    for _ in range(steps + 1):
        start = clock()
        step()
        times.append(clock() - start)
    return min(times[1:])


def main() -> None:
    """Prints one line per network, each measured in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--authors", type=Path, help="checkout of the authors' repository")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=256, help="of the images in pixels")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    rows = [("authors", "32-true", options.authors)] if options.authors else []
    rows += [(variant, precision, None) for variant in ("b1", "lite") for precision in ("32-true", "bf16-mixed")]
    reference = 0.0
    for name, precision, checkout in rows:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            size = (options.batch, options.side, options.steps)
            seconds = process.submit(seconds_per_step, name, precision, checkout, size, options.device).result()
        reference = seconds if checkout else reference
        ratio = f"  {reference / seconds:5.1f} x the authors'" if reference else ""
        print(f"{name:8} {precision:11} {seconds:6.2f} s per step  {options.batch / seconds:5.2f} images/s{ratio}")


if __name__ == "__main__":
    main()
