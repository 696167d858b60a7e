"""States of one input for diagnostics, and the throttle of log lines."""

from __future__ import annotations

import pytest
from test_health import TOPICS, Watch

from mmcfusion_ros.stream.health import Health


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def lines():
    return []


@pytest.fixture
def health(watch, lines):
    return Health(1.0, TOPICS, lines.append, clock_s=watch)


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
