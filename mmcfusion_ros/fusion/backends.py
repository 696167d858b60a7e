"""The interface of the backends, and the choice among them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Protocol

import numpy as np

from mmcfusion_ros.fusion.errors import BackendError
from mmcfusion_ros.fusion.models import ModelFiles
from mmcfusion_ros.network.variants import Variant

BACKENDS = ("auto", "openvino", "torch")
DEVICES = ("auto", "cpu", "cuda")
INSTALL = "PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --user openvino"
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


class Backend(Protocol):
    """Runs the network on 8-bit luminance images of a size that the variant takes."""

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def warning(self) -> str:
        """What a user should know, in words; empty if there is nothing."""

    @property
    def variant(self) -> Variant: ...

    @property
    def thermal_polarity(self) -> str:
        """Which of ``POLARITIES`` the thermal image must have, as the weights' metadata say."""

    def __call__(self, thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """Two ``H x W`` uint8 images to the fused one.

        The first call for a size compiles the network for it. Raises ``FusionError`` if the frame cannot be fused.
        """


def create_backend(
    model: ModelFiles, backend: str = "auto", device: str = "auto", precision: str = "auto", threads: int = 0
) -> tuple[Backend, str]:
    """The backend for a model and, in words, why it was chosen; ``threads`` 0 takes all processors.

    Raises ``ValueError`` for an unknown name and ``BackendError`` where the machine cannot do what was asked for.
    """
    for value, choices in ((backend, BACKENDS), (device, DEVICES), (precision, PRECISIONS)):
        if value not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
    if threads < 0:
        raise ValueError(f"{threads} threads; give a number, or 0 for all processors")
    reason = "as configured"
    if backend == "auto":
        backend, reason = choose_backend(model, device)
    if backend == "torch":
        if not _installed("torch"):
            raise BackendError(
                f"backend 'torch' needs PyTorch, timm and safetensors; install them, or OpenVINO: {INSTALL}"
            )
        from mmcfusion_ros.fusion.torch_backend import TorchBackend

        return TorchBackend(model, device, precision, threads), reason
    if device == "cuda":
        raise BackendError("backend 'openvino' runs on the CPU; for device 'cuda' use backend 'torch' or 'auto'")
    if not _installed("openvino"):
        raise BackendError(f"backend 'openvino' needs the package openvino: {INSTALL}")
    if model.openvino is None and not _installed("torch"):
        raise BackendError(f"{model.safetensors} needs PyTorch and timm; install them or give the exported .xml file")
    from mmcfusion_ros.fusion.openvino_backend import OpenVINOBackend

    return OpenVINOBackend(model, precision, threads), reason


def choose_backend(model: ModelFiles, device: str) -> tuple[str, str]:
    """What ``auto`` stands for, and why."""
    if device == "cuda":
        return "torch", "device 'cuda' was asked for"
    if model.safetensors is None:
        return "openvino", "an exported graph runs on OpenVINO only"
    if device == "auto" and _installed("torch") and has_nvidia_driver():
        import torch

        if torch.cuda.is_available():
            return "torch", f"found {torch.cuda.get_device_name()}"
    if _installed("openvino"):
        return "openvino", "no CUDA device, OpenVINO is the fastest on a CPU"
    return "torch", "no CUDA device and OpenVINO is not installed"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def has_nvidia_driver() -> bool:
    """Cheap: importing torch only to learn that there is no GPU would cost seconds and hundreds of MB."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or any(Path("/dev").glob("nvhost-gpu")) or Path("/dev/nvgpu").exists()
