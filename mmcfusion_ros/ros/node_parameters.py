"""The parameters of the table on a node, and what of them only ROS has a type for."""

from __future__ import annotations

import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Literal

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy

from mmcfusion_ros.stream.parameters import LIVE, PARAMETERS, READ_ONLY, Value
from mmcfusion_ros.stream.settings import Settings


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
        if parameter.low is None or parameter.high is None:
            continue
        if isinstance(parameter.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high))]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(parameter.low), to_value=float(parameter.high))
            ]
        with suppress(InvalidParameterValueException):  # a wrong value stays, without the range
            node.set_descriptor(parameter.name, descriptor)


def read_parameters(node: Node) -> dict[str, Value]:
    """All values by name; ``ValueError`` naming the first that is wrong, or given but no parameter of the node."""
    unknown = [name for name in node._parameter_overrides if not node.has_parameter(name)]
    files = [Path(b) for a, b in pairwise(sys.argv) if a == "--params-file"]
    if unknown or files:
        from mmcfusion_ros.stream.parameter_files import check_files, check_names

        check_names(unknown)
        check_files(files, node.get_fully_qualified_name())
    return {p.name: p.check(node.get_parameter(p.name).value) for p in PARAMETERS}


def check_changes(changes: list[Parameter], configured: bool) -> SetParametersResult:
    """Whether a node takes new values: wrong ones never; right ones until it is configured, of ``LIVE`` always."""
    table = {parameter.name: parameter for parameter in PARAMETERS}
    for new in changes:
        if new.name not in table:
            continue
        if configured and new.name not in LIVE:
            reason = f"{new.name} takes effect at configure: deactivate and clean up the node first"
            return SetParametersResult(successful=False, reason=reason)
        try:
            table[new.name].check(new.value)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def qos_profile(settings: Settings, side: Literal["input", "output"]) -> QoSProfile:
    """Of the subscriptions or of the publishers."""
    reliable = settings.text(f"qos.{side}_reliability") == "reliable"
    policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(depth=settings.whole(f"qos.{side}_depth"), reliability=policy)
