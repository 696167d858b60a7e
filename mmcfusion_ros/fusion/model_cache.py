"""The folder of compiled networks: private to the user, and its entries checked before OpenVINO reads them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mmcfusion_ros.network.hashes import HASHES, read_hashes, sha256_of

MAX_BYTES = 512 * 2**20  # all of it is read at every start
PATIENCE_S = 10.0
LOCK = ".lock"


def open_cache() -> Path:
    """``$XDG_CACHE_HOME/mmcfusion_ros``, with only entries as ``seal_cache`` left them, the newest ``MAX_BYTES``.

    What is damaged, unknown or not a file of this user is removed: OpenVINO makes it anew. Raises ``OSError`` if the
    folder cannot be made, belongs to another user, or is still being filled after ``PATIENCE_S``.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmcfusion_ros"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"cache folder {folder} belongs to another user; set XDG_CACHE_HOME to one of your own")
    folder.chmod(0o700)
    with open(folder / LOCK, "w") as lock:
        _wait_for(lock)
        _clean(folder)
    return folder


def _wait_for(lock: TextIO) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(0.02)


@contextlib.contextmanager
def filling_cache(folder: Path | None) -> Iterator[None]:
    """While OpenVINO may write entries: ``open_cache`` waits, in this process and in others."""
    with contextlib.ExitStack() as stack:
        if folder:
            with contextlib.suppress(OSError):
                fcntl.flock(stack.enter_context(open(folder / LOCK, "w")), fcntl.LOCK_SH)
        yield


def _clean(folder: Path) -> None:
    known = _known(folder)
    found = [entry for entry in folder.iterdir() if entry.name not in (HASHES, LOCK)]
    found.sort(key=lambda entry: entry.lstat().st_mtime, reverse=True)
    total = 0
    for entry in found:
        total += entry.lstat().st_size
        if total > MAX_BYTES or not _is_own_file(entry) or known.get(entry.name) != sha256_of(entry):
            with contextlib.suppress(OSError):
                entry.unlink()


def seal_cache(folder: Path) -> None:
    """Lists the hashes of the entries. Those that are not listed are removed by the next start: raises ``OSError`` if
    the list cannot be written, as on a full disk."""
    known = _known(folder)
    lines = [f"{known.get(name) or sha256_of(folder / name)}  {name}\n" for name in sorted(entries(folder))]
    temporary = folder / f".{HASHES}.{os.getpid()}"
    temporary.write_text("".join(lines))
    temporary.replace(folder / HASHES)


def entries(folder: Path) -> dict[str, int]:
    """The compiled networks in it, by name, and when they were written, in ns; none if the folder is gone."""
    blobs = [entry for entry in folder.glob("*.blob") if _is_own_file(entry)]
    return {blob.name: blob.stat().st_mtime_ns for blob in blobs}


def _known(folder: Path) -> dict[str, str]:
    try:
        return read_hashes(folder)
    except ValueError:
        return {}


def _is_own_file(entry: Path) -> bool:
    status = entry.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
