"""States of one input for diagnostics, and the throttle of log lines."""

from __future__ import annotations

import pytest
from test_health import Watch

pytest.importorskip("diagnostic_msgs", reason="the ROS messages are not installed")

from mmcfusion_ros.ros.log_throttle import LogThrottle

from mmcfusion_ros.ros.diagnostics import ERROR, OK, STALE, WARN, InputMonitor


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def monitor(watch):
    return InputMonitor("/a/rgb", timeout_s=1.0, min_rate_hz=10.0, clock_s=watch)


def receive(monitor, watch, number, used=0, seconds=1.0):
    for _ in range(number):
        watch.now_s += seconds / number
        monitor.received()
    for _ in range(used):
        monitor.used()


def state(monitor, drops=None):
    status = monitor.status("/a/mmcfusion: rgb input", drops or {})
    return status.level, status.message


def test_stale_until_the_first_message(monitor, watch):
    watch.now_s += 5
    assert state(monitor) == (STALE, "no message on /a/rgb yet")


def test_rate_and_age(monitor, watch):
    receive(monitor, watch, 30, used=30, seconds=2.0)
    watch.now_s += 0.5
    status = monitor.status("/a/mmcfusion: rgb input", {})
    assert (status.level, status.name, status.message) == (OK, "/a/mmcfusion: rgb input", "12.0 Hz")
    values = {value.key: value.value for value in status.values}
    assert values == {"topic": "/a/rgb", "rate_hz": "12.00", "age_s": "0.500"}


def test_a_low_rate_warns(monitor, watch):
    receive(monitor, watch, 5, used=5)
    assert state(monitor) == (WARN, "/a/rgb at 5.0 Hz, less than 10 Hz")


def test_silence_is_an_error_and_ends(monitor, watch):
    receive(monitor, watch, 30, used=30)
    watch.now_s += 1.5
    assert state(monitor) == (ERROR, "no message on /a/rgb for 1.5 s")
    receive(monitor, watch, 30, used=30)
    assert state(monitor) == (OK, "30.0 Hz")


@pytest.mark.parametrize(("used", "level"), [(0, ERROR), (12, WARN)])
def test_unusable_messages(monitor, watch, used, level):
    receive(monitor, watch, 30, used)
    for _ in range(3):
        monitor.unusable("bad_encoding: 'x'")
    assert state(monitor) == (level, "3 messages on /a/rgb could not be used: bad_encoding: 'x'")
    receive(monitor, watch, 30, used=30)
    assert state(monitor) == (OK, "30.0 Hz")


def test_drops_of_the_pairing_count_since_the_last_status_and_only_if_nothing_was_used(monitor, watch):
    receive(monitor, watch, 30)
    drops = {"unpaired_rgb": 30, "stale_rgb": 0}
    assert state(monitor, drops) == (ERROR, "no message on /a/rgb was used: 30 unpaired_rgb")
    receive(monitor, watch, 30, used=20)
    assert state(monitor, {"unpaired_rgb": 40}) == (OK, "30.0 Hz")
    receive(monitor, watch, 30)
    assert state(monitor, {"unpaired_rgb": 40}) == (OK, "30.0 Hz")


def test_throttle_by_key(watch):
    throttle = LogThrottle(5.0, watch)
    assert throttle("a", "first") == "first"
    assert throttle("b", "other") == "other"
    assert [throttle("a", "again") for _ in range(3)] == [""] * 3
    watch.now_s += 5
    assert throttle("a", "later") == "later (and 3 more like it before)"
    watch.now_s += 5
    assert throttle("a", "last") == "last"
