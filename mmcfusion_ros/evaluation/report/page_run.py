"""What a report is made of."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PageFrame:
    """One fused frame. Frames of two runs that have the same ``name`` are compared with each other.

    ``time_s`` is since the start of the run, or the index in a folder of images. ``values`` is all that is plotted and
    tabled: metrics under their names (``EN``, ``Qabf``, ...; larger is better) and quantities under names that end in
    their unit (``skew_ms``, ``network_ms``, ``thermal_hz``, ``residual_px``; larger is worse except for Hz). The page
    works out ``fused_hz`` itself where it is not given. The images come from ``encode_preview``.
    """

    name: str
    time_s: float
    values: dict[str, float]
    thermal: bytes | None = None
    rgb: bytes | None = None
    fused: bytes | None = None


@dataclass(frozen=True)
class Box:
    """What a detector found in an image, or missed: sides as shares of its width and height, in [0, 1]; ``state`` is
    found, missed or false; ``score`` in [0, 1]."""

    left: float
    top: float
    right: float
    bottom: float
    state: str
    kind: str
    score: float


@dataclass(frozen=True)
class PageRun:
    """All that a page tells of one run.

    ``header`` is what was run, in words: input, model, configuration, machine, versions, hashes. ``drops`` are time in
    s and reason of each message or pair that was not fused, ``problems`` what could not be processed. ``seen_as``
    names the input of detectors (as the page's boxes have them) that the images show, by thermal, rgb and fused;
    ``image_names`` what the images are called in place of thermal, RGB and fused.
    """

    title: str
    header: dict[str, str]
    frames: list[PageFrame]
    drops: list[tuple[float, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seen_as: dict[str, str] = field(default_factory=dict)
    image_names: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodTable:
    """Methods by metrics, above all runs: the first column is the name; ``ours`` are those of the page's runs."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    ours: list[str]
    note: str
