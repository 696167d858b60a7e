"""Folders of pairs as they are evaluated, how, and what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.data.pair_folder import PairFiles, find_pairs, read_pair
from mmcfusion_ros.evaluation.detection.labels import Labels, LabelSource
from mmcfusion_ros.evaluation.stress import degrade


@dataclass(frozen=True)
class EvaluationOptions:
    """``stress`` is a key of ``STRESSES`` or empty, ``peers`` a CSV as ``read_peers`` takes it; a ``clip`` is a folder
    whose pairs are the frames of one recording, in the order of their names. ``detectors`` are files as
    ``load_detector`` takes them, with ``labels`` for each folder, and in ``night`` a JSON list of names of pairs."""

    peers: Path | None = None
    stress: str = ""
    seed: int = 0
    precision: str = "auto"
    clip: bool = False
    detectors: tuple[Path, ...] = ()
    labels: tuple[LabelSource, ...] = ()
    night: Path | None = None

    def __post_init__(self) -> None:
        if self.stress and self.peers:
            raise ValueError("peers were measured without stress; leave out one of both")
        if self.stress and self.clip:
            raise ValueError("under stress nothing in a clip is still; leave out one of both")
        if bool(self.detectors) != bool(self.labels):
            raise ValueError("detectors and labels need each other; give --detector and --labels, or neither")
        if self.night and not self.detectors:
            raise ValueError("night is told apart for detectors; --night needs --detector and --labels")

    @property
    def under(self) -> str:
        """Behind a title."""
        return f" under {self.stress}" if self.stress else ""


@dataclass(frozen=True)
class LabelledFolder:
    """With labels: of the pairs that have some, at the ``size`` (width, height) that the labels are for."""

    name: str
    pairs: list[PairFiles]
    labels: dict[str, Labels] = field(default_factory=dict)
    size: tuple[int, int] | None = None

    def read(self, files: PairFiles) -> tuple[np.ndarray, np.ndarray]:
        """Thermal ``H x W`` and RGB ``H x W x 3``, uint8."""
        thermal, rgb = read_pair(files)
        if self.size is None:
            return thermal, rgb
        return tuple(cv2.resize(image, self.size, interpolation=cv2.INTER_AREA) for image in (thermal, rgb))  # type: ignore[return-value]


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


def open_folders(paths: Sequence[Path], options: EvaluationOptions) -> list[LabelledFolder]:
    """Finds pairs and labels. Raises what ``find_pairs`` and :meth:`LabelSource.read` raise, and ``ValueError`` for two
    folders of one name."""
    names = distinct("folders", ["/".join(path.resolve().parts[-2:]) for path in paths])
    pairs = [find_pairs(path) for path in paths]
    if not options.labels:
        return [LabelledFolder(name, files) for name, files in zip(names, pairs, strict=True)]
    if len(options.labels) != len(paths):
        raise ValueError(f"{len(options.labels)} labels for {len(paths)} folders; give one for each, in their order")
    folders = []
    for name, files, source in zip(names, pairs, options.labels, strict=True):
        labels = source.read(files)
        folders.append(LabelledFolder(name, [file for file in files if file.name in labels], labels, source.size))
    return folders


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
