"""Writes docs/dependencies.md: every package of the lock files with its licence. Run it where they are installed."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 60
IN_THEIR_FILES = {"ros-fastcdr": "Apache-2.0", "ros-fastdds": "Apache-2.0", "setuptools": "MIT"}  # metadata are silent


def pins(lock: Path) -> dict[str, str]:
    """Name to version."""
    return dict(re.findall(r"^([\w.-]+)==([^ \\\n;]+)", lock.read_text(), re.MULTILINE))


def licence(name: str) -> str:
    """What the package's metadata say: an SPDX expression, else the classifiers, else the first line of the text."""
    try:
        fields: Any = metadata(name)
    except PackageNotFoundError:
        raise SystemExit(f"{name} is not installed here; run make test first") from None
    classifiers = [c.split(" :: ")[-1] for c in fields.get_all("Classifier", []) if c.startswith("License ::")]
    words = fields.get("License-Expression") or ", ".join(classifiers) or fields.get("License") or _ros_licence(name)
    words = words or IN_THEIR_FILES.get(name, "")
    return words.strip().splitlines()[0][:LONGEST] if words.strip() else "none stated"


def _ros_licence(name: str) -> str:
    """That of a ROS package's package.xml, which its wheel installs beside Python's own folders."""
    file = Path(sys.prefix) / "share" / name.removeprefix("ros-").replace("-", "_") / "package.xml"
    return ", ".join(re.findall("<license[^>]*>(.*?)</license>", file.read_text())) if file.exists() else ""


def table(versions: dict[str, str]) -> str:
    """Markdown rows by name."""
    rows = [f"| {name} | {version} | {licence(name)} |" for name, version in sorted(versions.items())]
    return "\n".join(["| package | version | licence |", "|---|---|---|", *rows]) + "\n"


def page() -> str:
    """The whole of docs/dependencies.md."""
    runtime, everything = (pins(ROOT / f"requirements{kind}.lock") for kind in ("", "-dev"))
    training = {name: version for name, version in everything.items() if name not in runtime}
    return f"""# Dependencies and their licences

Written by `python scripts/dependencies.py` from the lock files and what the installed packages say of themselves.

## Node and demo (`requirements.lock`)

{table(runtime)}
## Training, export and tests besides (`requirements-dev.lock`)

{table(training)}"""


if __name__ == "__main__":
    (ROOT / "docs" / "dependencies.md").write_text(page())
