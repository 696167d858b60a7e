"""The whole main job on one machine: two cameras, the fusion node and a detector as separate processes over DDS."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy

from mmcfusion_ros.data.images import read_rgb
from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.evaluation.benchmark import processor_name
from mmcfusion_ros.evaluation.pictures import contact_sheet, side_by_side, write_image, write_video
from mmcfusion_ros.files import json_text, write_file
from mmcfusion_ros.fusion.thermal import ThermalScaler
from mmcfusion_ros.resources import own_domain, package_file, transport_environment
from mmcfusion_ros.stream.messages import image_from_message
from mmcfusion_ros.tools.detector import CheckingDetector

REQUIRED_SHARE = 0.9
START_TIMEOUT_S, LAST_REPORT_S = 90.0, 10.0
SHEET_ROWS = 5
PUBLISHED = ("fused", "passed_through")  # counts of the diagnostics
STAGES = ("decode", "thermal", "luminance", "registration", "network", "colour", "encode", "publish", "total")


@dataclass
class FusedRecording:
    """Small pictures of every fused frame, for the sheet and the video."""

    rows: list[np.ndarray] = field(default_factory=list)
    scaler: ThermalScaler = field(default_factory=ThermalScaler)

    def add(self, thermal: Any, rgb: Any, fused: Any) -> None:
        """Takes three image messages."""
        grey = self.scaler(image_from_message(thermal, "thermal"))
        self.rows.append(side_by_side(grey, image_from_message(rgb, "rgb"), image_from_message(fused, "rgb")))

    def write(self, out: Path, frames_per_second: float) -> None:
        """``contact_sheet.jpg`` and ``fused.mp4``."""
        chosen = np.linspace(0, len(self.rows) - 1, SHEET_ROWS).astype(int)
        write_image(out / "contact_sheet.jpg", contact_sheet([self.rows[i] for i in chosen]))
        write_video(out / "fused.mp4", self.rows, frames_per_second)


def run_demo(
    out: Path, data: Path | None = None, seconds: float = 15.0, night: bool = False, model: str = "auto"
) -> bool:
    """Runs the demo and writes ``demo.json``, ``contact_sheet.jpg`` and ``fused.mp4`` to ``out``.

    The cameras are the synthetic rig, or the pairs of the folder ``data``. False if fewer than 90 % of the pairs that
    were possible at this processor's rate came out fused, or if anything else went wrong. Raises what ``find_pairs``
    and ``read_rgb`` raise, and ``ChildProcessError`` if the node ends before it fused anything.
    """
    parameters = {"model": model} | (folder_parameters(data) if data else rig_parameters(night))
    out.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    os.environ.update(own_domain())
    os.environ.update(transport_environment())
    counts_file = out / "published.json"
    for stale in (counts_file, out / "contact_sheet.jpg", out / "fused.mp4"):
        stale.unlink(missing_ok=True)
    cameras = ["play", str(data), "--loop"] if data else ["simulate", *(["--night"] if night else [])]
    cameras += ["--duration", str(seconds), "--subscribers", "2", "--counts", str(counts_file)]
    arguments = [word for item in parameters.items() for word in ("-p", "{}:={}".format(*item))]
    print("starting two cameras and the fusion node ...", flush=True)
    recording = FusedRecording()
    with (
        _process("mmcfusion_ros.cli", cameras) as rig,
        _process("mmcfusion_ros.ros.fusion_process", ["--ros-args", *arguments]) as node,
        _detector(recording) as detector,
    ):
        node_report = _watch(detector, node, rig, seconds, started_s)
    faults = _exit_faults(node, rig) + detector.faults
    report = {"node": node_report, **_report(detector, counts_file, seconds, faults)}
    write_file(out / "demo.json", json_text(report))
    if recording.rows:
        recording.write(out, max(1.0, float(report["fused_hz"])))
    counts_file.unlink(missing_ok=True)
    _print(report, out)
    return not report["faults"]


def folder_parameters(data: Path) -> dict[str, str]:
    """The size of its images, for which the network is compiled before the first one."""
    height, width = read_rgb(find_pairs(data)[0].rgb).shape[:2]
    return {"warm_up_width": str(width), "warm_up_height": str(height)}


def rig_parameters(night: bool) -> dict[str, str]:
    """The rig's geometry, and a range of temperatures, in centikelvin, in which people stand out."""
    return {
        "registration.file": str(package_file("config/simulated_rig.yaml")),
        "thermal.scaling": "fixed",
        "thermal.fixed_low": "27615.0" if night else "28815.0",
        "thermal.fixed_high": "31115.0",
    }


def _peak_memory_mb(pid: int) -> float:
    """Largest resident size, as Linux tells it; 0 for a process that has ended."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("VmHWM")), 0.0)


@contextlib.contextmanager
def _process(module: str, arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", module, *arguments])
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def _detector(recording: FusedRecording) -> Iterator[CheckingDetector]:
    cv2.setNumThreads(1)
    rclpy.init()
    detector = CheckingDetector(recording.add)
    try:
        yield detector
    finally:
        detector.destroy_node()
        rclpy.try_shutdown()


def _watch(
    detector: CheckingDetector,
    node: subprocess.Popen[bytes],
    rig: subprocess.Popen[bytes],
    seconds: float,
    started_s: float,
) -> dict[str, float | None]:
    """Spins until the cameras end and, from the first fused image on, prints a line for each report of the node.
    Returns the seconds until that image, and the node's peak memory."""
    first_image_s = shown = None
    now_s = 0.0
    while rig.poll() is None and node.poll() is None and now_s < seconds + START_TIMEOUT_S:
        rclpy.spin_once(detector, timeout_sec=0.05)
        now_s = time.monotonic() - started_s
        if detector.fused_stamps and first_image_s is None:
            first_image_s, shown = round(now_s, 2), detector.diagnostics
        if first_image_s and (d := detector.diagnostics) is not shown:
            shown = d
            print(
                f"{now_s:4.0f} s   thermal {d.get('thermal_in', '-'):>5}   RGB {d.get('rgb_in', '-'):>5}   "
                f"fused {len(detector.fused_stamps):>5}   {d.get('fused_hz', '-'):>6} Hz   {detector.problems}",
                flush=True,
            )
    if node.poll() is not None and not detector.fused_stamps:
        raise ChildProcessError(f"the fusion node ended with status {node.returncode}; its log above says why")
    deadline_s = time.monotonic() + LAST_REPORT_S
    while node.poll() is None and time.monotonic() < deadline_s:
        rclpy.spin_once(detector, timeout_sec=0.05)
        d = detector.diagnostics
        if d is not shown and sum(int(d.get(key, 0)) for key in PUBLISHED) >= len(detector.fused_stamps):
            break
    return {"seconds_to_first_image": first_image_s, "peak_memory_mb": _peak_memory_mb(node.pid)}


def _exit_faults(node: subprocess.Popen[bytes], rig: subprocess.Popen[bytes]) -> list[str]:
    statuses = {"fusion node": node.returncode, "cameras": rig.returncode}
    return [f"the process of the {name} ended with status {status}" for name, status in statuses.items() if status]


def _report(detector: CheckingDetector, counts_file: Path, seconds: float, faults: list[str]) -> dict[str, Any]:
    values, stamps = detector.diagnostics, detector.fused_stamps
    published = json.loads(counts_file.read_text()) if counts_file.exists() else {}
    possible = min((count["published"] for count in published.values()), default=0)
    span_s = (stamps[-1] - stamps[0]) / 1e9 if len(stamps) > 1 else 0.0
    stages = {
        stage: {p: float(values[f"{stage}_ms.{p}"]) for p in ("p50", "p95", "max")}
        for stage in STAGES
        if f"{stage}_ms.p50" in values
    }
    dropped = {key.split(".")[1]: int(n) for key, n in values.items() if key.startswith("dropped.")}
    # A superseded pair is the processor's limit, but not one of a node that is slower than its own slow frames.
    steady = seconds * 1000 / stages["total"]["p95"] if stages else 0.0
    expected = max(possible - dropped.get("superseded", 0), min(possible, round(steady)))
    if missing := detector.missing_camera_infos():
        faults.append(f"{missing} fused images came without a camera_info of their stamp")
    if not stamps or len(stamps) < REQUIRED_SHARE * expected:
        faults.append(f"{len(stamps)} frames came out fused; {expected} were possible at this processor's rate")
    return {
        "machine": {"processor": processor_name(), "cores": os.cpu_count()},
        "configuration": {
            key: values.get(key, "") for key in ("model", "backend", "device", "precision", "registration")
        },
        "published": published,
        "received": {camera: int(values.get(f"{camera}_in", 0)) for camera in ("thermal", "rgb")},
        "possible_pairs": possible,
        "expected_at_this_rate": expected,
        "fused": len(stamps),
        "fused_hz": round(len(stamps) / span_s, 2) if span_s else 0.0,
        "dropped": dropped,
        "skew_ms": {p: float(values[f"skew_ms.{p}"]) for p in ("p50", "p95", "max") if f"skew_ms.{p}" in values},
        "stages_ms": stages,
        "faults": faults,
    }


def _print(report: dict[str, Any], out: Path) -> None:
    configuration = report["configuration"]
    print(f"\n{configuration['model']} on {configuration['backend']} ({configuration['precision']}),", end=" ")
    print(f"{report['machine']['processor']}, {report['machine']['cores']} cores")
    first_image_s, memory_mb = report["node"].values()
    print(f"  node     first fused image after {first_image_s} s, at most {memory_mb:.0f} MB resident")
    for camera, count in report["published"].items():
        print(f"  {camera:<8} published {count['published']:>5}   received by the node {report['received'][camera]:>5}")
    print(f"  fused    {report['fused']:>5} of {report['possible_pairs']} possible pairs,", end=" ")
    print(f"{report['expected_at_this_rate']} at this processor's rate: {report['fused_hz']} Hz")
    print("  dropped  " + (", ".join(f"{reason} {n}" for reason, n in report["dropped"].items()) or "none"))
    print("\n  ms            p50      p95      max")
    for name, p in {"skew": report["skew_ms"], **report["stages_ms"]}.items():
        print(f"  {name:<12}" + "".join(f"{p.get(key, 0.0):>7.2f}  " for key in ("p50", "p95", "max")))
    for fault in report["faults"]:
        print(f"\nFAULT: {fault}")
    print(f"\n{'FAILED' if report['faults'] else 'OK'}. Look at:")
    for name in ("contact_sheet.jpg", "fused.mp4", "demo.json"):
        if (out / name).exists():
            print(f"  {out / name}")
