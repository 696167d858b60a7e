"""How steady fused clips are: still parts, moving edges, and the two measures of VF-Bench.

VF-Bench: Zhao et al., "A Unified Solution to Video Fusion", NeurIPS 2025, https://github.com/Zhaozixiang1228/VF-Bench.
Its BiSWE and MS2R are taken here of the luminance, with OpenCV's optical flow (DIS) in place of SEA-RAFT: they compare
methods with each other, not with its tables.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mmcfusion_ros.evaluation.metrics import Image, correlation

Flow = NDArray[np.float32]  # H x W x 2, pixels
Mask = NDArray[np.bool_]

STILL, MOVING = 2, 16  # grey levels from frame to frame
FEWEST_MOVING = 100  # pixels whose edges can be compared
CONSISTENT = 1.0  # pixels between a flow and the way back
SOURCES = ("thermal", "luminance")
COLUMNS = ("change", "ratio", "edges", "lag", "SWE", "BiSWE", "MS2R")


@dataclass(frozen=True)
class Step:
    """An ``H x W`` uint8 image of a clip, the next one, and the flow between them both ways."""

    before: Image
    after: Image
    forward: Flow
    backward: Flow

    @classmethod
    def between(cls, before: Image, after: Image) -> Step:
        """Two images of one size, and their flow by DIS (Kroeger et al. 2016)."""
        return cls(before, after, _flow(before, after), _flow(after, before))

    @property
    def reverse(self) -> Step:
        """The same backwards in time."""
        return Step(self.after, self.before, self.backward, self.forward)

    @property
    def change(self) -> Image:
        """Of each pixel, in grey levels."""
        return cv2.absdiff(self.before, self.after)  # type: ignore[return-value]

    @property
    def unoccluded(self) -> Mask:
        """Pixels of ``after`` whose flow to ``before`` and back again ends within ``CONSISTENT`` of them."""
        return np.hypot(*cv2.split(self.backward + _warp(self.forward, self.backward))) < CONSISTENT

    def warping_error(self, where: Mask) -> float:
        """Mean absolute difference there of ``after`` and ``before`` warped onto it; 0 if there is no such pixel."""
        difference = cv2.absdiff(self.after, _warp(self.before, self.backward))
        return float(difference[where].mean()) if where.any() else 0.0


class ClipTest:
    """Measures the sources of a clip and what is fused of them, frame by frame.

    By kind of image, means over the frames; grey levels are of 0 to 255:

    - ``change``, grey levels from frame to frame where both sources change by less than 2, and its ``ratio`` to the
      larger of the sources';
    - ``edges`` and ``lag`` of :func:`moving_edges`, where a source changes by more than 16;
    - ``SWE``, grey levels by which a frame differs from the one before, warped onto it along its own flow, where no
      source is occluded; ``BiSWE``, the sum of that and the same for the frame after;
    - ``MS2R``, pixels by which the change of its flow from step to step differs from the sources', mean of both.
    """

    def __init__(self) -> None:
        self._images: dict[str, Image] = {}
        self._steps: dict[str, Step] = {}
        self._errors: dict[str, float] = {}  # of warping, in the last step
        self._values: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))

    def add(self, images: Mapping[str, Image]) -> None:
        """The next frame: ``thermal``, ``luminance`` and fused images by name, ``H x W`` uint8.

        Raises ``ValueError`` if it has not the size of the last.
        """
        last, self._images = self._images, dict(images)
        if not last:
            return
        sizes = ["{1}x{0}".format(*frame["thermal"].shape) for frame in (images, last)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"{sizes[0]} after {sizes[1]}; all frames of a clip must have one size")
        steps = {name: Step.between(last[name], image) for name, image in images.items()}
        sources = steps["thermal"], steps["luminance"]
        self._add_changes(steps, *sources)
        unoccluded = sources[0].unoccluded & sources[1].unoccluded
        errors = {name: step.warping_error(unoccluded) for name, step in steps.items()}
        for name, error in errors.items():
            self._note(name, "SWE", error)
        if self._steps:
            self._add_motion(steps, *sources)
        self._steps, self._errors = steps, errors

    def result(self) -> dict[str, dict[str, float]]:
        """By kind of image; without what no frame had, such as moving parts."""
        means: dict[str, dict[str, float]] = {}
        for name, measures in self._values.items():
            columns = {measure: np.transpose(values) for measure, values in measures.items()}
            means[name] = {measure: float(np.average(a, weights=weights)) for measure, (a, weights) in columns.items()}
        largest = max((means[name].get("change", 0) for name in SOURCES if name in means), default=0)
        return {name: {**row, "ratio": row["change"] / largest} if largest else row for name, row in means.items()}

    def _add_changes(self, steps: Mapping[str, Step], thermal: Step, luminance: Step) -> None:
        changes = np.maximum(thermal.change, luminance.change)
        still, moving = changes < STILL, changes > MOVING
        for name, step in steps.items():
            if still.any():
                self._note(name, "change", step.change[still].mean(), still.sum())
            if moving.sum() >= FEWEST_MOVING:
                edges, lag = moving_edges(step, thermal, luminance, moving)
                self._note(name, "edges", edges)
                self._note(name, "lag", lag)

    def _add_motion(self, steps: Mapping[str, Step], thermal: Step, luminance: Step) -> None:
        """About the frame between the last step and this one."""
        unoccluded = thermal.reverse.unoccluded & luminance.reverse.unoccluded
        bends = {name: step.forward - self._steps[name].forward for name, step in steps.items()}
        for name, step in steps.items():
            self._note(name, "BiSWE", self._errors[name] + step.reverse.warping_error(unoccluded))
            self._note(name, "MS2R", np.mean([np.abs(bends[name] - bends[source]).mean() for source in SOURCES]))

    def _note(self, name: str, measure: str, value: float | np.floating, weight: float = 1) -> None:
        self._values[name][measure].append((float(value), weight))


def moving_edges(fused: Step, thermal: Step, luminance: Step, where: Mask) -> tuple[float, float]:
    """How well the edges of a fused image lie where those of its sources lie now, ``(correlation, lag)``.

    The sources' edge strength is that of the stronger one. The lag is the share of the frame before in a linear
    regression of the fused edge strength on the sources' of both frames: 0 for what moves with them, 1 for what is a
    frame late.
    """
    now, past = (
        np.maximum(_edge_strength(images[0]), _edge_strength(images[1]))[where].astype(np.float64)
        for images in ((thermal.after, luminance.after), (thermal.before, luminance.before))
    )
    edges = _edge_strength(fused.after)[where].astype(np.float64)
    slopes = np.linalg.lstsq(np.stack((now, past, np.ones_like(now)), axis=1), edges, rcond=None)[0][:2]
    return correlation(now, edges), float(slopes[1] / slopes.sum()) if slopes.sum() > 0 else 0.0


def clip_table(clip: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown of a clip test, one row a kind of image."""
    lines = [f"| steadiness of | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in clip.items():
        lines.append(f"| {name} | {' | '.join(f'{row[key]:.3f}' if key in row else '' for key in COLUMNS)} |")
    return "\n".join(lines) + "\n"


def _flow(here: Image, there: Image) -> Flow:
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    images = np.ascontiguousarray(here), np.ascontiguousarray(there)
    return dis.calc(*images, np.zeros((*here.shape, 2), np.float32)).astype(np.float32)


def _warp(image: np.ndarray, flow: Flow) -> np.ndarray:
    """``H x W`` or ``H x W x 2``: each pixel from where the flow points."""
    rows, columns = np.indices(image.shape[:2], np.float32)
    return cv2.remap(
        image, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _edge_strength(image: Image) -> NDArray[np.float32]:
    return cv2.magnitude(*(cv2.Sobel(image, cv2.CV_32F, *way) for way in ((1, 0), (0, 1))))  # type: ignore[return-value]
