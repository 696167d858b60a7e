"""The network's thread: who waits for it, for how long, and what becomes of results that nobody waits for any more."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from waiting import WAIT_S, wait_until

from mmcfusion_ros.fusion.errors import FusionError, NetworkBusy
from mmcfusion_ros.fusion.network import Network
from mmcfusion_ros.network.variants import get_variant


def image(value: int, size: int = 32) -> np.ndarray:
    return np.full((size, size), value, np.uint8)


class Gated:
    """A backend that gives its thermal image back once ``gate`` is open."""

    name, device, precision, variant = "gated", "CPU", "float32", get_variant("lite")
    thermal_polarity = "white_hot"
    warning = "it is but a fake"

    def __init__(self, gate: threading.Event, entered: threading.Event) -> None:
        self.gate, self.entered = gate, entered
        self.fault = ""
        self.frames: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, thermal, luminance):
        self.frames.append(int(thermal[0, 0]))
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        if self.fault:
            raise RuntimeError(self.fault)
        return thermal


class Setup:
    def __init__(self) -> None:
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.now_s = 0.0
        self.made: list[weakref.ref] = []
        self.network = Network([self._make], 3, lambda: self.now_s)

    def _make(self):
        backend = Gated(self.gate, self.entered)
        self.made.append(weakref.ref(backend))
        return backend, "as configured"

    @property
    def backend(self) -> Gated:
        backend = self.made[-1]()
        assert backend
        return backend

    def start(self, frame_limit_s: float = WAIT_S, loading_limit_s: float = WAIT_S) -> Network:
        self.network.frame_limit_s, self.network.loading_limit_s = frame_limit_s, loading_limit_s
        return self.network

    def stick(self, value: int) -> threading.Thread:
        """Closes the gate and has another thread wait for a frame."""
        self.gate.clear()
        self.entered.clear()
        caller = threading.Thread(target=self._call, args=(value,))
        caller.start()
        assert self.entered.wait(WAIT_S)
        return caller

    def _call(self, value: int) -> None:
        try:
            self.network(image(value), image(0))
        except NetworkBusy as error:
            self.refused = str(error)


@pytest.fixture
def setup():
    setup = Setup()
    yield setup
    setup.gate.set()
    if hasattr(setup, "network"):
        setup.network.close(WAIT_S)


def test_frames_are_fused_in_its_thread(setup):
    network = setup.start()
    assert [int(network(image(i), image(0))[0, 0]) for i in range(5)] == list(range(5))
    assert setup.backend.threads == {"network_0"}
    assert (network.name, network.device, network.precision, network.variant.name) == (
        ("gated", "CPU", "float32", "lite")
    )
    assert network.warning == "it is but a fake"
    assert (network.problem, network.loading(), network.stuck(0.0)) == ("", "", "")


def test_a_stuck_frame_is_given_up_after_its_limit_and_those_behind_it_at_once(setup):
    network = setup.start(frame_limit_s=1.0)
    network(image(0), image(0))
    setup.gate.clear()
    with pytest.raises(NetworkBusy, match=r"the network has been at one frame for [1-9]"):
        network(image(1), image(0))
    begin = time.thread_time()
    for _ in range(100):
        with pytest.raises(NetworkBusy):
            network(image(2), image(0))
    assert time.thread_time() - begin < 1
    assert network.stuck(1.0).startswith("the network has been at one frame for ")
    assert (network.stuck(WAIT_S), network.loading()) == ("", "")
    setup.gate.set()
    wait_until(lambda: not setup.network.stuck(0.0))
    assert network(image(3), image(0))[0, 0] == 3, "not the late result of frame 1"
    assert setup.backend.frames == [0, 1, 3]
    assert network.problem == ""


def test_a_new_size_has_its_own_limit(setup):
    setup.network(image(0), image(0))  # loaded, so that the short limit is for what follows
    network = setup.start(loading_limit_s=0.1)
    setup.gate.clear()
    with pytest.raises(NetworkBusy, match="loading for 64x64 for"):
        network(image(1, 64), image(0, 64))
    setup.gate.set()
    wait_until(lambda: not setup.network.stuck(0.0))
    assert network(image(2, 64), image(0, 64)).shape == (64, 64)


def test_a_size_from_before_has_the_limit_of_a_new_one(setup):
    """The backend may no longer hold it."""
    for size in (32, 64):
        setup.network(image(0, size), image(0, size))
    network = setup.start(loading_limit_s=0.1)
    assert network(image(1, 64), image(0, 64))[0, 0] == 1
    setup.gate.clear()
    with pytest.raises(NetworkBusy, match="loading for 32x32 for"):
        network(image(2), image(0))


def test_a_failed_backend_has_the_limit_of_a_new_one_and_its_memory_is_free_before(setup):
    setup.network(image(0), image(0))  # loaded, so that the short limit is for what follows
    network = setup.start(loading_limit_s=0.1)
    setup.backend.fault = "CUDA out of memory"
    gc.disable()
    try:
        with pytest.raises(FusionError, match="gated: CUDA out of memory"):
            network(image(1), image(0))
        assert setup.made[0]() is None, "an exception keeps it"
    finally:
        gc.enable()
    setup.gate.clear()
    setup.now_s = 1.0
    with pytest.raises(NetworkBusy, match="loading for 32x32 for"):
        network(image(2), image(0))
    assert network.problem == "gated: CUDA out of memory"
    assert network.loading().startswith("the network has been loading for 32x32 for ")
    assert network.stuck(0.0).startswith("the network has been loading for 32x32 for ")
    setup.gate.set()
    wait_until(lambda: not setup.network.stuck(0.0))
    assert network(image(3), image(0))[0, 0] == 3
    assert network.problem == ""


def test_a_pause_ends_all_waiting_and_after_it_the_next_frame_waits_for_the_one_at_work(setup):
    network = setup.start()
    network(image(0), image(0))
    caller = setup.stick(1)
    network.pause()
    caller.join(WAIT_S)
    assert setup.refused == "the network has been told to pause"
    with pytest.raises(NetworkBusy, match="told to pause"):
        network(image(2), image(0))
    network.resume()
    opener = threading.Timer(0.1, setup.gate.set)
    opener.start()
    assert network(image(3), image(0))[0, 0] == 3
    assert setup.backend.frames == [0, 1, 3], "never two at once"


def test_close_while_it_is_stuck(setup):
    setup.start()
    caller = setup.stick(1)
    setup.network.close(0.05)
    caller.join(WAIT_S)
    assert setup.network.stuck(0.0)
    del setup.network, caller
    gc.collect()
    assert setup.made[0]() is not None, "its thread is at it"
    setup.gate.set()
    wait_until(lambda: (gc.collect() and False) or setup.made[0]() is None)
