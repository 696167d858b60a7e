"""Steadiness of fused clips: measures of clips whose right values are known."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from mmcfusion_ros.data.pair_folder import find_pairs, read_pair
from mmcfusion_ros.evaluation.clips import ClipTest, Step, clip_table
from mmcfusion_ros.evaluation.evaluate import evaluate, summary_markdown
from mmcfusion_ros.evaluation.folders import EvaluationOptions
from mmcfusion_ros.evaluation.rules import average, maximum
from mmcfusion_ros.fusion.fuser import split_luminance

SHAPE = (120, 160)
GREY = np.full(SHAPE, 90, np.uint8)


def measure(*clips, names=("thermal", "luminance", "fused")):
    test = ClipTest()
    for images in zip(*clips, strict=True):
        test.add(dict(zip(names, images, strict=True)))
    return test.result()


def texture(shifts, seed=0):
    """Frames of a smooth random texture, moved to the right by so many pixels; views, as a fuser gives them."""
    wide = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (SHAPE[0], 2 * SHAPE[1])), (0, 0), 3)
    wide = np.clip(wide / wide.std() * 35 + 128, 0, 255).astype(np.uint8)
    return [wide[:, 80 - shift : 80 - shift + SHAPE[1]] for shift in shifts]


def squares(count=6, step=6):
    """A bright square that moves over dark grey."""
    frames = [GREY // 3 for _ in range(count)]
    for i, frame in enumerate(frames):
        frame[40:80, 20 + step * i : 60 + step * i] = 220
    return frames


class TestStillParts:
    def test_change_and_its_ratio_to_the_sources(self):
        flicker = [GREY + i % 2 for i in range(5)]
        fused = [GREY + 3 * (i % 2) for i in range(5)]
        result = measure([GREY] * 5, flicker, fused)
        assert [result[name]["change"] for name in ("thermal", "luminance", "fused")] == [0, 1, 3]
        assert [result[name]["ratio"] for name in ("thermal", "luminance", "fused")] == [0, 1, 3]

    def test_what_moves_in_a_source_does_not_count(self):
        thermal = [GREY.copy() for _ in range(4)]
        for i, frame in enumerate(thermal):
            frame[:60] += 2 * (i % 2)
        fused = [frame + (frame - GREY) * 10 for frame in thermal]
        assert measure(thermal, [GREY] * 4, fused)["fused"]["change"] == 0

    def test_no_ratio_to_sources_that_never_change(self):
        result = measure([GREY] * 3, [GREY] * 3, [GREY + i for i in range(3)])
        assert result["fused"]["change"] == 1
        assert "ratio" not in result["fused"]

    def test_the_rules_on_a_real_clip(self, shared_data):
        test = ClipTest()
        for files in find_pairs(shared_data / "video/140746"):
            thermal, rgb = read_pair(files)
            luminance, _ = split_luminance(rgb)
            images = {"max": maximum(thermal, luminance), "average": average(thermal, luminance)}
            test.add({"thermal": thermal, "luminance": luminance, **images})
        changes = {name: row["change"] for name, row in test.result().items()}
        assert changes == pytest.approx(
            {"thermal": 0.431, "luminance": 0.564, "max": 0.515, "average": 0.371}, abs=1e-3
        )


class TestMovingEdges:
    @pytest.mark.parametrize(("late", "lag"), [(0, 0), (1, 1), (0.5, 0.5)])
    def test_lag_in_frames(self, late, lag):
        frames = squares()
        fused = [cv2.addWeighted(a, 1 - late, b, late, 0) for a, b in zip(frames, [frames[0], *frames], strict=False)]
        result = measure(frames, [GREY // 3] * len(frames), fused)
        assert result["fused"]["lag"] == pytest.approx(lag, abs=0.02)
        assert (result["fused"]["edges"] > 0.99) == (late == 0)

    def test_of_a_still_clip_are_left_out(self):
        result = measure([GREY] * 3, [GREY] * 3, [GREY] * 3)
        assert "lag" not in result["fused"]
        assert " |  |  | 0.000 |" in clip_table(result)


class TestMotion:
    def test_a_clip_that_moves_as_its_sources(self):
        frames = texture(range(0, 16, 2))
        row = measure(frames, frames, frames)["fused"]
        assert row["SWE"] < 0.5
        assert row["BiSWE"] < 1
        assert row["MS2R"] == 0

    def test_flicker_is_what_is_left_after_warping(self):
        frames = texture([2 * i for i in range(6)])
        fused = [frame // 2 + 60 + 8 * (i % 2) for i, frame in enumerate(frames)]
        row = measure(frames, frames, fused)["fused"]
        assert row["SWE"] == pytest.approx(8, abs=0.5)
        assert row["BiSWE"] == pytest.approx(16, abs=1)

    def test_occluded_pixels_do_not_count(self):
        """The upper half is another texture in every frame; only there the fused clip flickers."""
        frames = [frame.copy() for frame in texture([0, 2])]
        for i, frame in enumerate(frames):
            frame[:60] = texture([0], seed=i + 1)[0][:60]
        unoccluded = Step.between(*frames).unoccluded
        assert unoccluded[:55].mean() < 0.3
        assert unoccluded[65:, 5:-5].mean() > 0.99
        fused = Step.between(*(np.where(unoccluded, 90, 90 + 50 * i).astype(np.uint8) for i in (0, 1)))
        assert fused.warping_error(unoccluded) < 0.2 * fused.warping_error(~unoccluded)

    def test_ms2r_is_the_change_of_flow_beyond_the_sources(self):
        """The fused clip goes 1 and 3 pixels in turn where the sources go 2: its flow changes by 2 in x, 0 in y."""
        sources, fused = texture(range(0, 16, 2)), texture([0, 1, 4, 5, 8, 9, 12, 13])
        result = measure(sources, sources, fused)
        assert result["fused"]["MS2R"] == pytest.approx(1, abs=0.1)
        assert result["thermal"]["MS2R"] == 0

    def test_two_frames_have_no_neighbours_on_both_sides(self):
        row = measure(*[texture([0, 2])] * 3)["fused"]
        assert "SWE" in row
        assert not {"BiSWE", "MS2R"} & row.keys()


class TestEvaluate:
    @pytest.fixture
    def clip(self, tmp_path):
        for spectrum, step in (("ir", 6), ("vi", 3)):
            (tmp_path / "clip" / spectrum).mkdir(parents=True)
            for i, frame in enumerate(squares(4, step)):
                cv2.imwrite(str(tmp_path / "clip" / spectrum / f"{i}.png"), frame)
        return tmp_path / "clip"

    def test_stands_beside_the_metrics(self, clip, tmp_path):
        options = EvaluationOptions(clip=True)
        (result,) = evaluate([clip], ["max", "average"], tmp_path / "out", options)
        frames = [[split_luminance(image)[0] for image in read_pair(files)] for files in find_pairs(clip)]
        fused = [[rule(*pair) for pair in frames] for rule in (maximum, average)]
        names = ("thermal", "luminance", "max", "average")
        expected = measure(*zip(*frames, strict=True), *fused, names=names)
        assert result.clip.keys() == expected.keys()
        assert all(result.clip[name] == pytest.approx(expected[name]) for name in names)
        summary = json.loads((tmp_path / "out/summary.json").read_text())
        assert summary["sets"][result.folder.name]["clip"] == result.clip
        assert clip_table(result.clip) in summary_markdown([result], options)

    def test_a_folder_does_not_depend_on_the_one_before(self, clip, tmp_path, random_lite_graph, private_cache):
        for spectrum in ("ir", "vi"):  # the second frame: the first one, brighter by less than ROOM
            first = cv2.imread(str(clip / spectrum / "0.png"))
            cv2.imwrite(str(clip / spectrum / "1.png"), cv2.add(first, np.full_like(first, 7)))
        shutil.copytree(clip, tmp_path / "again")
        # In bfloat16 OpenVINO's first image on a processor with AMX differs from later ones by a grey level in places.
        options = EvaluationOptions(clip=True, limit=2, precision="float32")
        evaluate([clip, tmp_path / "again"], [str(random_lite_graph)], tmp_path / "out", options)
        once, again = ([*(tmp_path / "out").rglob(f"{name}/*/*/fused/0.png")] for name in ("clip", "again"))
        assert once[0].read_bytes() == again[0].read_bytes()

    def test_pairs_are_no_clip_unless_said(self, clip, tmp_path):
        (result,) = evaluate([clip], ["max"], tmp_path / "out", EvaluationOptions())
        assert result.clip == {}

    def test_a_frame_of_another_size_is_named(self, clip, tmp_path):
        for spectrum in ("ir", "vi"):
            cv2.imwrite(str(clip / spectrum / "2.png"), np.zeros((64, 80), np.uint8))
        with pytest.raises(
            ValueError, match=r"ir/2\.png: 80x64 after 160x120; all frames of a clip must have one size"
        ):
            evaluate([clip], ["max"], tmp_path / "out", EvaluationOptions(clip=True))

    def test_nothing_is_still_under_stress(self):
        with pytest.raises(ValueError, match="under stress nothing in a clip is still"):
            EvaluationOptions(stress="noise", clip=True)
