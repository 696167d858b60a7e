"""The core of the pairing, on scripted streams and against brute force over the complete lists of stamps."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcfusion_ros.stream.pairing import DROP_REASONS, Pair, Pairer, PairingOptions

MS = 1_000_000
S = 1000 * MS
START = 1_700_000_000 * S
RATES = [(9, 30), (30, 30), (25, 30), (10, 60)]
Event = tuple[int, str, int]  # arrival, stream, stamp


def options(**changes: int) -> PairingOptions:
    values = {"slop_ns": 50 * MS, "max_wait_ns": 10 * S, "max_age_ns": 0, "queue_size": 100}
    return PairingOptions(**{**values, **changes})


def camera(
    rate: float, seconds: float = 6.0, *, start: int = START, jitter: float = 0.0, loss: float = 0.0, seed: int = 0
):
    """Stamps in ns; ``jitter`` in periods either way, ``loss`` as a probability."""
    rng = random.Random(seed)
    stamps = (start + int((i + rng.uniform(-jitter, jitter)) * S / rate) for i in range(int(seconds * rate)))
    return [stamp for stamp in stamps if rng.random() >= loss]


def events(stream: str, stamps: Iterable[int], latency: int = 0, jitter: int = 0, seed: int = 0) -> list[Event]:
    rng, arrival, out = random.Random(seed), 0, []
    for stamp in stamps:
        arrival = max(arrival, stamp + latency + rng.randint(0, jitter))
        out.append((arrival, stream, stamp))
    return out


class Run:
    """Feeds events by arrival time, polling at every deadline between them, and keeps the books."""

    def __init__(self, opts: PairingOptions, *, clock: bool = False) -> None:
        self.pairs: list[Pair[Any]] = []
        self.emitted_at: list[int] = []
        self.dropped: list[tuple[str, Any]] = []
        self.added: list[Any] = []
        self.pairer: Pairer[Any] = Pairer(opts, lambda name, item: self.dropped.append((name, item)))
        self.clock = clock

    def feed(self, *streams: list[Event]) -> Run:
        for arrival, stream, stamp in sorted(chain(*streams), key=lambda event: event[0]):
            self.poll_until(arrival)
            self.add(stream, stamp, arrival)
        return self

    def add(self, stream: str, stamp: int, arrival: int, clock: int | None = None) -> list[Pair[Any]]:
        item = (stream, stamp, len(self.added))
        self.added.append(item)
        clock = arrival if self.clock and clock is None else clock
        return self.keep(self.pairer.add(stream, stamp, item, arrival, clock), arrival)  # type: ignore[arg-type]

    def poll_until(self, now: int) -> None:
        while (deadline := self.pairer.deadline_ns) is not None and deadline <= now:
            self.keep(self.pairer.poll(deadline), deadline)

    def keep(self, pairs: list[Pair[Any]], now: int) -> list[Pair[Any]]:
        self.pairs += pairs
        self.emitted_at += [now] * len(pairs)
        return pairs

    def finish(self) -> Run:
        """Waits for everything that still waits, then checks that every frame went exactly one way."""
        self.poll_until(START * 2)
        self.pairer.reset("finished")
        used = [item for pair in self.pairs for item in (pair.thermal, pair.rgb)]
        assert sorted(used + [item for _, item in self.dropped]) == sorted(self.added)
        assert Counter(name for name, _ in self.dropped) == self.pairer.drops
        assert len(self.added) == 2 * len(self.pairs) + sum(self.pairer.drops.values())
        known = {f"{reason}_{stream}" for reason in (*DROP_REASONS, "finished") for stream in ("thermal", "rgb")}
        assert set(self.pairer.drops) <= known
        assert all(name.endswith(item[0]) for name, item in self.dropped)
        return self

    def stamps(self) -> list[tuple[int, int]]:
        return [(pair.thermal_stamp_ns, pair.rgb_stamp_ns) for pair in self.pairs]

    def drops(self) -> dict[str, int]:
        return {name: count for name, count in self.pairer.drops.items() if not name.startswith("finished")}


def brute_force(
    thermal: Sequence[int], rgb: Sequence[int], slop: int = 50 * MS, offset: int = 0
) -> list[tuple[int, int]]:
    """Mutual nearest; of two equally near pairs that with RGB first: the earlier RGB frame, the later thermal one."""
    pairs = []
    for t in thermal:
        r = min(rgb, key=lambda r: (abs(r - t - offset), r))
        if t == min(thermal, key=lambda t: (abs(r - t - offset), -t)) and abs(r - t - offset) <= slop:
            pairs.append((t, r))
    return pairs


def increases(pairs: list[tuple[int, int]]) -> bool:
    return all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs))


# --- the rule ---


@pytest.mark.parametrize(("thermal_rate", "rgb_rate"), RATES)
@pytest.mark.parametrize(("thermal_late", "rgb_late"), [(0, 0), (0, 200), (200, 0), (15, 900), (900, 15)])
@pytest.mark.parametrize(("jitter", "loss"), [(0.0, 0.0), (0.2, 0.0), (0.1, 0.3)])
def test_online_pairs_are_the_mutual_nearest_of_the_whole_streams(
    thermal_rate: int, rgb_rate: int, thermal_late: int, rgb_late: int, jitter: float, loss: float
) -> None:
    thermal = camera(thermal_rate, jitter=jitter, loss=loss, seed=1)
    rgb = camera(rgb_rate, start=START + 7 * MS, jitter=jitter, loss=loss, seed=2)
    run = Run(options()).feed(
        events("thermal", thermal, thermal_late * MS, 20 * MS), events("rgb", rgb, rgb_late * MS, 20 * MS)
    )
    expected = brute_force(thermal, rgb)
    assert run.finish().stamps() == expected
    assert increases(expected)
    assert set(run.drops()) <= {"unpaired_thermal", "unpaired_rgb"}
    assert len(expected) > 15


@pytest.mark.parametrize("seed", range(150))
def test_random_streams_match_brute_force_however_they_interleave(seed: int) -> None:
    rng = random.Random(seed)
    offset, slop = rng.randint(-500, 500) * MS, rng.choice([0, 5 * MS, 20 * MS, 80 * MS])
    loss = rng.uniform(0, 0.5)
    thermal = camera(rng.uniform(5, 60), 3, start=START - offset, jitter=rng.uniform(0, 0.2), loss=loss, seed=seed)
    rgb = camera(rng.uniform(5, 60), 3, start=START + rng.randint(0, 99) * MS, jitter=0.2, loss=loss, seed=~seed)
    expected = brute_force(thermal, rgb, slop, offset)
    for late in (rng.randint(0, 1500), -rng.randint(0, 1500), 10_000, -10_000):
        run = Run(options(slop_ns=slop, thermal_offset_ns=offset, queue_size=1000, max_wait_ns=100 * S)).feed(
            events("thermal", thermal, max(late, 0) * MS + offset, 30 * MS, seed),
            events("rgb", rgb, max(-late, 0) * MS, 30 * MS, seed),
        )
        assert run.finish().stamps() == expected


intervals = st.lists(st.integers(20, 39), min_size=1, max_size=60)  # never shorter than half of any other


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(intervals, intervals),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(0, 90), st.integers(0, 90)),
    st.tuples(st.integers(0, 300), st.integers(0, 300)),
    st.integers(0, 60),
)
def test_any_streams_match_brute_force(
    gaps: tuple[list[int], list[int]],
    scale: tuple[int, int],
    phase: tuple[int, int],
    late: tuple[int, int],
    slop: int,
) -> None:
    """In single ns, so that ties and frames exactly at the slop abound."""
    thermal, rgb = (
        [START + p + k * sum(g[:i]) for i in range(len(g) + 1)] for g, k, p in zip(gaps, scale, phase, strict=True)
    )
    run = Run(options(slop_ns=slop)).feed(events("thermal", thermal, late[0]), events("rgb", rgb, late[1]))
    assert run.finish().stamps() == brute_force(thermal, rgb, slop)


def test_cameras_exactly_half_a_period_apart_all_pair() -> None:
    """Every gap is a tie here; were ties to go to the earlier frame on both sides, only one pair would come out."""
    thermal, rgb = camera(10, start=START + 50 * MS), camera(10)
    run = Run(options()).feed(events("thermal", thermal), events("rgb", rgb)).finish()
    assert run.stamps() == list(zip(thermal, rgb, strict=True))


def test_ties() -> None:
    def pairs(thermal: list[int], rgb: list[int]) -> list[tuple[int, int]]:
        found = Run(options(slop_ns=10)).feed(events("thermal", thermal), events("rgb", rgb)).finish().stamps()
        assert found == brute_force(thermal, rgb, 10)
        return found

    assert pairs([105], [100, 110]) == [(105, 100)]
    assert pairs([100, 110], [105]) == [(110, 105)]
    assert pairs([100], [100]) == [(100, 100)]
    assert pairs([105], [99, 110]) == [(105, 110)]
    assert pairs([100, 111], [105]) == [(100, 105)]


@pytest.mark.parametrize("skew", [-20, -19, 0, 20])
@pytest.mark.parametrize("offset", [0, 7_000, -7_000])
def test_slop_is_inclusive_and_counts_the_offset(skew: int, offset: int) -> None:
    run = Run(options(slop_ns=20, thermal_offset_ns=offset))
    run.feed([(START, "thermal", START - offset)], [(START + 1, "rgb", START + skew)]).finish()
    assert run.pairs == [Pair(run.added[0], run.added[1], START - offset, START + skew, skew)]


@pytest.mark.parametrize("skew", [-21, 21])
def test_beyond_the_slop_there_is_no_pair(skew: int) -> None:
    run = Run(options(slop_ns=20, max_age_ns=S)).feed([(START, "thermal", START)], [(START, "rgb", START + skew)])
    assert run.finish().pairs == []
    assert run.drops() == {"unpaired_thermal": 1, "unpaired_rgb": 1}


# --- waits and queues ---


@pytest.mark.parametrize("phase", [5, 12, 20, 28])  # ms by which RGB is taken after thermal
@pytest.mark.parametrize("late", ["thermal", "rgb"])
def test_a_late_stream_gets_its_nearest_frames_within_the_default_wait(phase: int, late: str) -> None:
    """With a fixed wait of 30 ms 67 to 74 % of the pairs were not the nearest."""
    thermal, rgb = camera(30, 20, jitter=0.02, seed=1), camera(30, 20, start=START + phase * MS, jitter=0.02, seed=2)
    run = Run(options(max_wait_ns=150 * MS, max_age_ns=2 * S, queue_size=30)).feed(
        events("thermal", thermal, 50 * MS * (late == "thermal"), 30 * MS, 3),
        events("rgb", rgb, 50 * MS * (late == "rgb"), 30 * MS, 4),
    )
    nearest = set(brute_force(thermal, rgb))
    assert len(set(run.stamps()) - nearest) <= 0.01 * len(nearest)
    assert len(set(run.stamps()) & nearest) >= 0.98 * len(nearest)


def test_the_wait_ends_when_the_frame_should_have_come() -> None:
    """A lost frame costs what the latency differs by, not max_wait."""
    thermal, rgb = camera(30, 3), camera(30, 3, start=START + 20 * MS)
    del rgb[60]
    run = Run(options()).feed(events("thermal", thermal, 5 * MS), events("rgb", rgb, 45 * MS))
    lost = next(i for i, pair in enumerate(run.pairs) if pair.rgb_stamp_ns == rgb[59])
    assert run.emitted_at[lost] - rgb[59] <= 100 * MS


# --- every RGB frame ---


@pytest.mark.parametrize(("thermal_rate", "rgb_rate"), [(8.6, 30), (8.6, 60), (30, 30), (9, 10)])
@pytest.mark.parametrize(("thermal_late", "rgb_late"), [(0, 0), (60, 5), (5, 60)])
def test_every_rgb_frame_is_fused_with_a_thermal_frame_from_before_it(
    thermal_rate: float, rgb_rate: float, thermal_late: int, rgb_late: int
) -> None:
    thermal, rgb = camera(thermal_rate, 10), camera(rgb_rate, 10, start=START + 7 * MS)
    run = Run(options(output_rate="rgb", max_wait_ns=150 * MS)).feed(
        events("thermal", thermal, thermal_late * MS), events("rgb", rgb, rgb_late * MS)
    )
    run.poll_until(START * 2)
    assert [pair.rgb_stamp_ns for pair in run.pairs][-len(rgb) + 2 :] == rgb[2:]
    assert not any(pair.too_old for pair in run.pairs)
    for pair in run.pairs[20:]:
        before = [stamp for stamp in thermal if stamp <= pair.rgb_stamp_ns]
        assert abs(pair.skew_ns) <= abs(pair.rgb_stamp_ns - before[-1])
    delays = [at - pair.rgb_stamp_ns for at, pair in zip(run.emitted_at, run.pairs, strict=True)]
    assert max(delays[len(rgb) // 5 :]) <= (max(thermal_late, rgb_late) + 1) * MS


def test_beyond_the_hold_rgb_goes_out_alone() -> None:
    thermal, rgb = camera(8.6, 2), camera(30, 4)
    run = Run(options(output_rate="rgb", max_wait_ns=150 * MS)).feed(events("thermal", thermal), events("rgb", rgb))
    run.poll_until(START * 2)
    assert len(run.pairs) == len(rgb)
    assert {pair.rgb_stamp_ns - thermal[-1] > 200 * MS: pair.too_old for pair in run.pairs} == {
        False: False,
        True: True,
    }


@pytest.mark.parametrize("rate", [0.5, 1, 2])
def test_a_thermal_camera_slower_than_the_hold_does_not_flutter(rate: float) -> None:
    thermal, rgb = camera(rate, 40), camera(10, 40)
    run = Run(options(output_rate="rgb", max_wait_ns=150 * MS)).feed(events("thermal", thermal), events("rgb", rgb))
    known = thermal[9]
    assert all(pair.too_old for pair in run.pairs if pair.rgb_stamp_ns > known)
    assert "RGB goes out alone" in run.pairer.problems()[0]


# --- what is told ---


def arrive(run: Run, stream: str, behind_s: float, seconds: int = 2) -> None:
    for stamp in camera(30, seconds):
        run.add(stream, stamp - int(behind_s * S), stamp, clock=stamp)


@pytest.mark.parametrize(
    ("thermal", "rgb", "told"),
    [
        (0.03, 0.05, []),
        (0.45, 0.02, []),
        (-37.0, 0.03, ["thermal stamps are 37.00 s ahead of", "pairing.thermal_offset to -37.030"]),
        (0.73, 0.03, ["thermal stamps are 0.73 s behind", "pairing.thermal_offset to 0.700"]),
        (START / S, 0.03, ["thermal stamps are 1700000000.00 s behind", "pairing.thermal_offset to 1699999999.970"]),
        (0.03, 5.0, ["RGB stamps are 5.00 s behind", "pairing.thermal_offset to -4.970"]),
        (86400.0, 86400.1, ["both cameras", "use_sim_time"]),
    ],
)
def test_a_wrong_clock_is_told_with_what_to_set(thermal: float, rgb: float, told: list[str]) -> None:
    run = Run(options())
    arrive(run, "thermal", thermal)
    arrive(run, "rgb", rgb)
    problems = " ".join(run.pairer.problems())
    assert all(words in problems for words in told)
    assert bool(problems) == bool(told)


def test_the_offset_that_is_told_mends_it() -> None:
    run = Run(options(thermal_offset_ns=-37 * S))
    arrive(run, "thermal", -36.97)
    arrive(run, "rgb", 0.03)
    assert run.pairer.problems() == []


def test_a_queue_too_short_for_the_latency_is_named() -> None:
    thermal, rgb = camera(60, 3), camera(60, 3)
    run = Run(options(queue_size=30)).feed(events("thermal", thermal, 700 * MS), events("rgb", rgb))
    told = " ".join(run.pairer.problems())
    assert "thermal images come 0.70 s after RGB ones: pairing.queue_size 30 is too short, set 44" in told


def test_a_slow_thermal_camera_is_predicted_not_waited_for() -> None:
    thermal, rgb = camera(9, 10, jitter=0.05, seed=7), camera(30, 10, jitter=0.05, seed=8)
    run = Run(options()).feed(events("thermal", thermal), events("rgb", rgb, 30 * MS)).finish()
    there = [max(pair.thermal_stamp_ns, pair.rgb_stamp_ns + 30 * MS) for pair in run.pairs]
    delays = [at - when for at, when in zip(run.emitted_at, there, strict=True)][10:-1]
    assert max(delays) < 40 * MS  # one RGB frame at most; a thermal period is 111 ms


@pytest.mark.parametrize(
    ("first", "skew", "at_once"), [("rgb", 5, 1), ("rgb", 6, 0), ("thermal", 4, 1), ("thermal", 5, 0)]
)
def test_prediction_is_half_the_shortest_interval_ties_included(first: str, skew: int, at_once: int) -> None:
    """The next frame of ``first`` may come 10 ns after the last one. At equal distance the pair with RGB first wins."""
    run = Run(options())
    for i in range(9):
        run.add(first, START + i * 20, START)
    assert len(run.add("rgb" if first == "thermal" else "thermal", START + 160 + skew, START)) == at_once


def test_without_a_prediction_the_very_next_nanosecond_counts() -> None:
    for early, late in (("thermal", "rgb"), ("rgb", "thermal")):
        run = Run(options())
        run.add(early, START, START)
        assert run.add(late, START + 1, START) == []
        assert [pair.skew_ns for pair in run.add(early, START + 1, START)] == [0]


def test_a_pair_waits_no_longer_than_max_wait() -> None:
    run = Run(options(max_wait_ns=30 * MS))
    run.add("thermal", START, START)
    assert run.pairer.deadline_ns is None
    run.add("rgb", START + 10 * MS, START + 12 * MS)
    assert run.pairer.deadline_ns == START + 42 * MS
    assert run.pairer.poll(START + 42 * MS - 1) == []
    assert [pair.skew_ns for pair in run.keep(run.pairer.poll(START + 42 * MS), 0)] == [10 * MS]
    run.add("thermal", START + 12 * MS, START + 50 * MS)  # nearer, but too late: its RGB frame is gone
    run.add("rgb", START + 100 * MS, START + 100 * MS)
    assert run.finish().drops() == {"unpaired_thermal": 1}


def test_a_frame_waits_for_a_partner_no_longer_than_max_age() -> None:
    run = Run(options(max_age_ns=100 * MS))
    run.add("rgb", START, START)
    assert run.pairer.deadline_ns == START + 100 * MS
    run.pairer.poll(START + 100 * MS - 1)
    assert run.drops() == {}
    run.pairer.poll(START + 100 * MS)
    assert run.drops() == {"unpaired_rgb": 1}
    assert run.pairer.deadline_ns is None


@pytest.mark.parametrize("late", ["thermal", "rgb"])
def test_a_queue_shorter_than_the_latency_says_so(late: str) -> None:
    """message_filters matches almost nothing then, and says nothing."""
    stamps = camera(30, 3)
    early = "rgb" if late == "thermal" else "thermal"
    run = Run(options(queue_size=5)).feed(events(early, stamps), events(late, stamps, 400 * MS)).finish()
    assert run.stamps() == [(stamp, stamp) for stamp in stamps[-5:]]  # those that waited when the stream ended
    assert run.drops()[f"overflow_{early}"] == len(stamps) - 5
    run = Run(options(queue_size=14)).feed(events(early, stamps), events(late, stamps, 400 * MS)).finish()
    assert len(run.pairs) == len(stamps)


def test_a_full_queue_ends_the_wait_of_a_pair() -> None:
    run = Run(options(queue_size=2, max_wait_ns=10 * S))
    run.add("thermal", START, START)
    for i in (1, 2):
        assert run.add("rgb", START + i * 30 * MS, START + i * 30 * MS) == []
    assert [pair.skew_ns for pair in run.add("rgb", START + 90 * MS, START + 90 * MS)] == [30 * MS]
    run.finish()


def test_stall_and_recovery() -> None:
    thermal, rgb = camera(9, 12), camera(30, 12, start=START + 3 * MS)
    alive = [t for t in thermal if not START + 4 * S < t < START + 8 * S]
    run = Run(options(max_age_ns=500 * MS, max_wait_ns=100 * MS, queue_size=30), clock=True)
    run.feed(
        events("thermal", [t for t in alive if t < START + 5 * S]), events("rgb", [r for r in rgb if r < START + 8 * S])
    )
    assert 10 <= len(run.added) - 2 * len(run.pairs) - sum(run.drops().values()) <= 16  # 500 ms of RGB wait
    run.feed(
        events("thermal", [t for t in alive if t > START + 5 * S]),
        events("rgb", [r for r in rgb if r >= START + 8 * S]),
    )
    assert [t for t, _ in run.finish().stamps()] == alive
    assert set(run.drops()) == {"unpaired_rgb"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 60), st.integers(0, 40)), max_size=120), st.integers(1, 5))
def test_books_balance_and_output_increases_whatever_comes(steps: list[tuple[bool, int, int]], queue_size: int) -> None:
    """Short waits, small queues, duplicates, frames out of order, but never two in a row, which were a jump."""
    run = Run(options(slop_ns=30 * MS, max_wait_ns=25 * MS, max_age_ns=120 * MS, queue_size=queue_size))
    newest, back, now = {"thermal": START, "rgb": START}, {"thermal": False, "rgb": False}, START
    for is_thermal, step, wait in steps:
        stream = "thermal" if is_thermal else "rgb"
        step = max(step, 1) if back[stream] else step
        back[stream] = step < 0
        now += wait * MS
        run.poll_until(now)
        run.add(stream, newest[stream] + step * MS, now)
        newest[stream] += max(step, 0) * MS
    run.finish()
    assert increases(run.stamps())
    assert all(abs(pair.skew_ns) <= 30 * MS for pair in run.pairs)
    assert not [name for name in run.drops() if name.startswith("clock_jump")]


# --- refused frames ---


def test_duplicates_and_frames_out_of_order_change_nothing() -> None:
    thermal, rgb = camera(30), camera(30, start=START + 4 * MS)
    clean = Run(options()).feed(events("thermal", thermal), events("rgb", rgb, 50 * MS)).finish()
    twice = [stamp for stamp in thermal for _ in (0, 1)]
    swapped = [stamp for i, stamp in enumerate(rgb) for stamp in ([stamp, stamp - 40 * MS] if i % 5 == 4 else [stamp])]
    noisy = Run(options()).feed(events("thermal", twice), events("rgb", swapped, 50 * MS)).finish()
    assert noisy.stamps() == clean.stamps()
    assert noisy.drops() == {"duplicate_thermal": len(thermal), "out_of_order_rgb": len(rgb) // 5}


def test_stale_on_arrival_counts_the_offset_and_0_disables() -> None:
    run = Run(options(max_age_ns=200 * MS, thermal_offset_ns=-50 * MS), clock=True)
    run.add("thermal", START, START + 150 * MS)
    run.add("thermal", START + 10 * MS, START + 160 * MS + 1)
    run.add("rgb", START, START + 200 * MS)
    run.add("rgb", START + 1, START + 200 * MS + 2)
    assert run.drops() == {"stale_thermal": 1, "stale_rgb": 1}
    assert [pair.skew_ns for pair in run.finish().pairs] == [50 * MS]
    unlimited = Run(options(queue_size=1000), clock=True).feed(events("rgb", camera(30), 100 * S))
    assert unlimited.drops() == {}


@pytest.mark.parametrize(
    ("name", "value"), [("slop_ns", -1), ("max_wait_ns", -1), ("max_age_ns", -5), ("queue_size", 0)]
)
def test_options_that_make_no_sense_are_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"^{name} is {value}; it must be . or more$"):
        options(**{name: value})


# --- jumps back in time ---


def loop(stream: str, rate: float, latency: int, rounds: int, length: float = 5.0) -> list[Event]:
    """A bag played ``rounds`` times: arrivals go on, stamps begin anew."""
    stamps = camera(rate, length)
    return [(stamp + latency + int(i * length * S), stream, stamp) for i in range(rounds) for stamp in stamps]


@pytest.mark.parametrize(("thermal_late", "rgb_late"), [(0, 0), (0, 250), (250, 0), (0, 900), (900, 0)])
@pytest.mark.parametrize(("thermal_rate", "rgb_rate"), [(9, 30), (30, 30)])
def test_a_bag_that_loops_pairs_at_once_in_every_round(
    thermal_late: int, rgb_late: int, thermal_rate: int, rgb_rate: int
) -> None:
    """message_filters gets 0 pairs from the first loop on. Here a round loses at most what waits at its end."""
    run = Run(options(max_wait_ns=100 * MS, max_age_ns=2 * S))
    run.feed(loop("thermal", thermal_rate, thermal_late * MS, 4), loop("rgb", rgb_rate, rgb_late * MS, 4)).finish()
    once = brute_force(camera(thermal_rate, 5), camera(rgb_rate, 5))
    rounds: list[list[tuple[int, int]]] = [[]]
    for pair in run.stamps():
        if rounds[-1] and pair[0] <= rounds[-1][-1][0]:
            rounds.append([])
        rounds[-1].append(pair)
    assert len(rounds) == 4
    in_flight = -(-max(thermal_late, rgb_late) * thermal_rate // 1000) + 1
    for played in rounds:
        assert increases(played)
        assert played == once[: len(played)]  # from the first frame on
        assert len(played) >= len(once) - in_flight
    assert set(run.drops()) <= {"unpaired_rgb", "clock_jump_thermal", "clock_jump_rgb"}


@pytest.mark.parametrize("first", ["thermal", "rgb"])
def test_frames_from_before_the_jump_do_no_harm_to_those_after(first: str) -> None:
    second = "rgb" if first == "thermal" else "thermal"
    run = Run(options())
    for i in range(20):
        for stream in ("thermal", "rgb"):
            run.add(stream, START + (100 + i) * 33 * MS, i)
    for i in range(10):
        run.add(first, START + i * 33 * MS, 100 + i)  # has jumped
        run.add(second, START + (120 + i) * 33 * MS, 100 + i)  # has not yet
    assert run.drops() == {f"clock_jump_{second}": 10}
    for i in range(10):
        run.add(second, START + i * 33 * MS, 200 + i)
    assert run.finish().stamps()[-10:] == [(START + i * 33 * MS,) * 2 for i in range(10)]
    assert run.drops() == {f"clock_jump_{second}": 10}


@pytest.mark.parametrize("stream", ["thermal", "rgb"])
@pytest.mark.parametrize("bad", [300 * MS, 5 * S, 3600 * S, -300 * MS, -5 * S, -START])
def test_one_bad_stamp_costs_few_pairs(stream: str, bad: int) -> None:
    thermal, rgb = camera(9, 20), camera(30, 20, start=START + 5 * MS)
    wrong = [list(events("thermal", thermal)), list(events("rgb", rgb))]
    arrival, _, stamp = wrong[stream == "rgb"][50]
    wrong[stream == "rgb"][50] = (arrival, stream, stamp + bad)
    run = Run(options(max_age_ns=2 * S)).feed(*wrong).finish()
    good = brute_force(thermal, rgb)
    lost = [pair for pair in good if pair not in set(run.stamps())]
    assert len(lost) <= 3
    assert max(t for t, _ in lost) - min(t for t, _ in lost) <= 500 * MS
    assert len(set(run.stamps()) - set(good)) <= 1  # the bad frame itself, with whatever lay there


def test_with_a_clock_a_stamp_of_zero_is_just_stale() -> None:
    thermal, rgb = camera(9), camera(30)
    run = Run(options(max_age_ns=S), clock=True)
    run.feed(events("thermal", thermal), events("rgb", rgb), [(thermal[20] + MS, "thermal", 0)]).finish()
    assert run.stamps() == brute_force(thermal, rgb)
    assert run.drops()["stale_thermal"] == 1


@pytest.mark.parametrize("back", [50 * MS, 400 * MS])
def test_a_small_step_back_is_followed_from_the_second_frame_on(back: int) -> None:
    stamps = camera(30, 2)
    after = [stamp - back for stamp in camera(30, 2, start=START + 2 * S)]
    arrivals = camera(30, 4)
    run = Run(options())
    for arrival, stamp in zip(arrivals, stamps + after, strict=True):
        run.add("thermal", stamp, arrival)
        run.add("rgb", stamp, arrival)
    run.finish()
    assert run.drops().pop("out_of_order_thermal") == 1
    assert run.stamps()[-50:] == [(stamp, stamp) for stamp in after[-50:]]
    assert len(run.pairs) >= len(stamps) + len(after) - 10


def test_a_clock_that_goes_back_drops_what_waits_from_before() -> None:
    run = Run(options(max_age_ns=S))
    run.add("rgb", START, START, START)
    run.add("rgb", START + 30 * MS, START + 30 * MS, START + 30 * MS)
    run.add("thermal", START - 9 * S, START + 60 * MS, START - 9 * S)
    assert run.drops() == {"clock_jump_rgb": 2}
    run.add("rgb", START - 9 * S, START + 70 * MS, START - 9 * S + 10 * MS)
    assert [pair.skew_ns for pair in run.finish().pairs] == [0]


def test_a_clock_that_goes_back_after_the_stamps_leaves_the_new_frames_alone() -> None:
    run = Run(options())
    run.add("rgb", START, START, START)
    run.add("rgb", START - 9 * S, START + 30 * MS, START + 30 * MS)
    assert run.drops() == {"clock_jump_rgb": 1}
    run.add("thermal", START - 9 * S + 1, START + 60 * MS, START - 9 * S - 20 * MS)
    assert [pair.skew_ns for pair in run.finish().pairs] == [-1]


@pytest.mark.parametrize(("thermal_late", "rgb_late"), [(20, 250), (250, 20)])
def test_a_bag_that_loops_with_its_clock(thermal_late: int, rgb_late: int) -> None:
    """The receive time in the bag is both clocks, and goes back with the stamps."""
    run = Run(options(max_age_ns=S, max_wait_ns=100 * MS), clock=True)
    for _ in range(3):
        run.feed(events("thermal", camera(9), thermal_late * MS), events("rgb", camera(30), rgb_late * MS))
    once = brute_force(camera(9), camera(30))
    assert len(run.finish().pairs) >= 3 * len(once) - 2
    assert sorted(set(run.stamps())) == once


stamp_anywhere = st.tuples(st.sampled_from(["thermal", "rgb"]), st.integers(0, 20_000), st.integers(0, 200))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(stamp_anywhere, max_size=60), st.integers(0, 20), st.integers(0, 200), st.integers(0, 200), st.booleans()
)
def test_whatever_came_before_good_streams_pair_again(
    garbage: list[tuple[str, int, int]], start: int, thermal_late: int, rgb_late: int, clock: bool
) -> None:
    run, now = Run(options(max_age_ns=S, max_wait_ns=200 * MS), clock=clock), START
    for stream, stamp, wait in garbage:
        now += wait * MS
        run.poll_until(now)
        run.add(stream, START + stamp * MS, now, now if clock else None)
    begin = now + S if clock else START + start * S
    thermal, rgb = camera(10, 4, start=begin), camera(30, 4, start=begin + 5 * MS)
    late = now + S - begin
    run.feed(events("thermal", thermal, late + thermal_late * MS), events("rgb", rgb, late + rgb_late * MS)).finish()
    settled = [pair for pair in brute_force(thermal, rgb) if pair[0] > begin + S]
    assert run.stamps()[-len(settled) :] == settled


@pytest.mark.parametrize("step", [600 * MS, -600 * MS])
def test_a_new_offset_drops_no_frame_that_fits_it(step: int) -> None:
    """What waits and what is known of the camera moves along: its next frames do not count as gone back in time."""
    first, second = camera(10, 3), camera(10, 3, start=START + 3 * S)
    latency = max(0, step)
    thermal = [events("thermal", [stamp - step for stamp in half], latency) for half in (first, second)]
    run = Run(options()).feed(thermal[0], events("rgb", first))
    run.pairer.use(options(thermal_offset_ns=step))
    run.feed(thermal[1], events("rgb", second)).finish()
    assert {rgb for _, rgb in run.stamps()} >= set(second)
    assert set(run.drops()) <= {"unpaired_thermal", "unpaired_rgb"}
