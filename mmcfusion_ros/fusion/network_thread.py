"""The network in a thread of its own, so that nobody has to wait for it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np

from mmcfusion_ros.fusion.errors import NetworkBusy
from mmcfusion_ros.fusion.supervised_backend import SupervisedBackend
from mmcfusion_ros.network.variants import Variant

AT_ONE_FRAME = "at one frame"


@dataclass(frozen=True)
class _Job:
    thermal: np.ndarray
    luminance: np.ndarray
    work: str
    since_s: float
    limit_s: float


class NetworkThread:
    """A ``Backend`` that has another one work in its thread, at one frame at a time.

    A caller waits until the frame at work has taken ``frame_limit_s``, or ``loading_limit_s`` where the network must be
    loaded or compiled for it first. Then ``NetworkBusy`` is raised, and at once for every further frame, until the
    thread is done; what it brings so late is thrown away. ``pause`` ends all waiting until ``resume``.
    """

    def __init__(self, backend: SupervisedBackend, frame_limit_s: float, loading_limit_s: float) -> None:
        self._backend = backend
        self._frame_limit_s, self._loading_limit_s = frame_limit_s, loading_limit_s
        self._condition = threading.Condition()
        self._job: _Job | None = None
        self._result: np.ndarray | Exception | None = None
        self._paused = self._closed = False
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """Of the backend that works now, as are the reason, the device, the precision, the variant and the polarity."""
        return self._backend.name

    @property
    def reason(self) -> str:
        """Why it was chosen, in words."""
        return self._backend.reason

    @property
    def device(self) -> str:
        return self._backend.device

    @property
    def precision(self) -> str:
        return self._backend.precision

    @property
    def warning(self) -> str:
        return self._backend.warning

    @property
    def variant(self) -> Variant:
        return self._backend.variant

    @property
    def thermal_polarity(self) -> str:
        return self._backend.thermal_polarity

    def __call__(self, thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """Two ``H x W`` uint8 images, not to be written to later, to the fused one."""
        height, width = thermal.shape
        with self._condition:
            self._wait()
            if self.is_ready(thermal.shape):
                work, limit_s = AT_ONE_FRAME, self._frame_limit_s
            else:
                work, limit_s = f"loading for {width}x{height}", self._loading_limit_s
            self._result = None  # of a frame that nobody waited for
            self._job = _Job(thermal, luminance, work, time.monotonic(), limit_s)
            self._condition.notify_all()
            self._wait()
            result, self._result = self._result, None
        if isinstance(result, np.ndarray):
            return result
        assert result is not None
        try:
            raise result
        finally:
            del result  # its traceback refers to this frame: together they would keep a failed network in memory

    def is_ready(self, shape: tuple[int, ...]) -> bool:
        return self._backend.is_ready(shape)

    def pause(self) -> None:
        """Nobody waits from now on."""
        with self._condition:
            self._paused = True
            self._condition.notify_all()

    def resume(self) -> None:
        """Frames are taken again."""
        with self._condition:
            self._paused = False

    def close(self, timeout_s: float) -> None:
        """Ends the thread after the frame at work, for which this waits so long at most; it needs nobody any more."""
        with self._condition:
            self._paused = self._closed = True
            self._condition.notify_all()
        self._thread.join(timeout_s)

    def problem(self) -> str:
        """What went wrong with the network, in words; empty while it fuses as configured."""
        return self._backend.problem

    def loading(self) -> str:
        """For which size it is being loaded or compiled, and for how long, in words; empty if it is not."""
        job = self._job
        return _words(job) if job and job.work != AT_ONE_FRAME else ""

    def stuck(self, limit_s: float) -> str:
        """What it has been at for longer than that, a frame or the loading for one, in words; empty if it has not."""
        job = self._job
        return _words(job) if job and time.monotonic() - job.since_s > limit_s else ""

    def _wait(self) -> None:
        """Until no frame is at work; needs the lock."""
        if job := self._job:
            left_s = job.since_s + job.limit_s - time.monotonic()
            self._condition.wait_for(lambda: self._paused or self._job is not job, max(0.0, left_s))
        if self._paused:
            raise NetworkBusy("the network has been told to pause")
        if job and self._job is job:
            raise NetworkBusy(_words(job))

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._job or self._closed)
                job = self._job
            if job is None:
                return
            result: np.ndarray | Exception
            try:
                result = self._backend(job.thermal, job.luminance)
            except Exception as error:
                result = error
            with self._condition:
                self._result, self._job = result, None
                self._condition.notify_all()
            del result, job


def _words(job: _Job) -> str:
    return f"the network has been {job.work} for {time.monotonic() - job.since_s:.1f} s"
