"""A backend that is made anew after it failed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence

import numpy as np

from mmcfusion_ros.fusion.backends import Backend
from mmcfusion_ros.fusion.errors import BackendGivenUp, FusionError, one_line

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0

Maker = Callable[[], tuple[Backend, str]]


class SupervisedBackend:
    """The backend that the first of one or two ``makers`` gives (see ``create_backend``); the second is the fall-back.

    Whatever it raises costs one frame (``FusionError``); it is then made anew, after a pause of 0.1 s that doubles
    with each failure in a row, to 5 s at most. After ``attempts`` failures in a row the fall-back has its turn; after
    the last one every call raises ``BackendGivenUp``. Raises the first maker's error if none works to begin with.
    ``problem`` is the last failure in words; empty while the first maker's backend fuses.
    """

    def __init__(self, makers: Sequence[Maker], attempts: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._makers, self._attempts, self._clock_s = list(makers), attempts, clock_s
        self.problem = self._loss = ""
        self.failures = 0
        self._retry_s = 0.0
        self._backend: Backend | None = None
        self._make_first()

    def __call__(self, thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """Two ``H x W`` uint8 images to the fused one."""
        if not self._makers:
            raise BackendGivenUp(self.problem)
        if (pause_s := self._retry_s - self._clock_s()) > 0:
            raise FusionError(f"the backend is made anew in {pause_s:.1f} s, after: {self.problem}")
        try:
            backend = self._backend or self._make_anew()
            fused = backend(thermal, luminance)
        except Exception as error:
            raise self._failed(error) from error
        self.failures, self.problem = 0, self._loss
        return fused

    @property
    def warning(self) -> str:
        """Of the backend at work."""
        backend = self._backend  # another thread may lose it meanwhile
        return backend.warning if backend else ""

    def is_ready(self, shape: tuple[int, ...]) -> bool:
        """Whether nothing needs to be made, loaded or compiled for images of this shape."""
        backend = self._backend
        return backend is not None and backend.is_ready(shape)

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

    def _make_anew(self) -> Backend:
        """The memory that the failed one held may be what the next one needs."""
        gc.collect()
        return self._make()

    def _make(self) -> Backend:
        self._backend, self.reason = self._makers[0]()
        self.name, self.device = self._backend.name, self._backend.device
        self.precision, self.variant = self._backend.precision, self._backend.variant
        self.thermal_polarity = self._backend.thermal_polarity
        return self._backend

    def _failed(self, error: Exception) -> FusionError:
        self._backend = None
        self.failures += 1
        self.problem = f"{self.name}: {one_line(error)}"
        if self.failures >= self._attempts:
            del self._makers[0]
            self.problem = f"the backend failed {self.failures} times in a row: {self.problem}"
            if not self._makers:
                return BackendGivenUp(self.problem)
            self.failures, self._loss = 0, f"this is the fall-back backend: {self.problem}"
        pause_s = min(FIRST_PAUSE_S * 2.0 ** (self.failures - 1), LONGEST_PAUSE_S)
        self._retry_s = self._clock_s() + pause_s
        return FusionError(self.problem)
