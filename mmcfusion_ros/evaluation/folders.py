"""Folders of pairs as they are evaluated, how, and what came out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.data.pair_folder import PairFiles, find_pairs, pair_up, read_pair
from mmcfusion_ros.evaluation.detection.labels import Labels, LabelSource
from mmcfusion_ros.evaluation.metrics import MORE
from mmcfusion_ros.evaluation.stress import degrade
from mmcfusion_ros.evaluation.tables import bootstrap
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler


@dataclass(frozen=True)
class EvaluationOptions:
    """``stress`` is a key of ``STRESSES`` or empty, ``peers`` a CSV as ``read_peers`` takes it; a ``clip`` is a folder
    whose pairs are the frames of one recording, in the order of their names. ``detectors`` are files as
    ``load_detector`` takes them, with ``labels`` for each folder, and in ``night`` a JSON list of names of pairs.
    ``cameras``: a folder of thermal and one of RGB images, one more set. ``fused``: folders of images that others
    fused, by name of the method. ``limit``: pairs of each folder at most, 0 all. ``workers``: processes for metrics.
    ``metrics``: of ``MORE``, beside the usual ones. ``stretch``: spread each fused luminance over 0..255, as some
    authors do. ``thermal``: how images of 16 bits become 8, each by itself. ``command`` is what was typed, for the
    page. The rest is as ``Fuser.from_pretrained`` takes it."""

    peers: Path | None = None
    stress: str = ""
    seed: int = 0
    precision: str = "auto"
    clip: bool = False
    detectors: tuple[Path, ...] = ()
    labels: tuple[LabelSource, ...] = ()
    night: Path | None = None
    cameras: tuple[Path, Path] | None = None
    fused: Mapping[str, Path] = field(default_factory=dict)
    limit: int = 0
    workers: int = 1
    metrics: tuple[str, ...] = ()
    stretch: bool = False
    thermal: ThermalOptions = field(default_factory=ThermalOptions)
    backend: str = "auto"
    device: str = "auto"
    threads: int = 0
    denoise: bool = True
    command: str = ""

    def __post_init__(self) -> None:
        if self.stress and self.peers:
            raise ValueError("peers were measured without stress; leave out one of both")
        if self.stress and self.clip:
            raise ValueError("under stress nothing in a clip is still; leave out one of both")
        if self.stress and self.fused:
            raise ValueError("images that are fused already cannot be stressed; leave out one of both")
        if bool(self.detectors) != bool(self.labels):
            raise ValueError("detectors and labels need each other; give --detector and --labels, or neither")
        if unknown := [name for name in self.metrics if name not in MORE]:
            raise ValueError(f"unknown metric {unknown[0]}; there are {', '.join(MORE)}, and the usual ones always")
        if self.night and not self.detectors:
            raise ValueError("night is told apart for detectors; --night needs --detector and --labels")

    @property
    def under(self) -> str:
        """Behind a title."""
        return f" under {self.stress}" if self.stress else ""


@dataclass(frozen=True)
class LabelledFolder:
    """With labels: of the pairs that have some, at the ``size`` (width, height) that the labels are for. ``scale`` is
    for thermal images of 16 bits. ``failures`` are the files that could not be used, and why."""

    name: str
    pairs: list[PairFiles]
    labels: dict[str, Labels] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    scale: Callable[[np.ndarray], np.ndarray] | None = None
    failures: list[str] = field(default_factory=list)

    def read(self, files: PairFiles) -> tuple[np.ndarray, np.ndarray]:
        """Thermal ``H x W`` and RGB ``H x W x 3``, uint8."""
        thermal, rgb = read_pair(files, self.scale)
        if self.size is None:
            return thermal, rgb
        return tuple(cv2.resize(image, self.size, interpolation=cv2.INTER_AREA) for image in (thermal, rgb))  # type: ignore[return-value]

    def give_up(self, files: PairFiles, error: Exception) -> None:
        """Goes on without a pair."""
        self.pairs.remove(files)
        text = str(error)
        self.failures.append(text if str(files.thermal.parent) in text else f"{files.thermal}: {text}")


@dataclass(frozen=True)
class FolderResult:
    """Metrics by method, one row a pair; means of peers; which methods got the thermal image black hot, and were
    measured against that; results of the clip test by kind of image."""

    folder: LabelledFolder
    rows: dict[str, list[dict[str, float]]]
    peers: dict[str, dict[str, float]]
    black_hot: frozenset[str]
    clip: dict[str, dict[str, float]]

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """By method."""
        return {
            method: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            for method, rows in self.rows.items()
        }

    @cached_property
    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """By method and metric, as ``bootstrap`` gives them."""
        return bootstrap(self.rows, self.peers)


def open_folders(paths: Sequence[Path], options: EvaluationOptions) -> list[LabelledFolder]:
    """Finds pairs and labels. Raises what ``find_pairs`` and :meth:`LabelSource.read` raise, and ``ValueError`` for two
    folders of one name."""
    sets = [(_name(path), find_pairs(path)) for path in paths]
    if options.cameras:
        sets.append((_name(Path(os.path.commonpath(options.cameras))), pair_up(*options.cameras)))
    distinct("folders", [name for name, _ in sets])
    if options.limit:
        sets = [(name, pairs[: options.limit]) for name, pairs in sets]
    scale = partial(scale_alone, options.thermal)
    if not options.labels:
        return [LabelledFolder(name, pairs, scale=scale) for name, pairs in sets]
    if len(options.labels) != len(sets):
        raise ValueError(f"{len(options.labels)} labels for {len(sets)} folders; give one for each, in their order")
    folders = []
    for (name, pairs), source in zip(sets, options.labels, strict=True):
        labels = source.read(pairs)
        labelled = [files for files in pairs if files.name in labels]
        folders.append(LabelledFolder(name, labelled, labels, source.size, scale))
    return folders


def scale_alone(options: ThermalOptions, thermal: np.ndarray) -> np.ndarray:
    """A thermal image of 16 bits to ``H x W`` uint8, by itself."""
    scaler = ThermalScaler(options)
    return scaler(scaler.upright(thermal))


def under_stress(
    thermal: np.ndarray, luminance: np.ndarray, name: str, options: EvaluationOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Thermal and luminance, ``H x W`` uint8, as the methods get them."""
    return degrade(options.stress, thermal, luminance, options.seed, name) if options.stress else (thermal, luminance)


def distinct(what: str, names: list[str]) -> list[str]:
    """The names; ``ValueError`` if two are the same."""
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{count} {what} are called {name!r}; their results would overwrite each other")
    return names


def _name(path: Path) -> str:
    return "/".join(path.resolve().with_suffix("" if path.is_file() else path.suffix).parts[-2:])
