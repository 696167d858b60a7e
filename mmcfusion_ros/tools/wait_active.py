"""Ends with status 0 as soon as a lifecycle node is active; with 1 and one line if it could not be configured, is gone
or does not come.

``python -m mmcfusion_ros.tools.wait_active /mmcfusion``: so ``replay.launch.py`` loses nothing of the bag.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.node import Node

PATIENCE_S, ABSENT_S = 120.0, 20.0
WAITING = (State.PRIMARY_STATE_INACTIVE, State.TRANSITION_STATE_CONFIGURING, State.TRANSITION_STATE_ACTIVATING)


def wait_until_active(name: str) -> None:
    """``SystemExit`` saying why if the node of this full name does not become active."""
    rclpy.init()
    node = Node("wait_active")
    client: Any = node.create_client(GetState, f"{name}/get_state")
    seen = started = time.monotonic()
    try:
        while time.monotonic() - started < PATIENCE_S:
            if client.service_is_ready():
                seen = time.monotonic()
            elif time.monotonic() - seen > ABSENT_S:
                sys.exit(f"there is no lifecycle node {name}; it ended, its log says why, or has another name")
            answer = client.call_async(GetState.Request())
            rclpy.spin_until_future_complete(node, answer, timeout_sec=1.0)
            state = answer.result().current_state if answer.done() else State(id=State.PRIMARY_STATE_INACTIVE)
            if state.id == State.PRIMARY_STATE_ACTIVE:
                return
            if state.id not in WAITING:
                sys.exit(f"{name} is {state.label}, not active; its log says why")
            time.sleep(0.1)
        sys.exit(f"{name} did not become active within {PATIENCE_S:.0f} s")
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    wait_until_active(sys.argv[1])
