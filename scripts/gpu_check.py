"""What only a CUDA device can show: scripts/gpu_check.sh runs it. Into ``--out``: gpu_check.json, profile_MODEL.txt.

tests     test/test_cuda*.py
node      the node, two cameras and a detector over DDS (mmcfusion demo), which must run on the GPU
networks  latency of each model, batch 1, float16: eager, as a CUDA graph, torch.compile, TensorRT; and its error
profile   torch.profiler's 20 kernels that take longest, launches, and the time of CPU and GPU, eager

What was skipped is told with its reason; exit status 1 where anything failed, or without a CUDA device.
``--device cpu`` runs the same code in float32, to test it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from mmcfusion_ros.commands.arguments import image_size
from mmcfusion_ros.evaluation.benchmark import machine
from mmcfusion_ros.evaluation.fixed_rate import percentiles
from mmcfusion_ros.fusion.models import find_model
from mmcfusion_ros.fusion.torch_backend import captured
from mmcfusion_ros.network.export import export_onnx
from mmcfusion_ros.network.mmcfusion import MMCFusion
from mmcfusion_ros.network.weights import load_network

ROOT = Path(__file__).resolve().parents[1]
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")
WARM_UP = 10
NODE_SECONDS = 15.0

Fuse = Callable[[], Tensor]


class Skipped(Exception):
    """Cannot be run here; the text says why."""


class Network:
    """One model with a random pair: thermal and visible, ``1 x 1 x H x W``, bytes and the same in [0, 1]."""

    def __init__(self, model: str, device: str, size: tuple[int, int]) -> None:
        self.weights = find_model(model).safetensors
        if self.weights is None:
            raise Skipped(f"{model} has no .safetensors file")
        self.device, self.size = device, size
        dtype = torch.float16 if device == "cuda" else torch.float32
        torch.manual_seed(0)
        self.bytes = torch.randint(256, (2, 1, 1, *reversed(size)), dtype=torch.uint8, device=device)
        exact = self.bytes / 255
        with torch.inference_mode():
            self.expected = load_network(self.weights).to(device)(*exact)
        self.pair = [image.to(dtype) for image in exact]
        self.graph: MMCFusion = load_network(self.weights).to(device, dtype).to(memory_format=torch.channels_last)

    def error(self, fused: Tensor) -> dict[str, float]:
        """In grey levels, against float32 on the same device."""
        difference = 255 * (fused.float() - self.expected).abs()
        return {"mean_error": round(difference.mean().item(), 4), "largest_error": round(difference.max().item(), 3)}


def eager(network: Network) -> Fuse:
    """As PyTorch runs it, kernel by kernel."""
    return lambda: network.graph(*network.pair)


def cuda_graph(network: Network) -> Fuse:
    """As the node runs it, without the copies."""
    _needs_cuda(network)
    fused = torch.empty_like(network.pair[0])
    graph = captured(lambda: fused.copy_(network.graph(*network.pair)))

    def replay() -> Tensor:
        graph.replay()
        return fused

    return replay


def compiled(network: Network) -> Fuse:
    """``torch.compile`` with CUDA graphs."""
    _needs_cuda(network)
    fuse = torch.compile(network.graph, mode="reduce-overhead")
    return lambda: fuse(*network.pair)


def tensorrt(network: Network) -> Fuse:
    """TensorRT 10 in float16, from the ONNX export."""
    _needs_cuda(network)
    _require("tensorrt", "onnx", "onnxscript")
    import tensorrt as trt  # type: ignore[import-not-found, unused-ignore]

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    definition = builder.create_network()
    parser = trt.OnnxParser(definition, logger)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        assert network.weights
        export_onnx(network.weights, file, network.size)
        if not parser.parse_from_file(str(file)):
            raise RuntimeError(f"TensorRT cannot read the ONNX export: {parser.get_error(0)}")
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.FP16)
    engine = trt.Runtime(logger).deserialize_cuda_engine(builder.build_serialized_network(definition, config))
    context = engine.create_execution_context()
    thermal, luminance = network.bytes
    tensors = {"thermal": thermal, "luminance": luminance, "fused": torch.empty_like(thermal)}
    for name, tensor in tensors.items():
        context.set_tensor_address(name, tensor.data_ptr())

    def run() -> Tensor:
        context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        return tensors["fused"] / 255

    return run


MODES: dict[str, Callable[[Network], Fuse]] = {
    "eager": eager,
    "cuda_graph": cuda_graph,
    "compile": compiled,
    "tensorrt": tensorrt,
}


@torch.inference_mode()
def check_networks(options: argparse.Namespace) -> dict[str, Any]:
    """Latency and error by model and mode."""
    results: dict[str, Any] = {}
    for model in options.models:
        network = Network(model, options.device, options.size)
        with FlopCounterMode(display=False) as counter:
            network.graph(*network.pair)
        modes = {
            mode: attempt(f"{model}, {mode}", partial(_time, make, network, options)) for mode, make in MODES.items()
        }
        results[model] = {"gflop": round(counter.get_total_flops() / 1e9, 3), **modes}
    return results


def _time(make: Callable[[Network], Fuse], network: Network, options: argparse.Namespace) -> dict[str, Any]:
    fuse, laps = make(network), []
    for _ in range(WARM_UP):
        fused = fuse()
    error = network.error(fused)
    for _ in range(options.frames):
        _synchronize(network.device)
        started = time.perf_counter()
        fuse()
        _synchronize(network.device)
        laps.append(1e3 * (time.perf_counter() - started))
    return {**percentiles(laps), **error}


@torch.inference_mode()
def check_profile(options: argparse.Namespace) -> dict[str, Any]:
    """Of the first model: where the time of one frame goes, ms; the table of kernels goes to a file."""
    model, frames = options.models[0], min(20, options.frames)
    network = Network(model, options.device, options.size)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if options.device == "cuda" else [])]
    for _ in range(WARM_UP):
        network.graph(*network.pair)
    _synchronize(options.device)
    with profile(activities=activities) as recorded:
        started = time.perf_counter()
        for _ in range(frames):
            network.graph(*network.pair)
        _synchronize(options.device)
        wall_ms = 1e3 * (time.perf_counter() - started)
    events = recorded.key_averages()
    order = "self_cuda_time_total" if options.device == "cuda" else "self_cpu_time_total"
    file = options.out / f"profile_{Path(model).stem}.txt"
    file.write_text(events.table(sort_by=order, row_limit=20, max_name_column_width=120) + "\n")
    kernels = [event for event in events if event.device_type == DeviceType.CUDA]
    milliseconds = {
        "wall_ms": wall_ms,
        "cpu_ms": sum(event.self_cpu_time_total for event in events) / 1e3,
        "gpu_ms": sum(event.self_device_time_total for event in kernels) / 1e3,
    }
    return {
        "model": model,
        "table": str(file),
        **{name: round(total / frames, 3) for name, total in milliseconds.items()},
        "launches": round(sum(event.count for event in events if event.key in LAUNCHES) / frames, 1),
    }


def check_tests(options: argparse.Namespace) -> dict[str, Any]:
    """pytest's own last line; ``RuntimeError`` with it if a test fails."""
    _require("pytest", "lightning_fabric", "omegaconf")
    files = sorted(str(file) for file in (ROOT / "test").glob("test_cuda*.py"))
    command = [sys.executable, "-m", "pytest", "-q", *files]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    (options.out / "tests.txt").write_text(run.stdout + run.stderr)
    last = run.stdout.strip().rpartition("\n")[2]
    if run.returncode:
        raise RuntimeError(f"{last or run.stderr.strip()}; see {options.out / 'tests.txt'}")
    return {"pytest": last}


def check_node(options: argparse.Namespace) -> dict[str, Any]:
    """``mmcfusion demo``'s own report; ``RuntimeError`` if the node did not fuse on that device, or not well."""
    _require("rclpy", "sensor_msgs")
    out = options.out / "demo"
    command = [sys.executable, "-m", "mmcfusion_ros.cli", "demo", "--out", str(out), "--duration", str(NODE_SECONDS)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    (options.out / "demo.txt").write_text(run.stdout + run.stderr)
    if not (out / "demo.json").exists():
        raise RuntimeError(f"the demo did not end well; see {options.out / 'demo.txt'}")
    report: dict[str, Any] = json.loads((out / "demo.json").read_text())
    device = report["configuration"]["device"]
    if (device == "CPU") != (options.device == "cpu"):
        raise RuntimeError(f"the node ran on {device}, not on {options.device}")
    if run.returncode:
        raise RuntimeError("; ".join(report["faults"]))
    return report


STEPS = {"tests": check_tests, "node": check_node, "networks": check_networks, "profile": check_profile}


def attempt(name: str, step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the step gives, or why there is nothing: ``skipped`` or ``failed``; printed too."""
    print(f"{name} ...", flush=True)
    try:
        result = step()
    except Skipped as reason:
        result = {"skipped": str(reason)}
    except Exception as error:
        result = {"failed": f"{type(error).__name__}: {error}"}
    print(f"{name}: {result}", flush=True)
    return result


def environment(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    if device == "cpu":
        return {"device": "CPU", **versions, **machine()}
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        driver = "unknown: nvidia-smi does not answer"
    capability = "{}.{}".format(*torch.cuda.get_device_capability())
    cudnn = torch.backends.cudnn.version()
    name = torch.cuda.get_device_name()
    return {"device": name, "capability": capability, "driver": driver, "cudnn": cudnn, **versions, **machine()}


def main() -> None:
    """Runs the steps and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu_check_output"))
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--models", nargs="+", default=["b1", "lite"], help="the first one is profiled")
    parser.add_argument("--size", type=image_size, default=(640, 480), metavar="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"gpu_check: PyTorch {torch.__version__} finds no CUDA device here; nothing was run")
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "environment": environment(options.device),
        "size": "{}x{}".format(*options.size),
        "batch": 1,
        "precision": "float16" if options.device == "cuda" else "float32",
        "frames": options.frames,
        **{step: attempt(step, partial(STEPS[step], options)) for step in options.steps},
    }
    text = json.dumps(report, indent=2)
    (options.out / "gpu_check.json").write_text(text + "\n")
    print(text)
    sys.exit(1 if '"failed":' in text else 0)


def _require(*packages: str) -> None:
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        raise Skipped(f"not installed: {', '.join(missing)}; requirements-dev.txt has the versions")


def _needs_cuda(network: Network) -> None:
    if network.device != "cuda":
        raise Skipped("needs a CUDA device")


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
