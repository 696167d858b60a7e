"""The lock files follow the requirements, with hashes, and the page of licences follows the lock files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


LOCKS = {"requirements.lock": "3.11", "requirements-dev.lock": "3.11"}
LOCKS |= {"requirements-3.12.lock": "3.12", "requirements-dev-3.12.lock": "3.12"}


def pins(text: str, python: str = "") -> dict[str, str]:
    """Normalised name to version, of this Python where the line says of which."""
    found = re.findall(r"^([\w.-]+)==([^ \\\n;]+)(?:; python_version == \"([\d.]+)\")?", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version, of in found if of in ("", python)}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_locked_at_its_version(lock):
    requirements = "requirements-dev.txt" if "dev" in lock else "requirements.txt"
    asked = pins((ROOT / requirements).read_text(), LOCKS[lock])
    assert asked
    assert asked.items() <= pins((ROOT / lock).read_text()).items(), "run: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock):
    entries = re.split(r"\n(?=\S)", (ROOT / lock).read_text())
    packages = [entry for entry in entries if not entry.startswith("#")]
    assert len(packages) == len(pins("\n".join(packages)))
    assert all(re.search("--hash=sha256:[0-9a-f]{64}", package) for package in packages)


@pytest.mark.parametrize("version", ["", "-3.12"])
def test_both_locks_agree(version):
    runtime, everything = (pins((ROOT / f"requirements{kind}{version}.lock").read_text()) for kind in ("", "-dev"))
    assert runtime.items() <= everything.items()


def test_the_page_of_licences_names_what_is_locked():
    rows = re.findall(r"^\| ([\w.-]+) +\| (\S+) +\|", (ROOT / "results" / "licences.md").read_text(), re.MULTILINE)
    listed = pins("\n".join(f"{name}=={version}" for name, version in rows))
    locked = pins((ROOT / "requirements-dev.lock").read_text())
    assert locked.items() <= listed.items(), "run: make licences"


def test_advisories_are_found_by_version(tmp_path):
    advisory = {
        "id": "PYSEC-1",
        "affected": [
            {
                "package": {"name": "Some_Package"},
                "ranges": [
                    {"type": "GIT", "events": [{"introduced": "0"}]},
                    {"type": "ECOSYSTEM", "events": [{"introduced": "1.0"}, {"fixed": "1.5"}, {"introduced": "2.0"}]},
                ],
                "versions": ["0.5"],
            }
        ],
    }
    folder = tmp_path / "vulns" / "some-package"
    folder.mkdir(parents=True)
    (folder / "PYSEC-1.yaml").write_text(yaml.safe_dump(advisory))
    (folder / "PYSEC-2.yaml").write_text(yaml.safe_dump(advisory | {"id": "PYSEC-2", "withdrawn": "2020-01-01"}))
    lock = tmp_path / "requirements.lock"
    for version, found in (("0.4", 0), ("0.5", 1), ("1.0", 1), ("1.5", 0), ("1.9", 0), ("2.0", 1)):
        lock.write_text(f"some-package=={version} \\\n    --hash=sha256:00\n")
        command = [sys.executable, str(ROOT / "scripts" / "advisories.py"), str(tmp_path), str(lock)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == found, result.stderr
        assert result.stdout.startswith(f"some-package {version}: PYSEC-1 (" if found else "none applies (1 packages")


def test_the_backend_comes_without_the_client_that_reports_to_openvinos_makers(random_lite):
    """And a model can still be converted in its process."""
    code = """
import sys
from pathlib import Path
import mmcfusion_ros.fusion.openvino_backend
assert "openvino_telemetry" not in sys.modules
from mmcfusion_ros.network.export import openvino_graph
print(len(openvino_graph(Path(sys.argv[1])).inputs))
"""
    command = [sys.executable, "-c", code, str(random_lite)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "2\n"
