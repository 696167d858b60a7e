"""The network through PyTorch, on CUDA or the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from mmcfusion_ros.fusion.errors import BackendError, FusionError, one_line
from mmcfusion_ros.fusion.models import ModelFiles
from mmcfusion_ros.network.export import to_bytes
from mmcfusion_ros.network.weights import describe, load_network


class TorchBackend:
    """Channels-last inference; on CUDA in float16 from page-locked memory, as one CUDA graph per image size."""

    name = "torch"
    warning = ""

    def __init__(self, model: ModelFiles, device: str = "auto", precision: str = "auto", threads: int = 0) -> None:
        if model.safetensors is None:
            raise BackendError(
                f"backend 'torch' needs the .safetensors file of {model.name!r}; {model.openvino} is not"
            )
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendError(
                "device 'cuda' was asked for but PyTorch finds no CUDA device; use device 'auto' or 'cpu'"
            )
        if precision == "auto":
            precision = "float16" if device == "cuda" else "float32"
        if threads and device == "cpu":
            torch.set_num_threads(threads)
        self.device = torch.cuda.get_device_name() if device == "cuda" else "CPU"
        self.precision = precision
        self._device = torch.device(device)
        self._dtype = getattr(torch, precision)
        network = load_network(model.safetensors)
        self.variant = network.variant
        self.thermal_polarity = describe(model.safetensors).thermal_polarity
        self._network = network.to(self._device, self._dtype).to(memory_format=torch.channels_last)
        self._shape: tuple[int, ...] = ()
        self._graph: torch.cuda.CUDAGraph | None = None

    @torch.inference_mode()
    def __call__(self, thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """Two ``H x W`` uint8 images to the fused one; ``FusionError`` if PyTorch fails or gives NaN or infinity."""
        try:
            if thermal.shape != self._shape:
                self._allocate(thermal.shape)
            self._host_input.numpy()[0, 0], self._host_input.numpy()[1, 0] = thermal, luminance
            self._input.copy_(self._host_input, non_blocking=True)
            if self._graph:
                self._graph.replay()
            else:
                self._fuse()
            self._host_output.copy_(self._output, non_blocking=True)
            finite = bool(self._finite)
        except RuntimeError as error:
            self._shape = ()
            raise FusionError(
                f"PyTorch failed on a frame of {thermal.shape[1]}x{thermal.shape[0]}: {one_line(error)}"
            ) from error
        if not finite:
            raise FusionError(f"the network's output in {self.precision} is not finite")
        return self._host_output.numpy()[0, 0].copy()

    def _fuse(self) -> None:
        scaled = self._input.to(self._dtype) / 255
        fused = self._network(scaled[:1], scaled[1:])
        self._finite.copy_(torch.isfinite(fused).all())
        self._output.copy_(to_bytes(fused))

    def _allocate(self, shape: tuple[int, ...]) -> None:
        """Fixed buffers for one image size and, on CUDA, the graph that works on them."""
        pin = self._device.type == "cuda"
        self._host_input = torch.empty((2, 1, *shape), dtype=torch.uint8, pin_memory=pin)
        self._host_output = torch.empty((1, 1, *shape), dtype=torch.uint8, pin_memory=pin)
        self._input = torch.zeros_like(self._host_input, device=self._device)
        self._output = torch.zeros_like(self._host_output, device=self._device)
        self._finite = torch.zeros((), dtype=torch.bool, device=self._device)
        self._graph = None
        if pin:
            self._graph = captured(self._fuse)
        self._shape = shape


def captured(work: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """What ``work`` does on the GPU as one graph, to be replayed; PyTorch wants it done a few times before."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # another thread's network may be at work
        work()
    return graph
