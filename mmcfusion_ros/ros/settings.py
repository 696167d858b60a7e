"""The node's settings: its parameter values as the objects they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy

from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.fusion.pipeline import FusionPipeline
from mmcfusion_ros.fusion.registration import Registration, load_homography
from mmcfusion_ros.fusion.thermal import ThermalOptions, ThermalScaler
from mmcfusion_ros.ros.pairing import PairingOptions
from mmcfusion_ros.ros.parameters import PARAMETERS, READ_ONLY, Value
from mmcfusion_ros.ros.trace import FrameTrace


def declare_parameters(node: Node) -> None:
    """Declares the whole table on the node. Values are checked by ``read_parameters``, so that a wrong one in a
    parameter file leaves a node that can be told the right one."""
    for parameter in PARAMETERS:
        descriptor = ParameterDescriptor(
            description=parameter.description,
            additional_constraints=parameter.range_text,
            read_only=parameter.name in READ_ONLY,
            dynamic_typing=True,
        )
        node.declare_parameter(parameter.name, parameter.default, descriptor)


def read_parameters(node: Node) -> dict[str, Value]:
    """All values by name; ``ValueError`` naming the first that is wrong."""
    return {p.name: p.check(node.get_parameter(p.name).value) for p in PARAMETERS}


def check_changes(changes: list[Parameter], configured: bool) -> SetParametersResult:
    """Whether a node takes new values: wrong ones never, right ones until it is configured."""
    table = {parameter.name: parameter for parameter in PARAMETERS}
    for new in changes:
        if new.name not in table:
            continue
        if configured:
            reason = f"{new.name} takes effect at configure: deactivate and clean up the node first"
            return SetParametersResult(successful=False, reason=reason)
        try:
            table[new.name].check(new.value)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


@dataclass(frozen=True)
class Settings:
    """Validated parameter values."""

    values: Mapping[str, Value]

    def text(self, name: str) -> str:
        """A string parameter."""
        return str(self.values[name])

    def whole(self, name: str) -> int:
        """An integer parameter."""
        return int(self.values[name])

    def number(self, name: str) -> float:
        """A parameter of type double."""
        return float(self.values[name])

    def nanoseconds(self, name: str) -> int:
        """A parameter in seconds, as integer nanoseconds."""
        return round(self.number(name) * 1e9)

    def pairing(self) -> PairingOptions:
        """Limits of the pairing; ``ValueError`` if they make no sense together."""
        return PairingOptions(
            slop_ns=self.nanoseconds("pairing.slop"),
            max_wait_ns=self.nanoseconds("pairing.max_wait"),
            max_age_ns=self.nanoseconds("pairing.max_age"),
            queue_size=self.whole("pairing.queue_size"),
            thermal_offset_ns=self.nanoseconds("pairing.thermal_offset"),
        )

    def pipeline(self) -> FusionPipeline:
        """The whole way of a frame, loaded and run once; errors say which parameter or file is wrong."""
        fuser = Fuser.from_pretrained(
            self.text("model"), self.text("backend"), self.text("device"), self.text("precision"), self.whole("threads")
        )
        options = ThermalOptions(
            mode=self.text("thermal.scaling"),
            low_percentile=self.number("thermal.low_percentile"),
            high_percentile=self.number("thermal.high_percentile"),
            fixed_low=self.number("thermal.fixed_low"),
            fixed_high=self.number("thermal.fixed_high"),
        )
        pipeline = FusionPipeline(fuser, ThermalScaler(options), Registration(self._homography()))
        blank = np.zeros((self.whole("warm_up_height"), self.whole("warm_up_width")), np.uint8)
        fuser(blank, blank)
        return pipeline

    def trace(self, failed: Callable[[str], object]) -> FrameTrace | None:
        """The trace that is asked for, begun; ``failed(text)`` is called if it ends early."""
        path = self.text("trace_file")
        return FrameTrace(path, failed) if path else None

    def _homography(self) -> np.ndarray | None:
        if self.text("registration.type") == "identity":
            return None
        if not self.text("registration.file"):
            raise ValueError("registration.type is homography but registration.file is empty; name the YAML file")
        return load_homography(self.text("registration.file"))

    def input_qos(self) -> QoSProfile:
        """Of the subscriptions."""
        return self._qos("qos.input")

    def output_qos(self) -> QoSProfile:
        """Of the publishers."""
        return self._qos("qos.output")

    def _qos(self, group: str) -> QoSProfile:
        reliable = self.text(f"{group}_reliability") == "reliable"
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        return QoSProfile(depth=self.whole(f"{group}_depth"), reliability=policy)
