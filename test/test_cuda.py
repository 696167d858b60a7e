"""What only a GPU can show: the network as a CUDA graph in float16, memory that runs out, training steps as a graph."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from image_pairs import write_pairs

from mmcfusion_ros.fusion.errors import FusionError
from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.training.config import Folder, TrainingConfig
from mmcfusion_ros.training.data import PairSampler
from mmcfusion_ros.training.learner import Learner, launch_fabric

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SIZES = ((480, 640), (512, 640), (240, 320), (480, 640))


def images(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def on_gpu():
    return Fuser.from_pretrained("lite", "torch", "cuda").backend


def test_float16_is_the_cpus_float32_to_a_grey_level(on_gpu):
    on_cpu = Fuser.from_pretrained("lite", "torch", "cpu", "float32").backend
    assert on_gpu.precision == "float16"
    for seed, shape in enumerate(SIZES):
        pair = images(shape, seed)
        difference = np.abs(on_gpu(*pair).astype(int) - on_cpu(*pair))
        assert difference.mean() < 0.2
        assert (difference > 2).mean() < 3e-3  # of noise; of images nothing


def test_replays_do_not_see_the_frame_before(on_gpu):
    pairs = [images((480, 640), seed) for seed in (1, 2, 1)]
    first, other, again = (on_gpu(*pair) for pair in pairs)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_out_of_memory_loses_the_frame_alone(on_gpu):
    pair = images((480, 640))
    before = on_gpu(*pair)
    torch.cuda.empty_cache()
    hog = torch.empty(torch.cuda.mem_get_info()[0] - 120 * 2**20, dtype=torch.uint8, device="cuda")
    with pytest.raises(FusionError, match=r"frame of 4096x4096: .*out of memory"):
        on_gpu(*images((4096, 4096)))
    del hog
    torch.cuda.empty_cache()
    assert np.array_equal(on_gpu(*pair), before)


def test_another_network_is_loaded_while_one_works(on_gpu):
    """As for display/image_raw, in a thread of its own."""
    pair = images((480, 640))
    expected, display = on_gpu(*pair), []

    def load() -> None:
        for _ in range(5):
            display.append(Fuser.from_pretrained("lite", "torch", "cuda").backend(*pair))

    thread = threading.Thread(target=load)
    thread.start()
    while thread.is_alive():
        np.testing.assert_array_equal(on_gpu(*pair), expected)
    assert len(display) == 5
    for image in display:
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 2e-3), ("bf16-mixed", 0.05)])
def test_the_training_step_as_a_graph_learns_as_the_cpu_does(tmp_path, precision, tolerance):
    """Wrong gradients would part the losses within a few steps; rounding does not."""
    config = TrainingConfig(data=[Folder(str(write_pairs(tmp_path)))], batch=2, crop=128, workers=0, warm_up=1)
    batches = [PairSampler(config)[step] for step in range(8)]
    on_cpu, on_gpu = replace(config, accelerator="cpu"), replace(config, accelerator="cuda", precision=precision)
    losses = []
    for one in (on_cpu, on_gpu):
        learner = Learner(one, launch_fabric(one))
        losses.append([learner.learn(learner.fabric.to_device(batch))["loss"] for batch in batches])
    np.testing.assert_allclose(*losses, rtol=tolerance)
