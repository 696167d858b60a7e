"""Finding the files of a model, without importing torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmcfusion_ros.network.variants import VARIANTS
from mmcfusion_ros.resources import package_file

SUFFIXES = (".safetensors", ".xml")


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
    if str(model) in VARIANTS:
        path = package_file("models") / str(model)
        weights, graph = (path.with_suffix(suffix) for suffix in SUFFIXES)
        if not (weights.is_file() or graph.is_file()):
            raise FileNotFoundError(
                f"no weights of {str(model)!r} are shipped in {path.parent}; train them or give the path of a file"
            )
        return ModelFiles(path.name, weights if weights.is_file() else None, graph if graph.is_file() else None)
    path = Path(model).expanduser()
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"model {str(model)!r} is neither one of {', '.join(VARIANTS)} nor a {' or '.join(SUFFIXES)} file"
        )
    if not path.is_file():
        raise FileNotFoundError(f"model file {path} does not exist")
    is_graph = path.suffix == ".xml"
    return ModelFiles(path.stem, None if is_graph else path, path if is_graph else None)
