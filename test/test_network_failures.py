"""Failures of a backend, its pauses, its successor: with a backend that fails when it is told to."""

from __future__ import annotations

import re
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from mmcfusion_ros.fusion.errors import BackendError, BackendGivenUp, FusionError
from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.fusion.network import Network
from mmcfusion_ros.network.variants import get_variant

IMAGE = np.full((32, 32), 7, np.uint8)


class Machine:
    """Makes backends by name; ``fault`` is what they raise."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.broken: set[str] = set()
        self.made: list[str] = []
        self.alive: list[weakref.ref] = []
        self.now_s = 0.0

    def maker(self, name: str):
        def make():
            if name in self.broken:
                raise BackendError(f"no {name} here")
            gone = [backend() is None for backend in self.alive]
            assert all(gone), "the memory of the failed one is needed"
            self.made.append(name)
            backend = FailingBackend(self, name)
            self.alive.append(weakref.ref(backend))
            return backend, f"chosen: {name}"

        return make

    def supervise(self, *names: str, attempts: int = 3) -> Network:
        return Network([self.maker(name) for name in names], attempts, lambda: self.now_s)


class FailingBackend:
    device, precision, variant = "CPU", "float32", get_variant("lite")
    thermal_polarity = "white_hot"

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine, self.name = machine, name

    def __call__(self, thermal, luminance):
        if self._machine.fault and self.name == "first":
            raise type(self._machine.fault)(*self._machine.fault.args)
        return thermal


@pytest.fixture
def machine():
    return Machine()


def fails(backend, error=FusionError, text="first: "):
    with pytest.raises(error, match=re.escape(text)) as caught:
        backend(IMAGE, IMAGE)
    return caught.value


@pytest.mark.parametrize(
    "fault", [RuntimeError("CUDA out of memory"), MemoryError(), ValueError("odd"), FusionError("NaN")]
)
def test_whatever_is_raised_costs_one_frame_and_the_backend_is_made_anew(machine, fault):
    backend = machine.supervise("first")
    machine.fault = fault
    assert str(fails(backend)) == backend.problem == f"first: {str(fault) or repr(fault)}"
    machine.fault, machine.now_s = None, 0.1
    assert (backend(IMAGE, IMAGE) == IMAGE).all()
    assert (machine.made, backend.problem) == (["first", "first"], "")


def test_pauses_double_and_the_last_failure_is_the_end(machine):
    backend = machine.supervise("first", attempts=4)
    machine.fault = RuntimeError("out of memory")
    for pause_s in (0.1, 0.2, 0.4):
        fails(backend, text="first: out of memory")
        machine.now_s += pause_s * 0.9
        made = len(machine.made)
        fails(backend, text="the backend is created again in")
        assert len(machine.made) == made
        machine.now_s += pause_s * 0.1 + 1e-6
    for _ in range(2):
        assert str(fails(backend, BackendGivenUp)) == "the backend failed 4 times in a row: first: out of memory"
    assert machine.made == ["first"] * 4


def test_a_backend_that_cannot_be_made_anew_counts_as_a_failure(machine):
    backend = machine.supervise("first", attempts=2)
    machine.fault = RuntimeError("the driver is gone")
    fails(backend)
    machine.broken, machine.now_s = {"first"}, 1.0
    fails(backend, BackendGivenUp, "2 times in a row: first: no first here")


def test_a_success_between_failures_begins_anew(machine):
    backend = machine.supervise("first", attempts=2)
    for _ in range(5):
        machine.fault = RuntimeError("now and then")
        fails(backend, text="now and then")
        machine.fault = None
        machine.now_s += 1
        backend(IMAGE, IMAGE)


def test_the_fall_back_takes_over_and_says_so(machine):
    backend = machine.supervise("first", "second", attempts=1)
    machine.fault = RuntimeError("lost")
    fails(backend)
    machine.now_s = 1.0
    assert (backend(IMAGE, IMAGE) == IMAGE).all()
    assert (backend.name, backend.reason) == ("second", "chosen: second")
    assert backend.problem == "this is the fall-back backend: the backend failed 1 times in a row: first: lost"


def test_the_fall_back_from_the_start(machine):
    machine.broken = {"first"}
    backend = machine.supervise("first", "second")
    assert (backend.name, backend.problem) == ("second", "this is the fall-back backend: no first here")
    with pytest.raises(BackendError, match="no first here"):
        machine.supervise("first")
    machine.broken.add("second")
    with pytest.raises(BackendError, match="no first here"):
        machine.supervise("first", "second")


def test_a_wrong_image_is_not_the_backends_fault(machine):
    fuser = Fuser(machine.supervise("first"), "as configured")
    with pytest.raises(ValueError, match="must have one shape"):
        fuser(IMAGE, np.zeros((40, 40), np.uint8))
    assert machine.made == ["first"]


def test_the_default_clock_ends_a_pause(machine):
    backend = Network([machine.maker("first")], 3)
    machine.fault = RuntimeError("once")
    fails(backend)
    machine.fault = None
    waiting = SimpleNamespace(done=False)
    while not waiting.done:
        try:
            backend(IMAGE, IMAGE)
            waiting.done = True
        except FusionError as error:
            assert "created again in" in str(error)  # noqa: PT017
