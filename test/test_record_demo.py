"""A bag without hardware, from the rig or from a folder."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from camera_messages import rgb_from_message, thermal_from_message

from mmcfusion_ros.bags.reading import Bag, read_message
from mmcfusion_ros.cli import main
from mmcfusion_ros.evaluation.bags.frames_to_bag import START_NS
from mmcfusion_ros.fusion.calibration_file import load_calibration


def record(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["record-demo", *map(str, arguments)])
    return ended.value.code


def messages(path, topic):
    with Bag(path) as bag:
        return [(r.time_ns, read_message(r.data, bag.topics[topic].type)) for r in bag.messages([topic])]


def stamp(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_the_rig(tmp_path, capsys):
    options = ("--duration", 0.3, "--thermal-rate", 10, "--rgb-rate", 20, "--night", "--storage", "sqlite3")
    options += ("--depth", "own", "--calibration", tmp_path / "rig.yaml")
    assert record(tmp_path / "bag", *options) == 0
    assert "/thermal/image_raw 3" in capsys.readouterr().out
    thermal, rgb = (messages(tmp_path / "bag", f"/{camera}/image_raw") for camera in ("thermal", "rgb"))
    assert [(time - START_NS) // 1_000_000 for time, _ in rgb] == [0, 50, 100, 150, 200, 250]
    assert all(stamp(message) == time for time, message in thermal + rgb)
    assert (thermal[0][1].encoding, rgb[0][1].encoding) == ("16UC1", "rgb8")
    info = messages(tmp_path / "bag", "/thermal/camera_info")[0][1]
    assert (info.width, info.height, info.k[0]) == (640, 512, 572.0)
    depth, info = (messages(tmp_path / "bag", f"/depth/{name}")[0][1] for name in ("image_raw", "camera_info"))
    millimetres = depth.data.view(np.uint16)
    assert 800 < millimetres[millimetres > 0].min() < 2000
    assert (info.width, info.height, info.k[0]) == (depth.width, depth.height, 424.0)
    calibration = load_calibration(tmp_path / "rig.yaml")
    assert (calibration.translation[0], calibration.depth_translation[0]) == (0.1, -0.015)


def test_a_folder_of_pairs(tmp_path):
    rng = np.random.default_rng(0)
    thermal, rgb = rng.integers(0, 2**16, (3, 48, 64), np.uint16), rng.integers(0, 256, (3, 48, 64, 3), np.uint8)
    for part, images in (("ir", thermal), ("vi", rgb[..., ::-1])):
        (tmp_path / "pairs" / part).mkdir(parents=True)
        for i, image in enumerate(images):
            cv2.imwrite(str(tmp_path / "pairs" / part / f"{i}.png"), image)
    assert record(tmp_path / "bag", "--folder", tmp_path / "pairs") == 0
    got = [thermal_from_message(m) for _, m in messages(tmp_path / "bag", "/thermal/image_raw")]
    np.testing.assert_array_equal(got, thermal)
    got = [rgb_from_message(m) for _, m in messages(tmp_path / "bag", "/rgb/image_raw")]
    np.testing.assert_array_equal(got, rgb)
    assert "are of the synthetic rig" in record(tmp_path / "other", "--depth", "own", "--folder", tmp_path / "pairs")
    assert "exists already" in record(tmp_path / "bag", "--folder", tmp_path / "pairs")


def test_a_folder_that_is_none_leaves_no_bag(tmp_path):
    assert "not a folder" in record(tmp_path / "bag", "--folder", tmp_path / "none")
    assert not (tmp_path / "bag").exists()
