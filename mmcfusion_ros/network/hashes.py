"""SHA-256 of model files, held to the ``SHA256SUMS`` file beside them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

HASHES = "SHA256SUMS"


def sha256_of(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def read_hashes(folder: Path) -> dict[str, str]:
    """File name to hexadecimal SHA-256, as ``sha256sum`` writes them; empty if there is no list.

    Raises ``ValueError`` for a list with any other line.
    """
    file = folder / HASHES
    lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
    digests = {}
    for line in lines:
        match = re.fullmatch("([0-9a-f]{64}) [ *](.+)", line)
        if not match:
            raise ValueError(f"{file}: {line!r} is not a line of sha256sum; restore the file")
        digests[match[2]] = match[1]
    return digests


def write_hashes(folder: Path, names: list[str]) -> None:
    """Lists those files of the folder, beside what is listed already, so that ``sha256sum -c`` checks them too."""
    from mmcfusion_ros.files import write_file  # the node only reads

    digests = read_hashes(folder) | {name: sha256_of(folder / name) for name in names}
    write_file(folder / HASHES, "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)))


def verify_hash(path: Path) -> None:
    """``ValueError`` if the ``SHA256SUMS`` beside the file gives another hash for it; unlisted files pass."""
    listed = read_hashes(path.parent).get(path.name)
    if listed is not None and listed != (found := sha256_of(path)):
        raise ValueError(
            f"{path} is damaged or was replaced: its SHA-256 is {found[:12]}..., "
            f"{HASHES} beside it says {listed[:12]}...; restore the file"
        )
