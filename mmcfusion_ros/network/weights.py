"""Weights files: safetensors with the variant and its training in their metadata."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mmcfusion_ros.network.hashes import verify_hash
from mmcfusion_ros.network.metadata import POLARITIES, Metadata
from mmcfusion_ros.network.mmcfusion import MMCFusion


def save_weights(network: MMCFusion, path: str | Path, metadata: dict[str, str], half: bool = True) -> None:
    """Writes the network's weights (float16, or float32 with ``half=False``) with ``metadata`` and its variant.

    Without a ``thermal_polarity`` among ``metadata`` they are for white-hot images. Raises ``OSError`` if the file
    cannot be written, ``ValueError`` naming a tensor that is not finite in that type.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {name: tensor.detach().to("cpu", dtype) for name, tensor in network.state_dict().items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{path} was not written: tensor {name!r} is not finite in {dtype}")
    own = Metadata(network.variant, metadata.get("thermal_polarity", POLARITIES[0])).texts()
    write_tensors(tensors, path, {**metadata, **own, "widths": json.dumps(network.variant.widths)})


def write_tensors(tensors: dict[str, torch.Tensor], path: str | Path, metadata: dict[str, str]) -> None:
    """Writes a safetensors file: all of it or, with an ``OSError``, none."""
    path = Path(path)
    temporary = path.with_name(path.name + ".partial")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
    except SafetensorError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"{path} could not be written: {error}") from error
    temporary.chmod(0o644)
    temporary.replace(path)


def read_header(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file whose tensors, as the library checks, fill it without gap or overlap.

    Raises ``FileNotFoundError``, or ``ValueError`` naming what is wrong.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"weights file {path} does not exist")
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {' '.join(str(error).split())}") from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """All texts of a weights file's metadata; ``ValueError`` if it is not one for this version."""
    texts = read_header(path)
    Metadata.parse(texts, path)
    return texts


def describe(path: str | Path) -> Metadata:
    """What a weights file is for; ``ValueError`` if it is not one for this version."""
    return Metadata.parse(read_header(path), path)


def load_network(path: str | Path) -> MMCFusion:
    """The network of a weights file, in float32 and evaluation mode.

    Raises ``FileNotFoundError``, or ``ValueError`` for a wrong hash or naming the first tensor that is missing,
    left over or of another shape.
    """
    network = MMCFusion(describe(path).variant)
    verify_hash(Path(path))
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    load_strictly(network, tensors, str(path))
    return network.eval()


def load_strictly(network: MMCFusion, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Copies ``tensors`` into the network; ``ValueError`` naming the first one that does not fit."""
    expected = network.state_dict()
    for name in sorted(expected.keys() - tensors.keys()):
        raise ValueError(f"{source}: tensor {name!r} of variant {network.variant.name} is missing")
    for name in sorted(tensors.keys() - expected.keys()):
        raise ValueError(f"{source}: tensor {name!r} does not belong to variant {network.variant.name}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{source}: tensor {name!r} is {tuple(tensor.shape)}, "
                f"variant {network.variant.name} needs {tuple(expected[name].shape)}"
            )
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise ValueError(f"{source}: tensor {name!r} of {tensor.dtype} must hold finite floating-point numbers")
    network.load_state_dict(tensors)
