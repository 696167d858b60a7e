"""The network in a thread of its own, so that nobody has to wait for it; created again after it failed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmcfusion_ros.fusion.backends import Backend
from mmcfusion_ros.fusion.errors import BackendGivenUp, FusionError, NetworkBusy, one_line

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0

Maker = Callable[[], tuple[Backend, str]]


@dataclass
class _Frame:
    """One that the thread is at, or has done. ``limit_s``: how long it is waited for."""

    fused: Future[Any]  # ``H x W`` uint8
    loading: str
    limit_s: float | None
    since_s: float = field(default_factory=time.monotonic)

    def words(self) -> str:
        return f"the network has been {self.loading or 'at one frame'} for {time.monotonic() - self.since_s:.1f} s"


class Network:
    """The ``Backend`` that the first of one or two ``makers`` gives (see ``create_backend``); the second is the
    fall-back. It works in a thread, at one frame at a time.

    Whatever the backend raises costs one frame (``FusionError``); it is then created again, after a pause of 0.1 s
    that doubles with each failure in a row, to 5 s at most. After ``attempts`` failures in a row the fall-back has its
    turn; after the last one every call raises ``BackendGivenUp``. Raises the first maker's error if none works to begin
    with. ``problem`` is the last failure in words; empty while the first maker's backend fuses.

    A caller waits until the frame at work has taken ``frame_limit_s``, or ``loading_limit_s`` where the network may be
    loaded or compiled first, for another size than the frame before (None: for ever). Then, and at once for every
    further frame until the thread is done, ``NetworkBusy`` is raised; what the thread brings so late is thrown away.
    ``pause`` ends all waiting until ``resume``.
    """

    def __init__(self, makers: Sequence[Maker], attempts: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._makers, self._attempts, self._clock_s = list(makers), attempts, clock_s
        self.frame_limit_s: float | None = None
        self.loading_limit_s: float | None = None
        self.problem = self._loss = ""
        self._failures = 0
        self._retry_s = 0.0
        self._backend: Backend | None = None
        self._fused_shape: tuple[int, ...] = ()  # of the frame before
        self._make_first()
        self._thread = ThreadPoolExecutor(1, "network")
        self._frame: _Frame | None = None
        self._paused: Future[Any] = Future()

    def __call__(self, thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """Two ``H x W`` uint8 images, not to be written to later, to the fused one."""
        if self._frame or self._paused.done():
            self._wait()
        height, width = thermal.shape
        if thermal.shape == self._fused_shape:
            loading, limit_s = "", self.frame_limit_s
        else:
            loading, limit_s = f"loading for {width}x{height}", self.loading_limit_s
        frame = self._frame = _Frame(self._thread.submit(self._fuse, thermal, luminance), loading, limit_s)
        try:
            self._wait()
            self._frame = None
            return frame.fused.result()
        finally:
            del frame  # its error refers to this function: together they would keep a failed network in memory

    @property
    def warning(self) -> str:
        """Of the backend at work."""
        backend = self._backend  # another thread may lose it meanwhile
        return backend.warning if backend else ""

    def pause(self) -> None:
        """Nobody waits from now on."""
        if not self._paused.done():
            self._paused.set_result(None)

    def resume(self) -> None:
        """Frames are taken again."""
        self._paused = Future()

    def close(self, timeout_s: float) -> None:
        """Ends the thread after the frame at work, for which this waits so long at most; it needs nobody any more."""
        self.pause()
        self._thread.shutdown(wait=False)
        if frame := self._frame:
            wait([frame.fused], timeout_s)

    def loading(self) -> str:
        """For which size it is being loaded or compiled, and for how long, in words; empty if it is not."""
        frame = self._frame
        return frame.words() if frame and frame.loading and not frame.fused.done() else ""

    def stuck(self, limit_s: float) -> str:
        """What it has been at for longer than that, a frame or the loading for one, in words; empty if it has not."""
        frame = self._frame
        at_work = frame is not None and not frame.fused.done()
        return frame.words() if frame and at_work and time.monotonic() - frame.since_s > limit_s else ""

    def _wait(self) -> None:
        """Until no frame is at work."""
        if frame := self._frame:
            left_s = None if frame.limit_s is None else max(0.0, frame.since_s + frame.limit_s - time.monotonic())
            wait([frame.fused, self._paused], left_s, FIRST_COMPLETED)
        if self._paused.done():
            raise NetworkBusy("the network has been told to pause")
        if frame and not frame.fused.done():
            raise NetworkBusy(frame.words())

    def _fuse(self, thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """In the thread."""
        if not self._makers:
            raise BackendGivenUp(self.problem)
        if (pause_s := self._retry_s - self._clock_s()) > 0:
            raise FusionError(f"the backend is created again in {pause_s:.1f} s, after: {self.problem}")
        try:
            fused = (self._backend or self._make_again())(thermal, luminance)
        except Exception as error:
            raise self._failed(error) from error
        self._failures, self.problem, self._fused_shape = 0, self._loss, thermal.shape
        return fused

    def _make_first(self) -> None:
        try:
            self._make()
        except Exception as error:
            if not self._makers[1:]:
                raise
            del self._makers[0]
            self.problem = self._loss = f"this is the fall-back backend: {one_line(error)}"
            try:
                self._make()
            except Exception:
                raise error from None

    def _make_again(self) -> Backend:
        gc.collect()  # the memory that the failed one held may be what the next one needs
        return self._make()

    def _make(self) -> Backend:
        self._backend, self.reason = self._makers[0]()
        self.name, self.device = self._backend.name, self._backend.device
        self.precision, self.variant = self._backend.precision, self._backend.variant
        self.thermal_polarity = self._backend.thermal_polarity
        return self._backend

    def _failed(self, error: Exception) -> FusionError:
        self._backend, self._fused_shape = None, ()
        self._failures += 1
        self.problem = f"{self.name}: {one_line(error)}"
        if self._failures >= self._attempts:
            del self._makers[0]
            self.problem = f"the backend failed {self._failures} times in a row: {self.problem}"
            if not self._makers:
                return BackendGivenUp(self.problem)
            self._failures, self._loss = 0, f"this is the fall-back backend: {self.problem}"
        pause_s = min(FIRST_PAUSE_S * 2.0 ** (self._failures - 1), LONGEST_PAUSE_S)
        self._retry_s = self._clock_s() + pause_s
        return FusionError(self.problem)
