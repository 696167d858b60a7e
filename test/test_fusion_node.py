"""The fusion node over real DDS: lifecycle, outputs, diagnostics."""

from __future__ import annotations

import gc
import threading
import weakref
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from camera_messages import HEIGHT, WIDTH, pixels_of, rgb_image, stamp_ns
from ros_helpers import Bench, NodeProcess, Rig, RunningNode
from sensor_msgs.msg import Image

from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.ros import session
from mmcfusion_ros.stream.pipeline import FusionPipeline

IMAGE_TOPICS = {"thermal/image_raw", "rgb/image_raw", "rgb/camera_info", "thermal/camera_info"}


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


def test_every_lifecycle_state(bench):
    rig = bench.rig
    assert rig.state() == "unconfigured"
    assert rig.change("configure")
    assert rig.state() == "inactive"
    rig.wait(lambda: rig.problem() == "configured, not active")
    assert not rig.inputs() & IMAGE_TOPICS

    for _ in range(2):
        assert rig.change("activate")
        assert rig.state() == "active"
        rig.wait(lambda: rig.inputs() >= IMAGE_TOPICS)
        rig.fuse()
        assert rig.change("deactivate")
        assert rig.state() == "inactive"
        rig.wait(lambda: not rig.inputs() & IMAGE_TOPICS)
        rig.spin(0.5)
        published = len(rig.fused)
        for _ in range(5):
            rig.publish()
            rig.spin(0.05)
        rig.spin(0.5)
        assert len(rig.fused) == published

    assert rig.change("cleanup")
    assert rig.state() == "unconfigured"
    rig.wait(lambda: not rig.node.get_publishers_info_by_topic(f"{rig.namespace}/fused/image_raw"))
    rig.start()
    rig.fuse()
    assert rig.change("shutdown")
    assert rig.state() == "finalized"
    rig.wait(lambda: not rig.inputs() & IMAGE_TOPICS)
    assert not rig.warnings()


@pytest.mark.parametrize("transitions", [[], ["configure"], ["configure", "activate", "deactivate", "cleanup"]])
def test_shutdown_from_other_states(bench, transitions):
    for transition in transitions:
        assert bench.rig.change(transition)
    assert bench.rig.change("shutdown")
    assert bench.rig.state() == "finalized"


def test_outputs_have_stamp_frame_and_intrinsics_of_the_rgb_camera(bench):
    rig = bench.rig
    rig.start()
    rig.wait(lambda: rig.values().get("camera_info_in", "0") != "0", rig.publish_info)
    sent = rig.publish_info()
    fused = rig.fuse()
    assert (fused.height, fused.width, fused.encoding, fused.step) == (HEIGHT, WIDTH, "rgb8", 3 * WIDTH)
    assert fused.header.frame_id == "rgb_frame"
    rig.wait(lambda: stamp_ns(fused) in map(stamp_ns, rig.infos))
    info = next(info for info in rig.infos if stamp_ns(info) == stamp_ns(fused))
    assert info.header == fused.header
    assert (info.height, info.width, list(info.k)) == (HEIGHT, WIDTH, list(sent.k))
    assert not rig.compressed
    assert not rig.node.get_publishers_info_by_topic(f"{rig.namespace}/fused/image_raw/compressed")


def test_nothing_is_fused_while_nobody_subscribes_and_the_next_pair_after(bench):
    rig = bench.rig
    rig.start()
    rig.fuse()
    for subscription in list(rig.node.subscriptions):
        if "/fused/" in subscription.topic_name:
            rig.node.destroy_subscription(subscription)
    rig.wait(lambda: rig.values().get("subscribers") == "0", rig.publish)
    fused = rig.values()["fused"]
    rig.wait(lambda: int(rig.values().get("dropped.no_subscriber", 0)) > 5, rig.publish)
    idle = "nobody subscribes, so nothing is fused"
    rig.wait(lambda: rig.problem() == idle, lambda: (rig.publish_info(), rig.publish()))
    assert (rig.values()["fused"], rig.values()["mode"], rig.statuses[-1].level) == (fused, "FUSED", b"\0")
    rig.node.create_subscription(Image, "fused/image_raw", rig.fused.append, 50)
    rig.fuse()


def test_skewed_pairs_take_the_stamp_of_the_rgb_image(bench):
    rig = bench.rig
    rig.start()
    stamps = set()
    rig.wait(lambda: rig.fused, lambda: stamps.add(rig.publish(skew_ns=7_000_000)))
    assert stamp_ns(rig.fused[0]) in stamps
    rig.wait(lambda: rig.values().get("skew_ms.p50") == "7.00")


def test_diagnostics(bench):
    rig = bench.rig
    rig.start()
    rig.fuse()
    rig.wait(lambda: rig.values().get("fused", "0") != "0")
    values, fuser = rig.values(), Fuser.from_pretrained("detect", threads=1)
    assert (values["model"], values["thermal_polarity"]) == ("detect", "black_hot")
    expected = [fuser.backend.name, fuser.backend.device, fuser.backend.precision]
    assert [values[name] for name in ("backend", "device", "precision")] == expected
    assert (values["registration"], values["backend_reason"]) == ("identity", fuser.reason)
    assert {"thermal_in_hz", "rgb_in_hz", "pairs_hz", "fused_hz", "skew_ms.p50"} <= values.keys()
    for stage in ("decode", "thermal", "luminance", "registration", "network", "colour", "encode", "publish", "total"):
        latencies = [float(values[f"{stage}_ms.{part}"]) for part in ("p50", "p95", "max")]
        assert 0 <= latencies[0] <= latencies[1] <= latencies[2]
    counts = {name: int(values[name]) for name in ("thermal_in", "rgb_in", "pairs", "fused")}
    assert min(counts["thermal_in"], counts["rgb_in"]) >= counts["pairs"] >= counts["fused"] >= 1
    rig.wait(lambda: rig.problem() == "fusing", lambda: (rig.publish_info(), rig.publish()))
    assert rig.statuses[-1].hardware_id == fuser.backend.device
    assert rig.statuses[-1].level == b"\0"


@pytest.mark.parametrize("encoding", ["bgr8", "mono8"])
def test_output_encoding_and_compressed_output(encoding):
    with Bench(output_encoding=encoding, publish_compressed=True, jpeg_quality=100) as bench:
        rig = bench.rig
        rig.start()
        fused = rig.fuse()
        assert fused.encoding == encoding
        rig.wait(lambda: stamp_ns(fused) in map(stamp_ns, rig.compressed))
        compressed = next(message for message in rig.compressed if stamp_ns(message) == stamp_ns(fused))
        assert compressed.header == fused.header
        assert compressed.format == "rgb8; jpeg compressed bgr8"
        bgr = cv2.imdecode(np.frombuffer(compressed.data, np.uint8), cv2.IMREAD_COLOR)
        expected = bgr if encoding == "bgr8" else cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
        assert np.abs(expected.mean(axis=(0, 1)) - pixels_of(fused).mean(axis=(0, 1))).max() < 10


def test_a_grey_rgb_camera_gives_grey_pixels_in_the_encoding_asked_for(bench):
    rig = bench.rig
    rig.start()
    rgb = rgb_image()
    rgb.encoding, rgb.width, rgb.step = "mono8", 3 * WIDTH, 3 * WIDTH
    fused = pixels_of(rig.fuse(rgb=rgb))
    assert fused.shape == (HEIGHT, 3 * WIDTH, 3)
    assert (fused == fused[..., :1]).all()


def test_two_nodes_in_one_process_keep_apart(bench):
    running = RunningNode(bench.rig.context.get_domain_id(), f"{bench.rig.namespace}_b", {"threads": 1})
    other = Rig(bench.rig.context.get_domain_id(), f"{bench.rig.namespace}_b")
    try:
        bench.rig.start()
        other.start()
        first = bench.rig.fuse()
        second = other.fuse(rgb=rgb_image(96, 128))
        bench.rig.spin(0.5)
        assert (first.height, second.height) == (HEIGHT, 96)
        assert {fused.height for fused in bench.rig.fused} == {HEIGHT}
    finally:
        other.close()
        running.close()


@pytest.fixture
def at_work(monkeypatch):
    """The pipeline and the thread that fused last; each pair waits there until it is let go."""
    at_work = SimpleNamespace(entered=threading.Event(), let_go=threading.Event())
    fuse = FusionPipeline.fuse

    def held(pipeline, *arguments):
        at_work.pipeline, at_work.thread = weakref.ref(pipeline), threading.current_thread()
        at_work.entered.set()
        assert at_work.let_go.wait(60)
        return fuse(pipeline, *arguments)

    monkeypatch.setattr(FusionPipeline, "fuse", held)
    return at_work


def test_services_answer_during_an_inference_and_the_newest_pair_wins(bench, at_work):
    rig = bench.rig
    rig.start()
    rig.wait(at_work.entered.is_set, rig.publish)
    assert rig.state() == "active"
    assert rig.get_parameter("model") == "auto"
    assert "takes effect at configure" in rig.set_parameter("threads", 2)
    rig.wait(lambda: int(rig.values().get("dropped.superseded", 0)) >= 3, rig.publish)
    last = rig.publish()
    received = int(rig.values()["rgb_in"])
    rig.wait(lambda: int(rig.values()["rgb_in"]) > received or rig.spin(1.5) or True)
    at_work.let_go.set()
    rig.wait(lambda: last in map(stamp_ns, rig.fused))
    assert len(rig.fused) <= 2  # the first one may be too old by then


def test_shutdown_does_not_wait_long_for_the_pair_at_work(bench, at_work):
    rig = bench.rig
    rig.start()
    rig.wait(at_work.entered.is_set, rig.publish)
    assert rig.change("shutdown")
    assert rig.state() == "finalized"
    assert not at_work.let_go.is_set()
    at_work.let_go.set()
    at_work.thread.join(60)
    assert not at_work.thread.is_alive()
    rig.wait(rig.warnings)
    rig.spin(0.5)
    assert rig.warnings() == ["the frame at work was given up"]
    assert not rig.fused


def test_a_transition_that_raises_is_logged_and_the_node_recovers(bench, at_work, monkeypatch):
    rig = bench.rig
    rig.start()
    at_work.let_go.set()
    rig.fuse()
    destroy = bench.node.destroy_subscription

    def fail_once(subscription):
        monkeypatch.setattr(bench.node, "destroy_subscription", destroy)
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr(bench.node, "destroy_subscription", fail_once)
    assert not rig.change("deactivate")
    assert not at_work.thread.is_alive()
    rig.wait(rig.errors)
    assert rig.errors() == ["on_deactivate failed: ZeroDivisionError('no luck')"]
    assert rig.state() == "unconfigured"
    rig.start()
    rig.fuse()


def test_an_activation_that_fails_is_logged_and_can_be_tried_again(bench, monkeypatch):
    rig = bench.rig
    assert rig.change("configure")
    with monkeypatch.context() as patch:
        patch.setattr(session, "CameraInfoSubscription", lambda *_: 1 / 0)
        assert not rig.change("activate")
    rig.wait(rig.errors)
    assert rig.errors() == ["cannot activate: division by zero"]
    assert rig.state() == "inactive"
    rig.wait(lambda: not rig.inputs() & IMAGE_TOPICS)
    assert rig.change("activate")
    rig.fuse()


@pytest.mark.parametrize("transitions", [["deactivate", "cleanup"], ["shutdown"]])
def test_cleanup_and_shutdown_release_the_model_and_the_thread(bench, at_work, transitions):
    at_work.let_go.set()
    bench.rig.start()
    bench.rig.fuse()
    for transition in transitions:
        assert bench.rig.change(transition)
    if transitions == ["shutdown"]:  # rclpy's executor keeps what it waited for until its next turn
        gc.collect()
    assert at_work.pipeline() is None
    assert not at_work.thread.is_alive()


@pytest.mark.parametrize("autostart", [True, False])
def test_autostart_of_a_process(autostart):
    with NodeProcess(f"-p autostart:={autostart}") as process:
        if autostart:
            process.rig.wait(lambda: process.rig.state() == "active")
            process.rig.fuse()
        else:
            assert process.rig.state() == "unconfigured"
            process.rig.start()
            process.rig.fuse()


def test_refinement_is_reported():
    with Bench(**{"registration.refine": "monitor", "registration.refine_period": 0.1}) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        rig.wait(lambda: rig.values().get("refine.mode") == "monitor")
        assert rig.values()["refine.state"].split()[0] in ("waiting", "frozen", "steady")
        assert rig.change("deactivate")
        assert rig.change("activate")
        rig.fuse()
