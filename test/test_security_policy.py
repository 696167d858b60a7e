"""The SROS 2 policy in ``config/security`` is that of the node as it is, and a running process needs no more."""

from __future__ import annotations

from xml.etree import ElementTree

from ros_helpers import ROOT, NodeProcess

from mmcfusion_ros.tools.security_policy import interface_of, node_interface, policy_xml

POLICY = ROOT / "config" / "security" / "policy.xml"


def allowed() -> dict[tuple[str, str], set[str]]:
    """Names by kind and permission."""
    rules: dict[tuple[str, str], set[str]] = {}
    for rule in ElementTree.parse(POLICY).find("./enclaves/enclave/profiles/profile"):
        ((permission, qualifier),) = rule.attrib.items()
        assert qualifier == "ALLOW"
        rules[rule.tag, permission] = {name.text for name in rule}
    return rules


def test_the_file_is_what_the_command_writes():
    assert POLICY.read_text() == policy_xml(node_interface()), (
        "run: mmcfusion security-policy > config/security/policy.xml"
    )


def test_a_running_process_needs_no_more_than_it_allows():
    with NodeProcess() as process:
        rig = process.rig
        rig.wait(lambda: rig.state() == "active")
        names = ("mmcfusion", rig.namespace)
        rig.wait(lambda: names in rig.node.get_node_names_and_namespaces())
        rig.wait(lambda: {"rgb/image_raw", "thermal/image_raw", "rgb/camera_info"} <= rig.inputs())
        rig.wait(lambda: rig.node.get_publisher_names_and_types_by_node(*names))
        interface = interface_of(rig.node, *names)
    for rule, found in interface.items():
        assert {name.removeprefix("/") for name in found} <= allowed().get(rule, set()), rule
    assert "fused/image_raw" in interface["topics", "publish"]
    assert "~/change_state" in interface["services", "reply"]
