"""The process of the fusion node: ``ros2 run mmcfusion_ros fusion_node``."""

from __future__ import annotations

import signal

from mmcfusion_ros.ros.memory import share_one_heap

STOP_SIGNALS = signal.SIGINT, signal.SIGTERM


def main() -> None:
    """Runs the node until SIGINT, SIGTERM or a shutdown of the ROS context; exit status 0 then, 1 if it died."""
    share_one_heap()
    # They are waited for, not handled: beside CUDA, in 2 of 2 runs, no handler of Python's was called.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    from mmcfusion_ros.ros.fusion_node import run  # its libraries start threads

    run(STOP_SIGNALS)


if __name__ == "__main__":
    main()
