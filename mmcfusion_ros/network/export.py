"""The network as one graph from bytes to bytes, exported to OpenVINO (any size) and ONNX (one size)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmcfusion_ros.network.hashes import sha256_of, write_hashes
from mmcfusion_ros.network.mmcfusion import MMCFusion
from mmcfusion_ros.network.weights import describe, load_network

METADATA = "mmcfusion"


class ByteGraph(nn.Module):
    """The network with the scaling of 8-bit images inside: two ``B x 1 x H x W`` uint8 images to the fused one."""

    def __init__(self, network: MMCFusion) -> None:
        super().__init__()
        self.network = network

    def forward(self, thermal: Tensor, luminance: Tensor) -> Tensor:
        """uint8 in, uint8 out; the network runs in the precision of its weights."""
        dtype = self.network.stem_thermal.weight.dtype
        return to_bytes(self.network(thermal.to(dtype) / 255, luminance.to(dtype) / 255))


def to_bytes(fused: Tensor) -> Tensor:
    """[0, 1] floats, clipped and rounded to uint8."""
    return (fused * 255).round().clamp(0, 255).to(torch.uint8)


class PoolingMatrices(nn.Module):
    """Adaptive average pooling to 7x7 as two matrix products, for exporters without that operator (fixed size)."""

    def forward(self, x: Tensor) -> Tensor:
        """``B x C x H x W`` to ``B x C x 7 x 7``."""
        rows, columns = (pooling_matrix(size).to(x) for size in x.shape[-2:])
        return rows @ x @ columns.T


def pooling_matrix(size: int, bins: int = 7) -> Tensor:
    """``bins x size``: row i averages the pixels ``floor(i size / bins)`` to ``ceil((i + 1) size / bins)``."""
    matrix = np.zeros((bins, size), np.float32)  # NumPy, so that exporters see a constant
    for i in range(bins):
        start, stop = i * size // bins, -(-(i + 1) * size // bins)
        matrix[i, start:stop] = 1 / (stop - start)
    return torch.from_numpy(matrix)


def export_openvino(weights: str | Path, target: str | Path) -> None:
    """Writes ``target`` (``.xml``, and a ``.bin`` beside it): 16-bit weights, dynamic batch, height and width.

    Lists both, and the weights if they are in the same folder, in its ``SHA256SUMS``.
    """
    import openvino

    weights, target = Path(weights), Path(target)

    _require_folder(target)
    graph = openvino_graph(weights)
    graph.set_rt_info(sha256_of(weights), [METADATA, "weights_sha256"])
    openvino.save_model(graph, target, compress_to_fp16=True)
    files = [target, target.with_suffix(".bin"), *([weights] if weights.parent == target.parent else [])]
    write_hashes(target.parent, [file.name for file in files])


def openvino_graph(weights: Path):  # type: ignore[no-untyped-def] # openvino.Model, imported only if asked for
    """The ``openvino.Model`` of a weights file, bytes to bytes, with its metadata."""
    from openvino.tools.ovc import convert_model

    network = load_network(weights)
    example = torch.zeros(1, 1, 128, 160, dtype=torch.uint8)
    graph = convert_model(ByteGraph(network), example_input=(example, example))
    for port, name in zip((*graph.inputs, *graph.outputs), ("thermal", "luminance", "fused"), strict=True):
        port.get_tensor().set_names({name})
    for name, text in describe(weights).texts().items():
        graph.set_rt_info(text, [METADATA, name])
    return graph


def export_onnx(weights: str | Path, target: str | Path, height: int, width: int) -> None:
    """Writes an ONNX graph of one size, float32 in [0, 1] to float32, for TensorRT and other runtimes.

    Its metadata say which ``thermal_polarity`` it takes: what runs it turns the thermal image over if need be.
    ``ValueError`` for a size that the network does not take.
    """
    _require_folder(target)
    network = load_network(weights)
    multiple, smallest = network.variant.size_multiple, network.variant.smallest_size
    if height % multiple or width % multiple or min(height, width) < smallest:
        raise ValueError(
            f"{width}x{height} does not fit variant {network.variant.name}: "
            f"sides must be multiples of {multiple}, at least {smallest}"
        )
    for module in network.modules():
        if isinstance(getattr(module, "pool", None), nn.AdaptiveAvgPool2d):
            module.pool = PoolingMatrices()
    # Two tensors: the exporter would take one that is passed twice for one input.
    example = torch.zeros(1, 1, height, width), torch.zeros(1, 1, height, width)
    program = torch.onnx.export(
        network, example, input_names=["thermal", "luminance"], output_names=["fused"], dynamo=True, verbose=False
    )
    assert program
    program.model.metadata_props.update(describe(weights).texts())
    program.save(target)


def _require_folder(target: str | Path) -> None:
    folder = Path(target).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{target} cannot be written: {folder} is not a folder")
