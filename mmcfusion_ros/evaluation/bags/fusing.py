"""Pairs to fused frames, with the node's own pipeline."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

from mmcfusion_ros.bags.events import Arrived, Dropped, Event, Paired, with_depth
from mmcfusion_ros.fusion.errors import one_line
from mmcfusion_ros.stream.health import milliseconds
from mmcfusion_ros.stream.messages import drop_reason, plain_image
from mmcfusion_ros.stream.pairing import Pair
from mmcfusion_ros.stream.pipeline import FusionPipeline, Result

STAGES = ("decode", "thermal", "luminance", "registration", "network", "colour", "encode", "total")


@dataclass(frozen=True)
class Fused:
    """A fused pair; ``message`` is the fused image as it goes on the wire, but for its header; ``errors_px`` what the
    registration knows of its own error, by name."""

    pair: Pair[Any]
    camera_info: Any
    time_ns: int
    result: Result
    message: Any
    milliseconds: dict[str, float]
    errors_px: dict[str, float]


Outcome = Arrived | Fused | Dropped


def fuse(
    events: Iterable[Event], pipeline: FusionPipeline, encoding: str, every: int = 1
) -> Generator[Outcome, None, None]:
    """The same events, with every n-th pair fused, or dropped for the reason that the node would count; no others."""
    pairs = 0
    for event in with_depth(events, pipeline.depth, pipeline.take_geometry):
        if not isinstance(event, Paired):
            yield event
            continue
        if pairs % every == 0:
            for stream, info in event.camera_infos.items():
                pipeline.take_camera_info(info, stream)
            yield _fused(event, pipeline, encoding)
        pairs += 1


def _fused(event: Paired, pipeline: FusionPipeline, encoding: str) -> Fused | Dropped:
    try:
        result = pipeline.fuse(event.pair)
        message = plain_image(result.image, encoding)
    except Exception as error:
        return Dropped(drop_reason(error), "pair", event.pair.rgb_stamp_ns, event.time_ns, one_line(error))
    result.moments["encode"] = time.perf_counter()
    info = event.camera_infos.get("rgb")
    errors_px = pipeline.depth.errors_px() if pipeline.depth else {}
    return Fused(event.pair, info, event.time_ns, result, message, milliseconds(result.moments), errors_px)
