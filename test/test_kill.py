"""Commands that are killed at random moments: what was finished can be read, and the next run goes on or says why not.

``MMCFUSION_NIGHTLY=1`` kills each of six commands 20 times, otherwise two of them once.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from bag_files import drive, write_bag
from image_pairs import write_pairs
from rig_pairs import rig_pairs

from mmcfusion_ros.bags.reading import Bag
from mmcfusion_ros.fusion.calibration_file import load_calibration
from mmcfusion_ros.network.weights import load_network

REPOSITORY = Path(__file__).resolve().parents[1]
NIGHTLY = bool(os.environ.get("MMCFUSION_NIGHTLY"))
KILLS = 20 if NIGHTLY else 1
COMMANDS = ["train", "evaluate", *(["evaluate-bag", "calibrate", "export", "record-demo"] if NIGHTLY else [])]


def start(words: list[str], log: Path) -> subprocess.Popen:
    with log.open("w") as errors:
        command = [sys.executable, "-X", "faulthandler", "-m", "mmcfusion_ros.cli", *words]
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=errors)


def status(words: list[str], log: Path) -> int:
    """The exit status; the stacks of what does not end go to the log."""
    process = start(words, log)
    try:
        return process.wait(300)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        process.wait()
        pytest.fail(log.read_text())


def readable(folder: Path) -> None:
    """Every finished file of ``folder``; a file that is being written has another name, or is a bag or a table."""
    for path in folder.rglob("*"):
        if path.suffix == ".safetensors" and path.name != "checkpoint.safetensors":
            load_network(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".yaml" and path.name == "rig.yaml":
            load_calibration(path)
        elif path.suffix in (".png", ".jpg"):
            assert cv2.imread(str(path)) is not None
        elif path.name == "frames.csv" and path.stat().st_size:
            with path.open(newline="") as file:
                assert all(row["outcome"] for row in csv.DictReader(file))


def rerun(words: list[str], log: Path, out: Path, retry: list[str]) -> None:
    """The same command succeeds, or says in one line what is there; then it succeeds with ``retry``."""
    if status(words, log):
        said = log.read_text().splitlines()[-1]
        assert "exists already" in said or "--resume" in said, said
        if not retry:
            shutil.rmtree(out)
            out.mkdir()
        assert status([*words, *retry], log) == 0, log.read_text()


@pytest.mark.slow
@pytest.mark.timeout(60 + 240 * KILLS)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_that_was_finished_is_lost(command, tmp_path, random_lite, random_lite_graph):
    out, log = tmp_path / "out", tmp_path / "log"
    pairs = write_pairs(tmp_path / "pairs", 12)
    backend = ["--set", "threads=1", f"model={random_lite_graph}"]
    words, retry = {
        "train": ([str(pairs), "--set", "steps=4", "batch=2", "crop=128", "workers=0"], ["--resume"]),
        "evaluate": ([str(pairs), "--model", "max"], []),
        "evaluate-bag": ([str(write_bag(tmp_path / "bag", drive(300))), *backend], []),
        "calibrate": (["--folder", str(tmp_path / "rig"), "--frames", "3", "--model", "affine"], []),
        "export": ([], []),
        "record-demo": (["--duration", "3"], []),
    }[command]
    if command == "calibrate":
        for part in ("ir", "vi"):
            (tmp_path / "rig" / part).mkdir(parents=True)
        for i, (thermal, rgb) in enumerate(rig_pairs()):
            cv2.imwrite(str(tmp_path / f"rig/ir/{i}.png"), thermal)
            cv2.imwrite(str(tmp_path / f"rig/vi/{i}.png"), rgb[..., ::-1])
    target = {
        "calibrate": ["--out", str(out / "rig.yaml")],
        "export": [str(random_lite), str(out / "a.xml")],
        "record-demo": [str(out / "bag")],
    }.get(command, ["--out", str(out)])
    words = [command, *words, *target]
    out.mkdir()
    began = time.monotonic()
    assert status(words, log) == 0, log.read_text()
    whole_s = time.monotonic() - began
    rng = random.Random(command)
    for _ in range(KILLS):
        shutil.rmtree(out)
        out.mkdir()
        process = start(words, log)
        time.sleep(rng.uniform(0, whole_s))
        process.kill()
        process.wait()
        readable(out)
        rerun(words, log, out, retry)
        readable(out)


def messages(folder: Path) -> int:
    try:
        with Bag(folder) as bag:
            return len([*bag.messages(bag.topics.keys())])
    except (OSError, ValueError):
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_killed_recording_has_all_but_the_last_second(storage, tmp_path):
    """At 640x480 the file is full of messages long before; small ones and a database wait for the flush."""
    folder, log = tmp_path / "bag", tmp_path / "log"
    process = start(["record-demo", str(folder), "--duration", "600", "--storage", storage], log)
    try:
        deadline = time.monotonic() + 120
        while messages(folder) <= 20:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    finally:
        process.kill()
        process.wait()
    assert messages(folder) > 20
