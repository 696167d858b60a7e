"""The package does what the golden vectors say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "test" / "golden"
sys.path.insert(0, str(ROOT / "scripts"))

from golden import CASES, COMPUTE, pairing_cases, pairs_and_drops  # noqa: E402


def test_pairing():
    cases = json.loads((FOLDER / "pairing.json").read_text())
    assert cases.keys() == dict(pairing_cases()).keys()
    for name, case in cases.items():
        decided = pairs_and_drops(case)
        assert decided == {key: case[key] for key in decided}, name


@pytest.mark.parametrize("subject", CASES)
def test_arrays(subject):
    cases = json.loads((FOLDER / f"{subject}.json").read_text())
    with np.load(FOLDER / f"{subject}.npz") as file:
        arrays = dict(file)
    for name, case in cases.items():
        for key, found in COMPUTE[subject](case["options"], arrays).items():
            expected = arrays[f"{name}.{key}"]
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            difference = np.abs(found.astype(int) - expected)
            assert difference.max() <= case["largest"], f"{name}.{key}"
            assert difference.mean() <= case["mean"], f"{name}.{key}; for new weights run: make golden"


def test_they_are_small():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 300_000
