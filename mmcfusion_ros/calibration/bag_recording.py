"""Pairs and single frames of a bag, whole or damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mmcfusion_ros.bags.events import CameraEvents, Paired, with_depth
from mmcfusion_ros.bags.reading import Bag, read_message
from mmcfusion_ros.bags.topics import Topic, find_cameras, find_depth
from mmcfusion_ros.calibration.range_check import View, variants
from mmcfusion_ros.calibration.recording import StampedFrame, ThermalAndRgb, spread
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.fuser import split_luminance
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.stream.camera_info import CameraInfoRegistration
from mmcfusion_ros.stream.depth import DepthInput
from mmcfusion_ros.stream.messages import BadImage, BitDepth, image_from_message
from mmcfusion_ros.stream.pairing import Pair, PairingOptions, stamp_ns


class BagRecording:
    """As :class:`FolderRecording`, of an open bag; topics that are not named are found, pairs are those of
    ``pairing``. Messages that cannot be read are left out."""

    def __init__(
        self, bag: Bag, pairing: PairingOptions, thermal: ThermalOptions, thermal_topic: str = "", rgb_topic: str = ""
    ) -> None:
        self._bag = bag
        self._cameras = find_cameras(bag.topics, thermal_topic, rgb_topic, bag.encoding_of)
        self._pairing, self._thermal = pairing, thermal

    def pairs(self, count: int) -> list[ThermalAndRgb]:
        """Paired as the node does."""
        chosen = set(spread(range(sum(1 for _ in self._pairs())), count))
        scale, depth, images = ThermalScaler(self._thermal), BitDepth(), []
        for i, pair in enumerate(self._pairs()):
            if i in chosen:
                with suppress(BadImage):
                    images.append((_thermal_image(scale, pair.thermal), image_from_message(pair.rgb, "rgb", depth)))
        return images

    def views(
        self, calibration: Calibration, depth: DepthInput, topic: str, count: int
    ) -> tuple[Calibration, dict[str, list[View]]]:
        """The calibration with all its lenses, and pairs with the distances that ``depth`` makes of the messages of
        their time, by the name of each of the :func:`variants`; of the depth ``topic``, or of the one that is found.
        ``ValueError`` saying why there are none."""
        cameras = replace(self._cameras, depth=find_depth(self._bag.topics, topic, calibration.depth_rotation is None))
        chosen = set(spread(range(sum(1 for _ in self._pairs())), count))
        lenses, scale, bits = CameraInfoRegistration(calibration), ThermalScaler(self._thermal), BitDepth()
        found: dict[str, list[View]] = {name: [] for name in variants(calibration)}
        problem = "the bag holds no pair"
        events = with_depth(CameraEvents(self._bag, cameras, self._pairing).read(), depth, depth.take)
        for i, event in enumerate(event for event in events if isinstance(event, Paired)):
            if i not in chosen:
                continue
            for camera in lenses.cameras:
                if camera in event.camera_infos:
                    lenses.take(event.camera_infos[camera], camera)
            depth.rgb_frame = event.pair.rgb.header.frame_id
            thermal, rgb = _thermal_image(scale, event.pair.thermal), image_from_message(event.pair.rgb, "rgb", bits)
            luminance, _ = split_luminance(rgb)
            for name, variant in variants(lenses.registration.calibration).items():
                try:
                    _, inverse_depth, _ = depth.nearest(
                        Registration(variant), thermal.shape, luminance, event.pair.rgb_stamp_ns
                    )
                    found[name].append(View(thermal, rgb, inverse_depth))
                except ValueError as error:
                    problem = problem if name else str(error)
        if not found[""]:
            raise ValueError(f"no pair with depth: {problem}")
        return lenses.registration.calibration, found

    def streams(self) -> tuple[Iterator[StampedFrame], Iterator[StampedFrame]]:
        """With the stamps of the messages."""
        thermal = self._frames(self._cameras.thermal, partial(_thermal_image, ThermalScaler(self._thermal)))
        depth = BitDepth()

        def luminance(message: Any) -> np.ndarray:
            return split_luminance(image_from_message(message, "rgb", depth))[0]

        return thermal, self._frames(self._cameras.rgb, luminance)

    def _pairs(self) -> Iterator[Pair[Any]]:
        events = CameraEvents(self._bag, self._cameras, self._pairing).read()
        return (event.pair for event in events if isinstance(event, Paired))

    def _frames(self, topic: Topic, luminance: Callable[[Any], np.ndarray]) -> Iterator[StampedFrame]:
        for recorded in self._bag.messages([topic.name]):
            with suppress(ValueError):
                message = read_message(recorded.data, topic.type)
                yield stamp_ns(message) / 1e9, luminance(message)


def _thermal_image(scale: ThermalScaler, message: Any) -> np.ndarray:
    return scale(scale.upright(image_from_message(message, "thermal")))
