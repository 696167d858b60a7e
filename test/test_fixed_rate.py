"""What comes of pairs at a fixed rate, by a clock that only the test moves; and the counters of energy."""

from __future__ import annotations

import pytest

from mmcfusion_ros.evaluation.energy import EnergyMeter
from mmcfusion_ros.evaluation.fixed_rate import at_fixed_rate


class Clock:
    """Sleeping and fusing take as long as they say, and nothing else takes any time."""

    def __init__(self, *durations_ms):
        self.now_s, self._durations_ms, self.fused = 100.0, durations_ms, 0

    def __call__(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds

    def fuse(self):
        self.now_s += self._durations_ms[self.fused % len(self._durations_ms)] / 1e3
        self.fused += 1

    def run(self, rate_hz, pairs):
        return at_fixed_rate(self.fuse, rate_hz, pairs, self, self.sleep)


def test_a_quick_network_misses_nothing():
    result = Clock(20).run(10, 30)
    assert (result["rate_hz"], result["pairs"], result["fused"], result["missed"]) == (10, 30, 30, 0)
    assert result["latency"] == {"p50_ms": 20, "p95_ms": 20, "p99_ms": 20}
    assert result["interval"] == {"p50_ms": 100, "p95_ms": 100, "p99_ms": 100, "std_ms": pytest.approx(0, abs=1e-3)}


def test_jitter_is_that_of_the_images():
    result = Clock(20, 40).run(10, 31)
    assert result["missed"] == 0
    assert result["interval"]["std_ms"] == pytest.approx(20)  # 120 and 80 ms in turns
    assert result["latency"]["p95_ms"] == pytest.approx(40)


def test_a_slow_network_takes_the_newest_pair_and_misses_those_before():
    clock = Clock(250)
    result = clock.run(10, 31)
    assert result["fused"] + result["missed"] == 31
    assert result["fused"] == clock.fused == 13  # pairs 0, 2, 5, 7, ... 30
    assert result["latency"]["p50_ms"] == pytest.approx(250, abs=51)
    assert result["interval"]["p50_ms"] == pytest.approx(250)


def test_a_single_pair_has_no_interval():
    assert "interval" not in Clock(1).run(30, 1)


def zone(powercap, name, energy_uj, range_uj=999_999_999):
    folder = powercap / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")


def test_energy_is_that_of_all_packages_over_the_end_of_a_counter(tmp_path):
    zone(tmp_path, "intel-rapl:0", 1_000_000)
    zone(tmp_path, "intel-rapl:1", 999_000_000)
    zone(tmp_path, "intel-rapl:0:0", 5)  # cores of package 0, counted there
    meter = EnergyMeter(tmp_path)
    assert meter.problem == ""
    zone(tmp_path, "intel-rapl:0", 3_500_000)
    zone(tmp_path, "intel-rapl:1", 500_000)
    zone(tmp_path, "intel-rapl:0:0", 900_000_000)
    assert meter.joules() == pytest.approx(4.0)


def test_why_energy_is_not_measured(tmp_path):
    assert "no RAPL counters" in EnergyMeter(tmp_path / "nowhere").problem
    (tmp_path / "intel-rapl:0").mkdir()
    assert "energy_uj" in EnergyMeter(tmp_path).problem
