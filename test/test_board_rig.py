"""Lenses and extrinsics from boards that two known cameras see: rendered with distortion, blur, noise, heat."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmcfusion_ros.calibration.board_rig import fitted_views, rig_from_boards
from mmcfusion_ros.calibration.boards import Board
from mmcfusion_ros.cli import main
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import load_calibration
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.fusion.geometry import Geometry
from mmcfusion_ros.fusion.registration import Registration

THERMAL = Intrinsics(320, 256, [[255, 0, 156], [0, 254, 130], [0, 0, 1]], "plumb_bob", (-0.42, 0.18, -0.001, 0.001))
RGB = Intrinsics(480, 300, [[340, 0, 244], [0, 339, 154], [0, 0, 1]], "plumb_bob", (-0.145, 0.084, 0.0017, 0.0005))
TRUTH = Calibration(
    rotation=Rotation.from_euler("xyz", (0.4, -1.1, 0.6), degrees=True).as_matrix(),
    translation=(0.06, -0.01, 0.004),
    thermal=THERMAL,
    rgb=RGB,
)
SPACING = 0.04
BOARDS = {"chessboard": Board("chessboard", 9, 6, SPACING), "circles": Board("circles", 10, 7, SPACING)}
FINER = 3


@cache
def rays(camera: Intrinsics) -> np.ndarray:
    """(x / z, y / z, 1) of every pixel, as finely as it is sampled."""
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    found = camera.rays(np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(float))
    found = found.reshape(camera.height, camera.width, 2)
    found = cv2.resize(found, None, fx=FINER, fy=FINER, interpolation=cv2.INTER_LINEAR)
    return np.dstack([found, np.ones(found.shape[:2])])


def seen_by(camera: Intrinsics, board: Board, turn: np.ndarray, place: np.ndarray) -> np.ndarray:
    """1 on the dark parts of a board, 0 elsewhere; float32, of the size of the camera. Noise is for the caller."""
    depth = (turn[:, 2] @ place) / (rays(camera) @ turn[:, 2])
    points = (depth[..., None] * rays(camera) - place) @ turn / SPACING
    x, y = points[..., 0], points[..., 1]
    if board.pattern == "circles":
        nearest = np.dstack([np.round(x).clip(0, board.columns - 1), np.round(y).clip(0, board.rows - 1)])
        dark = np.hypot(x - nearest[..., 0], y - nearest[..., 1]) < 0.28
    else:
        on_it = (x > -1) & (y > -1) & (x < board.columns) & (y < board.rows)
        dark = on_it & ((np.floor(x) + np.floor(y)) % 2 == 0)
    return cv2.resize(dark.astype(np.float32), (camera.width, camera.height), interpolation=cv2.INTER_AREA)


def poses(count: int, tilt: float = 35.0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rotation, and place of the board's first point in the RGB camera's frame, in metres."""
    rng = np.random.default_rng(5)
    chosen = []
    for i in range(count):
        angles = rng.uniform(-tilt, tilt, 3) * (1, 1, 0.3)
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        middle = rng.uniform(0.45, 0.7) * np.array([(-0.2, 0, 0.2)[i % 3], (-0.14, 0.14)[i % 2], 1])
        chosen.append((turn, middle - turn @ (4.5 * SPACING, 3 * SPACING, 0)))
    return chosen


def shown(board: Board, chosen: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Thermal and RGB images; what is dark in RGB is warm."""
    rng, to_thermal = np.random.default_rng(1), TRUTH.rotation.T

    def image(brightness: np.ndarray, blur: float) -> np.ndarray:
        noisy = cv2.GaussianBlur(brightness, (0, 0), blur) + rng.normal(0, 2, brightness.shape)
        return noisy.clip(0, 255).astype(np.uint8)

    return [
        (
            image(80 + 90 * seen_by(THERMAL, board, to_thermal @ turn, to_thermal @ (place - TRUTH.translation)), 1.0),
            image(210 - 170 * seen_by(RGB, board, turn, place), 0.7),
        )
        for turn, place in chosen
    ]


@pytest.fixture(scope="module", params=BOARDS)
def recording(request):
    board = BOARDS[request.param]
    return board, shown(board, poses(16))


def chessboards(views):
    return rig_from_boards(views, BOARDS["chessboard"])


@pytest.fixture(scope="module")
def views():
    return shown(BOARDS["chessboard"], poses(16))


def test_overlay_of_known_cameras_is_right_to_a_pixel(recording, tmp_path, capsys):
    """From images to the written file: also far beyond the boards, and at the edges of the image."""
    board, pairs = recording
    for part, images in zip(("ir", "vi"), zip(*pairs, strict=True), strict=True):
        (tmp_path / "boards" / part).mkdir(parents=True)
        for i, image in enumerate(images):
            cv2.imwrite(str(tmp_path / "boards" / part / f"{i:02d}.png"), image)
    out = tmp_path / "rig.yaml"
    arguments = ["--board", board.pattern, "--board-size", f"{board.columns}x{board.rows}", "--spacing", str(SPACING)]
    with pytest.raises(SystemExit) as end:
        main(["calibrate", "--folder", str(tmp_path / "boards"), *arguments, "--plane", "3", "--out", str(out)])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "reprojection error 0." in printed
    assert "distance of the cameras: 6." in printed
    assert cv2.imread(str(out.with_suffix(".jpg"))) is not None
    found, sizes = load_calibration(out), ((320, 256), (480, 300))
    assert (found.kind, found.plane_distance) == ("calibrated", 3.0)
    Registration(found).warp(np.zeros((256, 320), np.uint8), (300, 480))
    pixels = np.stack(np.meshgrid(np.arange(0, 480, 10.0), np.arange(0, 300, 10.0)), axis=-1).reshape(-1, 2)
    true = Geometry(replace(TRUTH, plane_distance=3.0), *sizes).thermal_pixels(pixels)
    visible = ((true >= 0) & (true <= (319, 255))).all(axis=1)
    assert visible.sum() > 500
    errors = np.linalg.norm(Geometry(found, *sizes).rgb_pixels(true[visible]) - pixels[visible], axis=1)
    print(f"overlay: {np.median(errors):.2f} px, at most {errors.max():.2f}")
    assert errors.max() < 1
    np.testing.assert_allclose(found.translation, TRUTH.translation, atol=1e-3)


def test_a_view_of_two_moments_is_left_out(views):
    torn = [*views[:2], (views[2][0], views[1][1]), *views[3:]]
    found = chessboards(torn)
    assert 2 not in found.views
    assert 2 in found.thermal.views
    np.testing.assert_allclose(found.calibration.translation, TRUTH.translation, atol=2e-3)


def test_a_view_without_an_error_is_left_out():
    errors_px = [0.1] * 9 + [np.nan, 0.2, 0.9]
    fitted = fitted_views(lambda kept: SimpleNamespace(errors_px=[errors_px[view] for view in kept]), list(range(12)))
    assert fitted.errors_px == [0.1] * 9 + [0.2]


def test_what_is_not_good_enough_is_refused(views):
    with pytest.raises(ValueError, match="was found in 7 thermal images, 8 are needed"):
        chessboards(views[:7])
    with pytest.raises(ValueError, match="hold it where both cameras see all of it"):
        chessboards([one for thermal, rgb in views for one in ((thermal, 0 * rgb), (0 * thermal, rgb))])
    with pytest.raises(ValueError, match="check that both images are of the same moment"):
        chessboards([(thermal, rgb) for (thermal, _), (_, rgb) in zip(views, views[3:] + views[:3], strict=True)])
    with pytest.raises(ValueError, match="no camera is flipped"):
        chessboards([(cv2.flip(thermal, 1), rgb) for thermal, rgb in views])
    with pytest.raises(ValueError, match=r"focal length would be uncertain by .* tilt the board"):
        chessboards(shown(BOARDS["chessboard"], poses(12, tilt=0.5)))
    with pytest.raises(ValueError, match="name their width in metres"):
        Board("chessboard", 9, 6, 40)


def test_options_that_need_each_other(tmp_path):
    out = ["--folder", str(tmp_path), "--out", str(tmp_path / "rig.yaml")]
    with pytest.raises(SystemExit, match="name it with --board"):
        main(["calibrate", *out, "--spacing", "0.04"])
    with pytest.raises(SystemExit, match="calibrate with --board and --spacing"):
        main(["calibrate", *out, "--board", "circles", "--plane", "3"])
    with pytest.raises(SystemExit, match="--out is for a calibration; leave it out with --time"):
        main(["calibrate", *out, "--time"])
    with pytest.raises(SystemExit, match="--plane is for a calibration; leave it out with --report"):
        main(["calibrate", "--report", str(tmp_path / "rig.yaml"), "--plane", "3"])
