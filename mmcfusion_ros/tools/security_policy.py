"""The SROS 2 policy of the node, taken from the interface that it really has."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import save_calibration
from mmcfusion_ros.ros.fusion_node import FusionNode

# Together they open every topic that the node can have; depth is read with a calibration of its own.
CONFIGURATIONS: tuple[dict[str, Any], ...] = (
    {},
    {
        "publish_compressed": True,
        "rgb.transport": "compressed",
        "thermal.transport": "compressed",
        "use_sim_time": True,
    },
    {"registration.type": "depth"},
)
Interface = dict[tuple[str, str], set[str]]


def interface_of(node: Node, name: str, namespace: str) -> Interface:
    """The topics and services of a node in the graph that ``node`` sees, by kind and permission."""
    rules = {
        ("topics", "subscribe"): node.get_subscriber_names_and_types_by_node,
        ("topics", "publish"): node.get_publisher_names_and_types_by_node,
        ("services", "reply"): node.get_service_names_and_types_by_node,
        ("services", "request"): node.get_client_names_and_types_by_node,
    }
    found = {rule: query(name, namespace) for rule, query in rules.items()}
    return {rule: {_expression(topic, name, namespace) for topic, _ in topics} for rule, topics in found.items()}


def node_interface(namespace: str = "/") -> Interface:
    """All that a fusion node opens in any of ``CONFIGURATIONS``. Loads the model."""
    union: Interface = {}
    with TemporaryDirectory() as folder:
        rig = Path(folder) / "rig.yaml"
        save_calibration(Calibration(rotation=np.eye(3), translation=np.zeros(3)), rig)
        for parameters in CONFIGURATIONS:
            file = {"registration.file": str(rig)} if "registration.type" in parameters else {}
            for rule, names in _interface_with({**parameters, **file}, namespace).items():
                union.setdefault(rule, set()).update(names)
    return union


def _interface_with(parameters: Mapping[str, Any], namespace: str) -> Interface:
    context = Context()
    rclpy.init(args=[], context=context, domain_id=random.randint(1, 100))
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = FusionNode(context=context, namespace=namespace, parameter_overrides=overrides)
    try:
        node.trigger_configure()
        node.trigger_activate()
        return interface_of(node, node.get_name(), node.get_namespace())
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def policy_xml(interface: Mapping[tuple[str, str], set[str]], namespace: str = "/") -> str:
    """A policy file of SROS 2 (version 0.2.0) that allows the node ``mmcfusion`` this interface and nothing else."""
    policy = ElementTree.Element("policy", version="0.2.0")
    path = f"{namespace.rstrip('/')}/mmcfusion"
    enclave = ElementTree.SubElement(ElementTree.SubElement(policy, "enclaves"), "enclave", path=path)
    profiles = ElementTree.SubElement(enclave, "profiles")
    profile = ElementTree.SubElement(profiles, "profile", ns=namespace, node="mmcfusion")
    for (kind, permission), names in interface.items():
        if names:
            rule = ElementTree.SubElement(profile, kind, {permission: "ALLOW"})
            for name in sorted(names):
                ElementTree.SubElement(rule, kind.removesuffix("s")).text = name
    ElementTree.indent(policy)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<!-- Written by: mmcfusion security-policy -->\n'
    return head + ElementTree.tostring(policy, encoding="unicode") + "\n"


def _expression(topic: str, name: str, namespace: str) -> str:
    """As policies write names: ``~/`` for the node's own, relative within the namespace."""
    own = f"{namespace.rstrip('/')}/{name}/"
    return f"~/{topic.removeprefix(own)}" if topic.startswith(own) else topic.removeprefix(f"{namespace.rstrip('/')}/")
