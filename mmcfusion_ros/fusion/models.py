"""Finding the files of a model, without importing torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmcfusion_ros.resources import package_file

SUFFIXES = (".safetensors", ".xml")
PURPOSES = {"detection": "detect", "display": "lite"}  # what a fused image is for, and the shipped model made for that


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model: its weights, its exported OpenVINO graph, or both."""

    name: str
    safetensors: Path | None
    openvino: Path | None


def find_model(model: str | Path) -> ModelFiles:
    """The files of a shipped model by name, or of a path to a ``.safetensors`` or OpenVINO ``.xml`` file.

    Raises ``FileNotFoundError`` or ``ValueError`` saying what is wrong and what to do.
    """
    path = Path(model).expanduser()
    if path.suffix in SUFFIXES:
        if not path.is_file():
            raise FileNotFoundError(f"model file {path} does not exist")
        is_graph = path.suffix == ".xml"
        return ModelFiles(path.stem, None if is_graph else path, path if is_graph else None)
    folder = package_file("models")
    shipped = sorted({file.stem for file in folder.iterdir() if file.suffix in SUFFIXES})
    if str(model) not in shipped:
        raise ValueError(
            f"model {str(model)!r} is neither one of {', '.join(shipped)} nor a {' or '.join(SUFFIXES)} file"
        )
    weights, graph = (folder / f"{model}{suffix}" for suffix in SUFFIXES)
    return ModelFiles(str(model), weights if weights.is_file() else None, graph if graph.is_file() else None)
