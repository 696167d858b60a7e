"""``mmcfusion calibrate``: from a folder, from boards, from a bag; and what it refuses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from rig_pairs import luminance_pairs, rig_pairs

from mmcfusion_ros.calibration.boards import calibrate_from_boards, find_board
from mmcfusion_ros.calibration.images import calibrate_from_images, region_markdown
from mmcfusion_ros.calibration.recording import spread
from mmcfusion_ros.cli import main
from mmcfusion_ros.fusion.alignment import corners, transformed
from mmcfusion_ros.fusion.calibration import load_calibration
from mmcfusion_ros.simulation.optics import THERMAL_TO_RGB

TRUTH = np.array([[0.62, 0.01, 30.0], [-0.012, 0.61, 25.0], [1e-5, -2e-5, 1]])  # RGB to thermal


def distance(found, truth, shape):
    return np.linalg.norm(transformed(found, corners(shape)) - transformed(truth, corners(shape)), axis=1).max()


def write_folder(folder, pairs):
    for part, images in zip(("ir", "vi"), zip(*pairs, strict=True), strict=True):
        (folder / part).mkdir(parents=True)
        for i, image in enumerate(images):
            cv2.imwrite(str(folder / part / f"{i}.png"), image[..., ::-1] if image.ndim == 3 else image)
    return folder


def board(pattern, x, y, size, turn=0.0):
    """RGB and thermal images of a board at a place of the RGB image; warm where it is dark."""
    square = np.full((9 * 40, 12 * 40), 230, np.uint8)
    for row in range(7):
        for column in range(10):
            at = (40 + 40 * column, 40 + 40 * row)
            if pattern == "circles":
                cv2.circle(square, (at[0] + 20, at[1] + 20), 11, 20, -1, cv2.LINE_AA)
            elif (row + column) % 2:
                square[at[1] : at[1] + 40, at[0] : at[0] + 40] = 20
    matrix = np.vstack([cv2.getRotationMatrix2D((0, 0), turn, size / 480), [0, 0, 1]])
    matrix[:2, 2] += x, y
    rgb = cv2.warpPerspective(square, matrix, (640, 480), flags=cv2.INTER_AREA, borderValue=180)
    thermal = cv2.warpPerspective(square, TRUTH @ matrix, (400, 320), flags=cv2.INTER_AREA, borderValue=180)
    return cv2.GaussianBlur(180 - thermal // 2, (0, 0), 1.0), cv2.GaussianBlur(rgb, (0, 0), 0.7)


PLACES = ((10, 10, 300), (320, 20, 300), (40, 240, 280), (330, 250, 290, -4), (150, 120, 330, 5))


@pytest.mark.parametrize(("pattern", "columns", "rows"), [("chessboard", 9, 6), ("circles", 10, 7)])
def test_boards_of_inverted_contrast(pattern, columns, rows):
    pairs = [board(pattern, *place) for place in PLACES]
    blank = np.full((320, 400), 90, np.uint8), np.full((480, 640), 90, np.uint8)
    found = calibrate_from_boards([blank, *pairs], pattern, columns, rows)
    assert found.views == [1, 2, 3, 4, 5]
    assert found.rms_px < 0.5
    assert distance(found.homography, np.linalg.inv(TRUTH), (320, 400)) < 1


def test_bad_boards_are_refused():
    one = board("chessboard", *PLACES[0])
    assert find_board(np.zeros((90, 90), np.uint8), "chessboard", 9, 6) is None
    with pytest.raises(ValueError, match="no pair of 1 shows the 7x5 chessboard in both images"):
        calibrate_from_boards([one], "chessboard", 7, 5)
    small = board("chessboard", 200, 200, 180)
    with pytest.raises(ValueError, match="show the board in the corners too"):
        calibrate_from_boards([small], "chessboard", 9, 6)
    other = one[0], np.roll(one[1], 150, axis=1)
    pairs = [other, *(board("chessboard", *place) for place in PLACES[1:3])]
    with pytest.raises(ValueError, match=r"do not agree|reprojection error"):
        calibrate_from_boards([pairs[0], pairs[1]], "chessboard", 9, 6)


def test_folder_to_files(tmp_path, capsys):
    folder = write_folder(tmp_path / "pairs", rig_pairs())
    out = tmp_path / "calibration.yaml"
    with pytest.raises(SystemExit) as end:
        main(["calibrate", "--folder", str(folder), "--frames", "3", "--model", "affine", "--out", str(out)])
    assert end.value.code == 0
    assert distance(load_calibration(out).homography, THERMAL_TO_RGB, (512, 640)) < 3
    text = out.read_text()
    assert "thermal_size: [640, 512]\nrgb_size: [640, 480]\n" in text
    printed = capsys.readouterr().out
    assert "3 of 3 frames used" in printed
    assert printed.count("±") == 13
    assert cv2.imread(str(out.with_suffix(".jpg"))).shape == (1200, 1600, 3)


def test_bad_calibrations_are_not_written(tmp_path):
    mirrored = [(cv2.flip(thermal, 1), rgb) for thermal, rgb in rig_pairs()[:2]]
    folder = write_folder(tmp_path / "pairs", mirrored)
    out = tmp_path / "calibration.yaml"
    with pytest.raises(SystemExit, match="no calibration: the edges of the two images agree no better than by chance"):
        main(["calibrate", "--folder", str(folder), "--out", str(out)])
    assert not out.exists()
    with pytest.raises(SystemExit, match="name the file to write with --out"):
        main(["calibrate", "--folder", str(folder)])


def test_frames_that_disagree_are_left_out():
    pairs = luminance_pairs(4)
    pairs[1] = np.roll(pairs[1][0], 30, axis=1), pairs[1][1]
    found = calibrate_from_images(pairs, "similarity", "none", THERMAL_TO_RGB)
    assert found.used == [0, 2, 3]
    assert distance(found.alignment.homography, THERMAL_TO_RGB, (512, 640)) < 1
    assert np.isnan(found.disagreement_px)
    assert "over 3 frames" in region_markdown(found.alignment)


def test_spread():
    assert spread(range(100), 3) == [0, 50, 99]
    assert spread([7], 5) == [7]


def test_time_of_a_folder(shared_data, capsys):
    with pytest.raises(SystemExit) as end:
        main(["calibrate", "--folder", str(shared_data / "video/140815"), "--time"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert abs(float(printed.split()[1])) < 0.01


def test_bag(tmp_path):
    rosbag2, typesys = pytest.importorskip("rosbags.rosbag2"), pytest.importorskip("rosbags.typesys")
    from mmcfusion_ros.calibration.recording import bag_pairs, bag_streams

    store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    types = store.types
    topics = ("/thermal/image_raw", "/rgb/image_raw")
    with rosbag2.Writer(tmp_path / "bag", version=8) as writer:
        links = [writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=store) for topic in topics]
        for i in range(6):
            for link, delay, encoding, channels in ((links[0], 5, "mono16", 1), (links[1], 0, "rgb8", 3)):
                stamp = types["builtin_interfaces/msg/Time"](sec=7, nanosec=100_000_000 * i + 1_000_000 * delay)
                header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
                data = np.full(64 * 80 * channels * (2 if channels == 1 else 1), 20 * i, np.uint8)
                step = len(data) // 64
                image = types["sensor_msgs/msg/Image"](
                    header=header, height=64, width=80, encoding=encoding, is_bigendian=0, step=step, data=data
                )
                writer.write(link, 10**9 + 10**8 * i + delay, store.serialize_cdr(image, "sensor_msgs/msg/Image"))
    pairs = bag_pairs(tmp_path / "bag", topics, 3)
    assert [int(rgb[0, 0, 0]) for _, rgb in pairs] == [0, 40, 100]
    assert {(thermal.shape, rgb.shape) for thermal, rgb in pairs} == {((64, 80), (64, 80, 3))}
    thermal, rgb = (list(stream) for stream in bag_streams(tmp_path / "bag", topics))
    assert [round(stamp - 7, 3) for stamp, _ in thermal] == [0.005, 0.105, 0.205, 0.305, 0.405, 0.505]
    assert len(rgb) == 6
    with pytest.raises(ValueError, match="has no images on /ir; it has /rgb/image_raw, /thermal/image_raw"):
        bag_pairs(tmp_path / "bag", ("/ir", "/rgb/image_raw"), 3)
