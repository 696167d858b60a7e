"""Pairs to fused frames, with the node's own conversions and pipeline."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcfusion_ros.bags.events import Arrived, Dropped, Event, Paired
from mmcfusion_ros.fusion.errors import one_line
from mmcfusion_ros.fusion.pipeline import FusionPipeline, StageClock
from mmcfusion_ros.stream.camera_info import CameraInfoRegistration
from mmcfusion_ros.stream.messages import BitDepth, drop_reason, rgb_from_message, thermal_from_message, wire_pixels
from mmcfusion_ros.stream.pairing import Pair

STAGES = ("decode", "thermal", "luminance", "registration", "network", "colour", "encode", "total")


@dataclass(frozen=True)
class Fused:
    """A fused pair.

    thermal: ``H x W`` uint8, scaled and registered. rgb, fused: ``H x W [x 3]`` uint8, red first. pixels: ``fused`` as
    it goes on the wire. milliseconds: by stage, and ``total``.
    """

    pair: Pair[Any]
    camera_info: Any
    time_ns: int
    thermal: np.ndarray
    rgb: np.ndarray
    fused: np.ndarray
    pixels: np.ndarray
    milliseconds: dict[str, float]


Result = Arrived | Fused | Dropped


def fuse(
    events: Iterable[Event], pipeline: FusionPipeline, cameras: CameraInfoRegistration, encoding: str, every: int = 1
) -> Generator[Result, None, None]:
    """The same events, with every n-th pair fused, or dropped for the reason that the node would count; no others.

    ``cameras`` complete the pipeline's calibration with lenses.
    """
    pairs, depth = 0, BitDepth()
    for event in events:
        if not isinstance(event, Paired):
            yield event
            continue
        if pairs % every == 0:
            for stream in cameras.cameras:
                if info := event.camera_infos.get(stream):
                    cameras.take(info, stream)
            pipeline.use(cameras.registration)
            yield _fused(event, pipeline, encoding, depth)
        pairs += 1


def _fused(event: Paired, pipeline: FusionPipeline, encoding: str, depth: BitDepth) -> Fused | Dropped:
    clock = StageClock()
    try:
        thermal = thermal_from_message(event.pair.thermal, colour=True)
        rgb = rgb_from_message(event.pair.rgb, depth)
        clock.lap("decode")
        thermal = pipeline.look(thermal, event.pair.thermal_stamp_ns / 1e9)
        fused = pipeline(thermal, rgb, clock)
        pixels = wire_pixels(fused, encoding)
        clock.lap("encode")
    except Exception as error:
        return Dropped(drop_reason(error), "pair", event.pair.rgb_stamp_ns, event.time_ns, one_line(error))
    info, registered = event.camera_infos.get("rgb"), pipeline.registered
    return Fused(event.pair, info, event.time_ns, registered, rgb, fused, pixels, clock.finish())
