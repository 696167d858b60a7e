"""Cameras at 120 Hz, which no machine here can fuse: latency stays bounded and the services answer."""

from __future__ import annotations

import time

import numpy as np
import pytest
from camera_messages import stamp_ns
from ros_helpers import NIGHTLY, NodeProcess, camera_process

SECONDS, CYCLES = (60.0, 40) if NIGHTLY else (4.0, 3)

LOADS = [(120, 480, 640)] + ([(300, 240, 320)] if NIGHTLY else [])


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "height", "width"), LOADS)
def test_latency_is_bounded_and_services_answer(figure, rate, height, width):
    with NodeProcess(small=False) as node:
        rig = node.rig
        latencies: list[float] = []
        rig.wait(lambda: rig.state() == "active")
        rig.on_fused = lambda message: latencies.append((rig.now_ns() - stamp_ns(message)) / 1e6)
        cameras = camera_process(rig, rate, height, width)
        try:
            rig.wait(lambda: len(latencies) > 20)
            del latencies[:]
            answers = {"get_state": [], "get_parameters": [], "set_parameters": []}
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                for name, ask in (
                    ("get_state", rig.state),
                    ("get_parameters", lambda: rig.get_parameter("model")),
                    ("set_parameters", lambda: rig.set_parameter("jpeg_quality", 50)),
                ):
                    begin = time.monotonic()
                    ask()
                    answers[name].append(1e3 * (time.monotonic() - begin))
                rig.spin(0.2)
            values = rig.values()
            p50, p99 = np.percentile(latencies, (50, 99))
            fused_hz = len(latencies) / SECONDS
            for _ in range(CYCLES):
                for transition in ("deactivate", "activate"):
                    begin = time.monotonic()
                    assert rig.try_change(transition)
                    answers.setdefault(transition, []).append(1e3 * (time.monotonic() - begin))
                rig.spin(0.5)
        finally:
            cameras.kill()
            cameras.wait()
        for name, value in (
            ("fused per second", fused_hz),
            ("latency p50, ms", p50),
            ("latency p99, ms", p99),
            ("rgb frames received per second", float(values.get("rgb_in_hz", 0))),
            *((f"slowest answer of {name}, ms", max(times)) for name, times in answers.items()),
        ):
            figure(name, value)
        slowest_ms = float(values["total_ms.max"])
        assert p99 < 3 * slowest_ms + 1000, "frames wait in a queue"
        assert max(map(max, answers.values())) < 20_000
