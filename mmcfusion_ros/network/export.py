"""The network as one graph from bytes to bytes, exported to OpenVINO and ONNX."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mmcfusion_ros.files import write_file
from mmcfusion_ros.network.hashes import sha256_of, write_hashes
from mmcfusion_ros.network.mmcfusion import MMCFusion
from mmcfusion_ros.network.weights import describe, load_network

METADATA = "mmcfusion"
FOR_USERS = {
    "scaling": "grey levels 0 to 255 in and out, clipped; the thermal image in the polarity of thermal_polarity",
    "colour": "channel = F + min(1.5, (F + 16) / (Y + 16)) (channel of the RGB image - Y), with the fused luminance F "
    "and Y = .299 R + .587 G + .114 B",
}


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
    """Adaptive average pooling to 7x7 as two matrix products, for exporters without that operator."""

    def forward(self, x: Tensor) -> Tensor:
        """``B x C x H x W`` to ``B x C x 7 x 7``."""
        rows, columns = (pooling_matrix(size).to(x) for size in x.shape[-2:])
        return rows @ x @ columns.T


def pooling_matrix(size: int, bins: int = 7) -> Tensor:
    """``bins x size``: row i averages the pixels ``floor(i size / bins)`` to ``ceil((i + 1) size / bins)``."""
    pixel, row = torch.arange(size)[None], torch.arange(bins)[:, None]
    inside = ((pixel >= row * size // bins) & (pixel < -(-(row + 1) * size // bins))).float()
    return inside / inside.sum(dim=1, keepdim=True)


def export_openvino(weights: str | Path, target: str | Path) -> None:
    """Writes ``target`` (``.xml``, and a ``.bin`` beside it): 16-bit weights, dynamic batch, height and width.

    Lists both, and the weights if they are in the same folder, in its ``SHA256SUMS``. An ``OSError`` keeps the files
    of before.
    """
    import openvino

    weights, target = Path(weights), Path(target)

    _require_folder(target)
    graph = openvino_graph(weights)
    graph.set_rt_info(sha256_of(weights), [METADATA, "weights_sha256"])
    files = [target.with_suffix(".bin"), target]
    partial = target.with_suffix(".partial.xml")
    try:
        openvino.save_model(graph, partial, compress_to_fp16=True)
        for file in files:
            partial.with_suffix(file.suffix).replace(file)
    except RuntimeError as error:
        raise OSError(f"{target} could not be written: {error}") from error
    finally:
        for file in files:
            partial.with_suffix(file.suffix).unlink(missing_ok=True)
    if weights.parent == target.parent:
        files.append(weights)
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


def export_onnx(
    weights: str | Path,
    target: str | Path,
    size: tuple[int, int] | None = None,
    opset: int = 18,
    precision: str = "float32",
) -> None:
    """Writes an ONNX graph, uint8 to uint8 as the one of OpenVINO, for TensorRT and other runtimes.

    It takes images of ``size`` (width, height) or, without, of any size that the variant takes. ``precision``, float32
    or float16, is that of weights and arithmetic. Its metadata are those of the weights and ``FOR_USERS``.
    ``ValueError`` for a size that the network does not take.
    """
    target = Path(target)
    _require_folder(target)
    network = load_network(weights)
    multiple, smallest = network.variant.size_multiple, network.variant.smallest_size
    width, height = size or (8 * smallest, 6 * smallest)
    if height % multiple or width % multiple or min(height, width) < smallest:
        raise ValueError(
            f"{width}x{height} does not fit variant {network.variant.name}: "
            f"sides must be multiples of {multiple}, at least {smallest}"
        )
    for module in network.modules():
        if isinstance(getattr(module, "pool", None), nn.AdaptiveAvgPool2d):
            module.pool = PoolingMatrices()
    sides = [multiple * torch.export.Dim(name, min=smallest // multiple) for name in ("height", "width")]
    free = dict(enumerate(sides, 2))
    # Two tensors: the exporter would take one that is passed twice for one input.
    example = tuple(torch.zeros(1, 1, height, width, dtype=torch.uint8) for _ in range(2))
    program = torch.onnx.export(
        ByteGraph(network.half() if precision == "float16" else network),
        example,
        input_names=["thermal", "luminance"],
        output_names=["fused"],
        dynamic_shapes=None if size else (free, free),
        opset_version=opset,
        dynamo=True,
        verbose=False,
    )
    assert program
    program.model.metadata_props.update({**describe(weights).texts(), **FOR_USERS})
    write_file(target, program.model_proto.SerializeToString())


def _require_folder(target: str | Path) -> None:
    folder = Path(target).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{target} cannot be written: {folder} is not a folder")
