"""``mmcfusion calibrate``: from a folder, from boards, from a bag; and what it refuses."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from rig_pairs import luminance_pairs, rig_pairs

from mmcfusion_ros.alignment.find import MIDDLE, Alignment, align, corners, transformed
from mmcfusion_ros.calibration import scene_homography
from mmcfusion_ros.calibration.board_homography import homography_from_boards
from mmcfusion_ros.calibration.boards import Board, find_board, rms
from mmcfusion_ros.calibration.mounting import mounting
from mmcfusion_ros.calibration.recording import FolderRecording, spread
from mmcfusion_ros.calibration.scene_homography import calibrate_from_images, region_markdown
from mmcfusion_ros.cli import main
from mmcfusion_ros.data.images import read_thermal
from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import load_calibration, save_calibration
from mmcfusion_ros.fusion.palette import Palette
from mmcfusion_ros.fusion.thermal import ThermalOptions
from mmcfusion_ros.simulation.optics import THERMAL_TO_RGB
from mmcfusion_ros.stream.parameter_files import load_values
from mmcfusion_ros.stream.settings import Settings

TRUTH = np.array([[0.62, 0.01, 30.0], [-0.012, 0.61, 25.0], [1e-5, -2e-5, 1]])  # RGB to thermal


def distance(found, truth, shape):
    return np.linalg.norm(transformed(found, corners(shape)) - transformed(truth, corners(shape)), axis=1).max()


def write_folder(folder, pairs):
    for part, frames in zip(("ir", "vi"), zip(*pairs, strict=True), strict=True):
        (folder / part).mkdir(parents=True)
        for i, image in enumerate(frames):
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
    found = homography_from_boards([blank, *pairs], Board(pattern, columns, rows))
    assert found.views == [1, 2, 3, 4, 5]
    assert rms(found.errors_px) < 0.5
    assert distance(found.homography, np.linalg.inv(TRUTH), (320, 400)) < 1


def test_bad_boards_are_refused():
    one = board("chessboard", *PLACES[0])
    assert find_board(np.zeros((90, 90), np.uint8), Board("chessboard", 9, 6)) is None
    with pytest.raises(ValueError, match="no pair of 1 shows the 7x5 chessboard in both images"):
        homography_from_boards([one], Board("chessboard", 7, 5))
    small = board("chessboard", 200, 200, 180)
    with pytest.raises(ValueError, match="show the board in the corners too"):
        homography_from_boards([small], Board("chessboard", 9, 6))
    other = one[0], np.roll(one[1], 150, axis=1)
    pairs = [other, *(board("chessboard", *place) for place in PLACES[1:3])]
    with pytest.raises(ValueError, match=r"do not agree|reprojection error"):
        homography_from_boards([pairs[0], pairs[1]], Board("chessboard", 9, 6))


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_keeps_the_calibration_of_before(tmp_path):
    out = tmp_path / "rig.yaml"
    save_calibration(Calibration(np.eye(3), (640, 512), (640, 480)), out)
    before = out.read_text()
    (tmp_path / "rig.yaml.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"rig\.yaml could not be written: No space left"):
        save_calibration(Calibration(2 * np.eye(3), (640, 512), (640, 480)), out)
    assert out.read_text() == before


def test_a_folder_of_palette_colours_below_telemetry(tmp_path):
    grey, rgb = rig_pairs()[0]
    coloured = np.vstack([np.zeros((2, 640, 3), np.uint8), Palette.from_name("ironbow").apply(grey)])
    folder = write_folder(tmp_path / "pairs", [(coloured, rgb)])
    ((thermal, _),) = FolderRecording(folder, ThermalOptions(palette="ironbow", crop_top=2)).pairs(1)
    assert thermal.shape == grey.shape
    assert np.abs(thermal.astype(int) - grey).mean() < 2


def test_bad_calibrations_are_not_written(tmp_path):
    mirrored = [(cv2.flip(thermal, 1), rgb) for thermal, rgb in rig_pairs()[:2]]
    folder = write_folder(tmp_path / "pairs", mirrored)
    out = tmp_path / "calibration.yaml"
    refusal = (
        r"no calibration: the edges of the two images agree no better than by chance.* with --set thermal.flip=hor"
    )
    with pytest.raises(SystemExit, match=refusal):
        main(["calibrate", "--folder", str(folder), "--out", str(out)])
    assert not out.exists()
    with pytest.raises(SystemExit, match="name the file to write with --out"):
        main(["calibrate", "--folder", str(folder)])


@pytest.fixture
def short_search(monkeypatch):
    short = np.zeros(1), np.geomspace(0.35, 1.4, 7), np.ones(1)
    monkeypatch.setattr("mmcfusion_ros.calibration.mounting.GRID", short)


@pytest.mark.usefixtures("short_search")
@pytest.mark.parametrize(
    ("sent", "settings"),
    [
        (lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE), "thermal.rotate=90 ("),
        (lambda image: cv2.flip(image, 0), "thermal.flip=vertical ("),
        (lambda image: image, ""),
        (lambda image: np.roll(image[::-1].copy(), 200, axis=1) // 200, ""),
    ],
    ids=["turned", "upside down and mirrored", "upright", "flat"],
)
def test_how_the_camera_is_mounted_is_named(sent, settings):
    named = mounting([(sent(thermal), rgb) for thermal, rgb in luminance_pairs(2)[1:]])
    assert named.startswith(settings) if settings else not named


@pytest.mark.usefixtures("short_search")
def test_a_small_overlap_is_no_evidence_of_how_the_camera_is_mounted(shared_data):
    """A part of this upright image, upside down, agrees with RGB 1.6 times as well as all of it does."""
    (files,) = (f for f in find_pairs(shared_data / "unregistered/roadscene_raw") if "09350" in f.name)
    assert mounting([(read_thermal(files.thermal), read_thermal(files.rgb))]) == ""


def test_frames_that_disagree_are_left_out():
    pairs = luminance_pairs(4)
    pairs[1] = np.roll(pairs[1][0], 30, axis=1), pairs[1][1]
    found = calibrate_from_images(pairs, "similarity", "none", THERMAL_TO_RGB)
    assert found.used == [0, 2, 3]
    assert distance(found.alignment.homography, THERMAL_TO_RGB, (512, 640)) < 1
    assert (found.model, found.simplified) == ("similarity", "")
    assert "over 3 frames" in region_markdown(found.alignment)


def test_frames_that_contradict_each_other_make_the_estimate_uncertain():
    pairs = luminance_pairs(4)
    aside = [(np.roll(thermal, 6 * (i % 2), axis=1), rgb) for i, (thermal, rgb) in enumerate(pairs)]
    sure, unsure = (align(some, THERMAL_TO_RGB, "similarity", "none", MIDDLE) for some in (pairs, aside))
    assert not sure.problem
    assert unsure.deviation_px > 2 * sure.deviation_px


@pytest.mark.parametrize(
    ("doubts", "model"),
    [
        ({"homography": Alignment(THERMAL_TO_RGB, deviation_px=1.0, problem="two scales disagree")}, "affine"),
        ({"homography": Alignment(THERMAL_TO_RGB, deviation_px=3.5, frames=np.ones(2))}, "affine"),
        (
            dict.fromkeys(
                ("homography", "affine"), Alignment(THERMAL_TO_RGB, deviation_px=1.0, problem="two scales disagree")
            ),
            "similarity",
        ),
    ],
)
def test_a_homography_that_the_evidence_does_not_carry_falls_back(monkeypatch, doubts, model):
    sure = Alignment(THERMAL_TO_RGB, deviation_px=1.0, frames=np.ones(2))
    monkeypatch.setattr(scene_homography, "align", lambda pairs, start, model, search: doubts.get(model, sure))
    found = calibrate_from_images(luminance_pairs(2))
    assert found.alignment is sure
    assert found.model == model
    assert "two scales disagree" in found.simplified or "uncertain by 3.5 pixels" in found.simplified


def test_where_the_images_fit_nowhere_a_simpler_model_does_not_help(monkeypatch):
    models = []

    def lost(pairs, start, model, search):
        models.append(model)
        return Alignment(THERMAL_TO_RGB, problem="another place fits nearly as well", lost=True)

    monkeypatch.setattr(scene_homography, "align", lost)
    with pytest.raises(ValueError, match="no calibration: another place fits nearly as well"):
        calibrate_from_images(luminance_pairs(2), search="near")
    assert models == ["homography"]


@pytest.mark.parametrize(("apart_px", "deviation_px"), [(5, 2.5), (20, None)])
def test_halves_that_differ_by_more_than_the_joint_evidence_explains_are_refused(monkeypatch, apart_px, deviation_px):
    """Ten real pairs were refused for 4.1 to 4.9 px; frames of different cameras differ by more, whatever the model."""
    models = []

    def half_aside(pairs, start, model, search):
        models.append(model)
        aside = apart_px * (len(models) == 2)
        moved = np.array([[1, 0, aside], [0, 1, 0], [0, 0, 1]]) @ THERMAL_TO_RGB
        return Alignment(moved, deviation_px=1.0, frames=np.ones(len(pairs)))

    monkeypatch.setattr(scene_homography, "align", half_aside)
    if deviation_px:
        assert calibrate_from_images(luminance_pairs(4)).deviation_px == pytest.approx(deviation_px)
        return
    with pytest.raises(ValueError, match=r"no calibration: it would be uncertain by 10\.0 pixels of 640"):
        calibrate_from_images(luminance_pairs(4), search="near")
    assert set(models) == {"homography"}


def test_half_of_the_frames_are_not_enough(monkeypatch):
    monkeypatch.setattr(
        scene_homography, "align", lambda *_: Alignment(THERMAL_TO_RGB, frames=np.array([0.3, 0.3, 0.01, 0.02]))
    )
    with pytest.raises(ValueError, match="2 of 4 frames disagree with the others"):
        calibrate_from_images(luminance_pairs(4))


def test_spread():
    assert spread(range(100), 3) == [0, 50, 99]
    assert spread([7], 5) == [7]


def test_time_of_a_folder(shared_data, capsys):
    with pytest.raises(SystemExit) as end:
        main(["calibrate", "--folder", str(shared_data / "video/140815"), "--time"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert abs(float(printed.split()[1])) < 0.01


class TestBag:
    @pytest.fixture
    def bag(self, tmp_path):
        """Six pairs, thermal stamps 4 ms early."""
        from bag_files import drive, write_bag

        return write_bag(tmp_path / "bag", drive())

    @contextmanager
    def recording(self, path, *changes):
        from mmcfusion_ros.bags.reading import Bag
        from mmcfusion_ros.calibration.bag_recording import BagRecording

        settings = Settings(load_values(None, ["pairing.max_age=0", *changes]))
        with Bag(path) as bag:
            yield BagRecording(bag, settings.pairing(), settings.thermal())

    def test_pairs_are_spread_over_it(self, bag):
        from bag_files import rgb_pixels

        with self.recording(bag) as recording:
            pairs = recording.pairs(3)
        assert [thermal.dtype for thermal, _ in pairs] == [np.uint8] * 3
        assert {thermal.shape for thermal, _ in pairs} == {(48, 64)}
        for (_, rgb), index in zip(pairs, (0, 2, 5), strict=True):
            np.testing.assert_array_equal(rgb, rgb_pixels(index))

    def test_offset_of_the_thermal_clock(self, bag):
        """A frame late, each thermal frame pairs with the RGB frame before."""
        from bag_files import rgb_pixels

        with self.recording(bag, "pairing.thermal_offset=-0.096") as recording:
            pairs = recording.pairs(9)
        assert len(pairs) == 5
        np.testing.assert_array_equal(pairs[0][1], rgb_pixels(0))

    def test_thermal_frames_are_those_that_the_node_sees(self, bag):
        with self.recording(bag, "thermal.crop_top=8", "thermal.polarity=black_hot") as recording:
            turned = recording.pairs(1)[0][0]
        with self.recording(bag) as recording:
            whole = recording.pairs(1)[0][0]
        assert turned.shape == (40, 64)
        assert np.corrcoef(turned.ravel(), whole[8:].ravel())[0, 1] < -0.99

    def test_streams_have_the_stamps_of_the_messages(self, bag):
        from bag_files import NS, START

        with self.recording(bag) as recording:
            thermal, rgb = ([stamp - START / NS for stamp, _ in stream] for stream in recording.streams())
        np.testing.assert_allclose(thermal, 0.1 * np.arange(6) - 0.004, atol=1e-6)
        np.testing.assert_allclose(rgb, 0.1 * np.arange(6), atol=1e-6)

    def test_a_damaged_one_is_read_as_far_as_it_goes(self, tmp_path, capsys):
        from bag_files import drive, storage_file, write_bag

        bag = write_bag(tmp_path / "bag", drive(60), "sqlite3")
        os.truncate(storage_file(bag), int(storage_file(bag).stat().st_size * 0.7))
        with self.recording(bag) as recording:
            assert 20 < len(recording.pairs(60)) < 60
        with pytest.raises(SystemExit):
            main(["calibrate", "--bag", str(bag), "--time"])
        assert "mmcfusion calibrate: " in capsys.readouterr().err

    def test_images_that_cannot_be_used_are_left_out(self, tmp_path):
        from bag_files import drive, write_bag

        messages = drive()  # thermal, camera_info and RGB of each pair
        messages[0].message.encoding = messages[5].message.encoding = "no such"
        with self.recording(write_bag(tmp_path / "bag", messages)) as recording:
            assert len(recording.pairs(6)) == 4
            assert [len(list(stream)) for stream in recording.streams()] == [5, 5]

    def test_a_topic_that_is_not_there(self, bag):
        with pytest.raises(SystemExit, match=r"the bag has no topic /ir; it has .*/thermal/image_raw"):
            main(["calibrate", "--bag", str(bag), "--thermal-topic", "/ir", "--time"])
