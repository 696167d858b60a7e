"""Calibrations of other tools: real files of a colour and a thermal camera, and small ones with known values."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from mmcfusion_ros.calibration.assembly import import_calibration
from mmcfusion_ros.calibration.imported import read_cameras
from mmcfusion_ros.cli import main
from mmcfusion_ros.fusion.calibration_file import load_calibration
from mmcfusion_ros.fusion.geometry import Geometry

K = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
D = (-0.3, 0.1, 0.001, -0.002)


@pytest.fixture
def caltech(shared_data) -> Path:
    folder = shared_data / "calibration" / "caltech"
    if not folder.is_dir():
        pytest.skip("the Caltech calibrations are not there")
    return folder


def project(point: np.ndarray, matrix: np.ndarray, distortion: object) -> np.ndarray:
    """By OpenCV: the pixel of a point (metres) in a camera's optical frame."""
    zero = np.zeros(3)
    return cv2.projectPoints(point.reshape(1, 3), zero, zero, matrix, np.array(distortion, float))[0].ravel()


def file_storage(path: Path, **values: object) -> Path:
    """As OpenCV writes it."""
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in values.items():
        storage.write(name, value)
    storage.release()
    return path


def lens_of(path: Path):
    (camera,) = read_cameras(path)
    return camera.intrinsics


class TestCaltech:
    """https://data.caltech.edu: a Boson beside a Blackfly, by camera_calibration, Kalibr and VINS."""

    def test_every_file_loads(self, caltech):
        found = {file.name: read_cameras(file) for file in sorted(caltech.rglob("*.yaml"))}
        assert len(found) == 13
        for name, cameras in found.items():
            assert len(cameras) == (2 if "10x10" in name or "stereo" in name else 1), name
            assert all(camera.intrinsics.distortion_model == "plumb_bob" for camera in cameras)
        (thermal,) = found["thermal_pinhole.yaml"]
        np.testing.assert_array_equal(thermal.intrinsics.camera_matrix[0], [513.11461, 0, 315.975718])
        assert thermal.intrinsics.distortion_coefficients == (-0.4376619, 0.188, -7.192557378e-05, 3.079708870e-05)

    @pytest.mark.parametrize(
        ("names", "rgb", "baseline"),
        [
            (["color_thermal_10x10_calib.yaml"], [], (-0.025, 0.0, 0.0)),
            (["thermal_mono_10x10_calib.yaml"], [], (0.025, 0.0, 0.0)),
        ],
    )
    def test_a_point_is_projected_both_ways(self, caltech, tmp_path, names, rgb, baseline):
        """Kalibr: X_cam1 = T_cn_cnm1 X_cam0, whichever of the two is the thermal one."""
        content = yaml.safe_load((caltech / names[0]).read_text())
        import_calibration([caltech / name for name in names], tmp_path / "rig.yaml", 5.0, rgb=rgb)
        calibration = load_calibration(tmp_path / "rig.yaml")
        in_cam0 = np.array([0.4, -0.3, 5.0])
        in_cam1 = (np.array(content["cam1"]["T_cn_cnm1"]) @ [*in_cam0, 1])[:3]
        pixels = []
        for point, key in ((in_cam0, "cam0"), (in_cam1, "cam1")):
            fx, fy, cx, cy = content[key]["intrinsics"]
            matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
            pixels.append(project(point, matrix, content[key]["distortion_coeffs"]))
        thermal_first = "thermal" in content["cam0"]["rostopic"]
        thermal, rgb_pixel = pixels if thermal_first else pixels[::-1]
        depth = (in_cam1 if thermal_first else in_cam0)[2]
        geometry = Geometry(calibration, (960, 600), (960, 600))
        np.testing.assert_allclose(geometry.thermal_pixels(rgb_pixel[None], depth)[0], thermal, atol=0.01)
        np.testing.assert_allclose(geometry.rgb_pixels(thermal[None])[0], rgb_pixel, atol=0.2)
        np.testing.assert_allclose(calibration.translation, baseline, atol=0.004)

    def test_lenses_of_their_own_files_and_the_place_from_the_chain(self, caltech, tmp_path, capsys):
        files = [caltech / name for name in ("color_thermal_10x10_calib.yaml", "thermal.yaml", "color.yaml")]
        with pytest.raises(SystemExit) as ended:
            main(["calibrate", "--import", *map(str, files), "--plane", "20", "--out", str(tmp_path / "rig.yaml")])
        assert not ended.value.code
        text = capsys.readouterr().out
        assert "thermal lens: thermal, for images of 640x512, plumb_bob (not that of color_thermal_10x10_cal" in text
        calibration = load_calibration(tmp_path / "rig.yaml")
        assert calibration.sizes == ((640, 512), (960, 600))
        assert calibration.plane_distance == 20

    def test_two_cameras_on_one_body(self, caltech, tmp_path):
        """VINS: X_body = body_T_cam0 X_cam0, of each camera in a file of its own; beside Kalibr's to 3 cm."""
        files = ["motion_tracking/thermal_imu_config_calib.yaml", "motion_tracking/monocolor_imu_config_calib.yaml"]
        import_calibration([caltech / name for name in files], tmp_path / "rig.yaml")
        body = [np.eye(4), np.eye(4)]
        for i, name in enumerate(files):
            storage = cv2.FileStorage(str(caltech / name), cv2.FILE_STORAGE_READ)
            body[i] = storage.getNode("body_T_cam0").mat()
        point = np.array([0.4, -0.3, 5.0, 1.0])
        calibration = load_calibration(tmp_path / "rig.yaml")
        expected = np.linalg.inv(body[1]) @ body[0] @ point
        np.testing.assert_allclose(calibration.rotation @ point[:3] + calibration.translation, expected[:3], atol=1e-5)

    def test_it_asks_which_camera_is_which(self, caltech, tmp_path):
        files = [caltech / "motion_tracking" / name for name in ("stereo_config_calib.yaml",)]
        with pytest.raises(ValueError, match="which one is the thermal camera") as caught:
            import_calibration(files, tmp_path / "rig.yaml")
        assert "--thermal: stereo_config_calib:cam0 (/eo/mono/image_mono)" in str(caught.value)
        import_calibration(files, tmp_path / "rig.yaml", thermal=["stereo_config_calib:cam0"])
        assert 0.05 < np.linalg.norm(load_calibration(tmp_path / "rig.yaml").translation) < 0.2
        with pytest.raises(ValueError, match="no camera is called cam7; there are stereo_config_calib:cam0"):
            import_calibration(files, tmp_path / "rig.yaml", thermal=["cam7"])

    def test_lenses_alone_are_no_calibration(self, caltech, tmp_path):
        with pytest.raises(ValueError, match="no file says where the thermal camera stands"):
            import_calibration([caltech / "thermal.yaml", caltech / "color.yaml"], tmp_path / "rig.yaml")
        assert not (tmp_path / "rig.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--import", "a.yaml"], "name the file to write with --out"),
        (["--import", "a.yaml", "--out", "b.yaml"], "calibration file a.yaml does not exist"),
        (["--import", "a.yaml", "--board", "circles"], "--board is for a calibration; leave it out with --import"),
        (["--folder", ".", "--thermal", "cam0"], "--thermal and --rgb name cameras of --import"),
    ],
)
def test_options_that_make_no_sense(arguments, complaint):
    with pytest.raises(SystemExit, match=complaint):
        main(["calibrate", *arguments])


class TestFormats:
    def test_echoed_camera_info(self, tmp_path):
        """``ros2 topic echo --once``, with binning and a region of interest."""
        path = tmp_path / "rgb.yaml"
        path.write_text(
            "header:\n  stamp: {sec: 1, nanosec: 2}\n  frame_id: rgb_optical\nheight: 480\nwidth: 640\n"
            f"distortion_model: plumb_bob\nd: {list(D)}\nk: {K.ravel().tolist()}\nr: [1, 0, 0, 0, 1, 0, 0, 0, 1]\n"
            f"p: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]\nbinning_x: 2\nbinning_y: 2\n"
            "roi: {x_offset: 0, y_offset: 0, height: 0, width: 0, do_rectify: false}\n---\n"
        )
        lens = lens_of(path)
        assert (lens.width, lens.height) == (320, 240)
        np.testing.assert_allclose(lens.camera_matrix, [[250, 0, 159.75], [0, 255, 119.75], [0, 0, 1]])
        path.write_text(path.read_text().replace("distortion_model", "distortion_modell"))
        with pytest.raises(ValueError, match=r"no key distortion_model and unknown key .* \(is it distortion_model"):
            read_cameras(path)

    @pytest.mark.parametrize(("fisheye", "model"), [(0, "plumb_bob"), (1, "equidistant")])
    def test_opencv_sample(self, tmp_path, fisheye, model):
        """What OpenCV's camera calibration sample writes, by OpenCV itself."""
        path = file_storage(
            tmp_path / "boson.yaml",
            calibration_time="today",
            image_width=640,
            image_height=480,
            fisheye_model=fisheye,
            camera_matrix=K,
            distortion_coefficients=np.array([D]).T,
            avg_reprojection_error=0.3,
        )
        assert path.read_text().startswith("%YAML:1.0")
        lens = lens_of(path)
        np.testing.assert_array_equal(lens.camera_matrix, K)
        assert (lens.distortion_model, lens.distortion_coefficients) == (model, D)

    def test_opencv_stereo(self, tmp_path):
        """``cv::stereoCalibrate``: X_2 = R X_1 + T."""
        rotation = cv2.Rodrigues(np.array([0.02, -0.03, 0.01]))[0]
        values = {
            "image_width": 640,
            "image_height": 480,
            "M1": K,
            "D1": np.array([D]),
            "M2": K,
            "D2": np.zeros((1, 5)),
        }
        path = file_storage(tmp_path / "rig.yml", **values, R=rotation, T=np.array([[0.1], [0.0], [0.01]]))
        import_calibration([path], tmp_path / "out.yaml", thermal=["rig:1"])
        calibration = load_calibration(tmp_path / "out.yaml")
        np.testing.assert_allclose(calibration.rotation, rotation, atol=1e-12)
        np.testing.assert_allclose(calibration.translation, [0.1, 0, 0.01], atol=1e-12)
        assert calibration.thermal.distortion_coefficients == D

    def test_kalibr_with_an_imu_and_a_fisheye(self, tmp_path):
        chain = {
            name: {
                "T_cam_imu": [[0, -1, 0, x], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
                "camera_model": "pinhole",
                "distortion_coeffs": [0.01, 0.0, 0.0, 0.0],
                "distortion_model": model,
                "intrinsics": [500, 510, 320, 240],
                "resolution": [640, 480],
                "rostopic": topic,
                "timeshift_cam_imu": 0.01,
            }
            for name, model, topic, x in (
                ("cam0", "equidistant", "/lepton/image_raw", 0.1),
                ("cam1", "radtan", "/rgb/image", 0.3),
            )
        }
        path = tmp_path / "camchain-imucam.yaml"
        path.write_text(yaml.safe_dump(chain))
        import_calibration([path], tmp_path / "out.yaml")
        calibration = load_calibration(tmp_path / "out.yaml")
        np.testing.assert_allclose(calibration.translation, [0.2, 0, 0], atol=1e-12)
        assert (calibration.thermal.distortion_model, calibration.rgb.distortion_model) == ("equidistant", "plumb_bob")

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("a: 1", "neither ROS camera_info nor"),
            ("- 1", "no keys and values"),
            ("cam0: {camera_model: omni}", "cam0 has no key intrinsics"),
            ("%YAML:1.0\n---\nmodel_type: MEI\n", "model_type must be one of PINHOLE, KANNALA_BRANDT"),
            ("body_T_cam0: [1, 0]", "body_T_cam0 must be sixteen numbers"),
            ("camera_matrix: 1", "camera has no key image_width"),
            ("M1: 1", "no key D1, M2"),
            ("model_type: [1]", "of the wrong kind"),
            ("model_type: PINHOLE", "no key image_width"),
            ("body_T_cam0: [1]\ncam0_calib: odd.yaml", "a key is missing"),
            ("{k: 1, d: [], height: 1, width: 1, distortion_model: fov, binning_x: x}", "k must be nine numbers"),
            (
                f"{{k: {K.ravel().tolist()}, d: [], height: 1, width: 1, distortion_model: '', binning_x: x}}",
                "wrong kind",
            ),
        ],
    )
    def test_what_cannot_be_imported(self, text, complaint, tmp_path):
        path = tmp_path / "odd.yaml"
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"odd\.yaml: .*{complaint}"):
            read_cameras(path)
