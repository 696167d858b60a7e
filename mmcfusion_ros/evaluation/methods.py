"""Ways to fuse by name: classic rules and networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.data.images import images_below, read_rgb
from mmcfusion_ros.data.pair_folder import PairFiles
from mmcfusion_ros.evaluation.folders import EvaluationOptions
from mmcfusion_ros.evaluation.fuse import fuse_large
from mmcfusion_ros.evaluation.rules import RULES, Fusion
from mmcfusion_ros.fusion.fuser import Fuser, Steadiness, merge_luminance
from mmcfusion_ros.fusion.models import find_model
from mmcfusion_ros.fusion.thermal import in_polarity
from mmcfusion_ros.network.hashes import sha256_of


@dataclass(frozen=True)
class Method:
    """A way to fuse, and where it comes from. A network has learned what thermal images are like: functional ones take
    their place (:meth:`PairFiles.in_roles`)."""

    name: str
    fuse: Fusion
    origin: dict[str, object]
    is_network: bool = False
    thermal_polarity: str = "white_hot"
    colourise: Callable[[np.ndarray, np.ndarray | None], np.ndarray] = merge_luminance  # of luminance and colour

    def begin(self) -> None:
        """Another folder: the frames of a clip before do not count."""
        if isinstance(self.fuse, Fuser) and self.fuse.steadiness:
            self.fuse.steadiness.reset()

    def __call__(
        self, files: PairFiles, thermal: np.ndarray, luminance: np.ndarray, rgb: np.ndarray, stretch: bool = False
    ) -> np.ndarray:
        """A pair, ``H x W`` uint8, and its colours, ``H x W x 3``, to the fused image in colour; with ``stretch`` its
        luminance is spread over 0..255."""
        if self.is_network:
            fused = fuse_large(self.fuse, *files.in_roles(thermal, luminance))
        else:
            fused = self.fuse(thermal, luminance)
        if stretch:
            fused = cv2.normalize(fused, None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
        return self.colourise(fused, rgb)

    def reference(self, files: PairFiles, thermal: np.ndarray, luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A pair as the result is measured against it: the thermal image as the network got it."""
        first, second = files.in_roles(thermal, luminance)
        return files.in_roles(in_polarity(first, self.thermal_polarity), second)


@dataclass(frozen=True)
class ReadyImages:
    """Images that somebody has fused, by name of the pair, in place of a ``Method``."""

    name: str
    origin: dict[str, object]
    images: Mapping[str, Path]

    def __call__(
        self, files: PairFiles, thermal: np.ndarray, luminance: np.ndarray, rgb: np.ndarray, *_: object
    ) -> np.ndarray:
        """The image in colour; ``ValueError`` naming one that does not fit."""
        image = read_rgb(self.images[files.name])
        if image.shape != rgb.shape:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (image.shape, rgb.shape)]
            raise ValueError(f"{self.images[files.name]} is {sizes[0]}, its pair {sizes[1]}")
        return image

    def reference(self, files: PairFiles, thermal: np.ndarray, luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pair as it is."""
        return thermal, luminance


def load_method(model: str, options: EvaluationOptions | None = None) -> Method:
    """A rule by its name, a shipped network by its name, a file by its folder and stem (``run/best``)."""
    options = options or EvaluationOptions()
    if model in RULES:
        return Method(model, RULES[model], {"rule": model})
    fuser = Fuser.from_pretrained(
        model, options.backend, options.device, options.precision, options.threads, options.denoise
    )
    if options.clip:
        fuser.steadiness = Steadiness()
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


def ready_method(name: str, path: Path, pairs: Sequence[PairFiles]) -> ReadyImages:
    """The images of a folder, in files with the names of the pairs. ``ValueError`` naming the first that is missing,
    ``FileNotFoundError`` without the folder."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not a folder")
    there = {file.relative_to(path).with_suffix("").as_posix(): file for file in images_below(path)}
    missing = [files.name for files in pairs if files.name not in there]
    if missing:
        raise ValueError(f"{path} has no image {missing[0]} ({len(missing)} of {len(pairs)} pairs have none there)")
    return ReadyImages(name, {"fused by": name, "folder": str(path)}, there)
