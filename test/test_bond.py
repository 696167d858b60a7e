"""The bond with nav2's lifecycle manager: a heartbeat while the node is active."""

from __future__ import annotations

import importlib.util

import pytest
from ros_helpers import Bench, NodeProcess

PERIOD = "bond_heartbeat_period"
INSTALLED = importlib.util.find_spec("bond") is not None
needs_bond = pytest.mark.skipif(not INSTALLED, reason="no wheel has bond; on a robot: apt install ros-$ROS_DISTRO-bond")


@needs_bond
@pytest.mark.parametrize("end", ["deactivate", "SIGINT"])
def test_a_manager_hears_that_the_node_lives_and_that_it_ends(end):
    from bond.msg import Status

    with NodeProcess(f"-p autostart:=false -p {PERIOD}:=0.1") as node:
        rig, heard = node.rig, []
        rig.node.create_subscription(Status, "bond", heard.append, 100)
        assert rig.change("configure")
        assert not heard
        assert rig.change("activate")
        rig.wait(lambda: len(heard) >= 3)
        assert {(status.id, status.active) for status in heard} == {("mmcfusion", True)}
        assert len({status.instance_id for status in heard}) == 1
        assert rig.change("deactivate") if end == "deactivate" else node.process.send_signal(2) is None
        rig.wait(lambda: not heard[-1].active)


@pytest.mark.skipif(INSTALLED, reason="bond is installed")
def test_a_bond_without_its_messages_is_refused():
    with Bench(**{PERIOD: 0.25}) as bench:
        assert not bench.rig.change("configure")
        assert "sudo apt install ros-$ROS_DISTRO-bond" in bench.rig.errors()[0]
