"""The soak test: the node's process under a random schedule of faults, watched for leaks, errors and lost rate."""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition

from mmcfusion_ros.evaluation.benchmark import machine
from mmcfusion_ros.evaluation.soak_report import (
    WARM_UP_SHARE,
    Fault,
    cpu_seconds,
    machine_cpu_seconds,
    mode_shares,
    passed,
    plot,
    sample_process,
    soak_report,
)
from mmcfusion_ros.resources import own_domain, transport_environment
from mmcfusion_ros.tools.soak_nodes import CAMERA_FAULTS, Observer

CAMERAS = ("thermal", "rgb")
FAULTS = (*CAMERA_FAULTS, "kill", "parameters", "lifecycle")
# DDS keeps some memory for each of the first processes that it meets: a plain rclpy node, too, grows by 6 MB over the
# first 40 cameras that die, and then no more. The warm-up meets as many.
WARM_UP_FAULTS = ("kill", "lifecycle")
RATE_HZ = 30.0
PATIENCE_S = 60.0
WRONG_PARAMETERS: tuple[dict[str, Any], ...] = (
    {"pairing.slop": -1.0},
    {"pairing.slop": "nonsense"},
    {"output_encoding": "rgb9"},
    {"jpeg_quality": 0},
    {"model": "/no/such.xml", "threads": 1_000_000},
)
CYCLES = (
    (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE),
    (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ),
)


class CameraProcess:
    """A ``FaultyCamera`` in a process of its own."""

    def __init__(self, camera: str, size: tuple[int, int], seed: int) -> None:
        code = f"from mmcfusion_ros.tools.soak_nodes import camera_main; camera_main{(camera, *size, RATE_HZ, seed)}"
        self._command = [sys.executable, "-c", code]
        self.start()

    def start(self) -> None:
        """Begins to publish."""
        self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, fault: str) -> None:
        """Has it do this from now on; empty: nothing wrong."""
        assert self.process.stdin
        self.process.stdin.write(f"{fault}\n")
        self.process.stdin.flush()

    def ready(self) -> bool:
        """Whether it has found its subscriber; True once for each start."""
        assert self.process.stdout
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def kill(self) -> None:
        """SIGKILL: it has no time to say goodbye."""
        self.process.kill()
        self.process.communicate()


class Soak:
    """One run: a warm-up, then ``FAULTS`` in random order, each after some seconds of rest."""

    def __init__(self, out: Path, minutes: float, seed: int, size: tuple[int, int]) -> None:
        self.faults: list[Fault] = []
        self.samples: list[dict[str, Any]] = []
        self._out, self._minutes, self._rng = out, minutes, random.Random(seed)
        self._interval_s = min(60.0, 6.0 * minutes)
        self._quiet_ms: list[float] = []
        width, height = size
        parameters = {"warm_up_width": width, "warm_up_height": height, "threads": 1}
        words = [word for item in parameters.items() for word in ("-p", "{}:={}".format(*item))]
        self._log = (out / "node.log").open("w")
        self.node = subprocess.Popen(
            [sys.executable, "-m", "mmcfusion_ros.ros.fusion_process", "--ros-args", *words], stderr=self._log
        )
        self._cameras = [CameraProcess(camera, size, seed) for camera in CAMERAS]
        rclpy.init(args=[])
        self.observer = Observer("mmcfusion")

    def run(self) -> None:
        """Waits for the first fused image and mode (``ChildProcessError`` if none), then follows the schedule."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_seen() and time.monotonic() < deadline and self.node.poll() is None:
            self.observer.spin(0.1)
        if not self._is_seen():
            raise ChildProcessError(f"the node fuses nothing; {self._out / 'node.log'} says why")
        self._started_s = self._sampled_s = time.monotonic()
        self._cpu = self._cpu_used()
        self._first = len(self.observer.arrivals_s)
        while self._goes_on(WARM_UP_SHARE * self._minutes):
            self._do(self._rng.choice(WARM_UP_FAULTS), 0.5)
            self._watch(0.5)
        while self._goes_on(self._minutes):
            self._rest()
            start_s = time.monotonic()
            kind = self._rng.choice(FAULTS)
            self._do(kind, self._rng.uniform(0.5, 3.0))
            self.faults.append(Fault(kind, start_s, time.monotonic()))
        self._rest()
        self.modes = self._modes(self._started_s, time.monotonic())
        if self.node.poll() is not None:
            self.observer.errors.append(f"the node ended with status {self.node.returncode}")

    def close(self) -> None:
        """Ends every process."""
        for camera in self._cameras:
            camera.kill()
        self.node.terminate()
        try:
            self.node.wait(20)
        except subprocess.TimeoutExpired:
            self.observer.errors.append("the node did not end at SIGTERM")
            self.node.kill()
        self._log.close()
        rclpy.shutdown()

    def errors(self) -> dict[str, int]:
        """Error lines of the log, tracebacks, drops that only a fault of the node can cause, and its death."""
        errors = Counter(self.observer.errors)
        errors["traceback"] = (self._out / "node.log").read_text(errors="replace").count("Traceback")
        errors["exit status"] = abs(self.node.returncode)
        for reason in ("internal_error", "backend_failed"):
            errors[reason] = max((sample["dropped"].get(reason, 0) for sample in self.samples), default=0)
        return dict(+errors)

    def _is_seen(self) -> bool:
        return bool(self.observer.arrivals_s and self.observer.modes)

    def _goes_on(self, minutes: float) -> bool:
        return self.node.poll() is None and time.monotonic() < self._started_s + 60 * minutes

    def _rest(self) -> None:
        """Some seconds without a fault; latencies count from the second one on."""
        self._watch(1.0)
        quiet = len(self.observer.latencies_ms)
        self._watch(self._rng.uniform(3.0, 6.0))
        self._quiet_ms += self.observer.latencies_ms[quiet:]

    def _watch(self, seconds: float) -> None:
        self.observer.spin(seconds)
        if self.node.poll() is None and time.monotonic() - self._sampled_s >= self._interval_s:
            self._sample()

    def _do(self, kind: str, seconds: float) -> None:
        camera = self._rng.choice(self._cameras)
        if kind == "parameters":
            self.observer.try_parameters(**self._rng.choice(WRONG_PARAMETERS))
        elif kind == "lifecycle":
            for transition in self._rng.choice(CYCLES):
                self.observer.change(transition)
        elif kind == "kill":
            camera.kill()
            self.observer.spin(seconds)
            camera.start()
            while not camera.ready() and self.node.poll() is None:
                self.observer.spin(0.02)
        else:
            camera.tell(kind)
            self.observer.spin(seconds)
            camera.tell("")

    def _cpu_used(self) -> dict[str, float]:
        ours = sum(os.times()[:4]) + sum(cpu_seconds(camera.process.pid) for camera in self._cameras)
        node = cpu_seconds(self.node.pid)
        return {"node": node, "rig": ours, "others": machine_cpu_seconds() - node - ours}

    def _modes(self, start_s: float, end_s: float) -> dict[str, float]:
        return mode_shares(self.observer.modes, start_s, end_s)

    def _sample(self) -> None:
        now_s, cpu, values = time.monotonic(), self._cpu_used(), self.observer.values
        seconds = now_s - self._sampled_s
        latencies_ms = np.percentile(self._quiet_ms, (50, 95, 99)).round(2).tolist() if self._quiet_ms else [None] * 3
        self.samples.append(
            {
                "minute": round((now_s - self._started_s) / 60, 2),
                **sample_process(self.node.pid),
                "published_hz": round((len(self.observer.arrivals_s) - self._first) / seconds, 2),
                **dict(zip(("latency_ms_p50", "latency_ms_p95", "latency_ms_p99"), latencies_ms, strict=True)),
                "network_ms_p50": float(values.get("network_ms.p50", 0)),
                **{f"mode_{mode}": share for mode, share in self._modes(self._sampled_s, now_s).items()},
                **{f"cpu_{who}": round((cpu[who] - self._cpu[who]) / seconds, 2) for who in cpu},
                "dropped": {k.removeprefix("dropped."): int(v) for k, v in values.items() if k.startswith("dropped.")},
            }
        )
        self._sampled_s, self._cpu, self._quiet_ms = now_s, cpu, []
        self._first = len(self.observer.arrivals_s)
        numbers = [(key, value) for key, value in self.samples[-1].items() if isinstance(value, (int, float))]
        print("  ".join(f"{key} {value:g}" for key, value in numbers), flush=True)


def run_soak(out: Path, minutes: float, seed: int = 0, size: tuple[int, int] = (320, 240)) -> bool:
    """Runs the soak test and writes ``soak.json``, ``soak.png`` and ``node.log`` to ``out``.

    False if memory grew, an error came up or the rate was not back within 1 s after a fault; raises
    ``ChildProcessError`` if the node does not start to fuse.
    """
    out.mkdir(parents=True, exist_ok=True)
    os.environ.update(own_domain())
    os.environ.update(transport_environment())
    soak = Soak(out, minutes, seed, size)
    try:
        soak.run()
    finally:
        soak.close()
    report = {
        "machine": machine(),
        "configuration": {"minutes": minutes, "seed": seed, "size": "{}x{}".format(*size), "rate_hz": RATE_HZ},
        "modes": soak.modes,
        **soak_report(soak.samples, soak.faults, soak.observer.arrivals_s, soak.errors(), minutes),
    }
    (out / "soak.json").write_text(json.dumps(report, indent=1) + "\n")
    plot(report, out / "soak.png")
    print(json.dumps({key: value for key, value in report.items() if key not in ("samples", "machine")}))
    return passed(report)
