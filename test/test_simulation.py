"""The synthetic street and rig, and the playback of folders: truth of geometry, determinism, times, refusals."""

from __future__ import annotations

from itertools import islice, pairwise, takewhile

import cv2
import numpy as np
import pytest

from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.simulation import rig
from mmcfusion_ros.simulation.canvas import CAMERA, FOCAL_PX, PITCH_UP
from mmcfusion_ros.simulation.depth_camera import DepthCamera
from mmcfusion_ros.simulation.optics import THERMAL_SIZE, THERMAL_TO_RGB, Optics
from mmcfusion_ros.simulation.playback import folder_frames
from mmcfusion_ros.simulation.rig import RigOptions, rig_calibration, rig_frames
from mmcfusion_ros.simulation.scene import StreetScene
from mmcfusion_ros.simulation.traffic import CYCLE_S

CROSSING_TIME_S = 3.0
PERSON_CELSIUS = 22.0


@pytest.fixture(scope="module", params=[False, True], ids=["day", "night"])
def scene(request):
    return StreetScene(seed=2, night=request.param)


@pytest.fixture(scope="module")
def night_scene():
    return StreetScene(seed=2, night=True)


class EvenScene:
    """Stands in for the street where only times and noise matter."""

    def __init__(self, seed=0, night=False):
        self.times = []

    def rgb(self, time_s):
        self.times.append(time_s)
        return np.full((480, 640, 3), 100, np.uint8)

    def celsius(self, time_s):
        self.times.append(time_s)
        return np.full((480, 640), 20.0, np.float32)

    def inverse_depth(self, time_s):
        self.times.append(time_s)
        return np.full((480, 640), 0.5, np.float32)


@pytest.fixture
def even_scene(monkeypatch):
    scene = EvenScene()
    monkeypatch.setattr(rig, "StreetScene", lambda *_: scene)
    return scene


def first_second(options):
    return list(takewhile(lambda frame: frame.delivery_ns < 1e9, rig_frames(options)))


def of(camera, frames):
    return [frame for frame in frames if frame.camera == camera]


def test_same_seed_and_time_give_the_same_views(night_scene):
    again = StreetScene(seed=2, night=True)
    night_scene.rgb(11.0)
    for time_s in (0.0, CROSSING_TIME_S, 1234.5):
        np.testing.assert_array_equal(night_scene.rgb(time_s), again.rgb(time_s))
        np.testing.assert_array_equal(night_scene.celsius(time_s), again.celsius(time_s))


def test_views_move_with_time_and_have_the_promised_form(scene):
    rgb, celsius = scene.rgb(CROSSING_TIME_S), scene.celsius(CROSSING_TIME_S)
    assert (rgb.shape, rgb.dtype) == ((480, 640, 3), np.uint8)
    assert (celsius.shape, celsius.dtype) == ((480, 640), np.float32)
    assert (rgb != scene.rgb(CROSSING_TIME_S + 0.5)).any()
    assert (celsius != scene.celsius(CROSSING_TIME_S + 0.5)).any()
    assert celsius.min() < -5
    assert 33 < celsius.max() < 60


def test_views_can_be_drawn_at_any_time(scene):
    for time_s in np.arange(0.0, 41.0, 0.9):
        assert np.isfinite(scene.celsius(time_s)).all()


def test_by_night_people_are_dark_in_rgb_and_bright_in_thermal(night_scene):
    celsius, rgb = night_scene.celsius(CROSSING_TIME_S), night_scene.rgb(CROSSING_TIME_S)
    warm = celsius > PERSON_CELSIUS
    assert warm.mean() > 0.01
    assert np.median(rgb[warm]) < 60
    assert celsius[warm].mean() - celsius[~warm].mean() > 15


def test_warm_things_map_by_the_homography_onto_the_same_things_in_rgb(monkeypatch, scene):
    monkeypatch.setattr(rig, "StreetScene", lambda *_: scene)
    frames = takewhile(lambda frame: frame.stamp_ns <= CROSSING_TIME_S * 1e9, rig_frames(RigOptions()))
    *_, thermal, rgb = frames
    assert (thermal.camera, rgb.camera, thermal.stamp_ns) == ("thermal", "rgb", rgb.stamp_ns)
    still = np.median([scene.rgb(time_s) for time_s in 16.5 + CYCLE_S * np.arange(9)], axis=0)
    moving = (np.abs(scene.rgb(CROSSING_TIME_S) - still).max(axis=2) > 3).astype(np.uint8)
    moving = cv2.dilate(moving, np.ones((3, 3), np.uint8))

    rows, columns = np.nonzero(thermal.image > 100 * (32.0 + 273.15))
    assert len(rows) > 200
    mapped = np.stack([columns, rows, np.ones_like(rows)]).T @ THERMAL_TO_RGB.T
    x, y = np.rint(mapped[:, :2] / mapped[:, 2:]).astype(int).T
    assert moving[y, x].mean() > 0.95
    assert moving[y - 30, x].mean() < 0.7


def test_thermal_image_shows_the_scene_through_the_homography(monkeypatch, scene):
    monkeypatch.setattr(rig, "StreetScene", lambda *_: scene)
    thermal = next(rig_frames(RigOptions())).image
    in_rgb = cv2.warpPerspective(thermal.astype(np.float32), THERMAL_TO_RGB, (640, 480), borderValue=np.nan)
    error = np.abs(in_rgb / 100 - 273.15 - scene.celsius(0.0))[40:-40, 60:-60]
    assert np.median(error) < 0.15
    assert (error < 3).mean() > 0.97


def test_thermal_field_of_view_lies_within_that_of_rgb():
    width, height = THERMAL_SIZE
    corners = np.array([[(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)]], dtype=float)
    mapped = cv2.perspectiveTransform(corners, THERMAL_TO_RGB)[0]
    assert (mapped > 5).all()
    assert (mapped < (634, 474)).all()


def test_rig_images_have_the_promised_form_and_noise(even_scene):
    frames = list(islice(rig_frames(RigOptions()), 4))
    (first, second), rgb = (frame.image for frame in of("thermal", frames)), of("rgb", frames)[0].image
    assert (first.shape, first.dtype) == ((512, 640), np.uint16)
    assert (rgb.shape, rgb.dtype) == ((480, 640, 3), np.uint8)
    assert first.mean() == pytest.approx(29315, abs=1)
    temporal = (first.astype(float) - second).std() / np.sqrt(2)
    assert temporal == pytest.approx(5.0, rel=0.1)
    assert first.std() == pytest.approx(np.hypot(5.0, 3.0), rel=0.1)
    assert 0.5 < rgb.std() < 3


def test_same_options_give_the_same_bytes_and_stamps(even_scene):
    options = RigOptions(seed=7, thermal_rate_hz=9, stamp_jitter_s=0.01, loss_probability=0.2, rgb_latency_s=0.05)
    one, two, other = (first_second(o) for o in (options, options, RigOptions(**{**vars(options), "seed": 8})))
    assert one == two
    assert one != other
    for a, b in zip(one[:4], two[:4], strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_each_camera_keeps_its_rate_and_looks_at_its_own_time(even_scene):
    frames = first_second(RigOptions(thermal_rate_hz=9, rgb_rate_hz=30, stamp_jitter_s=0.02))
    thermal, rgb = of("thermal", frames), of("rgb", frames)
    assert (len(thermal), len(rgb)) == (9, 30)
    for camera, rate in ((thermal, 9), (rgb, 30)):
        even_scene.times.clear()
        assert [frame.image.size > 0 for frame in camera]
        assert even_scene.times == pytest.approx(np.arange(len(camera)) / rate)
        late_ns = np.array([frame.stamp_ns for frame in camera]) - np.arange(len(camera)) / rate * 1e9
        assert late_ns.min() >= -1
        assert late_ns.max() < 20e6
        assert late_ns.std() > 1e6


def test_frames_come_in_order_of_delivery_after_their_latency(even_scene):
    frames = first_second(RigOptions(thermal_rate_hz=25, thermal_latency_s=0.12, rgb_latency_s=0.01))
    assert [frame.delivery_ns for frame in frames] == sorted(frame.delivery_ns for frame in frames)
    assert {frame.delivery_ns - frame.stamp_ns for frame in of("thermal", frames)} == {120_000_000}
    assert {frame.delivery_ns - frame.stamp_ns for frame in of("rgb", frames)} == {10_000_000}
    assert frames[0].camera == "rgb"


def test_lost_frames_leave_gaps(even_scene):
    frames = list(islice(rig_frames(RigOptions(loss_probability=0.3)), 1000))
    possible = 2 * (1 + round(frames[-1].stamp_ns * 30e-9))
    assert 0.25 < 1 - len(frames) / possible < 0.35
    for camera in ("thermal", "rgb"):
        assert (np.diff([frame.stamp_ns for frame in of(camera, frames)]) > 0).all()


@pytest.mark.parametrize("distorted", [False, True])
def test_the_true_calibration_is_exact_on_its_plane_and_nowhere_else(monkeypatch, scene, distorted):
    monkeypatch.setattr(rig, "StreetScene", lambda *_: scene)
    options = RigOptions(baseline_m=0.2, distorted=distorted)
    thermal, optics = next(rig_frames(options)).image, Optics(0.2, distorted)
    celsius, inverse_depth = (optics.rgb_view(view) for view in (scene.celsius(0.0), scene.inverse_depth(0.0)))
    edges = cv2.dilate(np.abs(cv2.Laplacian(celsius, cv2.CV_32F)), np.ones((5, 5))) > 2

    def error(plane, depth):
        warped, weight = Registration(rig_calibration(options, plane)).warp(thermal, (480, 640))
        there = (np.abs(inverse_depth - 1 / depth) < 0.002) & (weight == 255) & edges
        assert there.sum() > 300
        return np.abs(warped / 100 - 273.15 - celsius)[there].mean()

    for depth, other in ((15.0, 40.0), (40.0, 15.0)):
        on_the_plane = error(depth, depth)
        assert on_the_plane < 1.5
        assert on_the_plane < 0.75 * error(other, depth)


def test_inverse_depth_is_that_of_what_is_seen(scene):
    inverse_depth = scene.inverse_depth(CROSSING_TIME_S)
    assert inverse_depth.shape == (480, 640)
    assert inverse_depth.min() == 0
    ground = 1 / (CAMERA[1] * FOCAL_PX / (np.arange(440, 480) - 239.5 - FOCAL_PX * np.tan(PITCH_UP)))
    np.testing.assert_allclose(inverse_depth[440:, 300], ground, rtol=0.03)
    warm = scene.celsius(CROSSING_TIME_S) > 32
    warm[:, :500] = False
    assert 0.15 < np.median(inverse_depth[warm]) < 0.5


@pytest.mark.parametrize("aligned", [False, True])
def test_a_depth_camera_has_the_noise_of_a_d435_and_holes_at_edges(scene, aligned):
    """In inverse depth 0.08 / (424 px * 0.05 m) everywhere."""
    optics, truth = Optics(0.1), scene.inverse_depth(CROSSING_TIME_S)
    image = DepthCamera(scene, optics, aligned, 30.0, seed=0).image(round(30 * CROSSING_TIME_S))
    assert image.dtype == np.uint16
    assert image.shape == ((480, 640) if aligned else (480, 848))
    truth = truth if aligned else optics.depth_view(truth)
    known = image > 0
    error = 1000 / image[known] - truth[known]
    assert np.std(error) == pytest.approx(0.08 / (424 * 0.05), rel=0.1)
    assert abs(np.mean(error)) < 0.0005
    assert not known[truth < 1 / 15].any()
    near = truth > 1 / 9
    edge = cv2.dilate(truth, np.ones((5, 5))) - cv2.erode(truth, np.ones((5, 5))) > 0.02
    assert known[near & ~edge].mean() > 0.9
    assert 0.2 < known[near & edge].mean() < 0.7


def test_depth_frames_come_at_their_rate_after_their_latency(even_scene):
    options = RigOptions(depth="own", depth_rate_hz=15.0, depth_latency_s=0.06)
    frames = of("depth", takewhile(lambda frame: frame.stamp_ns < 1e9, rig_frames(options)))
    assert len(frames) == 15
    assert {frame.delivery_ns - frame.stamp_ns for frame in frames} == {60_000_000}
    image = frames[3].image
    np.testing.assert_allclose(np.median(image[image > 0]), 2000, atol=2)
    assert rig_calibration(options).depth_translation is not None
    assert rig_calibration(RigOptions(depth="aligned")).depth_translation is None


def test_people_pass_at_the_distances_that_are_asked_for():
    scene = StreetScene(2, False, (1.5, 4.0))
    seen = np.concatenate([1 / scene.inverse_depth(t)[100:400:4, ::4].ravel().clip(0.01) for t in (2.0, 5.0, 8.0)])
    nearest = seen[seen < 1.7]
    assert len(nearest) > 500
    np.testing.assert_allclose(np.median(nearest), 1.5, atol=0.15)


def test_the_shutter_freezes_the_image_but_not_the_telemetry(even_scene):
    options = RigOptions(thermal_rate_hz=20, ffc_period_s=0.5, ffc_duration_s=0.2, telemetry_rows=2)
    images = [frame.image for frame in of("thermal", first_second(options))]
    assert {image.shape for image in images} == {(514, 640)}
    frozen = [np.array_equal(a[2:], b[2:]) for a, b in pairwise(images)]
    assert [i + 1 for i, same in enumerate(frozen) if same] == [10, 11, 12, 13]
    assert [int(image[0, 0]) for image in images] == list(range(20))
    assert all((a[:2] != b[:2]).any() for a, b in pairwise(images))


def test_a_warm_shutter_is_noise_that_is_another_in_each_frame(even_scene):
    options = RigOptions(thermal_rate_hz=20, ffc_period_s=0.5, ffc_duration_s=0.2, warm_shutter=True)
    images = [frame.image.astype(int) for frame in of("thermal", first_second(options))]
    shutter = [np.abs(image.mean() - 31_115) < 5 for image in images]
    assert [i for i, closed in enumerate(shutter) if closed] == [10, 11, 12, 13]
    assert all(3 < image.std() < 10 for image in images)
    assert all((a != b).any() for a, b in pairwise(images))


def test_the_gain_is_switched(even_scene):
    options = RigOptions(thermal_rate_hz=20, gain_switch_s=0.25)
    means = [frame.image.mean() for frame in of("thermal", first_second(options))]
    np.testing.assert_allclose(means, np.repeat([29_315, 2931, 29_315, 2931], 5), rtol=1e-3)


def test_other_encodings_of_the_same_counts(even_scene):
    counts, kelvin, upper = (
        next(rig_frames(RigOptions(thermal_encoding=encoding))).image for encoding in ("16UC1", "32FC1", "mono8")
    )
    assert (counts.dtype, kelvin.dtype, upper.dtype) == (np.uint16, np.float32, np.uint8)
    np.testing.assert_allclose(kelvin, counts / 100, rtol=1e-6)
    np.testing.assert_array_equal(upper, counts // 256)


def test_palette_colours_are_those_of_the_temperatures(monkeypatch, scene):
    monkeypatch.setattr(rig, "StreetScene", lambda *_: scene)
    coloured, counts = (next(rig_frames(RigOptions(palette=name))).image for name in ("ironbow", ""))
    assert (coloured.shape, coloured.dtype) == ((512, 640, 3), np.uint8)
    low, high = rig.PALETTE_COUNTS[False]
    grey = ThermalScaler(ThermalOptions(mode="fixed", fixed_low=low, fixed_high=high))(counts)
    recovered = ThermalScaler(ThermalOptions(palette="ironbow"))(coloured)
    assert np.abs(recovered.astype(int) - grey).max() <= 3


def test_bad_pixels_stay_where_they_are(even_scene):
    images = [frame.image for frame in of("thermal", islice(rig_frames(RigOptions(bad_pixels=50)), 6))]
    for image in images:
        bad = np.abs(image.astype(int) - 29315) > 200
        assert bad.sum() == 50
        np.testing.assert_array_equal(bad, np.abs(images[0].astype(int) - 29315) > 200)


def test_the_thermal_clock_is_off_and_drifts_but_frames_come_in_time(even_scene):
    options = RigOptions(thermal_rate_hz=10, clock_offset_s=-0.25, clock_drift_ppm=2000, thermal_latency_s=0.02)
    frames = first_second(options)
    thermal, taken_s = of("thermal", frames), np.arange(10) / 10
    np.testing.assert_allclose([f.stamp_ns * 1e-9 for f in thermal], taken_s * 1.002 - 0.25, atol=1e-6)
    np.testing.assert_allclose([f.delivery_ns * 1e-9 for f in thermal], taken_s + 0.02, atol=1e-6)
    np.testing.assert_allclose([f.stamp_ns * 1e-9 for f in of("rgb", frames)], np.arange(30) / 30, atol=1e-6)


def test_unknown_palettes_and_encodings_are_refused():
    with pytest.raises(ValueError, match="palette is 'lava'; it must be one of white_hot, ironbow, rainbow, or empty"):
        RigOptions(palette="lava")
    with pytest.raises(ValueError, match="telemetry_rows is 1"):
        RigOptions(palette="ironbow", telemetry_rows=1)
    with pytest.raises(ValueError, match="thermal_encoding is '16SC1'; it must be one of 16UC1, mono8, 32FC1"):
        RigOptions(thermal_encoding="16SC1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("thermal_rate_hz", 0.0),
        ("rgb_rate_hz", 241.0),
        ("rgb_rate_hz", float("nan")),
        ("stamp_jitter_s", 0.034),
        ("stamp_jitter_s", -0.1),
        ("thermal_latency_s", -1.0),
        ("rgb_latency_s", 11.0),
        ("loss_probability", 1.0),
        ("clock_offset_s", 1e5),
        ("baseline_m", -0.1),
        ("ffc_duration_s", -1.0),
        ("telemetry_rows", 17),
        ("bad_pixels", 1001),
        ("gain_switch_s", -1.0),
    ],
)
def test_wrong_options_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name} is \S+; it must be in \S+ to \S+$"):
        RigOptions(**{name: value})


@pytest.fixture
def folder(tmp_path):
    """Three pairs: thermal grey values 10, 11, 12 and the same in red."""
    for i in range(3):
        for name, image in (("ir", np.full((24, 32), 10 + i, np.uint8)), ("vi", np.zeros((24, 32, 3), np.uint8))):
            (tmp_path / name).mkdir(exist_ok=True)
            if name == "vi":
                image[..., 2] = 10 + i
            assert cv2.imwrite(str(tmp_path / name / f"{i}.png"), image)
    return tmp_path


def shown(frame):
    return int(frame.image[0, 0] if frame.camera == "thermal" else frame.image[0, 0, 0]) - 10


def test_pairs_of_a_folder_have_the_same_stamp_at_equal_rates(folder):
    frames = list(folder_frames(folder, 7.0, 7.0))
    assert [(frame.camera, shown(frame)) for frame in frames] == [(c, i) for i in range(3) for c in ("thermal", "rgb")]
    assert [frame.stamp_ns for frame in frames] == [round(i / 7 * 1e9) for i in range(3) for _ in range(2)]
    assert all(frame.delivery_ns == frame.stamp_ns for frame in frames)


def test_a_looped_folder_goes_on_with_growing_stamps(folder):
    frames = list(islice(folder_frames(folder, loop=True), 200))
    for camera in ("thermal", "rgb"):
        own = of(camera, frames)
        assert [shown(frame) for frame in own] == [i % 3 for i in range(100)]
        assert (np.diff([frame.stamp_ns for frame in own]) > 0).all()


@pytest.mark.parametrize(("thermal_rate", "expected"), [(10.0, [0, 0, 0, 1, 1, 1, 2, 2, 2]), (1.5, [0, 2]), (1.0, [0])])
def test_thermal_frames_show_the_pair_of_their_time(folder, thermal_rate, expected):
    rgb_rate = 10 / 3 if thermal_rate == 10 else 3.0
    frames = list(folder_frames(folder, thermal_rate, rgb_rate))
    assert [shown(frame) for frame in of("thermal", frames)] == expected
    assert [shown(frame) for frame in of("rgb", frames)] == [0, 1, 2]


def test_playback_names_what_is_wrong(folder):
    with pytest.raises(ValueError, match="rgb_rate_hz is 0"):
        folder_frames(folder, rgb_rate_hz=0)
    with pytest.raises(FileNotFoundError, match="missing"):
        folder_frames(folder / "missing")
    (folder / "vi" / "1.png").write_bytes(b"no image")
    frames = list(folder_frames(folder))
    with pytest.raises(ValueError, match=r"1\.png: not a readable image"):
        assert [frame.image for frame in frames]
