"""``PairFilter``: the pairing behind the interface of message_filters, with threads and failing callbacks."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmcfusion_ros.stream.pair_filter import PairFilter
from mmcfusion_ros.stream.pairing import Pair, PairingOptions

MS = 1_000_000
ROOT = Path(__file__).parents[1]
OPTIONS = PairingOptions(slop_ns=20 * MS, max_wait_ns=50 * MS, max_age_ns=500 * MS, queue_size=5)


class Camera:
    """What ``message_filters.Subscriber`` is to a synchronizer."""

    def __init__(self) -> None:
        self.callbacks: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def registerCallback(self, callback: Callable[..., object], *args: Any) -> int:
        self.callbacks.append((callback, args))
        return len(self.callbacks) - 1

    def publish(self, stamp_ms: int) -> None:
        for callback, args in self.callbacks:
            callback(message(stamp_ms), *args)


def message(stamp_ms: int) -> Any:
    stamp = SimpleNamespace(sec=100 + stamp_ms // 1000, nanosec=stamp_ms % 1000 * MS)
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp))


def stamp_ms(message: Any) -> int:
    return (message.header.stamp.sec - 100) * 1000 + message.header.stamp.nanosec // MS


class Rig:
    """A filter with two cameras and a clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.pairs: list[tuple[int, int]] = []
        self.thermal, self.rgb = Camera(), Camera()
        self.filter = PairFilter(
            OPTIONS, clock_ns=lambda: (100_000 + self.now_ms) * MS, steady_ns=lambda: self.now_ms * MS
        )
        self.filter.connectInput(self.thermal, self.rgb)

    def keep(self, thermal: Any, rgb: Any) -> None:
        self.pairs.append((stamp_ms(thermal), stamp_ms(rgb)))

    def both(self, stamp_ms: int) -> None:
        self.thermal.publish(stamp_ms)
        self.rgb.publish(stamp_ms)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_callbacks_get_the_messages_their_arguments_and_the_pair(rig: Rig) -> None:
    got: list[Any] = []
    assert rig.filter.registerCallback(lambda *args: got.append(args), "a", 2) == 0
    assert rig.filter.registerPairCallback(got.append) == 1
    rig.rgb.publish(1990)
    rig.thermal.publish(2000)
    rig.now_ms = 50
    rig.filter.poll()
    (thermal, rgb, *args), pair = got
    assert (stamp_ms(thermal), stamp_ms(rgb), args) == (2000, 1990, ["a", 2])
    assert pair == Pair(thermal, rgb, 102_000 * MS, 101_990 * MS, -10 * MS)


def test_poll_is_due_at_the_deadline(rig: Rig) -> None:
    rig.filter.registerCallback(rig.keep)
    assert rig.filter.next_deadline_ns() is None
    rig.thermal.publish(0)
    assert rig.filter.next_deadline_ns() == 500 * MS
    rig.now_ms = 10
    rig.rgb.publish(5)
    assert rig.filter.next_deadline_ns() == 60 * MS
    rig.now_ms = 59
    rig.filter.poll()
    assert rig.pairs == []
    rig.now_ms = 60
    rig.filter.poll()
    assert rig.pairs == [(0, 5)]
    assert rig.filter.last_arrival_ns == {"thermal": 0, "rgb": 10 * MS}


def test_age_is_judged_by_the_clock_of_the_stamps(rig: Rig) -> None:
    rig.now_ms = 501
    rig.thermal.publish(0)
    rig.thermal.publish(1)
    assert rig.filter.drops == {"stale_thermal": 1}


def test_a_callback_may_add_frames_and_ask_for_anything(rig: Rig) -> None:
    """In message_filters the callback runs inside the lock."""

    def callback(thermal: Any, rgb: Any) -> None:
        rig.keep(thermal, rgb)
        if len(rig.pairs) < 4:
            rig.both(stamp_ms(thermal) + 30)
            rig.filter.poll()
            assert not rig.filter.drops
            assert rig.filter.next_deadline_ns() is None
        order.append(stamp_ms(thermal))

    order: list[int] = []
    rig.filter.registerCallback(callback)
    rig.both(0)
    assert rig.pairs == [(0, 0), (30, 30), (60, 60), (90, 90)]
    assert order == [0, 30, 60, 90]  # one after the other, not one inside the other


def test_another_thread_may_add_while_a_callback_runs(rig: Rig) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def callback(thermal: Any, rgb: Any) -> None:
        inside.set()
        assert go_on.wait(10)
        rig.keep(thermal, rgb)

    rig.filter.registerCallback(callback)
    slow = threading.Thread(target=rig.both, args=(0,))
    slow.start()
    assert inside.wait(10)
    for stamp in (30, 60):
        rig.both(stamp)  # would hang here
    assert rig.pairs == []
    go_on.set()
    slow.join(10)
    assert not slow.is_alive()
    assert rig.pairs == [(0, 0), (30, 30), (60, 60)]


def test_pairs_that_a_slow_callback_leaves_lying_are_bounded_and_counted(rig: Rig) -> None:
    def callback(thermal: Any, rgb: Any) -> None:
        rig.keep(thermal, rgb)
        if len(rig.pairs) == 1:
            for i in range(1, 9):
                rig.both(i * 30)

    rig.filter.registerCallback(callback)
    rig.both(0)
    assert rig.pairs == [(0, 0), *((i * 30, i * 30) for i in range(4, 9))]
    assert rig.filter.drops == {"overflow_thermal": 3, "overflow_rgb": 3}


def test_an_exception_in_a_callback_reaches_the_caller_and_nothing_else(rig: Rig) -> None:
    """One of these blocks message_filters for ever."""

    def callback(thermal: Any, rgb: Any) -> None:
        rig.keep(thermal, rgb)
        if len(rig.pairs) % 2:
            raise RuntimeError(f"pair {len(rig.pairs)}")

    rig.filter.registerCallback(callback)
    for i in range(6):
        rig.thermal.publish(i * 30)
        if i % 2:
            rig.rgb.publish(i * 30)
        else:
            with pytest.raises(RuntimeError, match=f"pair {i + 1}"):
                rig.rgb.publish(i * 30)
    assert rig.pairs == [(i * 30, i * 30) for i in range(6)]
    assert not rig.filter.drops


def test_pairs_behind_one_that_failed_come_with_the_next_call(rig: Rig) -> None:
    def callback(thermal: Any, rgb: Any) -> None:
        rig.keep(thermal, rgb)
        if len(rig.pairs) == 1:
            rig.both(30)
            raise RuntimeError("first")

    rig.filter.registerCallback(callback)
    rig.thermal.publish(0)
    with pytest.raises(RuntimeError, match="first"):
        rig.rgb.publish(0)
    rig.filter.poll()
    assert rig.pairs == [(0, 0), (30, 30)]


def test_many_threads_lose_nothing_and_keep_the_order(rig: Rig) -> None:
    rig.filter.registerCallback(rig.keep)
    stop, turns = threading.Event(), threading.Semaphore(4)

    def publish(camera: Camera, other_turn: threading.Semaphore, my_turn: threading.Semaphore) -> None:
        for i in range(2000):
            assert my_turn.acquire(timeout=10)
            camera.publish(i)
            other_turn.release()

    def poll() -> None:
        while not stop.is_set():
            rig.filter.poll()
            assert set(rig.filter.drops) <= {"overflow_thermal", "overflow_rgb"}

    back = threading.Semaphore(4)
    cameras = [
        threading.Thread(target=publish, args=(rig.thermal, turns, back)),
        threading.Thread(target=publish, args=(rig.rgb, back, turns)),
    ]
    poller = threading.Thread(target=poll)
    for thread in (*cameras, poller):
        thread.start()
    for thread in cameras:
        thread.join(60)
    stop.set()
    poller.join(10)
    rig.filter.poll()
    assert all(a < b for a, b in zip(rig.pairs, rig.pairs[1:], strict=False))
    assert all(thermal == rgb for thermal, rgb in rig.pairs)
    assert 2 * len(rig.pairs) + sum(rig.filter.drops.values()) == 4000


def test_importing_the_pairing_imports_nothing_of_ros() -> None:
    code = (
        "import sys, mmcfusion_ros.stream.pairing; "
        "print([m for m in sys.modules if m.partition('.')[0] in ('rclpy', 'message_filters', 'sensor_msgs')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
