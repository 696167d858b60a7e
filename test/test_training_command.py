"""``mmcfusion train`` as a process: killed and resumed, stopped by a signal, out of disk, on two devices."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import torch
from image_pairs import write_pairs
from safetensors import safe_open
from safetensors.torch import load_file
from waiting import wait_until

from mmcfusion_ros.evaluation.metrics import fusion_metrics
from mmcfusion_ros.training.config import load_config
from mmcfusion_ros.training.run import Run
from mmcfusion_ros.training.train import train

REPOSITORY = Path(__file__).resolve().parents[1]
STEPS = 8
TINY = (
    *("batch=2", "crop=128", f"steps={STEPS}", "warm_up=2", "learning_rate=3e-5", "degradations.fog=0.5"),
    *("accelerator=cpu", "threads=1", "workers=0"),
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def start(out, *arguments, **process):
    command = [sys.executable, "-m", "mmcfusion_ros.cli", "train", "--out", out, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | process
    return subprocess.Popen([str(word) for word in command], cwd=REPOSITORY, text=True, **pipes)


def finish(process):
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def start_and_wait_for_validations(count, out, *arguments, **process):
    """A run that validates after every step, at a moment when it did so at least ``count`` times."""
    running = start(out, *arguments, "validate_minutes=0", **process)
    log = out / "log.csv"

    def has_validated():
        assert running.poll() is None, finish(running)
        return log.exists() and len(log.read_text().splitlines()) > count

    wait_until(has_validated)
    return running


def resume_here(out):
    """In this process, to save the seconds that a new one needs to begin."""
    run = Run(out, resume=True)
    train(load_config(run.config, ["workers=0"]), run, fusion_metrics)


def saved_step(out):
    with safe_open(out / "checkpoint.safetensors", framework="pt") as file:
        return int(file.metadata()["step"])


def assert_same_bits(one, other):
    for name in ("checkpoint.safetensors", "last.safetensors"):
        tensors, others = load_file(one / name), load_file(other / name)
        assert tensors.keys() == others.keys()
        assert [key for key in tensors if not torch.equal(tensors[key], others[key])] == []


@pytest.fixture(scope="module")
def whole(pairs, tmp_path_factory):
    """The folder of an uninterrupted run, validated only at its end; what it printed; what its terminal showed."""
    out = tmp_path_factory.mktemp("whole")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    process = start(out, pairs, "--set", *TINY, stderr=theirs)
    os.close(theirs)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        try:
            while part := terminal.read(4096):
                shown += part
        except OSError:  # how Linux reports the end of a terminal
            pass
    code, output, _ = finish(process)
    assert code == 0, shown
    return out, output, shown.decode()


def test_progress_shows_loss_speed_and_time_left(whole):
    out, output, shown = whole
    assert f"/{2 * STEPS}" in shown
    assert "image/s, loss=" in shown
    assert f"step {STEPS}/{STEPS}  loss " in output
    assert output.splitlines()[-1] == f"weights: {out}/last.safetensors, the best ones: {out}/best.safetensors"


def test_killed_run_resumes_to_the_same_bits(pairs, whole, tmp_path):
    process = start_and_wait_for_validations(4, tmp_path, pairs, "--set", *TINY, "workers=1")
    process.kill()
    process.communicate()
    assert 4 <= saved_step(tmp_path) < STEPS
    resume_here(tmp_path)
    assert_same_bits(tmp_path, whole[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_the_whole_group_ends_the_step_and_says_how_to_go_on(pairs, whole, tmp_path, number):
    process = start_and_wait_for_validations(2, tmp_path, pairs, "--set", *TINY, "workers=1", start_new_session=True)
    os.killpg(process.pid, number)
    code, output, errors = finish(process)
    assert code == 0, errors
    step = saved_step(tmp_path)
    assert 2 <= step < STEPS
    assert output.splitlines()[-1] == f"stopped at step {step}; go on with: mmcfusion train --out {tmp_path} --resume"
    resume_here(tmp_path)
    assert_same_bits(tmp_path, whole[0])


def test_a_killed_process_of_the_data_loader_is_one_line(pairs, whole, tmp_path):
    process = start_and_wait_for_validations(2, tmp_path, pairs, "--set", *TINY, "workers=1")
    children = {int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()}
    os.kill(max(children), signal.SIGKILL)  # as the kernel does when memory runs out
    code, _, errors = finish(process)
    assert code == 1, errors
    assert errors.splitlines()[-1].startswith("mmcfusion train: a process that prepares the images is gone")
    assert "Traceback" not in errors
    resume_here(tmp_path)
    assert_same_bits(tmp_path, whole[0])


def test_full_disk_is_one_line_and_keeps_the_previous_files(pairs, tmp_path):
    """A limit on file sizes makes the writing itself fail, as a full disk does."""
    process = start_and_wait_for_validations(1, tmp_path, pairs, "--set", *TINY)
    process.terminate()
    assert finish(process)[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("*.safetensors")}

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    code, _, errors = finish(start(tmp_path, "--resume", preexec_fn=limit))
    assert code == 1
    assert errors.startswith(f"mmcfusion train: {tmp_path / 'checkpoint.safetensors'} could not be written")
    assert errors.count("\n") == 1
    assert len(before) == 3
    assert all(path.read_bytes() == content for path, content in before.items())


def test_two_devices_learn_what_one_learns(pairs, tmp_path):
    few = (*TINY, "steps=4", "steadiness=0")  # the disturbed copy is of the first pair of each device
    train(load_config("lite", few, [pairs]), Run(tmp_path / "one"), fusion_metrics)
    code, output, errors = finish(start(tmp_path / "two", pairs, "--set", *few, "devices=2"))
    assert code == 0, errors
    assert output.count("weights: ") == 1
    one, two = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    apart = torch.cat([(two[name] - tensor).abs().flatten() for name, tensor in one.items()])
    assert (apart > 1e-5).float().mean() < 1e-4  # where the gradient is rounding noise, Adam takes a whole step of it
    assert apart.max() < 1e-4
