"""The worker thread on a real ``PairFilter``: newest pair, deadlines, ends."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from mmcfusion_ros.stream.pair_filter import PairFilter
from waiting import WAIT_S, wait_until

from mmcfusion_ros.ros.worker import LoneFrame, NewestPairWorker
from mmcfusion_ros.stream.pairing import Pair, PairingOptions

MS = 1_000_000


class Setup:
    """A worker whose ``process`` stands still while ``gate`` is closed."""

    def __init__(self, max_wait_ms: int = 0, max_age_ms: int = 0) -> None:
        options = PairingOptions(
            slop_ns=5 * MS, max_wait_ns=max_wait_ms * MS, max_age_ns=max_age_ms * MS, queue_size=10
        )
        self.filter = PairFilter(options, clock_ns=lambda: 0)
        self.gate, self.entered = threading.Event(), threading.Event()
        self.done: list[int] = []
        self.superseded: list[int] = []
        self.threads: set[str] = set()
        self.gate.set()
        self.worker = NewestPairWorker(
            self.filter, self._process, lambda pair: self.superseded.append(pair.rgb_stamp_ns // MS)
        )

    def _process(self, pair: Pair[Any]) -> None:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        self.threads.add(threading.current_thread().name)
        self.done.append(pair.rgb_stamp_ns // MS)

    def publish(self, *stamps_ms: int, stream: str = "both") -> None:
        for stamp_ms in stamps_ms:
            stamp = SimpleNamespace(sec=0, nanosec=stamp_ms * MS)
            message = SimpleNamespace(header=SimpleNamespace(stamp=stamp))
            for name in ("thermal", "rgb") if stream == "both" else (stream,):
                self.filter.add(message, name)
                self.worker.wake()


@pytest.fixture
def setup():
    setup = Setup()
    yield setup
    setup.gate.set()
    assert setup.worker.stop(WAIT_S)


def test_every_pair_is_processed_in_one_thread_if_there_is_time(setup):
    setup.worker.start()
    for stamp in (10, 20, 30):
        setup.publish(stamp)
        wait_until(lambda stamp=stamp: stamp in setup.done)
    assert setup.done == [10, 20, 30]
    assert setup.superseded == []
    assert setup.threads == {"fusion"}


def test_the_newest_pair_wins_and_the_others_are_superseded(setup):
    setup.gate.clear()
    setup.worker.start()
    setup.publish(10)
    assert setup.entered.wait(WAIT_S)
    setup.publish(20, 30, 40)
    assert setup.superseded == [20, 30]
    setup.gate.set()
    wait_until(lambda: 40 in setup.done)
    assert setup.done == [10, 40]


def test_a_lone_frame_of_one_camera_does_not_replace_that_of_the_other():
    """A camera that failed is looked at alone: it must not wait for ever behind one that sends right after it."""
    done, superseded = [], []
    options = PairingOptions(slop_ns=5 * MS, max_wait_ns=0, max_age_ns=0, queue_size=10)
    worker = NewestPairWorker(PairFilter(options, clock_ns=lambda: 0), done.append, superseded.append)
    frames = [LoneFrame(stream, message, 0) for message in (1, 2) for stream in ("thermal", "rgb")]
    for frame in frames:
        worker.put(frame)
    assert superseded == frames[:2]
    worker.start()
    wait_until(lambda: done == frames[2:])
    assert worker.stop(WAIT_S)


def test_pairs_from_before_the_start_are_not_lost(setup):
    setup.publish(10, 20)
    setup.worker.start()
    wait_until(lambda: setup.done)
    assert (setup.done, setup.superseded) == ([20], [10])


def test_a_wait_ends_without_another_message():
    setup = Setup(max_wait_ms=50)
    setup.worker.start()
    setup.publish(10, stream="rgb")
    setup.publish(12, stream="thermal")
    wait_until(lambda: setup.done)
    assert setup.done == [10]
    assert setup.worker.stop(WAIT_S)


def test_a_frame_without_a_partner_is_dropped_without_another_message():
    setup = Setup(max_age_ms=50)
    setup.worker.start()
    setup.publish(10, stream="rgb")
    wait_until(lambda: setup.filter.drops == {"unpaired_rgb": 1})
    assert setup.worker.stop(WAIT_S)
    assert setup.done == []


def test_a_wait_that_is_over_while_a_pair_is_at_work_ends_right_after_it():
    setup = Setup(max_wait_ms=20)
    setup.gate.clear()
    setup.worker.start()
    setup.publish(10)
    assert setup.entered.wait(WAIT_S)
    setup.publish(30)
    time.sleep(0.05)
    setup.gate.set()
    wait_until(lambda: setup.done == [10, 30])
    assert setup.worker.stop(WAIT_S)


def test_stop_before_the_start_and_twice(setup):
    assert setup.worker.stop(0)
    assert setup.worker.stop(0)
    setup.publish(10)
    assert setup.done == []


def test_stop_before_any_work(setup):
    setup.worker.start()
    assert setup.worker.stop(WAIT_S)
    setup.publish(10)
    assert setup.done == []


def test_stop_waits_for_the_pair_at_work_and_leaves_the_one_behind_it(setup):
    setup.gate.clear()
    setup.worker.start()
    setup.publish(10)
    assert setup.entered.wait(WAIT_S)
    setup.publish(20)
    assert not setup.worker.stop(0.05)
    threading.Timer(0.1, setup.gate.set).start()
    assert setup.worker.stop()
    assert setup.done == [10]


def test_many_messages_from_another_thread(setup):
    """Every pair is processed or superseded, in order, whatever the timing."""
    setup.worker.start()
    publisher = threading.Thread(target=setup.publish, args=range(10, 900))
    publisher.start()
    publisher.join(WAIT_S)
    wait_until(lambda: 899 in setup.done)
    assert setup.done == sorted(setup.done)
    assert sorted(setup.done + setup.superseded) == list(range(10, 900))
