"""Recorded bags played live: what subscribers get, and that the node fuses what ``evaluate-bag`` fuses."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from bag_files import (
    HEIGHT,
    INFO,
    NS,
    RGB,
    START,
    THERMAL,
    WIDTH,
    drive,
    rgb_pixels,
    storage_file,
    write_bag,
    write_ros1_bag,
)
from camera_messages import pixels_of, stamp_ns
from mcap.reader import make_reader
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_helpers import NodeProcess, Rig, RunningNode, new_namespace
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from mmcfusion_ros.bags.reading import read_message
from mmcfusion_ros.cli import main
from mmcfusion_ros.evaluation.bags.evaluate_bag import evaluate_bag
from mmcfusion_ros.evaluation.bags.options import BagOptions
from mmcfusion_ros.stream.parameter_files import load_values
from mmcfusion_ros.tools import wait_active
from mmcfusion_ros.tools.bag_player import shift_stamp

REPOSITORY = Path(__file__).resolve().parents[1]
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


class Player:
    """``mmcfusion play`` as a process, its topics below the namespace of a rig that listens."""

    def __init__(self, bag: Path, *options: str) -> None:
        self.domain_id, self.namespace = random.randint(1, 100), new_namespace()
        self.rig = Rig(self.domain_id, self.namespace)
        self.thermal: list[Image] = []
        self.rgb: list[Image] = []
        self.infos: list[CameraInfo] = []
        self.clock: list[int] = []
        node = self.rig.node
        for topic, kind, messages in (
            (THERMAL, Image, self.thermal),
            (RGB, Image, self.rgb),
            (INFO, CameraInfo, self.infos),
        ):
            node.create_subscription(kind, self.namespace + topic, messages.append, RELIABLE)
        node.create_subscription(
            Clock, "/clock", lambda m: self.clock.append(m.clock.sec * NS + m.clock.nanosec), RELIABLE
        )
        self._bag, self._options = bag, options
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        remaps = [f"{topic}:={self.namespace}{topic}" for topic in (THERMAL, RGB, INFO)]
        ros_args = [word for remap in remaps for word in ("-r", remap)]
        command = [sys.executable, "-m", "mmcfusion_ros.cli", "play", str(self._bag), *self._options]
        self.process = subprocess.Popen(
            [*command, "--ros-args", *ros_args],
            cwd=REPOSITORY,
            env={**os.environ, "ROS_DOMAIN_ID": str(self.domain_id)},
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> str:
        """Until it ends by itself; what it said."""
        assert self.process
        self.rig.wait(lambda: self.process.poll() is not None)
        self.rig.spin(0.3)
        return self.process.communicate()[1]

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.rig.close()


@pytest.mark.parametrize("write", [write_bag, write_ros1_bag], ids=["rosbag2", "ROS 1"])
def test_every_message_comes_as_recorded_and_then_it_ends(write, tmp_path):
    bag = write(tmp_path / "drive.bag", drive(10))
    counts = tmp_path / "counts.json"
    with Player(bag, "--subscribers", "1", "--rate", "2", "--counts", str(counts)) as player:
        player.start()
        player.finish()
        assert player.process.returncode == 0
    assert [stamp_ns(m) for m in player.rgb] == [START + i * NS // 10 for i in range(10)]
    assert [stamp_ns(m) for m in player.thermal] == [START + i * NS // 10 - 4_000_000 for i in range(10)]
    assert [stamp_ns(m) for m in player.infos] == [stamp_ns(m) for m in player.rgb]
    assert player.thermal[3].encoding == "16UC1"
    np.testing.assert_array_equal(pixels_of(player.rgb[3]), rgb_pixels(3))
    assert player.clock == []
    assert json.loads(counts.read_text()) == {THERMAL: 10, RGB: 10, INFO: 10}


def test_restamped_images_are_of_now_and_keep_their_skew(tmp_path):
    with Player(
        write_bag(tmp_path / "drive", drive(8)), "--subscribers", "1", "--restamp", "--start", "0.25"
    ) as player:
        before = time.time_ns()
        player.start()
        player.finish()
    stamps = [stamp_ns(m) for m in player.rgb]
    assert len(stamps) == 5
    assert before < stamps[0] < time.time_ns()
    assert np.diff(stamps).tolist() == [NS // 10] * 4
    assert [stamp_ns(m) for m in player.thermal] == [stamp - 4_000_000 for stamp in stamps]


def test_looped_with_a_clock_until_it_is_interrupted(tmp_path):
    with Player(write_bag(tmp_path / "drive", drive(5)), "--subscribers", "1", "--loop", "--clock") as player:
        player.start()
        player.rig.wait(lambda: len(player.rgb) > 12)
        player.process.send_signal(signal.SIGINT)
        assert "Traceback" not in player.finish()
        assert player.process.returncode == 0
    once = [START + i * NS // 10 for i in range(5)]
    assert [stamp_ns(m) for m in player.rgb] == (once * 10)[: len(player.rgb)]
    assert min(player.clock) >= START - 4_000_000
    assert max(player.clock) <= START + 500_000_000
    falls = [i for i in range(1, len(player.clock)) if player.clock[i] < player.clock[i - 1]]
    assert len(falls) in (2, 3)  # at each new round
    assert len(player.clock) > 3 * len(player.rgb)  # also between the messages


def live_run(bag, parameters, rate):
    """What a live node fuses of a bag that is played to it, and what it drops, by reason."""
    with Player(bag, "--clock", "--subscribers", "2", "--rate", str(rate)) as player:
        live = {**parameters, "use_sim_time": True, "qos.input_reliability": "reliable", "qos.input_depth": 50}
        node = RunningNode(player.domain_id, player.namespace, live)
        try:
            player.rig.start()
            player.start()
            player.finish()
            player.rig.wait(lambda: player.rig.values().get("thermal_in") == "11" and quiet(player.rig))
            values = player.rig.values()
        finally:
            node.close()
    dropped = {name.removeprefix("dropped."): int(n) for name, n in values.items() if name.startswith("dropped.")}
    return player.rig.fused, dropped


def quiet(rig):
    """Whether everything that paired has been fused or dropped."""
    values = rig.values()
    return int(values["pairs"]) == int(values["fused"]) + int(values.get("dropped.superseded", 0)) == 11


def test_the_live_node_fuses_what_evaluate_bag_fuses(random_lite_graph, tmp_path):
    """The same pairs and the same pixels on a replay without loss."""
    lost = START + 5 * NS // 5 - 4_000_000
    messages = [m for m in drive(12, hz=5) if stamp_ns(m.message) != lost]
    bag = write_bag(tmp_path / "drive", messages)
    parameters = {"model": str(random_lite_graph), "threads": 1, "precision": "float32"}
    parameters |= {"warm_up_width": WIDTH, "warm_up_height": HEIGHT}
    values = load_values(None, [f"{name}={value}" for name, value in parameters.items()])
    result = evaluate_bag(bag, values, tmp_path / "out", BagOptions(metrics=False, report=False))
    with open(storage_file(tmp_path / "out/fused"), "rb") as file:
        offline = [
            read_message(message.data, schema.name)
            for schema, _, message in make_reader(file).iter_messages(topics=["/fused/image_raw"])
        ]
    for rate in (1, 0.5, 0.2):  # slower where the machine is so busy that the node leaves pairs out
        live, dropped = live_run(bag, parameters, rate)
        if "superseded" not in dropped:
            break
    assert [stamp_ns(m) for m in live] == [stamp_ns(m) for m in offline]
    assert len(offline) == 11
    for ours, theirs in zip(offline, live, strict=True):
        assert ours.data.tobytes() == bytes(theirs.data)
    assert dropped == result.summary["dropped"] == {"unpaired_rgb": 1}


def test_a_live_node_pairs_each_round_of_a_loop(random_lite_graph, tmp_path):
    """The clock goes back to the start of the bag; what the node still held then is dropped by name, the rest fused."""
    with Player(write_bag(tmp_path / "drive", drive(15)), "--clock", "--subscribers", "2", "--loop") as player:
        parameters = {"model": str(random_lite_graph), "threads": 1, "warm_up_width": WIDTH, "warm_up_height": HEIGHT}
        live = {**parameters, "use_sim_time": True, "qos.input_reliability": "reliable", "qos.input_depth": 50}
        node = RunningNode(player.domain_id, player.namespace, live)
        try:
            player.rig.start()
            player.start()
            second = START + NS // 10
            player.rig.wait(lambda: [stamp_ns(m) for m in player.rig.fused].count(second) == 3)
            player.process.send_signal(signal.SIGINT)
            player.finish()
        finally:
            node.close()
    stamps = [stamp_ns(m) for m in player.rig.fused]
    rounds = np.split(stamps, np.flatnonzero(np.diff(stamps) < 0) + 1)
    assert len(rounds) == 3
    assert all(set(np.diff(stamps) % (NS // 10)) == {0} for stamps in rounds)
    assert all(len(stamps) > 2 for stamps in rounds[:2])  # a busy node leaves some out


@pytest.mark.parametrize("little", [True, False])
def test_stamps_are_shifted_in_either_byte_order(little):
    layout = "<iI" if little else ">iI"
    data = bytes([0, little, 0, 0]) + struct.pack(layout, 10, 900_000_000) + b"rest"
    shifted = shift_stamp(data, 200_000_000)
    assert shifted == data[:4] + struct.pack(layout, 11, 100_000_000) + b"rest"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--rate", "0"], "rate is 0"),
        (["--clock", "--restamp"], "leave out one"),
        (["{folder}", "--clock"], "is no bag"),
        (["{folder}/none.mcap"], "none.mcap does not exist"),
    ],
)
def test_wrong_usage_is_named(options, word, tmp_path):
    bag = write_bag(tmp_path / "drive", drive(2))
    folder = tmp_path / "pairs"
    folder.mkdir()
    arguments = [option.format(folder=folder) for option in options]
    source = [] if "{folder}" in options[0] else [str(bag)]
    with pytest.raises(SystemExit) as ended:
        main(["play", *source, *arguments])
    assert word in ended.value.code


@pytest.mark.parametrize(("autostart", "status"), [("true", 0), ("false", 1)])
def test_waiting_for_an_active_node_ends_either_way(autostart, status):
    """As replay.launch.py waits."""
    with NodeProcess(f"-p autostart:={autostart}") as node:
        command = [sys.executable, "-m", "mmcfusion_ros.tools.wait_active", node.rig.full_name]
        environment = {**os.environ, "ROS_DOMAIN_ID": str(node.rig.context.get_domain_id())}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == status
    assert ("is unconfigured, not active" in done.stderr) == (status == 1)


def test_waiting_for_a_node_that_is_not_there_ends(monkeypatch):
    monkeypatch.setattr(wait_active, "ABSENT_S", 0.1)
    with pytest.raises(SystemExit, match="there is no lifecycle node /nobody; it ended"):
        wait_active.wait_until_active("/nobody")
