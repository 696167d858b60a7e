"""Thermal edges on the RGB image: where they are drawn, and that the node publishes them."""

from __future__ import annotations

import numpy as np
import pytest

from mmcfusion_ros.fusion.overlay import GREEN, thermal_edges


def green(image: np.ndarray) -> np.ndarray:
    return (image == GREEN).all(axis=2)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_edges_are_green_where_the_thermal_image_has_them(channels):
    thermal = np.zeros((96, 128), np.uint8)
    thermal[32:64, 40:80] = 200
    seen = np.full((96, 128), 255, np.uint8)
    seen[:, 60:] = 0
    visible = np.full((96, 128, *channels), 100, np.uint8)
    rows, columns = np.nonzero(green(thermal_edges(visible, thermal, None)))
    assert (rows.min(), rows.max()) == pytest.approx((32, 63), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((40, 79), abs=2)
    part = thermal_edges(visible, thermal, seen)
    assert np.nonzero(green(part))[1].max() < 60
    assert (part[10, 10] == 70).all()
    assert np.array_equal(part, thermal_edges(visible, 255 - thermal, seen))


def test_the_node_publishes_them_while_somebody_subscribes():
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from camera_messages import pixels_of, stamp_ns
    from ros_helpers import Bench
    from sensor_msgs.msg import Image

    with Bench() as bench:
        rig, overlays = bench.rig, []
        rig.start()
        subscription = rig.node.create_subscription(Image, f"{rig.full_name}/debug/overlay", overlays.append, 50)
        rig.wait(lambda: overlays, rig.publish)
        assert overlays[0].encoding == "rgb8"
        assert green(pixels_of(overlays[0])).any()
        rig.wait(lambda: stamp_ns(overlays[0]) in {stamp_ns(fused) for fused in rig.fused})
        rig.node.destroy_subscription(subscription)
        rig.fuse()
