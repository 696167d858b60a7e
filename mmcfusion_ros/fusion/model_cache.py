"""The folder of compiled networks: private to the user, and its entries checked before OpenVINO reads them."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from mmcfusion_ros.network.hashes import HASHES, read_hashes, sha256_of

MAX_ENTRIES = 32


def open_cache() -> Path:
    """``$XDG_CACHE_HOME/mmcfusion_ros``, with only entries as ``seal_cache`` left them, the newest ``MAX_ENTRIES``.

    What is damaged, unknown or not a file of this user is removed: OpenVINO makes it anew. Raises ``OSError`` if the
    folder cannot be made or belongs to another user.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmcfusion_ros"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"cache folder {folder} belongs to another user; set XDG_CACHE_HOME to one of your own")
    folder.chmod(0o700)
    try:
        known = read_hashes(folder)
    except ValueError:
        known = {}
    entries = [entry for entry in folder.iterdir() if entry.name != HASHES]
    entries.sort(key=lambda entry: entry.lstat().st_mtime, reverse=True)
    for position, entry in enumerate(entries):
        if position >= MAX_ENTRIES or not _is_own_file(entry) or known.get(entry.name) != sha256_of(entry):
            with contextlib.suppress(OSError):
                entry.unlink()
    return folder


def seal_cache(folder: Path) -> None:
    """Lists the hashes of the entries. Those that are not listed, as on a full disk, are removed by the next start."""
    with contextlib.suppress(OSError, ValueError):
        names = [entry.name for entry in folder.iterdir() if entry.suffix == ".blob" and _is_own_file(entry)]
        known = read_hashes(folder)
        lines = [f"{known.get(name) or sha256_of(folder / name)}  {name}\n" for name in sorted(names)]
        temporary = folder / f".{HASHES}.{os.getpid()}"
        temporary.write_text("".join(lines))
        temporary.replace(folder / HASHES)


def _is_own_file(entry: Path) -> bool:
    status = entry.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
