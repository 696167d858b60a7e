"""``summary.json``: what was run on what, and what came of it."""

from __future__ import annotations

import hashlib
import platform
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmcfusion_ros.bags.events import CameraEvents
from mmcfusion_ros.bags.reading import Bag
from mmcfusion_ros.bags.topics import CameraTopics
from mmcfusion_ros.evaluation.bags.fusing import STAGES
from mmcfusion_ros.evaluation.bags.measures import METRICS, RESIDUAL
from mmcfusion_ros.evaluation.bags.options import BagOptions
from mmcfusion_ros.evaluation.bags.statistics import Statistics
from mmcfusion_ros.evaluation.benchmark import machine
from mmcfusion_ros.fusion.models import find_model
from mmcfusion_ros.network.hashes import sha256_of
from mmcfusion_ros.stream.parameters import PARAMETERS, Value
from mmcfusion_ros.stream.pipeline import FusionPipeline
from mmcfusion_ros.stream.settings import Settings

PACKAGES = ("mmcfusion_ros", "numpy", "opencv-python-headless", "openvino", "torch", "rosbags")


class FileHashes:
    """SHA-256 of files, computed in a thread of its own meanwhile."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._hashes: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._hash, name="hash")

    def __enter__(self) -> FileHashes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def result(self, wait: bool) -> dict[str, str]:
        """By file name; without ``wait`` only of the files that are done."""
        if wait:
            self._thread.join()
        return dict(self._hashes)

    def _hash(self) -> None:
        for path in self._files:
            digest = hashlib.sha256()
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    if self._stop.is_set():
                        return
                    digest.update(block)
            self._hashes[path.name] = digest.hexdigest()


def configuration(
    bag: Bag, cameras: CameraTopics, values: Mapping[str, Value], pipeline: FusionPipeline, options: BagOptions
) -> dict[str, Any]:
    """Everything that decides the result, and where it was computed."""
    model = find_model(Settings(values).model)
    weights = [model.safetensors, model.openvino, model.openvino and model.openvino.with_suffix(".bin")]
    return {
        "bag": str(bag.path),
        "bytes": sum(file.stat().st_size for file in bag.files),
        "duration_s": (bag.end_ns - bag.start_ns) / 1e9,
        "topics": {topic.name: {"type": topic.type, "messages": topic.count} for topic in cameras.all()},
        "options": asdict(options),
        "parameters": dict(values),
        "fuser": str(pipeline.fuser),
        "weights_sha256": {file.name: sha256_of(file) for file in weights if file},
        "machine": machine(),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def results(statistics: Statistics, seconds: float) -> dict[str, Any]:
    """Counts, rates, times in ms, and means of the metrics."""
    columns = statistics.columns()
    return {
        "counts": dict(sorted(statistics.counts.items())),
        "dropped": dict(sorted(statistics.drops.items())),
        "fused_hz": round(statistics.fused_hz, 3),
        "skew_ms": statistics.percentiles("skew_ms"),
        "latency_ms": {stage: statistics.percentiles(f"{stage}_ms") for stage in STAGES if f"{stage}_ms" in columns},
        "metrics": {name: round(statistics.mean(name), 6) for name in METRICS if name in columns},
        "median_residual_px": round(statistics.median(RESIDUAL), 3) if RESIDUAL in columns else None,
        "seconds": round(seconds, 3),
        "fused_per_second": round(statistics.counts["fused"] / seconds, 3),
    }


def problems(bag: Bag, cameras: CameraTopics, events: CameraEvents, statistics: Statistics, metrics: bool) -> list[str]:
    """What could not be processed, and what is odd about the input, in words."""
    found = [*bag.problems, *events.problems]
    for reason, text in statistics.texts.items():
        found.append(f"{reason} ({statistics.drops[reason]}x), first: {text}")
    for name, topic in (("thermal_in", cameras.thermal), ("rgb_in", cameras.rgb)):
        if not statistics.counts[name]:
            found.append(f"no message on {topic.name}")
    if cameras.rgb_camera_info is None:
        found.append(f"no camera_info topic beside {cameras.rgb.name}: the fused bag has none either")
    if not statistics.counts["fused"]:
        found.append("nothing was fused; see the drops")
    elif metrics and "EN" not in statistics.columns():
        found.append("the images are too small for the metrics")
    if statistics.drops["stale_thermal"] + statistics.drops["stale_rgb"]:
        found.append(
            "stamps are older than pairing.max_age when received; if the cameras stamp with another clock than the "
            "recording's, set pairing.max_age to 0"
        )
    return found


def header_words(summary: Mapping[str, Any]) -> dict[str, str]:
    """The head of the page."""
    defaults = {parameter.name: parameter.default for parameter in PARAMETERS}
    changed = {name: value for name, value in summary["parameters"].items() if value != defaults[name]}
    return {
        "bag": f"{summary['bag']}, {summary['duration_s']:.1f} s, {summary['bytes'] / 1e6:.0f} MB",
        "topics": ", ".join(summary["topics"]),
        "outcome": summary["outcome"],
        "fuser": summary["fuser"],
        "parameters": ", ".join(f"{name}={value}" for name, value in changed.items()) or "all at their defaults",
        "fused": f"{summary['counts'].get('fused', 0)} frames, {summary['fused_hz']} Hz of the recording, "
        f"{summary['fused_per_second']} frames/s here",
        "machine": ", ".join(str(value) for value in summary["machine"].values()),
        "versions": ", ".join(f"{name} {number}" for name, number in summary["versions"].items()),
        "weights": ", ".join(f"{name} {digest[:12]}" for name, digest in summary["weights_sha256"].items()),
        "sha256": ", ".join(f"{name} {digest[:12]}" for name, digest in summary["sha256"].items()),
    }


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
