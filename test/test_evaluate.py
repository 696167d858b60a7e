"""Evaluation of folders: tables, files, ranks."""

import csv
import json

import cv2
import numpy as np
import pytest

from mmcfusion_ros.evaluation.evaluate import RANKED, evaluate, fusion_by_name, markdown_table, mean_ranks


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "set" / "test"
    for spectrum in ("ir", "vi"):
        (folder / spectrum).mkdir(parents=True)
        for name in ("a", "b"):
            cv2.imwrite(str(folder / spectrum / f"{name}.png"), rng.integers(0, 256, (64, 80), dtype=np.uint8))
    return folder


def test_evaluate_writes_tables_and_pictures(folder, tmp_path):
    out = tmp_path / "out"
    text = evaluate([folder], "max", out)
    rows = list(csv.reader((out / "set/test/metrics.csv").open()))
    assert [row[0] for row in rows] == ["image", "a", "b", "mean"]
    values = np.array([[float(value) for value in row[1:]] for row in rows[1:]])
    np.testing.assert_allclose(values[2], values[:2].mean(axis=0))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["means"]["set/test"]["EN"] == pytest.approx(values[2][0])
    assert "## set/test" in text
    assert text == (out / "summary.md").read_text()
    thermal, visible, fused = (
        cv2.imread(str(path / "a.png"), cv2.IMREAD_GRAYSCALE)
        for path in (folder / "ir", folder / "vi", out / "set/test/fused")
    )
    np.testing.assert_array_equal(fused, np.maximum(thermal, visible))
    assert cv2.imread(str(out / "set/test/sheet.jpg")) is not None


def test_peers_of_the_same_set_stand_beside_ours(folder, tmp_path):
    peers = tmp_path / "peers.csv"
    columns = ["set", "method", *RANKED]
    best = {**dict.fromkeys(RANKED, 999), "set": "set/test", "method": "Best"}
    with peers.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows([best, {**best, "set": "other", "method": "Elsewhere"}])
    text = evaluate([folder], "average", tmp_path / "out", peers)
    assert text.index("| Best | 1.00 |") < text.index("| average | 2.00 |")
    assert "Elsewhere" not in text


def test_mean_rank_averages_places_over_the_metrics():
    low, high = dict.fromkeys(RANKED, 0.0), dict.fromkeys(RANKED, 1.0)
    mixed = {**low, "EN": 2.0}
    assert mean_ranks({"high": high, "mixed": mixed}) == pytest.approx({"high": 10 / 9, "mixed": 17 / 9})
    assert markdown_table({"low": low, "high": high}).splitlines()[2].startswith("| high | 1.00 |")


def test_average_rounds_to_the_mean_of_both():
    fused = fusion_by_name("average")(np.full((4, 4), 10, np.uint8), np.full((4, 4), 30, np.uint8))
    assert (fused == 20).all()


def test_sixteen_bit_images_are_refused_by_name(folder, tmp_path):
    cv2.imwrite(str(folder / "ir" / "a.png"), np.zeros((64, 80), np.uint16))
    with pytest.raises(ValueError, match=r"a\.png: 16-bit"):
        evaluate([folder], "max", tmp_path / "out")
