"""What goes into a report: the data of the page, previews, the video, the installed files."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from report_runs import make_run, page_data

from mmcfusion_ros.evaluation.report import (
    PageFrame,
    PageRun,
    choose_previews,
    encode_preview,
    write_preview_video,
    write_report,
)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (1000, 2000, 3), dtype=np.uint8)


class TestPage:
    def test_needs_a_run(self, tmp_path):
        with pytest.raises(ValueError, match="at least one run"):
            write_report(tmp_path / "a.html", [])

    def test_loads_nothing(self, tmp_path):
        write_report(tmp_path / "a.html", [make_run()])
        text = (tmp_path / "a.html").read_text()
        assert not re.search(r"<(link|iframe|script[^>]+src|img|object|embed)\b", text.split("<script")[0])
        assert not re.search(r"""\b(src|href)=["']?http""", text)
        assert not re.search(r"\bon\w+=", text.split("<body>")[1].split("<script")[0])
        assert "default-src 'none'" in text
        assert "The MIT License" in text

    def test_markup_in_names_stays_text(self, tmp_path):
        evil = "</script><script>alert(1)</script>"
        run = PageRun(evil, {evil: evil}, [PageFrame(evil, 0.0, {evil: 1.0})], [(0.0, evil)], [evil])
        write_report(tmp_path / "a.html", [run])
        assert "alert(1)" in (tmp_path / "a.html").read_text()
        assert "<script>alert" not in (tmp_path / "a.html").read_text()
        (read,) = page_data(tmp_path / "a.html")["runs"]
        assert read["title"] == evil
        assert read["names"] == read["problems"] == [evil]

    def test_numbers_that_json_lacks_become_null(self, tmp_path):
        frames = [PageFrame("a", 0.0, {"x": math.nan, "y": math.inf}), PageFrame("b", 1.0, {"x": np.float32(1.5)})]
        write_report(tmp_path / "a.html", [PageRun("", {}, frames, [(math.nan, "late")])])
        (read,) = page_data(tmp_path / "a.html")["runs"]
        assert read["values"] == [["x", [None, 1.5]], ["y", [None, None]]]
        assert read["drops"] == [[None, "late"]]

    def test_frames_are_in_order_of_time(self, tmp_path):
        frames = [PageFrame("b", 2.0, {"x": 2.0}), PageFrame("a", 1.0, {"x": 1.0})]
        write_report(tmp_path / "a.html", [PageRun("", {}, frames)])
        (read,) = page_data(tmp_path / "a.html")["runs"]
        assert (read["names"], read["times"], read["values"]) == (["a", "b"], [1.0, 2.0], [["x", [1.0, 2.0]]])

    def test_without_a_time_the_order_stays(self, tmp_path):
        write_report(tmp_path / "a.html", [PageRun("", {}, [PageFrame("b", math.nan, {}), PageFrame("a", 1.0, {})])])
        (read,) = page_data(tmp_path / "a.html")["runs"]
        assert (read["names"], read["times"]) == (["b", "a"], [0, 1])

    def test_an_image_of_two_runs_is_there_once(self, tmp_path):
        write_report(tmp_path / "a.html", [make_run("a"), make_run("b", fused=(0, 0, 200))])
        data = page_data(tmp_path / "a.html")
        assert len(data["images"]) == 4
        assert [run["images"]["rgb"][0] for run in data["runs"]] == [1, 1]
        assert [run["images"]["fused"][0] for run in data["runs"]] == [2, 3]

    def test_its_files_are_installed(self, tmp_path):
        command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
        folder = Path("mmcfusion_ros/evaluation/report/assets")
        needed = {path.relative_to(REPOSITORY) for path in (REPOSITORY / folder).rglob("*") if path.is_file()}
        assert folder / "uplot/LICENSE" in needed
        assert needed <= {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}


class TestPreviews:
    def test_large_images_become_small(self, noise):
        preview = cv2.imdecode(np.frombuffer(encode_preview(noise), np.uint8), cv2.IMREAD_COLOR)
        assert preview.shape == (320, 640, 3)
        assert encode_preview(noise)[8:12] == b"WEBP"

    @pytest.mark.parametrize("shape", [(1, 4000), (30, 40), (64, 64, 3)])
    def test_any_shape(self, shape):
        preview = cv2.imdecode(np.frombuffer(encode_preview(np.full(shape, 90, np.uint8)), np.uint8), cv2.IMREAD_COLOR)
        assert max(preview.shape[:2]) == min(640, max(shape[:2]))
        assert abs(int(preview.mean()) - 90) < 3

    def test_red_stays_red(self):
        red = np.full((8, 8, 3), (200, 0, 0), np.uint8)
        blue, _, decoded = cv2.imdecode(np.frombuffer(encode_preview(red), np.uint8), cv2.IMREAD_COLOR)[4, 4]
        assert decoded > 180
        assert blue < 20

    def test_chosen_ones_are_spread_and_have_the_worst(self):
        assert choose_previews(3, 60) == [0, 1, 2]
        assert choose_previews(0, 60, []) == []
        assert choose_previews(100, 5) == [0, 25, 50, 74, 99]
        chosen = choose_previews(1000, 60, worst=list(range(500, 600)))
        assert len(chosen) == 60
        assert set(range(500, 530)) <= set(chosen)
        assert {0, 999} <= set(chosen)
        assert choose_previews(10, 1, worst=[4]) == [4]


class TestVideo:
    def frames(self, noise, count=4):
        for i in range(count):
            yield np.full((60, 80), 10 * i, np.uint8), noise[: 120 + 20 * i, :160], np.full((48, 64, 3), 200, np.uint8)

    def test_mp4(self, noise, tmp_path):
        write_preview_video(tmp_path / "a.mp4", self.frames(noise), 10.0)
        video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 4
        assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
        shapes = [video.read()[1] for _ in range(4)]
        assert {image.shape for image in shapes} == {(300, 1200, 3)}
        assert shapes[3][150, 200].mean() == pytest.approx(30, abs=8)
        assert shapes[3][150, 1000].mean() == pytest.approx(200, abs=8)

    def test_gif(self, noise, tmp_path):
        write_preview_video(tmp_path / "a.gif", self.frames(noise), 10.0)
        with Image.open(tmp_path / "a.gif") as image:
            assert (image.n_frames, image.size, image.info["duration"]) == (4, (1200, 300), 100)

    def test_needs_a_frame_and_a_folder(self, noise, tmp_path):
        with pytest.raises(ValueError, match="no frames"):
            write_preview_video(tmp_path / "a.mp4", [], 10.0)
        with pytest.raises(OSError, match=r"a\.mp4"):
            write_preview_video(tmp_path / "nowhere/a.mp4", self.frames(noise), 10.0)

    def test_an_interrupted_video_is_whole_up_to_there(self, noise, tmp_path):
        def interrupted():
            yield from self.frames(noise)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_preview_video(tmp_path / "a.mp4", interrupted(), 10.0)
        assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 4
