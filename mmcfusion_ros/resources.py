"""Files that ship with the package: weights in ``models/``, parameters and profiles in ``config/``."""

from __future__ import annotations

from pathlib import Path

PACKAGE = "mmcfusion_ros"


def package_file(relative: str | Path) -> Path:
    """The path of a shipped file, in a source checkout or under ``share/mmcfusion_ros`` of an installation.

    Raises ``FileNotFoundError`` naming the file if the installation lacks it.
    """
    here = Path(__file__).resolve()
    for folder in (here.parents[1], *(parent / "share" / PACKAGE for parent in here.parents)):
        if (folder / relative).exists():
            return folder / relative
    raise FileNotFoundError(f"{relative} does not belong to this installation of {PACKAGE} ({here.parent})")
