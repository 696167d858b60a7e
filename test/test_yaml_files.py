"""YAML files: bounded, and their errors say where something is wrong but not what a file says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmcfusion_ros.evaluation.bags.scenario import load_scenario
from mmcfusion_ros.fusion.calibration_file import load_calibration
from mmcfusion_ros.stream.parameter_files import check_files, load_values
from mmcfusion_ros.yaml_files import LARGEST_FILE, check_keys, parse_yaml, read_yaml, unknown_name

SECRET = "hunter2"
LOADERS = {"calibration": load_calibration, "parameters": load_values, "scenario": load_scenario}
HEADS = {"calibration": "homography: ", "parameters": "/**:\n  ros__parameters:\n    threads: ", "scenario": "expect: "}


def bomb(head: str, levels: int) -> str:
    """Nine times nine times nine ...: 383 bytes of it took 3.4 GB."""
    lines = ["x0: &x0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]"]
    lines += [f"x{i}: &x{i} [{','.join([f'*x{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join([*lines, f"{head}*x{levels - 1}"])


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("levels", [9, 40])
def test_aliases_cannot_blow_up(kind, levels, tmp_path):
    """In a process of its own, which may take 1 GB."""
    path = tmp_path / "bomb.yaml"
    path.write_text(bomb(HEADS[kind], levels))
    code = (
        f"from {LOADERS[kind].__module__} import {LOADERS[kind].__name__} as load\n"
        "import sys, pathlib, resource\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    load(pathlib.Path(sys.argv[1]))\n"
        "except ValueError as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=100)
    error, kilobytes = done.stdout.splitlines()
    assert "more than 20000 values in line " in error
    assert int(kilobytes) < 20_000


def test_a_few_aliases_are_taken(tmp_path):
    """As of a rig with two cameras of one type."""
    lens = "{image_width: 64, image_height: 48, camera_matrix: [60, 0, 31, 0, 60, 23, 0, 0, 1], "
    lens += "distortion_model: plumb_bob, distortion_coefficients: []}"
    path = tmp_path / "rig.yaml"
    path.write_text(
        f"thermal: &lens {lens}\nrgb: *lens\nextrinsics: {{quaternion: [0, 0, 0, 1], translation: [0, 0, 0]}}"
    )
    calibration = load_calibration(path)
    assert calibration.thermal.width == calibration.rgb.width == 64


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize(
    "content",
    [
        f"password: {SECRET}\n",
        f"{SECRET}: password\n",
        f"password: {SECRET}: {SECRET}\n",
        f"root:{SECRET}:0:0:root:/root:/bin/sh\nbin:{SECRET}:1:1::/bin:/bin/sh\n",
        f"- {SECRET}\n",
        f"'{SECRET}\n",
        f"*{SECRET}\n",
        f"!{SECRET} 1\n",
        f"a: &{SECRET} 1\nb: *{SECRET}x\n",
        f"%{SECRET} 1\n",
        f"{{{SECRET}: [1}}\n",
        f"@{SECRET}\n",
        f"homography: {SECRET}\nthermal_size: {SECRET}\nrgb_size: [{SECRET}, 1]\n",
        f"extrinsics: {SECRET}\nplane: {SECRET}\nrgb: {SECRET}",
        f"extrinsics: {{rotation: {SECRET}, translation: [{SECRET}]}}",
        f"expect: {SECRET}\n",
        f"expect: {{allowed_drops: {SECRET}, max_skew_ms: {SECRET}}}\n",
        f"topics: [{SECRET}]\n",
        f"parameters: {SECRET}\n",
        f"every: {SECRET}\n",
        f"/**: {SECRET}\n",
        f"/**: {{ros__parameters: {SECRET}}}\n",
        f"-----BEGIN KEY-----\n{SECRET}\n{SECRET}=\n",
        b"\xff\xfe" + SECRET.encode(),
        SECRET.encode() + b"\x00\x07",
        SECRET * 100_000,
    ],
)
def test_an_error_about_a_file_does_not_print_it(kind, content, tmp_path):
    path = tmp_path / "any.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"any\.yaml") as caught:
        LOADERS[kind](path)
    error: BaseException | None = caught.value
    assert SECRET not in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [1", "wrong syntax in line 1, column 6"),
        ("a: 1\nb: 2\na: 3", "a key that comes twice in the same place in line 1, column 1"),
        ("a: !!int ''", "a value that YAML does not have"),
        ("a: !!timestamp x", "a value that YAML does not have"),
        ("a: 2001-99-99", "a value that YAML does not have"),
        ("a: &b [*b]", "more than 20000 values"),
        ("? [1]\n: 2", "wrong syntax"),
    ],
)
def test_what_is_not_taken(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_yaml(text)


def test_what_is_too_much():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_yaml("[" * 20_000)
    with pytest.raises(ValueError, match="more than 20000 values in line 1, column "):
        parse_yaml(f"a: [{'[],' * 30_000}]")
    with pytest.raises(ValueError, match="a text of more than 4096 letters in line 1, column 4"):
        parse_yaml(f"a: {'9' * 4097}")


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"calibration file .* does not exist"):
        read_yaml("/dev/zero", "calibration file")
    (tmp_path / "long.yaml").write_bytes(b"a" * (LARGEST_FILE + 1))
    with pytest.raises(ValueError, match=r"long\.yaml is longer than 256000 bytes: no scenario"):
        read_yaml(tmp_path / "long.yaml", "scenario")


def test_opencv_files_are_understood():
    text = "%YAML:1.0\n---\nK: !!opencv-matrix\n  rows: 1\n  cols: 2\n  dt: d\n  data: [ 1., -5.00000000e-05 ]\n"
    assert parse_yaml(text) == {"K": {"rows": 1, "cols": 2, "dt": "d", "data": [1.0, -5e-5]}}


def test_the_nearest_name():
    known = ["registration.type", "pairing.slop", "thermal.scaling", "denoise"]
    assert unknown_name("registration.tpye", known) == "registration.tpye (is it registration.type?)"
    assert unknown_name("slop", known) == "slop (is it pairing.slop?)"
    assert unknown_name("exposure", known) == "exposure"
    assert unknown_name("x" * 100, known) == "of another kind"
    with pytest.raises(
        ValueError, match=r"a has no key bed and unknown key d, cupp \(is it cup\?\); it takes bed, cup"
    ):
        check_keys("a", {"d": 1, "cupp": 2}, ("bed",), ("cup",))


@pytest.mark.parametrize(
    ("section", "name", "matches"),
    [
        ("/**", "/robot/mmcfusion", True),
        ("/*", "/mmcfusion", True),
        ("/*", "/robot/mmcfusion", False),
        ("mmcfusion", "/mmcfusion", True),
        ("/mmcfusion", "/robot/mmcfusion", False),
        ("/**/mmcfusion", "/robot/mmcfusion", True),
        ("/**/mmcfusion", "/mmcfusion", True),
        ("/robot/*", "/robot/mmcfusion", True),
        ("/robot/driver", "/robot/mmcfusion", False),
    ],
)
def test_sections_as_ros_matches_them(section, name, matches, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(f'"{section}": {{ros__parameters: {{threads: 1}}}}\n')
    if matches:
        check_files([path, tmp_path / "gone.yaml"], name)
        return
    with pytest.raises(ValueError, match=f"p.yaml has no section for {name}: it is for another node"):
        check_files([path], name)
