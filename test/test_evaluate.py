"""Evaluation of folders: tables, files, ranks, stress, colour."""

from __future__ import annotations

import base64
import csv
import json
import re
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_pairs import write_noise_pairs
from report_runs import page_data

from mmcfusion_ros.cli import main
from mmcfusion_ros.data.images import read_rgb
from mmcfusion_ros.data.pair_folder import PairFiles, find_pairs, read_pair
from mmcfusion_ros.evaluation.evaluate import evaluate, summary_markdown
from mmcfusion_ros.evaluation.folders import EvaluationOptions
from mmcfusion_ros.evaluation.methods import Method, load_method
from mmcfusion_ros.evaluation.metrics import fusion_metrics
from mmcfusion_ros.evaluation.stress import degrade
from mmcfusion_ros.evaluation.tables import RANKED, bootstrap, latex_table, mean_ranks, metrics_table, place, read_peers
from mmcfusion_ros.fusion.fuser import split_luminance
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.network.hashes import sha256_of

MODELS = Path(__file__).resolve().parents[1] / "models"
PLAIN = EvaluationOptions()


@pytest.fixture
def folder(tmp_path):
    return write_noise_pairs(tmp_path / "set" / "test", "ab")


def read_grey(files):
    thermal, rgb = read_pair(files)
    return thermal, split_luminance(rgb)[0]


def write_peers(path, *rows, columns=("set", "method", *RANKED)):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


class TestFiles:
    def test_a_table_of_all_images_and_their_mean(self, folder, tmp_path):
        (result,) = evaluate([folder], ["max"], tmp_path / "out", PLAIN)
        rows = list(csv.reader((tmp_path / "out/set/test/max/metrics.csv").open()))
        assert [row[0] for row in rows] == ["image", "a", "b", "mean"]
        values = np.array([[float(value) for value in row[1:]] for row in rows[1:]])
        np.testing.assert_allclose(values[2], values[:2].mean(axis=0))
        assert result.means["max"] == dict(zip(rows[0][1:], values[2], strict=True))
        thermal, luminance = read_grey(result.folder.pairs[0])
        assert result.rows["max"][0] == fusion_metrics(thermal, luminance, np.maximum(thermal, luminance))

    def test_fused_images_of_every_model(self, folder, tmp_path):
        evaluate([folder], ["max", "average"], tmp_path / "out", PLAIN)
        for files in find_pairs(folder):
            thermal, luminance = read_grey(files)
            for model in ("max", "average"):
                fused = read_rgb(tmp_path / "out/set/test" / model / "fused" / f"{files.name}.png")
                np.testing.assert_array_equal(fused, np.dstack([load_method(model).fuse(thermal, luminance)] * 3))

    def test_summary_tells_how_it_was_measured(self, folder, tmp_path, private_cache):
        options = EvaluationOptions(precision="float32")
        (result,) = evaluate([folder], [str(MODELS / "lite.xml"), "max"], tmp_path / "out", options)
        summary = json.loads((tmp_path / "out/summary.json").read_text())
        assert summary["models"] == {
            "models/lite": {
                "sha256": {name: sha256_of(MODELS / name) for name in ("lite.xml", "lite.bin")},
                "backend": "openvino",
                "device": "CPU",
                "precision": "float32",
                "thermal": "white_hot",
            },
            "max": {"rule": "max"},
        }
        assert summary["machine"]["processor"]
        assert summary["options"]["stress"] == ""
        assert summary["sets"]["set/test"]["means"] == result.means
        assert summary["sets"]["set/test"]["mean_ranks"].keys() == {"models/lite", "max"}
        text = (tmp_path / "out/summary.md").read_text()
        assert text == summary_markdown([result], options)
        assert text.startswith("## set/test: 2 pairs\n")
        assert "| **models/lite** |" in text

    def test_pairs_in_sub_folders(self, tmp_path):
        for camera in ("infrared", "visible"):
            path = tmp_path / "LLVIP" / camera / "train" / "010001.jpg"
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8))
        (result,) = evaluate([tmp_path / "LLVIP"], ["max"], tmp_path / "out", PLAIN)
        assert (tmp_path / "out" / result.folder.name / "max/fused/train/010001.png").is_file()

    def test_several_folders(self, folder, tmp_path):
        copy = tmp_path / "again"
        copy.mkdir()
        for part in ("ir", "vi"):
            (copy / part).symlink_to(folder / part)
        results = evaluate([folder, copy], ["max"], tmp_path / "out", PLAIN)
        assert [result.folder.name for result in results] == ["set/test", f"{tmp_path.name}/again"]
        assert results[0].means == results[1].means


class TestPage:
    def test_compares_the_models_of_a_folder(self, folder, tmp_path):
        (result,) = evaluate([folder], ["average", "max"], tmp_path / "out", PLAIN)
        data = page_data(tmp_path / "out/set/test/index.html")
        assert [run["title"] for run in data["runs"]] == ["set/test: average", "set/test: max"]
        for run, model in zip(data["runs"], ("average", "max"), strict=True):
            assert run["names"] == ["a", "b"]
            assert run["times"] == [0, 1]
            values = {name: [float(f"{row[name]:.6g}") for row in result.rows[model]] for name in result.means[model]}
            assert dict(run["values"]) == values
            assert ["model", model] in run["header"]
        assert len(data["images"]) == 2 * 4

    def test_methods_stand_beside_each_other_and_the_peers(self, folder, tmp_path):
        best = {**dict.fromkeys(RANKED, 999), "set": "set/test", "method": "Best"}
        peers = write_peers(tmp_path / "peers.csv", best)
        options = EvaluationOptions(peers, metrics=("CE",), command="mmcfusion evaluate ...")
        evaluate([folder], ["average", "max"], tmp_path / "out", options)
        data = page_data(tmp_path / "out/set/test/index.html")
        table = data["methods"]
        assert table["columns"][:3] == ["method", "mean rank ↓", "EN ↑"]
        assert table["columns"][-1] == "CE ↓"
        assert table["rows"][0][0] == "Best"
        assert {row[0] for row in table["rows"]} == {"Best", "average", "max"}
        assert table["ours"] == ["average", "max"]
        assert "2 pairs" in table["note"]
        assert "among 1 peers" in table["note"]
        header = dict(data["runs"][0]["header"])
        assert header["command"] == "mmcfusion evaluate ..."
        assert header["data"] == f"{folder / 'ir'} and {folder / 'vi'}"

    def test_pictures_are_those_of_the_run(self, folder, tmp_path):
        options = EvaluationOptions(stress="noise", seed=3)
        evaluate([folder], ["max"], tmp_path / "out", options)
        data = page_data(tmp_path / "out/set/test/index.html")
        (run,) = data["runs"]
        thermal, luminance = read_grey(find_pairs(folder)[1])
        seen = degrade("noise", thermal, luminance, 3, "b")
        expected = {"thermal": seen[0], "rgb": seen[1], "fused": np.maximum(*seen)}
        for kind, image in expected.items():
            content = np.frombuffer(base64.b64decode(data["images"][run["images"][kind][1]]), np.uint8)
            shown = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
            assert np.corrcoef(shown.ravel(), image.ravel())[0, 1] > 0.9
        assert run["title"] == "set/test under noise: max"

    def test_the_worst_of_many_have_pictures(self, folder, tmp_path, monkeypatch):
        monkeypatch.setattr("mmcfusion_ros.evaluation.folder_page.PICTURES", 1)
        (result,) = evaluate([folder], ["max"], tmp_path / "out", PLAIN)
        (run,) = page_data(tmp_path / "out/set/test/index.html")["runs"]
        worst = int(np.argmin([row["Qabf"] for row in result.rows["max"]]))
        assert run["images"]["fused"][worst] is not None
        assert run["images"]["fused"][1 - worst] is None


class TestIntervals:
    def test_hold_the_means_and_shrink_with_more_pairs(self):
        rng = np.random.default_rng(0)
        widths = []
        for count in (10, 1000):
            rows = {
                name: [dict.fromkeys(RANKED, value) for value in rng.normal(mean, 1, count)]
                for name, mean in (("a", 0), ("b", 9))
            }
            found = bootstrap(rows, {})
            low, high = found["a"]["EN"]
            assert low < np.mean([row["EN"] for row in rows["a"]]) < high
            assert found["a"]["mean rank"] == (2, 2)
            assert found["b"]["mean rank"] == (1, 1)
            widths.append(high - low)
        assert widths[1] == pytest.approx(2 * 1.96 / 1000**0.5, rel=0.2)
        assert widths[0] > 5 * widths[1]

    def test_one_pair_has_none(self):
        assert bootstrap({"a": [dict.fromkeys(RANKED, 1.0)]}, {}) == {}

    def test_are_in_table_and_summary(self, folder, tmp_path):
        evaluate([folder], ["max", "average"], tmp_path / "out", PLAIN)
        summary = json.loads((tmp_path / "out/summary.json").read_text())
        low, high = summary["sets"]["set/test"]["intervals"]["max"]["mean rank"]
        assert 1 <= low <= high <= 2
        assert "| 95 % over pairs | mean rank | EN |" in (tmp_path / "out/summary.md").read_text()

    def test_more_metrics_are_columns(self, folder, tmp_path):
        with pytest.raises(SystemExit):
            main(["evaluate", str(folder), "--model", "max", "--metrics", "Qcb", "CE", "--out", str(tmp_path / "out")])
        text = (tmp_path / "out/summary.md").read_text()
        assert "| Qabf_min | CE | Qcb |" in text
        with pytest.raises(SystemExit, match="unknown metric XX; there are MI_bits, "):
            main(["evaluate", str(folder), "--model", "max", "--metrics", "XX", "--out", str(tmp_path / "out")])


class TestRanks:
    def test_peers_of_the_same_set_stand_beside_ours(self, folder, tmp_path):
        best = {**dict.fromkeys(RANKED, 999), "set": "set/test", "method": "Best"}
        peers = write_peers(tmp_path / "peers.csv", best, {**best, "set": "other", "method": "Elsewhere"})
        options = EvaluationOptions(peers)
        text = summary_markdown(evaluate([folder], ["average"], tmp_path / "out", options), options)
        assert text.index("| Best | white hot | 1.00 |") < text.index("| **average** | white hot | 2.00 |")
        assert "Elsewhere" not in text

    def test_mean_rank_averages_places_over_the_metrics(self):
        low, high = dict.fromkeys(RANKED, 0.0), dict.fromkeys(RANKED, 1.0)
        mixed = {**low, "EN": 2.0}
        assert mean_ranks({"high": high, "mixed": mixed}) == pytest.approx({"high": 10 / 9, "mixed": 17 / 9})

    def test_equal_values_share_the_better_place_in_any_order(self):
        low, high = dict.fromkeys(RANKED, 0.0), dict.fromkeys(RANKED, 1.0)
        ranks = {"a": 1, "b": 1, "c": 3}
        assert mean_ranks({"a": high, "b": high, "c": low}) == ranks
        assert mean_ranks({"c": low, "b": high, "a": high}) == ranks

    def test_table_of_the_best_peers_always_has_ours(self):
        peers = {name: dict.fromkeys(RANKED, value) for name, value in {"p": 3.0, "q": 2.0, "r": 1.0}.items()}
        lines = metrics_table({"us": dict.fromkeys(RANKED, 0.0)}, peers, best=1).splitlines()
        assert [line.split(" | ")[0] for line in lines[2:]] == ["| p", "| **us**"]
        assert "| 4.00 |" in lines[3]

    @pytest.mark.parametrize(
        ("row", "columns", "message"),
        [
            ({"set": "set/test"}, ("set", *RANKED), "no column method"),
            ({"set": "set/test", "method": "x"}, ("set", "method", *RANKED[1:]), "no column EN"),
            ({"set": "set/test", "method": "x", "EN": "high"}, ("set", "method", *RANKED), "no number"),
            (
                dict.fromkeys(RANKED, "nan") | {"set": "set/test", "method": "x"},
                ("set", "method", *RANKED),
                "no number",
            ),
        ],
    )
    def test_a_file_that_cannot_be_ranked_is_named(self, tmp_path, row, columns, message):
        path = write_peers(tmp_path / "peers.csv", row, columns=columns)
        with pytest.raises(ValueError, match=rf"peers\.csv: .*{message}"):
            read_peers(path, {"set/test": 2})

    def test_a_method_has_one_row(self, folder, tmp_path):
        row = {**dict.fromkeys(RANKED, 1), "set": "set/test", "method": "max"}
        path = write_peers(tmp_path / "peers.csv", row, row, columns=("set", "method", *RANKED))
        with pytest.raises(ValueError, match="set/test has two rows of max"):
            read_peers(path, {"set/test": 2})
        write_peers(path, row, columns=("set", "method", *RANKED))
        with pytest.raises(ValueError, match="2 methods are called 'max'"):
            evaluate([folder], ["max"], tmp_path / "out", EvaluationOptions(peers=path))

    def test_a_rank_is_among_the_peers_alone(self):
        peers = {name: dict.fromkeys(RANKED, value) for name, value in {"p": 3.0, "q": 1.0}.items()}
        ours = {"a": dict.fromkeys(RANKED, 2.0), "b": dict.fromkeys(RANKED, 2.5)}
        assert mean_ranks(ours, peers) == {"p": 1, "q": 2, "a": 2, "b": 2}
        assert mean_ranks({"a": ours["a"]}, peers) == {"p": 1, "q": 3, "a": 2}
        assert mean_ranks({"a": ours["a"]}) == {}
        assert place("b", ours["b"], peers) == (2, 3)

    def test_rows_that_cannot_be_used_are_named(self, tmp_path):
        row = {**dict.fromkeys(RANKED, 1), "method": "M"}
        path = write_peers(
            tmp_path / "peers.csv",
            {**row, "set": "a", "pairs": 3},
            {**row, "set": "b", "pairs": 10},
            {**row, "set": "c", "pairs": 3},
            columns=("set", "method", "pairs", *RANKED),
        )
        text = path.read_text()
        for content in (text, "\ufeff" + text.replace(",", ";")):
            path.write_text(content)
            peers, unused = read_peers(path, {"a": 3, "b": 12})
            assert [*peers["a"]] == ["M"]
            assert peers["b"] == {}
            assert unused == [
                f"{path}: 1 rows left out, of b: measured on 10 pairs, the folder has 12",
                f"{path}: 1 rows left out, of c, which is none of the folders",
            ]

    def test_latex(self):
        text = latex_table("set/a_b", {"us_1": dict.fromkeys(RANKED, 1.0)}, {"p^2\\~": dict.fromkeys(RANKED, 2.0)})
        assert text.startswith("% set/a_b\n\\begin{tabular}{lrrrrrrrrrr}\n\\toprule\nMethod & Rank & EN &")
        assert r"SSIM\_cdd \\" in text
        assert "\np\\textasciicircum{}2\\textbackslash{}\\textasciitilde{} & 1.00 & 2.000 &" in text
        assert "\n\\textbf{us\\_1} & 2.00 & 1.000 &" in text


class TestReady:
    """Images that somebody fused already."""

    def test_they_stand_beside_ours(self, folder, tmp_path):
        evaluate([folder], ["max"], tmp_path / "first", PLAIN)
        options = EvaluationOptions(fused={"theirs": tmp_path / "first/set/test/max/fused"})
        (result,) = evaluate([folder], ["max"], tmp_path / "out", options)
        assert result.rows["theirs"] == result.rows["max"]
        assert "**theirs**" in (tmp_path / "out/summary.md").read_text()

    def test_a_missing_one_is_named(self, folder, tmp_path):
        evaluate([folder], ["max"], tmp_path / "first", PLAIN)
        ready = tmp_path / "first/set/test/max/fused"
        (ready / "b.png").unlink()
        with pytest.raises(ValueError, match=r"fused has no image b \(1 of 2 pairs"):
            evaluate([folder], ["max"], tmp_path / "out", EvaluationOptions(fused={"theirs": ready}))

    def test_one_of_another_size_costs_its_pair(self, folder, tmp_path):
        evaluate([folder], ["max"], tmp_path / "first", PLAIN)
        ready = tmp_path / "first/set/test/max/fused"
        cv2.imwrite(str(ready / "b.png"), np.zeros((64, 81), np.uint8))
        (result,) = evaluate([folder], ["max"], tmp_path / "out", EvaluationOptions(fused={"theirs": ready}))
        (failure,) = result.folder.failures
        assert "b.png is 81x64, its pair 80x64" in failure
        assert [len(rows) for rows in result.rows.values()] == [1, 1]


class TestWhatIsMeasured:
    def test_is_what_is_saved(self, shared_data, tmp_path):
        options = EvaluationOptions(limit=2)
        (result,) = evaluate([shared_data / "roadscene/test"], ["max"], tmp_path, options)
        for files, row in zip(result.folder.pairs, result.rows["max"], strict=True):
            saved = read_rgb(tmp_path / "roadscene/test/max/fused" / f"{files.name}.png")
            assert row == fusion_metrics(*read_grey(files), split_luminance(saved)[0])

    def test_more_processes_give_the_same(self, folder, tmp_path):
        one, two = (
            evaluate([folder], ["max"], tmp_path / str(workers), EvaluationOptions(workers=workers))[0].rows
            for workers in (1, 2)
        )
        assert one == two

    def test_large_images_are_fused_in_tiles(self):
        def largest(thermal, luminance):
            assert max(thermal.shape) <= 4096
            return np.maximum(thermal, luminance)

        thermal, luminance = np.random.default_rng(0).integers(0, 256, (2, 40, 5000), np.uint8)
        method = Method("large", largest, {}, is_network=True)
        fused = method(PairFiles("a", Path("a.png"), Path("a.png")), thermal, luminance, np.dstack([luminance] * 3))
        np.testing.assert_array_equal(fused[..., 0], np.maximum(thermal, luminance))

    def test_only_some_images_wait_for_their_metrics(self, tmp_path, monkeypatch):
        """So that the memory does not grow with the set."""
        waiting: list[int] = []

        class Pool(ThreadPoolExecutor):
            def __init__(self, workers, context):
                super().__init__(1)
                self.futures = []

            def submit(self, *task):
                self.futures.append(super().submit(*task))
                waiting.append(sum(not future.done() for future in self.futures))
                return self.futures[-1]

        monkeypatch.setattr("mmcfusion_ros.evaluation.evaluate.ProcessPoolExecutor", Pool)
        folder = write_noise_pairs(tmp_path / "set", "abcdefghij")
        evaluate([folder], ["max", "average"], tmp_path / "out", EvaluationOptions(workers=2))
        assert len(waiting) == 20
        assert max(waiting) <= 8  # twice as many as workers, for each method

    def test_a_process_that_is_killed_is_one_line(self, folder, tmp_path, monkeypatch):
        """As the kernel does where memory is short; then the pool raises this."""

        def submit(*task):
            raise BrokenProcessPool

        monkeypatch.setattr("mmcfusion_ros.evaluation.evaluate.ProcessPoolExecutor.submit", submit)
        with pytest.raises(OSError, match="a process for the metrics was killed"):
            evaluate([folder], ["max"], tmp_path / "out", EvaluationOptions(workers=2))

    def test_flat_images_that_are_the_same(self, folder, tmp_path):
        """Whose PSNR no JSON can hold."""
        for path in folder.rglob("*.png"):
            cv2.imwrite(str(path), np.full((64, 80), 9, np.uint8))
        (result,) = evaluate([folder], ["max"], tmp_path, EvaluationOptions(metrics=("PSNR",)))
        assert str(result.means["max"]["EN"]) == "0.0"
        means = json.loads((tmp_path / "summary.json").read_text())["sets"]["set/test"]["means"]
        assert (result.means["max"]["PSNR"], means["max"]["PSNR"]) == (np.inf, None)

    def test_stretched_images_use_all_levels(self, folder, tmp_path):
        for path in folder.rglob("*.png"):
            cv2.imwrite(str(path), cv2.imread(str(path), 0) // 4 + 60)
        evaluate([folder], ["max"], tmp_path / "out", EvaluationOptions(stretch=True))
        saved = read_rgb(tmp_path / "out/set/test/max/fused/a.png")
        assert (saved.min(), saved.max()) == (0, 255)

    def test_two_folders_of_any_name(self, folder, tmp_path):
        (folder / "ir").rename(folder / "warm")
        (folder / "vi").rename(folder / "seen")
        options = EvaluationOptions(cameras=(folder / "warm", folder / "seen"))
        (result,) = evaluate([], ["max"], tmp_path / "out", options)
        assert (result.folder.name, len(result.rows["max"])) == ("set/test", 2)


class TestStress:
    def test_input_is_spoilt_and_measured_against_the_clean_sources(self, folder, tmp_path):
        options = EvaluationOptions(stress="noise", seed=3)
        (result,) = evaluate([folder], ["max"], tmp_path / "out", options)
        thermal, luminance = read_grey(result.folder.pairs[1])
        fused = np.maximum(*degrade("noise", thermal, luminance, 3, "b"))
        assert result.rows["max"][1] == fusion_metrics(thermal, luminance, fused)
        assert "## set/test under noise" in summary_markdown([result], options)

    def test_peers_were_measured_without(self, tmp_path):
        with pytest.raises(ValueError, match=r"peers .* without stress"):
            EvaluationOptions(peers=tmp_path / "peers.csv", stress="fog")


class TestMedical:
    @pytest.mark.parametrize("folder", ["pet_mri/test", "spect_mri/test"])
    def test_hue_is_kept_and_black_stays_black(self, shared_data, tmp_path, folder):
        (result,) = evaluate([shared_data / folder], ["max"], tmp_path, EvaluationOptions(limit=3))
        coloured = 0
        for files in result.folder.pairs:
            source, fused = read_rgb(files.rgb), read_rgb(tmp_path / folder / "max/fused" / f"{files.name}.png")
            hue, saturation, _ = cv2.split(cv2.cvtColor(source, cv2.COLOR_RGB2HSV))
            fused_hue, fused_saturation, _ = cv2.split(cv2.cvtColor(fused, cv2.COLOR_RGB2HSV))
            clear = (saturation > 100) & (fused_saturation > 100) & (source.max(axis=2) > 100)
            turn = np.abs(hue[clear].astype(int) - fused_hue[clear])
            assert np.median(np.minimum(turn, 180 - turn)) <= 2
            coloured += clear.sum()
            thermal, _ = read_grey(files)
            assert not fused[(thermal == 0) & (source.max(axis=2) == 0)].any()
        assert coloured > 3000

    def test_the_page_calls_medical_images_what_they_are(self, folder, tmp_path):
        for old, new in (("ir", "MRI"), ("vi", "PET")):
            (folder / old).rename(folder / new)
        evaluate([folder], ["max"], tmp_path / "out", PLAIN)
        (run,) = page_data(tmp_path / "out/set/test/index.html")["runs"]
        assert run["imageNames"] == {"thermal": "MRI", "rgb": "PET or SPECT"}

    def test_networks_get_pet_in_the_place_of_the_thermal_image_and_rules_do_not(self, folder, tmp_path, private_cache):
        folder = folder.parent.rename(tmp_path / "pet_mri") / "test"
        models = (str(MODELS / "lite.xml"), "guided")
        (result,) = evaluate([folder], models, tmp_path / "out", EvaluationOptions(precision="float32"))
        mri, pet = read_grey(result.folder.pairs[0])
        for model, sources in zip(models, ((pet, mri), (mri, pet)), strict=True):
            method = load_method(model, EvaluationOptions(precision="float32"))
            expected = fusion_metrics(mri, pet, method.fuse(*sources))
            assert result.rows[method.name][0] == pytest.approx(expected, rel=1e-4)
        assert "## pet_mri/test: 2 pairs, to networks the functional image as thermal" in summary_markdown(
            [result], PLAIN
        )

    def test_ct_is_grey_and_stays_grey(self, shared_data, tmp_path):
        (result,) = evaluate([shared_data / "ct_mri/test"], ["max"], tmp_path, EvaluationOptions(limit=2))
        for files in result.folder.pairs:
            fused = read_rgb(tmp_path / "ct_mri/test/max/fused" / f"{files.name}.png")
            thermal, luminance = read_grey(files)
            np.testing.assert_array_equal(fused, np.dstack([np.maximum(thermal, luminance)] * 3))


class TestWrongImages:
    def refused(self, folder, tmp_path, message):
        """Costs its pair, not the set."""
        (result,) = evaluate([folder], ["max"], tmp_path / "out", PLAIN)
        (failure,) = result.folder.failures
        assert re.search(message, failure)
        assert len(result.rows["max"]) == 1
        assert failure in (tmp_path / "out/summary.md").read_text()

    def test_no_pair_is_left(self, folder, tmp_path):
        for path in (folder / "ir").iterdir():
            path.write_bytes(b"<html>")
        with pytest.raises(ValueError, match=r"set/test: no pair can be used; .*ir/a\.png: not a readable image"):
            evaluate([folder], ["max"], tmp_path / "out", PLAIN)

    def test_the_command_goes_on_and_fails_at_the_end(self, folder, tmp_path, capsys):
        (folder / "ir" / "a.png").write_bytes(b"junk")
        with pytest.raises(SystemExit, match=r"1 pairs could not be used, the first: .*ir/a\.png: not a"):
            main(["evaluate", str(folder), "--model", "max", "--out", str(tmp_path / "out")])
        assert (tmp_path / "out/set/test/max/fused/b.png").exists()

    def test_sixteen_bits_are_scaled_as_the_node_does(self, folder, tmp_path):
        counts = np.random.default_rng(0).integers(7000, 7400, (64, 80)).astype(np.uint16)
        cv2.imwrite(str(folder / "ir" / "a.png"), counts)
        options = EvaluationOptions(thermal=ThermalOptions(mode="fixed", fixed_low=7000, fixed_high=7400))
        (result,) = evaluate([folder], ["max"], tmp_path / "out", options)
        thermal = ThermalScaler(options.thermal)(counts)
        luminance = split_luminance(read_rgb(folder / "vi" / "a.png"))[0]
        assert result.rows["max"][0] == fusion_metrics(thermal, luminance, np.maximum(thermal, luminance))

    def test_sixteen_bits_visible(self, folder, tmp_path):
        cv2.imwrite(str(folder / "vi" / "a.png"), np.zeros((64, 80), np.uint16))
        self.refused(folder, tmp_path, r"vi/a\.png: uint16")

    def test_two_sizes(self, folder, tmp_path):
        cv2.imwrite(str(folder / "vi" / "b.png"), np.zeros((64, 81), np.uint8))
        self.refused(folder, tmp_path, r"ir/b\.png is 80x64, .*vi/b\.png is 81x64")

    def test_too_small(self, folder, tmp_path):
        for part in ("ir", "vi"):
            cv2.imwrite(str(folder / part / "b.png"), np.zeros((40, 80), np.uint8))
        self.refused(folder, tmp_path, r"ir/b\.png: image of 80x40: .* at least 41")

    def test_full_disk_is_one_line(self, folder, tmp_path):
        """A limit on file sizes makes the writing itself fail, as a full disk does."""
        command = [sys.executable, "-m", "mmcfusion_ros.cli", "evaluate", folder, "--model", "max", "--out", tmp_path]
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        )
        assert done.returncode == 1
        assert (
            done.stderr
            == f"mmcfusion evaluate: {tmp_path}/set/test/max/fused/a.png could not be written: File too large\n"
        )
        assert not list((tmp_path / "set/test/max/fused").iterdir())

    def test_results_that_would_overwrite_each_other(self, folder, tmp_path):
        with pytest.raises(ValueError, match="2 folders are called 'set/test'"):
            evaluate([folder, folder], ["max"], tmp_path / "out", PLAIN)
        with pytest.raises(ValueError, match="2 methods are called 'max'"):
            evaluate([folder], ["max", "max"], tmp_path / "out", PLAIN)
        assert not (tmp_path / "out").exists()
