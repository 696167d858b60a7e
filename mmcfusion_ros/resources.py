"""Files that ship with the package: weights in ``models/``, parameters and profiles in ``config/``."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from xml.etree import ElementTree

PACKAGE = "mmcfusion_ros"
FAST_DDS_2_DISTROS = ("humble", "iron", "jazzy")


def package_file(relative: str | Path) -> Path:
    """The path of a shipped file, in a source checkout or under ``share/mmcfusion_ros`` of an installation.

    Raises ``FileNotFoundError`` naming the file if the installation lacks it.
    """
    here = Path(__file__).resolve()
    for folder in (here.parents[1], *(parent / "share" / PACKAGE for parent in here.parents)):
        if (folder / relative).exists():
            return folder / relative
    raise FileNotFoundError(f"{relative} does not belong to this installation of {PACKAGE} ({here.parent})")


def transport_environment() -> dict[str, str]:
    """The variable that makes Fast DDS carry whole camera frames in shared memory; one that is set already stays."""
    distribution = os.environ.get("ROS_DISTRO") or ("jazzy" if sys.version_info[:2] == (3, 12) else "kilted")  # wheels
    old = distribution in FAST_DDS_2_DISTROS
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
    return {variable: os.environ.get(variable) or str(package_file("config/fastdds.xml"))}


def own_domain() -> dict[str, str]:
    """Variables for a graph of its own on this machine, in a domain that is not the user's: a robot's topics stay its
    own."""
    taken = os.environ.get("ROS_DOMAIN_ID") or "0"
    domain = random.choice([number for number in map(str, range(1, 101)) if number != taken])
    return {"ROS_DOMAIN_ID": domain, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def version() -> str:
    """Of the package."""
    return str(ElementTree.parse(package_file("package.xml")).findtext("version"))
