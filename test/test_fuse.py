"""``mmcfusion fuse``: files in, fused files out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from bag_files import drive, write_bag
from image_pairs import write_pairs

from mmcfusion_ros.bags.reading import Bag
from mmcfusion_ros.cli import main
from mmcfusion_ros.data.images import read_rgb
from mmcfusion_ros.data.pair_folder import find_pairs, read_pair
from mmcfusion_ros.evaluation.fuse import fuse_large
from mmcfusion_ros.fusion.fuser import Fuser


@pytest.fixture(scope="module")
def fuser():
    return Fuser.from_pretrained("lite", precision="float32", threads=1)


def fuse(*words, precision="float32"):
    main(["fuse", *map(str, words), "--precision", precision, "--threads", "1"])


def fuses(*words):
    with pytest.raises(SystemExit) as stop:
        fuse(*words)
    return stop.value.code


def test_a_folder_of_pairs(tmp_path, fuser):
    folder = write_pairs(tmp_path / "in", 3)
    (folder / "vi/00.png").write_bytes(b"junk")  # costs its pair
    assert "1 of 3 pairs could not be fused, the first: " in fuses(folder, tmp_path / "out")
    for files in find_pairs(folder)[1:]:
        np.testing.assert_array_equal(read_rgb(tmp_path / "out" / f"{files.name}.png"), fuser(*read_pair(files)))


def test_two_folders_and_two_images(tmp_path):
    folder = write_pairs(tmp_path / "in", 1)
    assert fuses(folder / "ir", folder / "vi", tmp_path / "out") == 0
    assert fuses(folder / "ir/00.png", folder / "vi/00.png", tmp_path / "one.png") == 0
    np.testing.assert_array_equal(read_rgb(tmp_path / "out/00.png"), read_rgb(tmp_path / "one.png"))


def test_two_videos(tmp_path):
    folder = write_pairs(tmp_path / "in", 1)

    def write(name, frames, rate_hz):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*"MJPG"), rate_hz, (160, 144))
        for _ in range(frames):
            writer.write(cv2.imread(str(folder / name[:2] / "00.png")))
        writer.release()
        return tmp_path / name

    thermal = write("ir.avi", 3, 25)
    assert fuses(thermal, write("vi.avi", 3, 25), tmp_path / "out.mp4") == 0
    short = write("vi_short.avi", 2, 25)
    assert f"{short} ends first, after 2 frames" in fuses(thermal, short, tmp_path / "short.mp4")
    for name, count in {"out": 3, "short": 2}.items():
        video = cv2.VideoCapture(str(tmp_path / f"{name}.mp4"))
        assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (count, 25)
    assert "has 25 frames per second, " in fuses(thermal, write("vi_slow.avi", 3, 10), tmp_path / "slow.mp4")


def test_formats_are_told_by_the_suffix(tmp_path):
    folder = write_pairs(tmp_path / "in", 1)
    thermal, rgb = folder / "ir/00.png", folder / "vi/00.png"
    assert "no image can be written to a file named *.txt" in fuses(thermal, rgb, tmp_path / "a.txt")
    assert "00.png is one image; give a folder of pairs" in fuses(thermal, tmp_path / "a.png")


def test_a_bag(tmp_path):
    bag = write_bag(tmp_path / "drive", drive(3))
    assert fuses(bag, tmp_path / "out", "--set", "warm_up_width=64", "warm_up_height=48") == 0
    with Bag(tmp_path / "out/fused") as fused:
        assert fused.topics["/fused/image_raw"].count == 3
    assert "frames.csv exists already" in fuses(bag, tmp_path / "out")


def test_nothing_is_overwritten_unless_forced(tmp_path):
    folder = write_pairs(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/00.png").write_bytes(b"mine")
    assert "00.png exists already; " in fuses(folder, tmp_path / "out")
    assert (tmp_path / "out/00.png").read_bytes() == b"mine"
    assert fuses(folder, tmp_path / "out", "--force") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a.png", "b.mp4"), "not two folders"),
        (("a.mp4", "b.mp4"), "a.mp4: not a readable video"),
        (("x",), "x is not"),
    ],
)
def test_what_cannot_be_fused_is_one_line(tmp_path, words, message):
    assert message in fuses(*(tmp_path / word for word in words), tmp_path / "out.mp4")


def test_tiles_leave_no_seams(fuser):
    """Of a large image each tile sees its own part alone; where they meet, nothing may step."""
    small = np.random.default_rng(0).integers(0, 256, (8, 72), dtype=np.uint8)
    thermal = cv2.resize(small, (4608, 128), interpolation=cv2.INTER_CUBIC)
    rgb = np.dstack([cv2.resize(np.roll(small, 9), (4608, 128), interpolation=cv2.INTER_CUBIC)] * 3)
    fused = fuse_large(fuser, thermal, rgb).astype(int)
    whole = fuser(thermal[:, :4096], np.ascontiguousarray(rgb[:, :4096, 0])).astype(int)
    assert np.abs(fused[:, :3800, 0] - whole[:, :3800]).mean() < 1
    steps, expected = (np.abs(np.diff(image[:, :3800], axis=1)).mean(axis=0) for image in (fused[..., 0], whole))
    assert (steps - expected).max() < 0.5
