"""``output.purpose`` and ``display/image_raw`` of a node over real DDS, with the shipped weights."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from camera_messages import pixels_of, rgb_image, stamp_ns, thermal_image
from ros_helpers import Bench, Rig
from sensor_msgs.msg import Image

from mmcfusion_ros.fusion import models
from mmcfusion_ros.fusion.fuser import Fuser

TOPIC = "display/image_raw"


def displayed(rig: Rig) -> list[Image]:
    """What comes on the display topic from now on."""
    messages: list[Image] = []
    rig.node.create_subscription(Image, TOPIC, messages.append, 50)
    return messages


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Those that the rig sends, but for their first pixel."""
    return pixels_of(thermal_image()), pixels_of(rgb_image())


@pytest.mark.parametrize(
    ("purpose", "model", "polarity"), [("detection", "detect", "black_hot"), ("display", "lite", "white_hot")]
)
def test_purpose_decides_the_weights_and_how_thermal_goes_out_alone(purpose, model, polarity):
    with Bench(output__purpose=purpose, stall_timeout=0.5) as bench:
        rig = bench.rig
        rig.start()
        fused = pixels_of(rig.fuse())
        expected = Fuser.from_pretrained(model, threads=1)(*pictures())
        assert np.abs(fused.astype(int) - expected)[8:, 8:].mean() < 1
        rig.wait(lambda: "model" in rig.values())
        assert (rig.values()["model"], rig.values()["thermal_polarity"]) == (model, polarity)
        alone = pixels_of(rig.thermal_alone())[..., 0]
        thermal = pictures()[0]
        np.testing.assert_array_equal(alone[1:], (255 - thermal if polarity == "black_hot" else thermal)[1:])


def test_an_explicit_model_has_its_own_polarity(random_lite_graph):
    with Bench(model=str(random_lite_graph)) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        rig.wait(lambda: rig.values().get("thermal_polarity") == "white_hot")
        assert rig.values()["model"] == str(random_lite_graph)


def test_display_shows_the_pair_as_lite_fuses_it_and_what_is_left_when_a_camera_is_lost():
    with Bench(stall_timeout=0.5, display__max_rate=20.0) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        assert "display" not in {thread.name for thread in threading.enumerate()}, "nobody has subscribed"
        shown = displayed(rig)
        rig.wait(lambda: shown, rig.publish)
        assert (shown[0].encoding, shown[0].header.frame_id) == ("rgb8", "rgb_frame")
        expected = Fuser.from_pretrained("lite", threads=1)(*pictures())
        assert np.abs(pixels_of(shown[0]).astype(int) - expected)[8:, 8:].mean() < 1
        rig.wait(lambda: stamp_ns(shown[0]) in map(stamp_ns, rig.fused))

        rig.wait(lambda: rig.modes[-1] == "RGB_ONLY", lambda: rig.publish_one("rgb"))
        # A pair that was at work when its camera was lost may still come first.
        rig.wait(lambda: np.array_equal(pixels_of(shown[-1])[1:], pictures()[1][1:]), lambda: rig.publish_one("rgb"))

        rig.thermal_alone()
        first = len(shown)
        rig.wait(lambda: shown[first:], lambda: rig.publish_one("thermal"))
        np.testing.assert_array_equal(pixels_of(shown[-1])[1:, :, 0], pictures()[0][1:])
        assert int(rig.values()["display_images"]) > 0

        assert rig.change("deactivate")
        assert rig.change("activate")
        first = len(shown)
        rig.wait(lambda: shown[first:], rig.publish)
        assert not rig.errors()


def test_display_keeps_to_its_rate_and_stops_with_its_subscriber():
    with Bench(display__max_rate=4.0) as bench:
        rig = bench.rig
        rig.start()
        shown = displayed(rig)
        rig.wait(lambda: shown, rig.publish)
        first, begin = len(shown), time.monotonic()
        while time.monotonic() - begin < 3:
            rig.publish()
            rig.spin(0.03)
        assert 1 <= len(shown) - first <= 4 * (time.monotonic() - begin) + 1
        for subscription in list(rig.node.subscriptions):
            if subscription.topic_name.endswith(TOPIC):
                rig.node.destroy_subscription(subscription)
        rig.wait(lambda: not rig.node.get_subscriptions_info_by_topic(f"{rig.namespace}/{TOPIC}"))
        rig.spin(2.0)
        published = rig.values()["display_images"]
        rig.fuse()
        rig.spin(1.5)
        assert rig.values()["display_images"] == published


def test_display_that_fails_is_told_of_and_tried_again_while_frames_for_detectors_go_on(monkeypatch):
    monkeypatch.setitem(models.PURPOSES, "display", "no_such_model")
    monkeypatch.setattr("mmcfusion_ros.ros.display.RETRY_S", 0.2)
    with Bench() as bench:
        rig = bench.rig
        rig.start()
        shown = displayed(rig)
        rig.wait(lambda: "display/image_raw: model 'no_such_model' is neither" in rig.problem(), rig.publish)
        assert rig.statuses[-1].level == b"\1"
        rig.fuse()
        assert len([line for line in rig.warnings() if "no_such_model" in line]) == 1
        assert not shown
        models.PURPOSES["display"] = "lite"
        rig.wait(lambda: shown, rig.publish)
        rig.wait(lambda: "display/image_raw" not in rig.problem(), rig.publish)


def test_purpose_display_has_no_display_topic():
    with Bench(output__purpose="display") as bench:
        rig = bench.rig
        rig.start()
        shown = displayed(rig)
        rig.fuse()
        assert not rig.node.get_publishers_info_by_topic(f"{rig.namespace}/{TOPIC}")
        assert not shown
