"""Ways to fuse by name: classic rules and networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mmcfusion_ros.data.pair_folder import PairFiles
from mmcfusion_ros.evaluation.rules import RULES, Fusion
from mmcfusion_ros.fusion.fuser import Fuser, merge_luminance
from mmcfusion_ros.fusion.models import find_model
from mmcfusion_ros.fusion.thermal import in_polarity
from mmcfusion_ros.network.hashes import sha256_of


@dataclass(frozen=True)
class Method:
    """A way to fuse, and where it comes from. A network has learned what thermal images are like: functional ones
    take their place (:meth:`PairFiles.in_roles`)."""

    name: str
    fuse: Fusion
    origin: dict[str, object]
    is_network: bool = False
    thermal_polarity: str = "white_hot"
    colourise: Callable[[np.ndarray, np.ndarray | None], np.ndarray] = merge_luminance  # of luminance and colour

    def reference(self, files: PairFiles, thermal: np.ndarray, luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A pair as the result is measured against it: the thermal image as the network got it."""
        first, second = files.in_roles(thermal, luminance)
        return files.in_roles(in_polarity(first, self.thermal_polarity), second)


def load_method(model: str, precision: str = "auto") -> Method:
    """A rule by its name, a shipped network by its name, a file by its folder and stem (``run/best``)."""
    if model in RULES:
        return Method(model, RULES[model], {"rule": model})
    fuser = Fuser.from_pretrained(model, precision=precision)
    files = find_model(model)
    weights = [files.safetensors, files.openvino, files.openvino and files.openvino.with_suffix(".bin")]
    backend = fuser.backend
    origin: dict[str, object] = {
        "sha256": {file.name: sha256_of(file) for file in weights if file},
        "backend": backend.name,
        "device": backend.device,
        "precision": backend.precision,
        "thermal": backend.thermal_polarity,
    }
    path = Path(model)
    name = "/".join(path.resolve().with_suffix("").parts[-2:]) if path.suffix else model
    saturation = None if backend.thermal_polarity == "black_hot" else 1.0  # as the fuser's own images have
    colourise = partial(merge_luminance, saturation=saturation)
    return Method(name, fuser, origin, True, backend.thermal_polarity, colourise)
