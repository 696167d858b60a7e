"""The process of the fusion node: ``ros2 run mmcfusion_ros fusion_node``."""

from __future__ import annotations

from mmcfusion_ros.ros.memory import share_one_heap


def main() -> None:
    """Runs the node until SIGINT, SIGTERM or a shutdown of the ROS context; exit status 0 then, 1 if it died."""
    share_one_heap()
    from mmcfusion_ros.ros.fusion_node import run  # rclpy starts threads

    run()


if __name__ == "__main__":
    main()
