"""``calibrate --verify``: how far off things at each distance are, by depth and edges."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bag_files import NS, START, Message, frames, write_bag

from mmcfusion_ros.calibration.range_check import RANGES_M, View, picture, range_errors, range_report, variants
from mmcfusion_ros.cli import main
from mmcfusion_ros.evaluation.bags.writing import camera_info_message, header_message, image_message
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import save_calibration
from mmcfusion_ros.fusion.camera import Intrinsics

SIZE, FOCAL_PX, BASELINE_M, NEAR_M, WALL_M = (320, 240), 250.0, 0.1, 2.0, 10.0
BOARD = np.s_[70:200, 130:210]
MATRIX = np.array([[FOCAL_PX, 0, 159.5], [0, FOCAL_PX, 119.5], [0, 0, 1]])


def blobs(seed):
    noise = np.random.default_rng(seed).normal(0, 1, (240, 380)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 20, 230, cv2.NORM_MINMAX).astype(np.uint8)


def rig(baseline_m=BASELINE_M):
    lens = Intrinsics(*SIZE, MATRIX)
    place = {"rotation": np.eye(3), "translation": np.array([baseline_m, 0, 0])}
    return Calibration(**place, thermal=lens, rgb=lens, plane_distance=WALL_M)


def view(seed=0):
    """A board at 2 m before a wall, of inverted contrast in thermal, which stands 10 cm to the right."""
    far, near = blobs(2 * seed), blobs(2 * seed + 1)
    rgb = far[:, 30:350].copy()
    rgb[BOARD] = near[BOARD]
    shift = np.array([[1, 0, -FOCAL_PX * BASELINE_M / WALL_M], [0, 1, 0]])
    thermal = cv2.warpAffine(far, shift, far.shape[::-1])[:, 30:350].copy()
    rows, columns = BOARD
    away = round(FOCAL_PX * BASELINE_M / NEAR_M)
    thermal[rows, columns.start - away : columns.stop - away] = near[BOARD]
    inverse_depth = np.full(rgb.shape, 1 / WALL_M, np.float32)
    inverse_depth[BOARD] = 1 / NEAR_M
    inverse_depth[:9] = 0
    return View(255 - thermal, cv2.cvtColor(rgb, cv2.COLOR_GRAY2RGB), inverse_depth)


VIEWS = [view(seed) for seed in range(2)]


def test_a_right_calibration_leaves_nothing():
    errors, agreement = range_errors(rig(), VIEWS)
    assert [error.metres for error in errors] == [RANGES_M[1], RANGES_M[3]]
    assert all(error.error_px < 0.6 and error.deviation_px < 0.6 for error in errors)
    assert errors[0].plane_px == pytest.approx(FOCAL_PX * BASELINE_M * (1 / NEAR_M - 1 / WALL_M), rel=1e-3)
    assert [round(error.share, 2) for error in errors] == [0.14, 0.83]
    assert agreement > 0.7


def test_a_wrong_baseline_grows_as_things_come_near():
    near, far = range_errors(rig(BASELINE_M + 0.04), VIEWS)[0]
    assert near.shift == pytest.approx((0.04 * FOCAL_PX / NEAR_M, 0), abs=0.6)
    assert far.shift == pytest.approx((0.04 * FOCAL_PX / WALL_M, 0), abs=0.6)
    text, _, problem = range_report(rig(BASELINE_M + 0.04), {"": VIEWS[:1]})
    assert "| 2 to 4 m | 14 % | 5." in text
    assert problem.startswith("the overlay is off by 5.")
    assert "px 2 to 4 m" in problem


def test_the_wrong_way_round_is_said_of_either():
    turned = rig(-BASELINE_M)
    assert range_report(turned, {"": VIEWS[:1], "extrinsics": VIEWS[:1]})[2].startswith(
        "extrinsics are the wrong way round"
    )
    assert range_report(rig(), {"": VIEWS[:1], "extrinsics": VIEWS[:1]})[2] == ""
    place = {"depth_rotation": cv2.Rodrigues(np.array([0, 0.2, 0]))[0], "depth_translation": np.array([0.1, 0, 0])}
    found = variants(replace(rig(), **place))
    assert list(found) == ["", "extrinsics", "depth_extrinsics"]
    back = variants(found["depth_extrinsics"])["depth_extrinsics"]
    np.testing.assert_allclose(back.depth_translation, place["depth_translation"], atol=1e-9)
    np.testing.assert_allclose(back.depth_rotation, place["depth_rotation"], atol=1e-9)


def test_without_edges_nothing_is_said_to_be_right():
    flat = [View(np.full_like(one.thermal, 90), one.rgb, one.inverse_depth) for one in VIEWS]
    text, errors, problem = range_report(rig(), {"": flat})
    assert "too few edges in common" in text
    assert problem.startswith("nothing could be measured")
    assert picture(rig(), flat, errors).shape == (600, 2400, 3)


def test_of_a_bag(tmp_path, capsys):
    """Lenses from ``camera_info``; the depth camera sees more than RGB, and stands where TF says."""
    messages, wider = [], np.diag([0.8, 0.8, 1]) @ MATRIX
    wider[:2, 2] = MATRIX[:2, 2]
    matrices = {"thermal": MATRIX, "rgb": MATRIX, "depth": wider}
    for i, one in enumerate(VIEWS):
        stamp = START + i * NS // 10
        with np.errstate(divide="ignore"):
            metres = np.where(one.inverse_depth > 0, 1 / one.inverse_depth, 0).astype(np.float32)
        metres = cv2.warpPerspective(metres, wider @ np.linalg.inv(MATRIX), SIZE, flags=cv2.INTER_NEAREST)
        images = {"thermal": (one.thermal, "mono8"), "rgb": (one.rgb, "rgb8"), "depth": (metres, "32FC1")}
        for camera, (pixels, encoding) in images.items():
            header = header_message(stamp, camera)
            info = camera_info_message(*SIZE, matrices[camera], header)
            messages.append(Message(f"/{camera}/camera_info", stamp, info))
            messages.append(Message(f"/{camera}/image_raw", stamp + 1, image_message(pixels, encoding, header)))
    bag = write_bag(tmp_path / "bag", [frames("rgb", "depth"), *messages])
    alone = write_bag(tmp_path / "alone", messages)
    file = tmp_path / "rig.yaml"

    def verify(calibration, *more, bag=bag):
        save_calibration(replace(calibration, thermal=None, rgb=None), file)
        with pytest.raises(SystemExit) as ended:
            main(["calibrate", "--bag", str(bag), "--verify", str(file), *map(str, more)])
        return SimpleNamespace(code=ended.value.code, out=capsys.readouterr().out)

    good = verify(rig(), "--out", tmp_path / "ranges.jpg")
    assert good.code == 0
    assert "| 2 to 4 m | 9 % | 0." in good.out
    assert cv2.imread(str(tmp_path / "ranges.jpg")).shape == (600, 2400, 3)
    turned = verify(rig(-BASELINE_M))
    assert turned.code == 1
    assert "not good: extrinsics are the wrong way round" in turned.out
    assert "not that of the RGB camera" in verify(rig(), bag=alone).code
    assert "no topic /x" in verify(rig(), "--depth-topic", "/x").code
    with pytest.raises(SystemExit, match="--verify needs depth"):
        main(["calibrate", "--folder", str(tmp_path), "--verify", str(file)])
