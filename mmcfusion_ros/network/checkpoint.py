"""Checkpoints of the MMCFusion authors' own code, converted to weights files of this package."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mmcfusion_ros.network.hashes import sha256_of
from mmcfusion_ros.network.mmcfusion import MMCFusion
from mmcfusion_ros.network.variants import get_variant
from mmcfusion_ros.network.weights import save_weights

RENAMED: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"^stem_thermal\.", "pre_x."),
    (r"^stem_visible\.", "pre_y."),
    (r"^encoder_thermal\.", "un_x."),
    (r"^encoder_visible\.", "un_y."),
    (r"patch_embed\.", "patch_embed1."),
    (r"stages\.(\d)\.downsample\.", lambda match: f"patch_embed{int(match[1]) + 1}."),
    (r"stages\.(\d)\.blocks\.", lambda match: f"block{int(match[1]) + 1}."),
    (r"stages\.(\d)\.norm\.", lambda match: f"norm{int(match[1]) + 1}."),
    (r"mlp\.dwconv\.", "mlp.dwconv.dwconv."),
    (r"^compensation\.(\d)\.from_deeper\.", r"fuse\1.conv."),
    (r"^compensation\.(\d)\.reduce\.", r"fuse\1.cov."),
    (r"^decoder\.(\d)\.", lambda match: f"pure{int(match[1]) + 1}."),
    (r"\.cascade\.project\.", ".conv."),
    (r"\.enhance\.smooth\.", ".conv3x3_leakyrelu.0."),
    (r"\.enhance\.gated\.", ".pre_process1."),
    (r"\.enhance\.sobel\.", ".sltfeature.sobel.sobel."),
    (r"\.enhance\.context\.", ".sltfeature.conv3x3_leakyrelu.0."),
    (r"\.enhance\.merge\.", ".sltfeature.conv1."),
    (r"^head\.to_image\.", "last.0."),
]
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params")
UNUSED = re.compile(r"(pure[1-4]\.(pre_process|conv1|sltfeature\.conv1x1)|fuse3\.conv)\.(weight|bias)")


def authors_key(name: str) -> str:
    """The authors' key of one of our tensors."""
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def convert_checkpoint(source: str | Path, target: str | Path) -> None:
    """Writes the authors' ``.pth`` state dict of the ``b1`` graph as a float32 weights file.

    The state dict may lie in a dictionary under ``state_dict``, ``model`` or ``net``, and its keys may begin with
    ``module.``. Raises ``FileNotFoundError``, or ``ValueError`` naming what does not fit: a target that is no
    ``.safetensors`` file, a source that is no state dict, a missing key, a key that the graph does not have, a tensor
    of another shape or with NaN or infinity.
    """
    if Path(target).suffix != ".safetensors":
        raise ValueError(f"{target} must be named .safetensors")
    theirs = _read_state_dict(Path(source))
    network = MMCFusion(get_variant("b1"))
    ours = {}
    for name, tensor in network.state_dict().items():
        key = authors_key(name)
        if key not in theirs:
            raise ValueError(f"{source}: key {key!r} is missing")
        ours[name] = theirs.pop(key)
        if ours[name].shape != tensor.shape:
            found, needed = tuple(ours[name].shape), tuple(tensor.shape)
            raise ValueError(f"{source}: {key!r} is {found}, the authors' MMCFusion network needs {needed}")
        if not torch.isfinite(ours[name]).all():
            raise ValueError(f"{source}: {key!r} is not finite")
    for key in theirs:
        if not UNUSED.fullmatch(str(key)):
            raise ValueError(f"{source}: key {key!r} does not belong to the authors' MMCFusion network")
    network.load_state_dict(ours)
    save_weights(network, target, {"converted_from": f"authors' checkpoint, sha256 {sha256_of(source)}"}, half=False)


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    with path.open("rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged pickle can fail in any way
            raise ValueError(
                f"{path} is damaged or holds more than plain tensors; convert a file of torch.save(model.state_dict())"
            ) from error
    while isinstance(content, dict) and (
        inner := [content[key] for key in WRAPPERS if isinstance(content.get(key), dict)]
    ):
        content = inner[0]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        what = f"a dictionary with the keys {', '.join(map(str, [*content][:5]))}" if isinstance(content, dict) else ""
        raise ValueError(
            f"{path} holds {what or type(content).__name__}, no state dict of tensors; convert a file of "
            "torch.save(model.state_dict())"
        )
    return {str(key).removeprefix("module."): tensor for key, tensor in content.items()}
