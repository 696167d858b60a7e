"""Counters, rates, percentiles, drops, the words for what is wrong, states of one input, and the throttle of lines."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("diagnostic_msgs", reason="the ROS messages are not installed")
from diagnostic_msgs.msg import DiagnosticStatus

from mmcfusion_ros.ros.diagnostics import node_status
from mmcfusion_ros.stream.health import COUNTED, RECENT_FRAMES, Health

TOPICS = {"thermal_in": "/a/thermal", "rgb_in": "/a/rgb", "camera_info_in": "/a/info"}


class Watch:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def lines():
    return []


@pytest.fixture
def health(watch, lines):
    return Health(1.0, TOPICS, lines.append, clock_s=watch)


def count(health, *names):
    for name in names:
        health.count(name)


def test_counts_and_rates_since_the_last_report(watch, health):
    count(health, *["rgb_in"] * 30, *["thermal_in"] * 9)
    watch.now_s += 2
    values = health.report({})
    assert (values["rgb_in"], values["rgb_in_hz"], values["thermal_in_hz"]) == ("30", "15.00", "4.50")
    count(health, "rgb_in")
    watch.now_s += 4
    values = health.report({})
    assert (values["rgb_in"], values["rgb_in_hz"], values["thermal_in_hz"]) == ("31", "0.25", "0.00")
    assert {values[f"{name}_hz"] for name in ("pairs", "fused", "camera_info_in")} == {"0.00"}


def test_two_reports_at_the_same_time(health):
    count(health, "rgb_in")
    assert health.report({})["rgb_in_hz"] == "0.00"


def test_latencies_and_skews(health):
    assert not any("_ms" in key for key in health.report({}))
    for milliseconds in range(101):
        moments = {"start": 5.0, "network": 5 + milliseconds / 1e3, "colour": 5 + milliseconds / 500}
        health.published({}, moments, -milliseconds)
    values = health.report({})
    assert values["fused"] == "101"
    assert [values[f"network_ms.{part}"] for part in ("p50", "p95", "mean", "max")] == [
        "50.00",
        "95.00",
        "50.00",
        "100.00",
    ]
    assert values["total_ms.p95"] == "190.00"
    assert values["skew_ms.max"] == "100.00"


def test_percentiles_are_of_the_last_frames(health):
    for milliseconds in [1000.0] * 50 + [10.0] * RECENT_FRAMES:
        health.published({}, {"start": 0.0, "network": milliseconds / 1e3}, 0)
    assert health.report({})["total_ms.max"] == "10.00"


def test_drops_of_the_node_and_of_the_pairing(health):
    for reason in ("superseded", "bad_size", "superseded"):
        health.lost(reason)
    values = health.report({"unpaired_rgb": 3, "stale_rgb": 0})
    drops = {key: value for key, value in values.items() if key.startswith("dropped.")}
    assert drops == {"dropped.superseded": "2", "dropped.bad_size": "1", "dropped.unpaired_rgb": "3"}


def test_problems_in_the_order_of_their_cause(watch, health):
    assert health.problems({}) == ["no message on /a/info yet"]
    watch.now_s += 1.5
    assert health.problems({}) == ["no message on /a/thermal for 1.5 s", "no message on /a/rgb for 1.5 s"]
    count(health, "rgb_in")
    assert health.problems({}) == ["no message on /a/thermal for 1.5 s"]
    count(health, "thermal_in")
    (problem,) = health.problems({})
    assert problem == "both cameras send, but no frames paired for 1.5 s; see the dropped.* counts"
    count(health, "pairs")
    assert health.problems({}) == ["no pair was fused for 1.5 s; see the dropped.* counts and the log"]
    health.published({}, {"start": 0.0}, 0.0)
    assert health.problems({}) == ["no message on /a/info yet"]
    count(health, "camera_info_in")
    assert health.problems({}) == []


def test_cameras_that_repeat_one_picture(health):
    health.published({}, {"start": 0.0}, 0.0)
    count(health, "rgb_in", "thermal_in", "pairs", "camera_info_in")
    assert health.problems({"rgb": 0.5, "thermal": 0.0}) == []
    assert health.problems({"rgb": 1.5}) == ["the images on /a/rgb have not changed for 1.5 s"]


def test_threads_lose_no_count(health):
    def work():
        for _ in range(2000):
            health.count("rgb_in")
            health.lost("stale")
            health.published({}, {"start": 0.0, "network": 1.0}, 1.0)
            health.report({})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = health.report({})
    assert (values["rgb_in"], values["fused"], values["dropped.stale"]) == ("8000", "8000", "8000")


def test_status_message():
    good = node_status("/a/mmcfusion", "CPU", [], {"fused": "3"})
    assert (good.level, good.name, good.hardware_id, good.message) == (
        DiagnosticStatus.OK,
        "/a/mmcfusion",
        "CPU",
        "fusing",
    )
    assert [(value.key, value.value) for value in good.values] == [("fused", "3")]
    bad = node_status("/a/mmcfusion", "CPU", ["first", "second"], {})
    assert (bad.level, bad.message) == (DiagnosticStatus.WARN, "first; second")
    failed = node_status("/a/mmcfusion", "CPU", ["second"], {}, failure="first")
    assert (failed.level, failed.message) == (DiagnosticStatus.ERROR, "first; second")


def test_every_count_is_reported(health):
    assert {name for name in COUNTED if name in health.report({})} == set(COUNTED)


def receive(health, watch, number, used=0, seconds=1.0):
    for _ in range(number):
        watch.now_s += seconds / number
        health.received("rgb", pairs=0)
    for _ in range(used):
        health.published({"rgb": 0}, {"start": 0.0}, None)


def state(health, drops=None):
    level, text, _ = health.input_states(drops or {}, {"thermal": 0.0, "rgb": 10.0})["rgb"]
    return level, text


def test_stale_until_the_first_message(health, watch):
    watch.now_s += 5
    assert state(health) == ("STALE", "no message on /a/rgb yet")


def test_rate_and_age(health, watch):
    receive(health, watch, 30, used=30, seconds=2.0)
    watch.now_s += 0.5
    level, text, values = health.input_states({}, {"thermal": 0.0, "rgb": 10.0})["rgb"]
    assert (level, text) == ("OK", "12.0 Hz")
    assert values == {"topic": "/a/rgb", "rate_hz": "12.00", "age_s": "0.500"}


def test_a_low_rate_warns(health, watch):
    receive(health, watch, 5, used=5)
    assert state(health) == ("WARN", "/a/rgb at 5.0 Hz, less than 10 Hz")


def test_silence_is_an_error_and_ends(health, watch):
    receive(health, watch, 30, used=30)
    watch.now_s += 1.5
    assert state(health) == ("ERROR", "no message on /a/rgb for 1.5 s")
    receive(health, watch, 30, used=30)
    assert state(health) == ("OK", "30.0 Hz")


@pytest.mark.parametrize(("used", "level"), [(0, "ERROR"), (12, "WARN")])
def test_unusable_messages(health, watch, used, level):
    receive(health, watch, 30, used)
    for _ in range(3):
        health.dropped("bad_encoding", "'x'", {"rgb": 0}, "rgb", unusable=True)
    assert state(health) == (level, "3 messages on /a/rgb could not be used: bad_encoding: 'x'")
    receive(health, watch, 30, used=30)
    assert state(health) == ("OK", "30.0 Hz")


def test_drops_of_the_pairing_count_since_the_last_status_and_only_if_nothing_was_used(health, watch):
    receive(health, watch, 30)
    drops = {"unpaired_rgb": 30, "stale_rgb": 0}
    assert state(health, drops) == ("ERROR", "no message on /a/rgb was used: 30 unpaired_rgb")
    receive(health, watch, 30, used=20)
    assert state(health, {"unpaired_rgb": 40}) == ("OK", "30.0 Hz")
    receive(health, watch, 30)
    assert state(health, {"unpaired_rgb": 40}) == ("OK", "30.0 Hz")


def test_one_log_line_per_key_and_what_was_held_back(health, watch, lines):
    for key in ("a", "b", "a", "a", "a"):
        health.warn(key, key, "rgb_in", 1_500_000_000)
    assert lines == [f"{key} [/a/rgb, stamp 1.500000000]" for key in "ab"]
    watch.now_s += 5
    health.warn("a", "later", "thermal_in", 0)
    assert lines[2] == "later [/a/thermal, stamp 0.000000000] (and 3 more like it before)"
    watch.now_s += 5
    health.warn("a", "last", "rgb_in", 0)
    assert lines[3] == "last [/a/rgb, stamp 0.000000000]"
