"""Stage times of every frame in Chrome's trace format, for https://ui.perfetto.dev or ``chrome://tracing``.

The format: "Trace Event Format", JSON array (Google). Its closing bracket is optional, so that the file of a process
that died can be read as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MAX_BYTES = 32_000_000
START = "[\n"
EVENT = '{"name":"'  # as every line begins
TICK_S = 1e-7


class FrameTrace:
    """Writes one line per frame. Beyond ``max_bytes`` the file becomes ``PATH.1``, over the one before, and a new one
    begins: twice that size is the most on disk. ``failed(text)`` is called once if it cannot be written later on.

    Raises ``OSError`` where the file cannot be written, ``ValueError`` for one that is there and is no trace, or
    that another node writes: a mistaken path must not cost anybody a file.
    """

    def __init__(self, path: str | Path, failed: Callable[[str], object], max_bytes: int = MAX_BYTES) -> None:
        self._path, self._failed, self._max_bytes = Path(path).expanduser(), failed, max_bytes
        self._second = self._path.with_name(f"{self._path.name}.1")
        self._check_old()
        self._open()

    def frame(self, moments: Mapping[str, float], **arguments: Any) -> None:
        """A frame, by the moments (``time.perf_counter``) when its stages ended, in order; the first is its start."""
        start_s, *ends_s = moments.values()
        events = [_slice("frame", start_s, ends_s[-1], args=arguments)]
        for stage, end_s in zip(list(moments)[1:], ends_s, strict=True):
            # A tick less than the frame: viewers calculate in floating point, and what sticks out is no part of it.
            end_s = max(start_s, min(end_s, ends_s[-1] - TICK_S))
            events.append(_slice(stage, start_s, end_s))
            start_s = end_s
        self._write(events)

    def dropped(self, at_s: float, reason: str, **arguments: Any) -> None:
        """A pair that was dropped at work."""
        self._write([_event(reason, "i", at_s, s="t", args=arguments)])

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def _check_old(self) -> None:
        for path in (self._path, self._second):
            if path.exists() and not (path.is_file() and (START + EVENT).encode().startswith(_head(path))):
                raise ValueError(f"trace_file {path} exists and is no trace; name another file")

    def _open(self) -> None:
        # O_NOFOLLOW: a link put in the file's place leads nowhere.
        try:
            number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            self._file = os.fdopen(number, "w")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two nodes would write into each other's lines
            self._file.truncate()
        except BlockingIOError:
            self._file.close()
            raise ValueError(f"trace_file {self._path} is written by another node; name another file") from None
        except OSError as error:
            raise OSError(f"trace_file {self._path} cannot be written: {error.strerror}") from error
        self._file.write(START)
        self._size = len(START)

    def _write(self, events: list[dict[str, Any]]) -> None:
        line = ", ".join(json.dumps(event, separators=(",", ":")) for event in events) + ",\n"
        if self._file.closed:
            return
        try:
            if self._size + len(line) > self._max_bytes:
                self._file.close()
                self._path.replace(self._second)
                self._open()
            self._file.write(line)
            self._file.flush()
            self._size += len(line)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.close()
            self._failed(f"the trace ends here: {error}")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(START + EVENT))


def _slice(name: str, start_s: float, end_s: float, **more: Any) -> dict[str, Any]:
    """Ends are rounded, not durations: slices of one thread must not overlap."""
    return _event(name, "X", start_s, dur=round(_us(end_s) - _us(start_s), 1), **more)


def _event(name: str, phase: str, at_s: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "ph": phase, "pid": os.getpid(), "tid": 1, "ts": _us(at_s), **more}


def _us(seconds: float) -> float:
    return round(seconds / TICK_S) / 10
