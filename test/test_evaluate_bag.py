"""A whole run over a bag: what it writes, that it is the node's result, and what it says of bad input."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from bag_files import (
    HEIGHT,
    NS,
    RGB,
    START,
    THERMAL,
    WIDTH,
    Message,
    drive,
    frames,
    info,
    rgb,
    rgb_pixels,
    storage_file,
    thermal,
    thermal_pixels,
    write_bag,
)
from image_pairs import fuse
from mcap.reader import make_reader

from mmcfusion_ros.bags.reading import Bag, read_message
from mmcfusion_ros.cli import main
from mmcfusion_ros.evaluation.bags.compare import evaluate_and_report, summary_text
from mmcfusion_ros.evaluation.bags.evaluate_bag import evaluate_bag
from mmcfusion_ros.evaluation.bags.fusing import STAGES, Fused
from mmcfusion_ros.evaluation.bags.measures import DEPTH_ERRORS, METRICS, registration_residual
from mmcfusion_ros.evaluation.bags.options import BagOptions
from mmcfusion_ros.evaluation.bags.records import COLUMNS, ReportFrames
from mmcfusion_ros.evaluation.bags.writing import header_message, image_message, ros_type
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import save_calibration
from mmcfusion_ros.fusion.camera import Intrinsics
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.stream.parameter_files import load_values
from mmcfusion_ros.stream.pipeline import EXCHANGED, Result
from mmcfusion_ros.stream.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
PLAIN = BagOptions(report=False)
SMALL = [f"warm_up_width={WIDTH}", f"warm_up_height={HEIGHT}", "threads=1", "precision=float32"]


@pytest.fixture
def values(random_lite_graph):
    return load_values(None, [*SMALL, f"model={random_lite_graph}"])


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / "drive", drive(6))


def fused_messages(folder: Path, topic: str = "/fused/image_raw"):
    """Topic's messages as an independent reader finds them: log time, and the message."""
    with open(storage_file(folder / "fused"), "rb") as file:
        return [
            (message.log_time, read_message(message.data, schema.name))
            for schema, _, message in make_reader(file, validate_crcs=True).iter_messages(topics=[topic])
        ]


def rows(folder: Path):
    with open(folder / "frames.csv", newline="") as file:
        return list(csv.DictReader(file))


def stamp(message):
    return message.header.stamp.sec * NS + message.header.stamp.nanosec


class TestResult:
    @pytest.mark.parametrize("from_frames", [False, True], ids=["extrinsics of the file", "of TF"])
    def test_lenses_come_from_camera_info_as_in_the_node(self, values, tmp_path, from_frames):
        """The thermal camera 10 cm to the right, the plane at 5 m: 50 px * 0.1 m / 5 m, one column is not seen."""
        file = tmp_path / "rig.yaml"
        rig = Calibration(rotation=np.eye(3), translation=np.array([0.1, 0, 0]), plane_distance=5.0)
        save_calibration(replace(rig, from_frames=from_frames), file)
        calibrated = {**values, "registration.file": str(file)}
        thermal_infos = [info(START + i * NS // 10, topic="/thermal/camera_info") for i in range(6)]
        places = [frames("rgb_frame", "thermal_frame", 0.1)] * from_frames
        messages = sorted([*places, *drive(6), *thermal_infos], key=lambda message: message.time_ns)
        result = evaluate_bag(write_bag(tmp_path / "both", messages), calibrated, tmp_path / "out", PLAIN)
        assert (result.summary["counts"]["fused"], result.summary["problems"]) == (6, [])
        lens = Intrinsics(WIDTH, HEIGHT, np.array([[50.0, 0, 31.5], [0, 51, 23.5], [0, 0, 1]]))
        settings = Settings(values)
        pipeline = settings.pipeline(settings.network())
        pipeline.use(Registration(rig.with_intrinsics(lens, lens)))
        for i, (_, message) in enumerate(fused_messages(tmp_path / "out")):
            expected = fuse(pipeline, thermal_pixels(i), rgb_pixels(i)).image
            np.testing.assert_array_equal(message.data.reshape(expected.shape), expected)
        one = evaluate_bag(write_bag(tmp_path / "one", drive(6)), calibrated, None, PLAIN)
        assert one.summary["dropped"] == {"bad_pair": 6}
        assert "registration waits for thermal/camera_info" in one.summary["problems"]
        unplaced = "extrinsics: /tf_static does not connect thermal_frame with rgb_frame"
        assert (unplaced in one.summary["problems"]) == from_frames

    def test_depth_of_a_bag_registers_as_in_the_node(self, values, tmp_path):
        """It comes 50 ms after its pair, which waits for it: 100 ms as in the node, or not at all."""
        file = tmp_path / "rig.yaml"
        lens = Intrinsics(WIDTH, HEIGHT, np.array([[50.0, 0, 31.5], [0, 51, 23.5], [0, 0, 1]]))
        save_calibration(
            Calibration(rotation=np.eye(3), translation=np.array([0.1, 0, 0]), thermal=lens, rgb=lens), file
        )
        distance = np.full((HEIGHT, WIDTH), 2000, np.uint16)
        depths = [image_message(distance, "16UC1", header_message(START + i * NS // 10, "rgb_frame")) for i in range(6)]
        late = [Message("/depth/image_raw", START + i * NS // 10 + NS // 20, depth) for i, depth in enumerate(depths)]
        bag = write_bag(tmp_path / "bag", sorted([*drive(6), *late], key=lambda message: message.time_ns))
        by_depth = {**values, "registration.type": "depth", "registration.file": str(file)}
        summary = evaluate_bag(bag, by_depth, tmp_path / "out", PLAIN).summary
        assert (summary["counts"]["fused"], summary["problems"]) == (6, [])
        assert "/depth/image_raw" in summary["topics"]
        for row in rows(tmp_path / "out"):
            assert float(row["depth_error_px"]) == 0
            assert float(row["plane_error_px"]) == pytest.approx(50 * 0.1 / 2, abs=1e-3)
        settings = Settings(values)
        pipeline = settings.pipeline(settings.network())
        at_2_m = Calibration(
            rotation=np.eye(3), translation=np.array([0.1, 0, 0]), thermal=lens, rgb=lens, plane_distance=2.0
        )
        pipeline.use(Registration(at_2_m))
        for i, (_, message) in enumerate(fused_messages(tmp_path / "out")):
            expected = fuse(pipeline, thermal_pixels(i), rgb_pixels(i)).image.astype(int)
            assert np.abs(message.data.reshape(expected.shape)[:, 8:-8] - expected[:, 8:-8]).mean() < 3
        lost = write_bag(tmp_path / "lost", sorted([*drive(6), *late[:4]], key=lambda message: message.time_ns))
        summary = evaluate_bag(lost, by_depth, tmp_path / "gaps", PLAIN).summary
        assert [row["plane_error_px"] for row in rows(tmp_path / "gaps")][4:] == ["2.499500", ""]
        assert summary["counts"]["fused"] == 6
        assert "the nearest depth is 0.20 s older than the RGB image" in summary["problems"][0]

    def test_exchanged_cameras_are_doubted_as_in_the_node(self, values, tmp_path):
        """The same words as in ``test_fusion_node_inputs.py``."""
        bag = write_bag(tmp_path / "bag", drive(6))
        options = BagOptions(thermal_topic="/rgb/image_raw", rgb_topic="/thermal/image_raw", report=False)
        problems = evaluate_bag(bag, values, None, options).summary["problems"]
        assert EXCHANGED in problems
        assert EXCHANGED not in evaluate_bag(bag, values, None, PLAIN).summary["problems"]

    def test_fused_images_are_what_the_pipeline_makes_of_the_pairs(self, bag, values, tmp_path):
        evaluate_bag(bag, values, tmp_path / "out", PLAIN)
        settings = Settings(values)
        pipeline = settings.pipeline(settings.network())
        messages = fused_messages(tmp_path / "out")
        assert len(messages) == 6
        for i, (_, message) in enumerate(messages):
            expected = fuse(pipeline, thermal_pixels(i), rgb_pixels(i)).image
            assert (message.encoding, message.height, message.width) == ("rgb8", HEIGHT, WIDTH)
            np.testing.assert_array_equal(
                message.data.reshape(HEIGHT, message.step)[:, : 3 * WIDTH], expected.reshape(HEIGHT, -1)
            )
            assert stamp(message) == START + i * NS // 10
            assert message.header.frame_id == "rgb_frame"

    def test_topic_and_frame_names_write_nothing_outside_of_the_output_folder(self, values, tmp_path):
        evil = {THERMAL: "/../../../evil/thermal", RGB: "/../../../evil/rgb"}
        messages = [replace(one, topic=evil.get(one.topic, one.topic)) for one in drive(3)]
        for one in messages:
            one.message.header.frame_id = "../../../evil"
        bag = write_bag(tmp_path / "a" / "drive", messages)
        before = set(tmp_path.rglob("*"))
        out = tmp_path / "a" / "b" / "out"
        options = BagOptions(thermal_topic=evil[THERMAL], rgb_topic=evil[RGB])
        evaluate_and_report(bag, out, {"../../../evil": values}, options, threading.Event())
        new = set(tmp_path.rglob("*")) - before - {out, out.parent}
        assert new
        assert [path for path in new if not path.is_relative_to(out)] == []

    def test_camera_info_and_diagnostics_come_along(self, values, tmp_path):
        bag = write_bag(tmp_path / "drive", drive(25))
        evaluate_bag(bag, values, tmp_path / "out", PLAIN)
        infos = fused_messages(tmp_path / "out", "/fused/camera_info")
        images = fused_messages(tmp_path / "out")
        assert [stamp(info) for _, info in infos] == [stamp(image) for _, image in images]
        assert infos[0][1].k[0] == 50.0
        diagnostics = fused_messages(tmp_path / "out", "/diagnostics")
        assert [round((time - START) / NS, 1) for time, _ in diagnostics] == [1.0, 2.0, 2.4]
        last = {value.key: value.value for value in diagnostics[-1][1].status[0].values}
        assert {name: last[name] for name in ("thermal_in", "rgb_in", "pairs", "fused")} == dict.fromkeys(
            ("thermal_in", "rgb_in", "pairs", "fused"), "25"
        )
        assert last["backend"] == "openvino"
        second = {value.key: float(value.value) for value in diagnostics[1][1].status[0].values if "_hz" in value.key}
        assert second["fused_hz"] == pytest.approx(10, abs=1)

    def test_a_gap_of_a_day_is_not_filled_with_diagnostics(self, values, tmp_path):
        bag = write_bag(tmp_path / "drive", drive(2) + drive(2, start_ns=START + 86400 * NS))
        evaluate_bag(bag, values, tmp_path / "out", PLAIN)
        assert len(fused_messages(tmp_path / "out", "/diagnostics")) <= 4
        assert len(fused_messages(tmp_path / "out")) == 4

    def test_the_same_bag_gives_the_same_fused_bag(self, bag, values, tmp_path):
        for name in ("a", "b"):
            evaluate_bag(bag, values, tmp_path / name, PLAIN)
        first, second = (
            [(time, stamp(image), image.data.tobytes()) for time, image in fused_messages(tmp_path / name)]
            for name in ("a", "b")
        )
        assert first == second

    def test_the_fused_bag_is_as_rosbag2_describes_it(self, bag, values, tmp_path):
        evaluate_bag(bag, values, tmp_path / "out", PLAIN)
        folder = tmp_path / "out" / "fused"
        about = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        assert (about["version"], about["storage_identifier"]) == (8, "mcap")
        assert about["relative_file_paths"] == ["fused.mcap"]
        counts = {t["topic_metadata"]["name"]: t["message_count"] for t in about["topics_with_message_count"]}
        assert counts == {"/fused/image_raw": 6, "/fused/camera_info": 6, "/diagnostics": 1}
        with open(folder / "fused.mcap", "rb") as file:
            reader = make_reader(file, validate_crcs=True)
            summary = reader.get_summary()
            assert reader.get_header().profile == "ros2"
        assert summary.statistics.message_count == about["message_count"] == 13
        assert {c.topic: c.message_encoding for c in summary.channels.values()} == dict.fromkeys(counts, "cdr")
        assert {s.name: s.encoding for s in summary.schemas.values()} == dict.fromkeys(
            ("sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo", "diagnostic_msgs/msg/DiagnosticArray"), "ros2msg"
        )
        start = about["starting_time"]["nanoseconds_since_epoch"]
        assert (summary.statistics.message_start_time, summary.statistics.message_end_time) == (
            start,
            start + about["duration"]["nanoseconds"],
        )
        with Bag(folder) as written:
            assert written.problems == []

    def test_rows_of_the_table(self, bag, values, tmp_path):
        result = evaluate_bag(bag, values, tmp_path / "out", PLAIN)
        table = rows(tmp_path / "out")
        assert [row["outcome"] for row in table] == ["fused"] * 6
        assert [int(row["rgb_stamp_ns"]) - int(row["thermal_stamp_ns"]) for row in table] == [4_000_000] * 6
        assert all(float(row["skew_ms"]) == 4 for row in table)
        assert all(row[name] for row in table for name in set(COLUMNS) - {*DEPTH_ERRORS})
        assert all(float(row["total_ms"]) >= float(row["network_ms"]) > 0 for row in table)
        means = {name: np.mean([float(row[name]) for row in table]) for name in METRICS}
        assert result.summary["metrics"] == pytest.approx(means, rel=1e-4)

    def test_stages_are_those_of_the_pipeline(self, bag, values, tmp_path):
        result = evaluate_bag(bag, values, None, PLAIN)
        assert set(result.summary["latency_ms"]) == set(STAGES)
        assert {name.removesuffix("_ms") for name in result.statistics.columns()} - {
            "skew",
            *METRICS,
            "residual_px",
        } == set(STAGES)

    def test_summary_tells_what_was_run_on_what(self, bag, values, tmp_path, random_lite_graph):
        evaluate_bag(bag, values, tmp_path / "out", PLAIN)
        summary = json.loads((tmp_path / "out/summary.json").read_text())
        assert summary["outcome"] == "complete"
        assert summary["counts"] == {"camera_info_in": 6, "fused": 6, "rgb_in": 6, "thermal_in": 6}
        assert summary["dropped"] == {}
        assert summary["fused_hz"] == 10
        assert summary["skew_ms"]["max"] == 4
        assert summary["parameters"] == values
        file = storage_file(bag)
        assert summary["sha256"] == {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
        weights = random_lite_graph.with_suffix(".bin")
        assert summary["weights_sha256"][weights.name] == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert summary["machine"]["cores"] == os.cpu_count()
        assert summary["versions"]["numpy"] == np.__version__
        assert summary["topics"][RGB] == {"type": "sensor_msgs/msg/Image", "messages": 6}

    def test_nothing_of_ros_is_imported(self, bag, random_lite_graph, tmp_path):
        code = (
            "import sys; from pathlib import Path\n"
            "from mmcfusion_ros.evaluation.bags.evaluate_bag import evaluate_bag\n"
            "from mmcfusion_ros.evaluation.bags.options import BagOptions\n"
            "from mmcfusion_ros.stream.parameter_files import load_values\n"
            f"values = load_values(None, {[*SMALL, f'model={random_lite_graph}']})\n"
            f"evaluate_bag(Path({str(bag)!r}), values, Path({str(tmp_path / 'out')!r}), BagOptions(report=False))\n"
            "print({'rclpy', 'sensor_msgs', 'std_msgs', 'diagnostic_msgs', 'torch'} & set(sys.modules))"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout.strip() == "set()"


class TestSelection:
    def test_every_third_pair(self, bag, values, tmp_path):
        result = evaluate_bag(bag, values, tmp_path / "out", BagOptions(every=3, report=False))
        assert [stamp(image) for _, image in fused_messages(tmp_path / "out")] == [START, START + 300_000_000]
        assert result.summary["counts"]["rgb_in"] == 6

    def test_a_time_range_without_images_and_metrics(self, bag, values, tmp_path):
        options = BagOptions(start_s=0.15, end_s=0.45, images=False, metrics=False, report=False)
        result = evaluate_bag(bag, values, tmp_path / "out", options)
        assert result.summary["counts"]["fused"] == 3
        assert result.summary["metrics"] == {}
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["frames.csv", "summary.json"]

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ({"every": 0}, "every is 0"),
            ({"start_s": -1}, "-1"),
            ({"start_s": math.nan}, "nan"),
            ({"start_s": 2, "end_s": 2}, "empty"),
        ],
    )
    def test_options_that_make_no_sense(self, options, word):
        with pytest.raises(ValueError, match=word):
            BagOptions(**options)

    def test_a_range_behind_the_end(self, bag, values, tmp_path):
        with pytest.raises(ValueError, match=r"ends before 9 s, after 0\.\d s"):
            evaluate_bag(bag, values, tmp_path / "out", BagOptions(start_s=9, report=False))

    def test_results_are_not_overwritten(self, bag, values, tmp_path):
        evaluate_bag(bag, values, tmp_path / "out", PLAIN)
        with pytest.raises(FileExistsError, match="fused exists already"):
            evaluate_bag(bag, values, tmp_path / "out", PLAIN)


class TestBadInput:
    def test_sizes_and_encodings_that_change_are_fused_or_named(self, values, tmp_path):
        messages = []
        for i in range(8):
            at = START + i * NS // 10
            messages += [rgb(i, at, height=64, width=80) if i == 3 else rgb(i, at), thermal(i, at)]
        messages[8].message.encoding = "yuv422_odd"  # the RGB image of pair 4
        messages[11].message.data = messages[11].message.data[:-5]  # the thermal one of pair 5
        result = evaluate_bag(
            write_bag(tmp_path / "drive", sorted(messages, key=lambda m: m.time_ns)), values, tmp_path / "out", PLAIN
        )
        assert [row["outcome"] for row in rows(tmp_path / "out")] == [
            *["fused"] * 4,
            "bad_encoding",
            "bad_size",
            *["fused"] * 2,
        ]
        assert fused_messages(tmp_path / "out")[3][1].width == 80
        found = "\n".join(result.summary["problems"])
        assert f"{RGB}: the size changes from 64x48 to 80x64, first at 0.300 s (2x)" in found
        assert "bad_encoding (1x), first: encoding 'yuv422_odd'" in found
        assert "bad_size (1x)" in found
        assert "no camera_info topic beside" in found

    def test_bytes_that_are_no_image_are_counted(self, values, tmp_path):
        path = write_bag(tmp_path / "drive", drive(4))
        data = storage_file(path).read_bytes()
        storage_file(path).write_bytes(data.replace(b"16UC1", b"\xff" * 5, 1))
        result = evaluate_bag(path, values, tmp_path / "out", PLAIN)
        assert result.summary["counts"]["fused"] == 3
        assert result.summary["dropped"]["bad_message_thermal"] == 1
        assert any(f"{THERMAL}: not a sensor_msgs/msg/Image" in problem for problem in result.summary["problems"])

    def test_a_camera_that_never_sent_is_named(self, values, tmp_path):
        messages = [message for message in drive(4) if message.topic != THERMAL]
        message = thermal(0, START + 10 * NS)
        path = write_bag(tmp_path / "drive", [*messages, message])
        result = evaluate_bag(path, values, tmp_path / "out", BagOptions(end_s=5, report=False))
        assert result.summary["dropped"] == {"unpaired_rgb": 4}
        assert f"no message on {THERMAL}" in result.summary["problems"]
        assert any("nothing was fused" in problem for problem in result.summary["problems"])

    def test_stamps_of_another_clock_are_explained(self, values, tmp_path):
        late = [Message(m.topic, m.time_ns + 60 * NS, m.message) for m in drive(3)]
        path = write_bag(tmp_path / "drive", late)
        result = evaluate_bag(path, values, None, PLAIN)
        assert result.summary["dropped"] == {"stale_rgb": 3, "stale_thermal": 3}
        assert any("pairing.max_age to 0" in problem for problem in result.summary["problems"])
        assert evaluate_bag(path, {**values, "pairing.max_age": 0.0}, None, PLAIN).summary["counts"]["fused"] == 3

    def test_what_is_left_of_a_truncated_bag_is_evaluated(self, values, tmp_path):
        path = write_bag(tmp_path / "drive", drive(150))
        file = storage_file(path)
        os.truncate(file, int(file.stat().st_size * 0.8))
        before = file.read_bytes()
        result = evaluate_bag(path, values, tmp_path / "out", BagOptions(metrics=False, report=False))
        assert 50 < result.summary["counts"]["fused"] < 150
        assert any("drive.mcap is damaged" in problem for problem in result.summary["problems"])
        assert file.read_bytes() == before

    def test_compressed_images_are_fused(self, values, tmp_path):
        messages = []
        for i in range(3):
            at = START + i * NS // 10
            for topic, pixels, suffix in (
                (THERMAL, thermal_pixels(i), ".png"),
                (RGB, rgb_pixels(i)[..., ::-1], ".png"),
            ):
                data = cv2.imencode(suffix, pixels)[1]
                kind = ros_type("sensor_msgs/msg/CompressedImage")
                message = kind(header_message(at, "camera"), f"{suffix[1:]} compressed", data)
                messages.append(Message(f"{topic}/compressed", at, message))
        evaluate_bag(write_bag(tmp_path / "drive", messages), values, tmp_path / "out", PLAIN)
        evaluate_bag(write_bag(tmp_path / "raw", drive(3, skew_ns=0)), values, tmp_path / "raw_out", PLAIN)
        compressed, raw = (fused_messages(tmp_path / name) for name in ("out", "raw_out"))
        assert len(compressed) == 3
        for (_, ours), (_, theirs) in zip(compressed, raw, strict=True):
            np.testing.assert_array_equal(ours.data, theirs.data)


class TestInterruption:
    def test_stopped_early_everything_is_valid(self, values, tmp_path, monkeypatch):
        stop = threading.Event()
        path = write_bag(tmp_path / "drive", drive(100))

        def times_and_stop(frame):
            if frame.pair.rgb_stamp_ns >= START + NS:
                stop.set()
            return {"skew_ms": 0.0, "total_ms": 1.0}

        monkeypatch.setattr("mmcfusion_ros.evaluation.bags.evaluate_bag.frame_times", times_and_stop)
        result = evaluate_bag(path, values, tmp_path / "out", BagOptions(metrics=False, report=False), stop)
        assert result.summary["outcome"] == "interrupted"
        assert result.summary["counts"]["fused"] == 11
        assert len(fused_messages(tmp_path / "out")) == 11
        assert len([row for row in rows(tmp_path / "out") if row["outcome"] == "fused"]) == 11
        with Bag(tmp_path / "out/fused") as written:
            assert written.problems == []

    def test_control_c_of_the_command(self, random_lite_graph, tmp_path):
        path = write_bag(tmp_path / "drive", drive(3000, hz=30))
        out = tmp_path / "out"
        command = [sys.executable, "-m", "mmcfusion_ros.cli", "evaluate-bag", str(path), "--out", str(out)]
        command += ["--set", *SMALL, f"model={random_lite_graph}"]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            while process.poll() is None and not (out / "frames.csv").exists():
                threading.Event().wait(0.05)
            threading.Event().wait(0.5)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode in (0, 1), errors
        assert "Traceback" not in errors
        summary = json.loads((out / "summary.json").read_text())
        assert summary["outcome"] == "interrupted"
        assert "interrupted" in output
        assert (out / "report.html").stat().st_size > 0
        with Bag(out / "fused") as written:
            assert written.problems == []

    def test_killed_it_leaves_all_but_the_last_second(self, random_lite_graph, tmp_path):
        out, seen = tmp_path / "out", []
        command = [
            sys.executable,
            "-m",
            "mmcfusion_ros.cli",
            "evaluate-bag",
            str(write_bag(tmp_path / "bag", drive(3000))),
        ]
        command += ["--out", str(out), "--set", *SMALL, f"model={random_lite_graph}"]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while len(seen) < 4 and process.poll() is None:
                if (out / "summary.json").exists():
                    fused = json.loads((out / "summary.json").read_text())["counts"].get("fused", 0)
                    seen += [fused] * (fused not in seen)
                threading.Event().wait(0.02)
        finally:
            process.kill()
            process.wait()
        summary = json.loads((out / "summary.json").read_text())
        assert summary["outcome"] == "unfinished"
        assert len([row for row in rows(out) if row["outcome"] == "fused"]) >= summary["counts"]["fused"] >= seen[-1]
        with Bag(out / "fused") as bag:
            assert len([*bag.messages(["/fused/image_raw"])]) >= seen[-2]

    def test_on_a_full_disk_it_keeps_what_it_has(self, random_lite_graph, tmp_path):
        """A limit on the size of files stands for the disk."""
        out, bag = tmp_path / "out", write_bag(tmp_path / "bag", drive(400))
        command = [sys.executable, "-m", "mmcfusion_ros.cli", "evaluate-bag", str(bag), "--out", str(out)]
        command += ["--set", *SMALL, f"model={random_lite_graph}"]
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, 2_500_000)),
        )
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == f"mmcfusion evaluate-bag: [Errno 27] File too large: '{out}'"
        assert json.loads((out / "summary.json").read_text())["outcome"] == "unfinished"
        assert [row for row in rows(out) if row["outcome"] == "fused"]
        with Bag(out / "fused") as bag:
            assert len([*bag.messages(["/fused/image_raw"])]) > 50

    def test_results_of_before_are_refused_before_anything_else(self, tmp_path):
        """Even before a bag that is not there."""
        (tmp_path / "out").mkdir()
        (tmp_path / "out/frames.csv").write_text("mine")
        code = "import sys; from mmcfusion_ros.cli import main\ntry: main(sys.argv[1:])\n"
        code += "except SystemExit as end: print(end)\nprint({'rosbags', 'openvino'} & {*sys.modules})"
        words = ["evaluate-bag", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
        command = [sys.executable, "-c", code, *words, "--no-images"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert "frames.csv exists already; choose another name, or overwrite with --force" in done.stdout
        assert done.stdout.splitlines()[-1] == "set()"
        with pytest.raises(SystemExit, match="none does not exist"):
            main([*words, "--force"])
        (tmp_path / "out/fused").mkdir()
        with pytest.raises(SystemExit, match="fused exists already; remove it"):
            main([*words, "--force"])
        assert (tmp_path / "out/frames.csv").read_text() == "mine"


class TestComparison:
    def test_two_configurations_side_by_side(self, bag, values, tmp_path):
        tight = {**values, "pairing.slop": 0.001}
        results = evaluate_and_report(bag, tmp_path / "out", {"a": values, "b": tight}, BagOptions(), threading.Event())
        assert [result.statistics.counts["fused"] for result in results.values()] == [6, 0]
        table = json.loads((tmp_path / "out/comparison.json").read_text())
        assert (table["a"]["fused"], table["b"]["fused"]) == (6, 0)
        assert table["a"]["EN"] == pytest.approx(results["a"].summary["metrics"]["EN"], abs=1e-4)
        lines = summary_text(results).splitlines()
        assert lines[:2] == ["1: a", "2: b"]
        assert [line.split() for line in lines if line.startswith(("fused ", "skew_p95"))] == [
            ["fused", "6", "0"],
            ["skew_p95_ms", "4"],
        ]
        assert "2: complete; dropped: unpaired_rgb 6, unpaired_thermal 6" in lines
        assert (tmp_path / "out/1/fused/fused.mcap").is_file()
        assert (tmp_path / "out/2/summary.json").is_file()
        assert (tmp_path / "out/report.html").stat().st_size > 0
        assert cv2.VideoCapture(str(tmp_path / "out/1/preview.mp4")).read()[1].shape[1] > 3 * WIDTH
        assert not (tmp_path / "out/2/preview.mp4").exists()

    def test_the_page_gets_frames_drops_problems_and_previews(self, values, tmp_path):
        lonely = rgb(9, START + 3 * NS)
        path = write_bag(tmp_path / "drive", [*drive(6), lonely])
        run = evaluate_bag(path, values, tmp_path / "out").run("a drive")
        assert [frame.name for frame in run.frames] == [f"{frame.time_s:.3f} s" for frame in run.frames]
        assert len({frame.name for frame in run.frames}) == 6
        assert {"skew_ms", "network_ms", "total_ms", "EN", "residual_px"} <= run.frames[0].values.keys()
        assert cv2.imdecode(np.frombuffer(run.frames[0].fused, np.uint8), cv2.IMREAD_COLOR).shape == (HEIGHT, WIDTH, 3)
        assert [reason for _, reason in run.drops] == ["unpaired_rgb"]
        assert run.title == "a drive"
        assert "lite, thermal white hot, on openvino" in run.header["fuser"]
        assert "pairing" not in run.header["parameters"]


@pytest.mark.parametrize("expected", [0, 50, 9_999, 20_000])
def test_the_page_gets_a_bounded_number_of_frames_and_pictures(expected):
    report = ReportFrames(START, expected)
    image = np.zeros((8, 8), np.uint8)
    kept = report.frames
    for _ in range(expected):
        report.add(Fused(None, None, START, Result("pair", image, None, image, image), None, {}, {}), {})
    assert 0.4 * min(expected, 3000) <= len(kept) <= 3000
    assert 0.4 * min(expected, 60) <= sum(frame.fused is not None for frame in kept) <= 60


class TestResidual:
    @pytest.mark.parametrize("shift", [0, 3, 8])
    def test_it_is_the_shift_of_the_scene(self, shift):
        rng = np.random.default_rng(3)
        scene = cv2.resize(rng.integers(0, 256, (15, 20), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_NEAREST)
        thermal_image = np.roll(255 - scene, shift, axis=1)
        assert registration_residual(thermal_image, scene) == pytest.approx(shift, abs=0.2)


def test_memory_does_not_grow_with_the_bag(random_lite_graph, tmp_path):
    """The peak of a bag that is four times as long is hardly higher."""
    peaks = []
    for pairs in (30, 120):
        messages = (
            Message(m.topic, m.time_ns, m.message)
            for i in range(pairs)
            for m in (rgb(i % 7, START + i * NS // 10, height=480, width=640), thermal(i % 7, START + i * NS // 10))
        )
        path = write_bag(tmp_path / f"drive_{pairs}", messages)
        code = (
            "from pathlib import Path\n"
            "from mmcfusion_ros.evaluation.bags.evaluate_bag import evaluate_bag\n"
            "from mmcfusion_ros.evaluation.bags.options import BagOptions\n"
            "from mmcfusion_ros.stream.parameter_files import load_values\n"
            f"values = load_values(None, ['threads=1', 'model={random_lite_graph}'])\n"
            "options = BagOptions(metrics=False, report=False, every=8)\n"
            f"evaluate_bag(Path({str(path)!r}), values, Path({str(tmp_path / f'out_{pairs}')!r}), options)\n"
            "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=True)
        peaks.append(int(done.stdout) / 1024)
    size_mb = 120 * 0.93
    assert peaks[1] - peaks[0] < size_mb / 4
    assert max(peaks) < 1500
