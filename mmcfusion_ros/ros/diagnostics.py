"""The messages of ``/diagnostics``."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from mmcfusion_ros.stream.health import Level


def status_message(
    name: str, level: Level, text: str, values: Mapping[str, str], hardware_id: str = ""
) -> DiagnosticStatus:
    """One status with its values by key."""
    keys = [KeyValue(key=key, value=value) for key, value in values.items()]
    number = getattr(DiagnosticStatus, level)
    return DiagnosticStatus(level=number, name=name, message=text, hardware_id=hardware_id, values=keys)


def node_status(
    name: str, hardware_id: str, problems: list[str], values: Mapping[str, str], failure: str = ""
) -> DiagnosticStatus:
    """OK, WARN with the problems, or ERROR with the failure before them."""
    fine = "nobody subscribes, so nothing is fused" if values.get("subscribers") == "0" else "fusing"
    level: Level = "ERROR" if failure else "WARN" if problems else "OK"
    problems = [failure, *problems] if failure else problems
    return status_message(name, level, "; ".join(problems) or fine, values, hardware_id)
