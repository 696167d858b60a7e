"""The trace: one line per frame that Chrome's viewer reads, bounded, and never over a file that is something else."""

from __future__ import annotations

import json
import os
import random
import resource

import pytest
from camera_messages import rgb_image, stamp_ns
from ros_helpers import Bench

from mmcfusion_ros.stream.trace import FrameTrace

MOMENTS = {"start": 1.9905, "decode": 1.9915, "network": 1.9995, "publish": 2.0}


def events(path) -> list[dict]:
    """As the viewer reads it: the closing bracket may be missing."""
    return json.loads(path.read_text().rstrip().rstrip(",") + "]")


def check_format(events: list[dict]) -> None:
    """Holds them to Google's "Trace Event Format": keys and their types, and slices of one thread that follow each
    other or lie within each other."""
    open_ends: list[float] = []
    last_us = 0.0
    for event in events:
        assert set(event) <= {"name", "ph", "pid", "tid", "ts", "dur", "s", "args"}
        assert event["name"]
        assert [type(event[key]) for key in ("name", "pid", "tid", "ts")] == [str, int, int, float]
        assert event["ts"] >= last_us, "not in the order of time"
        last_us = event["ts"]
        assert all(isinstance(value, int) for value in event.get("args", {}).values())
        while open_ends and round(event["ts"] - open_ends[-1], 1) >= 0:
            open_ends.pop()
        if event["ph"] == "i":
            assert (event["s"], "dur" in event) == ("t", False)
            continue
        assert (event["ph"], type(event["dur"]), "s" in event) == ("X", float, False)
        assert event["dur"] >= 0
        end_us = event["ts"] + event["dur"]
        assert not open_ends or round(end_us - open_ends[-1], 1) < 0, "sticks out of the slice around it"
        if event["dur"]:
            open_ends.append(end_us)


def never(text):
    raise AssertionError(text)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trace.json"


def test_a_frame_is_one_line_with_its_stages_in_order(path):
    trace = FrameTrace(path, never)
    trace.frame(MOMENTS, rgb_stamp_ns=5)
    trace.frame({stage: moment_s + 1 for stage, moment_s in MOMENTS.items()}, rgb_stamp_ns=6)
    assert len(path.read_text().splitlines()) == 3, "not on disk yet"
    frame, decode, network = events(path)[:3]
    assert (frame["name"], frame["ts"], frame["dur"], frame["args"]) == (
        "frame",
        1990500.0,
        9500.0,
        {"rgb_stamp_ns": 5},
    )
    assert (decode["name"], decode["ts"], decode["dur"]) == ("decode", 1990500.0, 1000.0)
    assert (network["name"], network["ts"], network["dur"]) == ("network", 1991500.0, 8000.0)
    assert {(event["ph"], event["pid"], event["tid"]) for event in events(path)} == {("X", os.getpid(), 1)}


def test_the_format_is_kept_for_any_times(path):
    """Times that round badly, and stages that take no time."""
    trace, rng, at_s = FrameTrace(path, never), random.Random(0), 1e5
    for number in range(500):
        at_s += rng.choice((0.0, 1e-3 * rng.random()))
        moments = {"start": at_s}
        for stage in ("decode", "network", "publish"):
            moments[stage] = at_s = at_s + rng.choice((0.0, rng.expovariate(100)))
        trace.frame(moments, rgb_stamp_ns=number)
        if number % 7 == 0:
            trace.dropped(at_s, "bad_size", rgb_stamp_ns=number)
    assert len(events(path)) == 4 * 500 + 72
    check_format(events(path))


def test_its_size_is_bounded_and_the_newest_frames_are_kept(path):
    trace = FrameTrace(path, never, max_bytes=3000)
    for number in range(100):
        trace.frame(MOMENTS, number=number)
    files = sorted(path.parent.iterdir())
    assert files == [path, path.with_name("trace.json.1")]
    assert all(file.stat().st_size <= 3000 for file in files)
    numbers = [
        event["args"]["number"] for file in reversed(files) for event in events(file) if event["name"] == "frame"
    ]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) > 8


INDENTED = '[\n  {"name": "mine"}\n]'


@pytest.mark.parametrize("second", ["", ".1"])
@pytest.mark.parametrize("content", ["export PATH=/bin\n", "{}", INDENTED])
def test_another_file_is_not_overwritten(path, content, second):
    other, path = path, path.with_name(path.name + second)
    path.write_text(content)
    with pytest.raises(ValueError, match="exists and is no trace"):
        FrameTrace(other, never)
    assert path.read_text() == content


def test_two_nodes_do_not_write_one_trace(path):
    first = FrameTrace(path, never)
    first.frame(MOMENTS)
    with pytest.raises(ValueError, match="is written by another node"):
        FrameTrace(path, never)
    first.close()
    assert len(events(path)) > 1


def test_of_a_large_file_only_the_beginning_is_read(path):
    """More than fits into memory; it takes no room on the disk."""
    path.touch()
    os.truncate(path, 2**42)
    with pytest.raises(ValueError, match="exists and is no trace"):
        FrameTrace(path, never)


def test_a_trace_is_overwritten(path):
    FrameTrace(path, never).frame(MOMENTS)
    FrameTrace(path, never).close()
    assert path.read_text() == "[\n"


def test_paths_that_cannot_be_written(path, tmp_path):
    with pytest.raises(OSError, match=r"trace_file .*nowhere/a\.json cannot be written: No such file"):
        FrameTrace(tmp_path / "nowhere" / "a.json", never)
    with pytest.raises(ValueError, match="is no trace"):
        FrameTrace(tmp_path, never)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="cannot be written"):
        FrameTrace(path, never)
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_ends_the_trace_with_one_line(path):
    """The disk is a limit of the size of files."""
    lines: list[str] = []
    trace = FrameTrace(path, lines.append)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        for _ in range(3):
            trace.frame(MOMENTS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert lines == ["the trace ends here: [Errno 27] File too large"]


def test_the_node_traces_fused_and_dropped_pairs(path):
    with Bench(trace_file=str(path)) as bench:
        rig = bench.rig
        rig.start()
        stamps = {stamp_ns(rig.fuse()) for _ in range(2)}
        nonsense = rgb_image()
        nonsense.encoding = "nonsense"
        rig.wait(lambda: "bad_encoding" in path.read_text(), lambda: rig.publish(rgb=nonsense))
        assert "trace_file" in rig.set_parameter("trace_file", "/tmp/other")
    check_format(events(path))
    frames = [event for event in events(path) if event["name"] == "frame"]
    assert stamps <= {event["args"]["rgb_stamp_ns"] for event in frames}
    assert {"decode", "network", "publish", "bad_encoding"} <= {event["name"] for event in events(path)}


def test_the_node_refuses_a_trace_file_that_cannot_be_written(tmp_path):
    with Bench(trace_file=str(tmp_path / "nowhere" / "a.json")) as bench:
        assert not bench.rig.change("configure")
        bench.rig.wait(bench.rig.errors)
        (line,) = bench.rig.errors()
        assert line.startswith("cannot configure: trace_file")
        assert bench.rig.state() == "unconfigured"
