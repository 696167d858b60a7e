"""What a bag turns into: the pairs and drops of the node, at the receive times of the recording."""

from __future__ import annotations

import itertools
import threading
from collections import Counter

import pytest
from bag_files import NS, RGB, START, THERMAL, Message, drive, info, rgb, thermal, write_bag

from mmcfusion_ros.bags.ahead import ahead
from mmcfusion_ros.bags.events import Arrived, CameraEvents, Dropped, Paired
from mmcfusion_ros.bags.reading import Bag
from mmcfusion_ros.bags.topics import find_cameras
from mmcfusion_ros.stream.pairing import PairingOptions

MS = 1_000_000
OPTIONS = PairingOptions(slop_ns=50 * MS, max_wait_ns=30 * MS, max_age_ns=2 * NS, queue_size=30)


def events_of(tmp_path, messages, options=OPTIONS, **limits):
    with Bag(write_bag(tmp_path / "drive", messages)) as bag:
        events = CameraEvents(bag, find_cameras(bag.topics), options)
        return list(events.read(**limits)), events.problems


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def stamps(events):
    """Of the pairs, in ms since START."""
    return [((p.pair.thermal_stamp_ns - START) // MS, (p.pair.rgb_stamp_ns - START) // MS) for p in of(events, Paired)]


def drops(events):
    return [(drop.reason, drop.stream, (drop.stamp_ns - START) // MS) for drop in of(events, Dropped)]


def test_every_message_arrives_and_every_frame_pairs(tmp_path):
    events, problems = events_of(tmp_path, drive(5))
    assert stamps(events) == [(100 * i - 4, 100 * i) for i in range(5)]
    assert Counter(event.name for event in of(events, Arrived)) == {"camera_info_in": 5, "rgb_in": 5, "thermal_in": 5}
    assert not drops(events)
    assert problems == []
    assert [p.camera_infos["rgb"].header.stamp.nanosec for p in of(events, Paired)] == [i * 100 * MS for i in range(5)]
    assert [p.time_ns for p in of(events, Paired)] == sorted(p.time_ns for p in of(events, Paired))


def test_waits_end_when_they_would_live_not_when_the_next_message_comes(tmp_path):
    messages = [rgb(0, START), thermal(0, START - 9 * MS), rgb(1, START + 900 * MS), thermal(1, START + 900 * MS)]
    events, _ = events_of(tmp_path, sorted(messages, key=lambda m: m.time_ns))
    first = of(events, Paired)[0]
    assert first.time_ns == START + 2 * MS + OPTIONS.max_wait_ns  # the later of the two came at START + 2 ms
    assert stamps(events) == [(-9, 0), (900, 900)]


def test_at_the_end_waiting_frames_still_pair_or_are_dropped(tmp_path):
    events, _ = events_of(tmp_path, [rgb(0, START), thermal(0, START), rgb(1, START + 500 * MS)])
    assert stamps(events) == [(0, 0)]
    assert drops(events) == [("unpaired_rgb", "rgb", 500)]
    assert of(events, Dropped)[0].time_ns == START + 502 * MS + OPTIONS.max_age_ns


def test_without_a_largest_age_the_end_drops_what_waits(tmp_path):
    options = PairingOptions(slop_ns=50 * MS, max_wait_ns=30 * MS, max_age_ns=0, queue_size=30)
    events, _ = events_of(tmp_path, [rgb(0, START), thermal(0, START), rgb(1, START + 500 * MS)], options)
    assert drops(events) == [("unpaired_rgb", "rgb", 500)]


def test_a_loop_within_the_bag_pairs_again_from_its_start(tmp_path):
    first = drive(15)
    again = [Message(m.topic, m.time_ns + 2 * NS, m.message) for m in first]
    options = PairingOptions(slop_ns=50 * MS, max_wait_ns=30 * MS, max_age_ns=5 * NS, queue_size=30)
    events, problems = events_of(tmp_path, first + again, options)
    assert stamps(events) == [(100 * i - 4, 100 * i) for i in range(15)] * 2
    assert not drops(events)
    assert f"{RGB}: the stamp goes back by 1.400 s, first at 2.003 s (1x)" in problems


def test_a_range_of_receive_times(tmp_path):
    events, _ = events_of(tmp_path, drive(10), start_ns=START + 190 * MS, end_ns=START + 450 * MS)
    assert stamps(events) == [(100 * i - 4, 100 * i) for i in (2, 3, 4)]


def test_zero_stamps_are_named_and_dropped_as_the_node_drops_them(tmp_path):
    zero = [Message(m.topic, START + i * 100 * MS, m.message) for i in range(3) for m in (rgb(i, 0), thermal(i, 0))]
    events, problems = events_of(tmp_path, zero)
    assert {name for name, _, _ in drops(events)} == {"stale_rgb", "stale_thermal"}
    assert [text for text in problems if "zero" in text] == [
        f"{THERMAL}: the stamp is zero, first at 0.000 s (3x)",
        f"{RGB}: the stamp is zero, first at 0.000 s (3x)",
    ]


def test_changes_of_size_and_encoding_are_named_once_with_their_number(tmp_path):
    messages = [info(START), rgb(0, START), rgb(1, START + 100 * MS, height=32, width=40), rgb(2, START + 200 * MS)]
    messages += [thermal(i, START + i * 100 * MS) for i in range(3)]
    messages[-1].message.encoding = "mono16"
    _, problems = events_of(tmp_path, sorted(messages, key=lambda m: m.time_ns))
    assert problems == [
        f"{THERMAL}: the encoding changes from 16UC1 to mono16, first at 0.202 s (1x)",
        f"{RGB}: the size changes from 64x48 to 40x32, first at 0.101 s (2x)",
    ]


class TestAhead:
    def test_same_items_in_the_same_order(self):
        assert list(ahead((i * i for i in range(100)), 3)) == [i * i for i in range(100)]

    def test_at_most_depth_items_are_made_in_advance(self):
        made = []

        def items():
            for i in itertools.count():
                made.append(i)
                yield i

        stream = ahead(items(), 2)
        assert next(stream) == 0
        stream.close()
        assert len(made) <= 1 + 2 + 1 + 1  # taken, queued, waiting to be queued, made while that ended

    def test_an_error_comes_after_the_items_before_it(self):
        def items():
            yield 1
            raise ValueError("the second")

        stream = ahead(items(), 5)
        assert next(stream) == 1
        with pytest.raises(ValueError, match="the second"):
            next(stream)

    def test_closing_ends_the_threads_and_closes_the_stages_below(self):
        closed = []

        def items():
            try:
                yield from itertools.count()
            finally:
                closed.append(threading.current_thread().name)

        before = threading.active_count()
        stream = ahead((i for i in ahead(items(), 1)), 1)
        assert next(stream) == 0
        stream.close()
        assert threading.active_count() == before
        assert closed == ["ahead"]
