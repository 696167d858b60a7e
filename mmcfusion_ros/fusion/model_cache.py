"""The folder of compiled networks: private to the user, and its entries checked before OpenVINO reads them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mmcfusion_ros.network.hashes import HASHES, read_hashes, sha256_of

MAX_BYTES = 128 * 2**20  # all of it is read at every start
PATIENCE_S = 10.0
LOCK = ".lock"


def open_cache() -> Path:
    """The folder of the cache, with only entries as ``seal_cache`` left them.

    What is damaged, unknown or not a file of this user is removed: OpenVINO makes it anew. Raises ``OSError`` if the
    folder cannot be made, belongs to another user, or is still being filled after ``PATIENCE_S``.
    """
    folder = _place()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if {folder.stat().st_uid, folder.lstat().st_uid} != {os.getuid()}:  # of a link: where it leads to, and itself
        raise PermissionError(f"cache folder {folder} belongs to another user; set XDG_CACHE_HOME to one of your own")
    folder.chmod(0o700)
    with _lock(folder) as lock:
        _wait_for(lock)
        _clean(folder)
    return folder


def _place() -> Path:
    """``$XDG_CACHE_HOME/mmcfusion_ros``; of a user without a home, as in a container, one for temporary files."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmcfusion_ros"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"mmcfusion_ros-{os.getuid()}"


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[int]:
    """The open lock file; whatever lies under its name, as a FIFO, does not hold up its opening."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield lock
    finally:
        os.close(lock)


def _wait_for(lock: int) -> None:
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
                fcntl.flock(stack.enter_context(_lock(folder)), fcntl.LOCK_SH)
        yield


def _clean(folder: Path) -> None:
    known = _known(folder)
    for entry in folder.iterdir():
        if entry.name in (HASHES, LOCK):
            continue
        if not _is_own_file(entry) or known.get(entry.name) != sha256_of(entry):
            with contextlib.suppress(OSError):
                entry.unlink()


def seal_cache(folder: Path) -> None:
    """Lists the hashes of the newest entries, ``MAX_BYTES`` of them, and removes the others. Those that are not listed
    are removed by the next start: raises ``OSError`` if the list cannot be written, as on a full disk."""
    known, lines, total = _known(folder), [], 0
    written = entries(folder)
    for name in sorted(written, key=lambda name: written[name], reverse=True):
        total += (folder / name).stat().st_size
        if total > MAX_BYTES:
            (folder / name).unlink(missing_ok=True)
        else:
            lines.append(f"{known.get(name) or sha256_of(folder / name)}  {name}\n")
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
