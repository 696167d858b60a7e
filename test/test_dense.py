"""``registration.refine: dense``: a smooth field without extrinsics, and along the epipolar lines with them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from rig_pairs import luminance_pairs

from mmcfusion_ros.alignment.dense import FIELD, along_lines, semi_global, smooth_field
from mmcfusion_ros.alignment.dense_refinement import DenseRefiner, Displaced
from mmcfusion_ros.alignment.refinement import RefinementOptions
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.simulation.optics import THERMAL_TO_RGB

SIZE = 640, 480
BASELINE_M, PLANE_M, NEAR_M, FOCAL_PX = 0.1, 8.0, 2.0, 500.0
NEAR = np.s_[140:400, 260:420]  # of the RGB image


def dense(registration):
    return DenseRefiner(registration, RefinementOptions("dense"))


def errors_px(refiner):
    return np.array(refiner.report()["refine.error_px"].split(), float).reshape(3, 3)


def blobs(seed, shape=(480, 700)):
    noise = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 5), None, 20, 230, cv2.NORM_MINMAX).astype(np.uint8)


def rig():
    matrix = np.array([[FOCAL_PX, 0, 319.5], [0, FOCAL_PX, 239.5], [0, 0, 1]])
    lens = Intrinsics(*SIZE, matrix, "plumb_bob", (0.0,) * 5)
    place = {"rotation": np.eye(3), "translation": np.array([BASELINE_M, 0, 0])}
    return Registration(Calibration(**place, thermal=lens, rgb=lens, plane_distance=PLANE_M))


def near_and_far(right_px=0):
    """Thermal and RGB luminance of a wall on the plane with a board at 2 m before it, of inverted contrast."""
    far, near = blobs(0), blobs(1)
    rgb = far[:, 30:670].copy()
    thermal = shifted(far, FOCAL_PX * BASELINE_M / PLANE_M)[:, 30:670].copy()
    rows, columns = NEAR
    for image, left_px in ((rgb, 0), (thermal, round(FOCAL_PX * BASELINE_M / NEAR_M))):
        image[rows, columns.start + right_px - left_px : columns.stop + right_px - left_px] = near[NEAR]
    return 255 - thermal, rgb


def shifted(image, left_px):
    return cv2.warpAffine(
        image, np.array([[1, 0, -left_px], [0, 1, 0]]), image.shape[::-1], borderMode=cv2.BORDER_REFLECT
    )


def on_rgb(registration=None):
    """A pair of the rig whose thermal image lies where it belongs."""
    thermal, rgb = luminance_pairs(1)[0]
    return Registration(THERMAL_TO_RGB).warp(thermal, rgb.shape)[0], rgb


def test_a_bent_image_is_put_straight():
    thermal, rgb = on_rgb()
    rows, columns = np.indices(rgb.shape, dtype=np.float32)
    bend = 5 * np.sin(columns / 100) * np.cos(rows / 120)
    bent = cv2.remap(thermal, columns + bend, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    field = cv2.resize(smooth_field(bent, rgb).shift.astype(np.float32), SIZE, interpolation=cv2.INTER_CUBIC)
    # thermal(x + bend) lies at x: what is at x + shift must be thermal(x).
    left = field + np.dstack([cv2.remap(bend, columns + field[..., 0], rows, cv2.INTER_LINEAR), 0 * bend])
    assert np.abs(bend).mean() > 1.9
    assert np.linalg.norm(left, axis=2).mean() < 1.0


def test_what_lies_right_stays():
    found = smooth_field(*on_rgb())
    lengths = np.linalg.norm(found.shift, axis=2)
    assert lengths.mean() < 0.5, lengths.max()
    assert found.shift.shape == (*FIELD, 2)


def test_without_edges_there_is_no_shift_and_no_confidence():
    _, rgb = on_rgb()
    found = smooth_field(np.full_like(rgb, 90), rgb)
    assert np.abs(found.shift).max() < 0.05
    assert found.confidence.max() < 0.01
    refiner = dense(Registration())
    before = refiner.registration
    assert refiner.step(np.full_like(rgb, 90), rgb).state == "frozen"
    assert "too few edges" in refiner.problems()[0]
    assert refiner.registration is before
    unknown = errors_px(refiner)
    refiner.step(on_rgb()[0], rgb)
    assert (errors_px(refiner) < 0.8 * unknown).all()


def test_near_things_of_a_calibrated_rig_lie_on_themselves():
    thermal, rgb = near_and_far()
    refiner = dense(rig())
    status = refiner.step(thermal, rgb)
    assert status.state == "following"
    assert not refiner.problems()
    errors = errors_px(refiner)
    assert errors.shape == (3, 3)
    assert 0.2 < errors.min() < errors.max() < 4  # the board is 19 px off the plane
    middle = np.s_[180:360, 300:380]
    before, after = (255 - one.warp(thermal, rgb.shape)[0] for one in (rig(), refiner.registration))
    assert np.corrcoef(before[middle].ravel(), rgb[middle].ravel())[0, 1] < 0.3
    assert np.corrcoef(after[middle].ravel(), rgb[middle].ravel())[0, 1] > 0.95
    for wall in (np.s_[40:440, 40:190], np.s_[40:440, 470:600]):  # on the plane
        assert np.abs(after[wall].astype(int) - before[wall]).mean() < 1


def test_near_things_are_carried_on_until_the_next_estimate():
    refiner = DenseRefiner(rig(), RefinementOptions("dense", period_s=60))
    refiner.offer(*near_and_far())
    refiner.step(*near_and_far())
    held = refiner.registration
    for right_px in range(8, 81, 8):
        thermal, rgb = near_and_far(right_px)
        refiner.offer(thermal, rgb)
    carried, left, plane = (255 - one.warp(thermal, rgb.shape)[0] for one in (refiner.registration, held, rig()))
    board, wall = np.s_[180:360, 380:460], np.s_[180:360, 280:320]  # where it is, and was
    for part, wrong in ((board, left), (board, plane), (wall, left)):
        assert np.corrcoef(wrong[part].ravel(), rgb[part].ravel())[0, 1] < 0.5
        assert np.corrcoef(carried[part].ravel(), rgb[part].ravel())[0, 1] > 0.95
    refiner.stop()


def test_a_new_calibration_begins_anew():
    thermal, rgb = near_and_far()
    refiner = dense(rig())
    refiner.step(thermal, rgb)
    plain = Registration(np.eye(3))
    refiner.rebase(plain)
    assert refiner.registration is plain
    refiner.step(thermal, rgb)
    assert refiner.registration is not plain
    assert isinstance(refiner.restarted(plain), DenseRefiner)


def test_large_shifts_are_no_small_error():
    thermal, rgb = on_rgb()
    refiner = dense(Registration())
    moved = np.roll(thermal, 30, axis=1)
    state = refiner.step(moved, rgb)
    assert state.state == "frozen" or state.corrected_px < 24


def test_candidates_that_nothing_supports_leave_the_plane():
    rgb = blobs(2)[:, :640]
    candidates = np.zeros((9, 60, 80, 2))
    candidates[..., 0] = np.arange(-2, 7)[:, None, None] * 3.0
    assert not along_lines(blobs(3)[:, :640], np.full_like(rgb, 80), candidates).shift.any()


def test_paths_carry_a_label_over_cells_that_know_nothing():
    cost = np.ones((5, 1, 7), np.float32)
    cost[3, 0, [0, 6]] = 0
    assert semi_global(cost).argmin(axis=0).tolist() == [[3] * 7]


@pytest.mark.parametrize("scale", [1, 2])
def test_a_displaced_registration_at_any_size(scale):
    image = blobs(4)[:, :640]
    large = cv2.resize(image, None, fx=scale, fy=scale)
    moved = Displaced(Registration(), np.full((3, 4, 2), (10 / 640, -4 / 640))).warp(large, large.shape)[0]
    expected = np.roll(large, (4 * scale, -10 * scale), (0, 1))
    assert np.abs(moved.astype(int) - expected)[50:-50, 50:-50].max() <= 1


def test_parallax_of_a_rig():
    shape = SIZE[::-1]
    assert Registration().parallax((3, 4), shape, shape, 0.5) is None
    shift = rig().parallax((3, 4), shape, shape, 1 / NEAR_M) * 640
    expected = -FOCAL_PX * BASELINE_M * (1 / NEAR_M - 1 / PLANE_M)
    np.testing.assert_allclose(shift, np.broadcast_to((expected, 0), (3, 4, 2)), atol=1e-6)
    assert rig().parallax((3, 4), shape, shape, 0.0)[0, 0, 0] * 640 == pytest.approx(FOCAL_PX * BASELINE_M / PLANE_M)
