"""Holds the pinned packages to a checkout of https://github.com/pypa/advisory-database, without a network:
python scripts/advisories.py CHECKOUT requirements.lock requirements-dev.lock"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version


def pinned(lock: Path) -> dict[str, Version]:
    """Name to version of every package in a requirements file with pins."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==([^\s;\\]+)", lock.read_text(), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in found}


def holds(affected: dict, version: Version) -> bool:
    """Whether an ``affected`` entry of the OSV format is about this version."""
    if str(version) in affected.get("versions", ()):
        return True
    for span in affected.get("ranges", ()):
        inside = False
        for event in span["events"] if span["type"] == "ECOSYSTEM" else ():
            inside |= "introduced" in event and version >= Version(event["introduced"])
            inside &= "fixed" not in event or version < Version(event["fixed"])
            inside &= "last_affected" not in event or version <= Version(event["last_affected"])
        if inside:
            return True
    return False


def advisories(checkout: Path, name: str, version: Version) -> Iterator[str]:
    """Identifiers of those that are about this version and not withdrawn."""
    for file in sorted((checkout / "vulns" / name).glob("*.yaml")):
        advisory = yaml.safe_load(file.read_text())
        own = [a for a in advisory["affected"] if canonicalize_name(a["package"]["name"]) == name]
        if "withdrawn" not in advisory and any(holds(affected, version) for affected in own):
            yield advisory["id"]


if __name__ == "__main__":
    checkout, *locks = map(Path, sys.argv[1:])
    packages = {item for lock in locks for item in pinned(lock).items()}
    known = {name for name, _ in packages if (checkout / "vulns" / name).is_dir()}
    found = [f"{name} {version}: {one}" for name, version in packages for one in advisories(checkout, name, version)]
    print("\n".join(sorted(found)) or "none applies", f"({len(packages)} packages, {len(known)} ever had an advisory)")
    sys.exit(bool(found))
