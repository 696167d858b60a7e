"""Faults of cameras, clocks, networks and files against one running node over real DDS. After each of them good pairs
must come out fused again; ``results/faults.md`` has the table."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import threading
import time
import zlib

import numpy as np
import pytest
from camera_messages import HEIGHT, NS, WIDTH, image, pixels_of, png_image, rgb_image, stamp_ns, thermal_image
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_helpers import Bench, Rig
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.resources import package_file
from mmcfusion_ros.ros import fusion_node
from mmcfusion_ros.stream.messages import fill_compressed

BIG = 2**32 - 1


@pytest.fixture(scope="module", autouse=True)
def _quick_diagnostics():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion_node, "DIAGNOSTICS_PERIOD_S", 0.03)
        yield


@pytest.fixture(scope="module")
def bench():
    """One node takes all of it."""
    with Bench(stall_timeout=0.5) as bench:
        bench.rig.start()
        yield bench


@pytest.fixture
def rig(bench, figure, request):
    bench.rig.fuse()
    bench.rig.logs.clear()
    yield bench.rig
    begin = time.monotonic()
    bench.rig.wait(lambda: bench.rig.modes[-1] == "FUSED", bench.rig.publish)
    bench.rig.fuse()
    figure("fused again after, s", time.monotonic() - begin)
    assert bench.rig.state() == "active"
    assert not bench.rig.errors()


def drops(rig, reason: str, send) -> int:
    """Sends until more have been dropped for this reason; how many."""

    def dropped() -> int:
        said = len(rig.statuses)
        rig.wait(lambda: len(rig.statuses) > said + 1)  # the next may have been on its way already
        return int(rig.values().get(f"dropped.{reason}", 0))

    before = dropped()
    rig.wait(lambda: dropped() > before, send)
    return int(rig.values()[f"dropped.{reason}"]) - before


def message(encoding="rgb8", height=HEIGHT, width=WIDTH, step=3 * WIDTH, data=b"", big_endian=0) -> Image:
    made = Image(encoding=encoding, height=height, width=width, step=step, is_bigendian=big_endian)
    made.data.frombytes(data)
    return made


BAD = {
    "truncated": ("bad_size", message(data=b"x" * 1000)),
    "step too small": ("bad_size", message(step=WIDTH, data=bytes(3 * WIDTH * HEIGHT))),
    "width * height overflows": ("bad_size", message(height=BIG, width=BIG, step=BIG, data=bytes(1000))),
    "step * height wraps to 0": ("bad_size", message(height=2**31, width=2, step=2**31, data=bytes(6))),
    "no pixels": ("bad_size", message(height=0, width=0, step=0)),
    "16k x 16k without data": ("bad_size", message(height=16384, width=16384, step=3 * 16384)),
    "empty encoding": ("bad_encoding", message(encoding="", data=bytes(3 * WIDTH * HEIGHT))),
    "encoding with NUL": ("bad_encoding", message(encoding="\0rgb8", data=bytes(3 * WIDTH * HEIGHT))),
    "long encoding": ("bad_encoding", message(encoding="rgb8" * 10_000, data=bytes(3 * WIDTH * HEIGHT))),
    "one row of 9000 pixels": ("bad_pair", message(height=1, width=9000, step=27000, data=bytes(27000))),
}


@pytest.mark.parametrize("camera", ["thermal", "rgb"])
def test_bad_images(rig, figure, camera):
    for name, (reason, bad) in BAD.items():
        if camera == "thermal" and reason == "bad_pair":
            continue
        figure(f"{camera} {name}: {reason}", drops(rig, reason, lambda b=bad: rig.publish(**{camera: b})))


def test_a_camera_comes_back_with_another_size_encoding_and_frame(rig):
    """Twice, and back."""
    for height, width, encoding in ((96, 128, "bgr8"), (50, 70, "mono8"), (HEIGHT, WIDTH, "rgb8")):
        rig.spin(0.6)  # longer than stall_timeout
        rgb = rgb_image(height, width)
        if encoding != "rgb8":
            rgb = image(pixels_of(rgb)[..., 0] if encoding == "mono8" else pixels_of(rgb)[..., ::-1], encoding)
        rig.wait(
            lambda h=height: rig.fused[-1].height == h and rig.fused[-1].header.frame_id == f"frame_{h}",
            lambda r=rgb, h=height: rig.publish(thermal_image(h // 2, 40), r, frame=f"frame_{h}"),
        )
        assert rig.fused[-1].width == width


STAMPS = {
    "zero": ("stale_rgb", lambda now, n: 0),
    "equal": ("duplicate_rgb", lambda now, n: 77 * NS * 10**7),
    "late by 5 s": ("stale_rgb", lambda now, n: now - 5 * NS),
    "backward by 0.2 s every other": ("out_of_order_rgb", lambda now, n: now - n % 2 * NS // 5),
}


@pytest.mark.parametrize(("reason", "stamp"), STAMPS.values(), ids=STAMPS.keys())
def test_bad_stamps(rig, figure, reason, stamp):
    if reason == "duplicate_rgb":
        now = rig.now_ns()
        send = lambda: rig.publish(at_ns=now)  # noqa: E731
    else:
        numbers = iter(range(10_000))
        send = lambda: rig.publish(at_ns=stamp(rig.now_ns(), next(numbers)))  # noqa: E731
    figure(f"{reason}", drops(rig, reason, send))


@pytest.mark.parametrize("ahead_s", [3600, 2**31 - 1 - 1_900_000_000])
def test_stamps_of_the_far_future(rig, figure, ahead_s):
    """Of one camera, of both, and back."""
    rig.wait(lambda: rig.modes[-1] == "RGB_ONLY", lambda: rig.publish(skew_ns=-ahead_s * NS))
    future = rig.now_ns() + ahead_s * NS
    rig.wait(lambda: stamp_ns(rig.fused[-1]) >= future, lambda: rig.publish(at_ns=rig.now_ns() + ahead_s * NS))


def test_both_late_by_a_second(rig):
    rig.wait(lambda: rig.now_ns() - stamp_ns(rig.fused[-1]) > NS, lambda: rig.publish(at_ns=rig.now_ns() - 3 * NS // 2))


@pytest.mark.parametrize("loss", ["30 %", "bursts"])
def test_message_loss(rig, figure, loss):
    """Of 60 frames of each camera at 30 Hz; a burst takes 10 of 20."""
    chance, whole, first = random.Random(1), 0, len(rig.fused)
    for n in range(60):
        kept = [camera for camera in ("thermal", "rgb") if (chance.random() > 0.3 if loss == "30 %" else n % 20 < 10)]
        at_ns = rig.now_ns()
        for camera in kept:
            rig.publish_one(camera, at_ns)
        whole += len(kept) == 2
        rig.spin(1 / 30)
    rig.spin(0.3)
    figure("pairs with both frames", whole)
    figure("of them fused", len(rig.fused) - first)
    assert 0 < len(rig.fused) - first <= 60


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["thermal", "rgb"])
def test_one_camera_at_ten_times_the_rate(rig, figure, fast):
    """100 Hz beside 10 Hz: each frame of the slow one is fused with the one of its stamp, or its neighbour."""
    slow = {"thermal": "rgb", "rgb": "thermal"}[fast]
    sent, first, start_ns = [], len(rig.fused), rig.now_ns()
    for n in range(200):
        at_ns = start_ns + n * NS // 100
        rig.publish_one(fast, at_ns)
        if n % 10 == 0:
            rig.publish_one(slow, at_ns)
            sent.append(at_ns)
        rig.spin(0.01)
    rig.wait(lambda: len(rig.fused) > first + 1)
    rig.spin(0.3)
    figure(f"{fast} at ten times the rate: fused of 20", len(rig.fused) - first)
    assert len(rig.fused) - first <= len(sent)
    assert rig.modes[-1] == "FUSED"
    rig.wait(lambda: int(rig.values().get(f"dropped.unpaired_{fast}", 0)) > 0)


def test_two_publishers_on_one_topic_are_named(rig):
    domain = rig.context.get_domain_id()
    other = Rig(domain, rig.namespace, node_name="second_driver")
    try:
        rig.wait(
            lambda: (
                f"2 publishers on {rig.namespace}/rgb/image_raw: {rig.namespace}/rig, {rig.namespace}/second_driver"
                in rig.problem()
            ),
            lambda: (rig.publish(), other.publish_one("rgb")),
        )
        rig.fuse()
    finally:
        other.close()


def test_camera_info_of_every_kind(rig):
    def send(**changes):
        info = rig.publish_info()
        for field, value in changes.items():
            setattr(info, field, value)
        rig.info.publish(info)
        rig.publish()

    nan = [float("nan")] * 9
    rig.wait(lambda: any("not finite" in text for text in rig.warnings()), lambda: send(k=nan))
    del rig.infos[:]
    rig.spin(0.3)
    send(k=nan)
    rig.spin(0.3)
    rig.wait(lambda: any(not any(info.k) for info in rig.infos), lambda: send(k=[0.0] * 9))
    assert not any(np.isnan(info.k).any() for info in rig.infos)
    rig.wait(
        lambda: any(f"is {BIG}x{BIG}" in text for text in rig.warnings()),
        lambda: send(height=BIG, width=BIG),
    )
    assert rig.thermal_alone().height == HEIGHT, "a camera_info that cannot be true gives no grid"


def test_fifty_unrelated_image_topics(rig, figure):
    others = [rig.node.create_publisher(Image, f"other_{n}/image_raw", 1) for n in range(50)]
    try:
        begin, count = time.monotonic(), len(rig.fused)
        for _ in range(20):
            for other in others:
                other.publish(rgb_image())
            rig.publish()
            rig.spin(0.05)
        rig.wait(lambda: len(rig.fused) > count + 5, rig.publish)
        figure("six fused images after, s", time.monotonic() - begin)
    finally:
        for other in others:
            rig.node.destroy_publisher(other)


def test_parameters_of_every_kind_while_it_fuses(rig):
    """All are refused with their name, and another pair is fused after each."""
    for name, value in (
        ("pairing.slop", -1.0),
        ("pairing.slop", float("nan")),
        ("pairing.slop", "wide"),
        ("jpeg_quality", 2**62),
        ("model", ["lite"]),
        ("output_encoding", "\0rgb8"),
        ("stall_timeout", 1e300),
        ("threads", 2),
        ("trace_file", "/etc/passwd"),
    ):
        assert name in rig.set_parameter(name, value)
        rig.fuse()


@pytest.mark.slow
def test_every_transition_after_every_other_in_every_state(rig):
    """Those that the state allows are done, the others refused."""
    done = {
        ("unconfigured", "configure"): "inactive",
        ("inactive", "activate"): "active",
        ("active", "deactivate"): "inactive",
        ("inactive", "cleanup"): "unconfigured",
    }
    state, seen = "active", set()
    for pair in itertools.product(("configure", "deactivate", "cleanup", "activate"), repeat=2):
        for transition in pair:
            seen.add((state, transition))
            assert rig.try_change(transition) == ((state, transition) in done)
            state = done.get((state, transition), state)
            assert rig.state() == state
    assert (len(seen), state) == (12, "active")
    assert all(error.startswith("Unable to start transition") for error in rig.errors())  # said by rcl of a refused one
    rig.logs.clear()


@pytest.mark.slow
def test_lifecycle_transitions_in_every_order_from_two_clients_at_once(bench, rig, figure):
    second = Rig(rig.context.get_domain_id(), rig.namespace, node_name="second_operator")
    answers: list[bool] = []
    try:
        second.state()
        chance = random.Random(3)

        def operate(operator: Rig) -> None:
            for _ in range(15):
                answers.append(operator.try_change(chance.choice(["configure", "activate", "deactivate", "cleanup"])))

        threads = [threading.Thread(target=operate, args=(operator,)) for operator in (rig, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        state = rig.state()
        assert state in ("unconfigured", "inactive", "active")
        for transition in {"unconfigured": ["configure", "activate"], "inactive": ["activate"]}.get(state, []):
            assert rig.change(transition)
    finally:
        second.close()
    figure("transitions asked for", len(answers))
    figure("of them done", sum(answers))
    assert not bench.running.errors
    rig.logs.clear()


@pytest.mark.slow
def test_model_files_are_truncated_and_replaced_while_running(tmp_path, private_cache):
    """A mapped file that shrinks would end the process."""
    files = [tmp_path / name for name in ("lite.xml", "lite.bin")]
    for file in files:
        shutil.copy(package_file("models") / file.name, tmp_path)
    good = {file: file.read_bytes() for file in files}
    with Bench(model=str(tmp_path / "lite.xml")) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        for file in (*files, *private_cache.rglob("*.blob")):
            os.truncate(file, 100)
        assert rig.fuse(rgb=rgb_image(96, 128)).height == 96, "a size that was not compiled yet"
        assert rig.change("deactivate")
        assert rig.change("cleanup")
        for file in files:
            for rubbish in (good[file][:1000], b"", b"\0" * 1000, good[file][::-1]):
                for other in files:
                    other.write_bytes(good[other])
                file.write_bytes(rubbish)
                before = len(rig.errors())
                assert not rig.change("configure")
                rig.wait(lambda b=before: len(rig.errors()) > b)
                assert rig.errors()[-1].startswith("cannot configure: "), rig.errors()
                assert str(tmp_path) in rig.errors()[-1]
        for file in files:
            file.write_bytes(good[file])
        rig.start()
        rig.fuse()


def test_the_calibration_file_is_replaced_by_garbage_while_running(tmp_path):
    file = tmp_path / "calibration.yaml"
    good = "homography: [1, 0, 0, 0, 1, 0, 0, 0, 1]\nthermal_size: [64, 48]\nrgb_size: [64, 48]\n"
    file.write_text(good)
    with Bench(registration__type="homography", registration__file=str(file)) as bench:
        rig = bench.rig
        rig.start()
        rig.fuse()
        file.write_bytes(os.urandom(5000))
        rig.fuse()
        assert rig.fuse(rgb=rgb_image(96, 128)).height == 96
        assert rig.change("deactivate")
        assert rig.change("cleanup")
        assert not rig.change("configure")
        rig.wait(rig.errors)
        assert rig.errors()[0].startswith(f"cannot configure: {file} ")
        file.write_text(good)
        rig.start()
        rig.fuse()


def test_a_publisher_whose_qos_does_not_match_is_named():
    with Bench(qos__input_reliability="reliable") as bench:
        rig = bench.rig
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        rig.node.destroy_publisher(rig.thermal)
        rig.thermal = rig.node.create_publisher(Image, "thermal/image_raw", best_effort)
        rig.start()
        expected = f"{rig.namespace}/rig cannot be heard on {rig.namespace}/thermal/image_raw: "
        rig.wait(lambda: expected in rig.problem(), rig.publish)
        assert "best effort" in rig.problem().lower()
        rig.wait(lambda: rig.modes[-1] == "RGB_ONLY", rig.publish)


def test_compressed_rubbish_and_bombs(figure):
    with Bench(rgb__transport="compressed", thermal__transport="compressed", stall_timeout=0.5) as bench:
        rig = bench.rig
        rig.thermal = rig.node.create_publisher(CompressedImage, "thermal/image_raw/compressed", 10)
        rig.rgb = rig.node.create_publisher(CompressedImage, "rgb/image_raw/compressed", 10)
        rig.start()
        thermal = png_image(pixels_of(thermal_image()), "mono8")
        rgb = fill_compressed(CompressedImage(), pixels_of(rgb_image()), 90)
        rig.fuse(thermal, rgb)
        png, jpeg = bytes(thermal.data), bytes(rgb.data)
        bomb = png[:16] + (60_000).to_bytes(4, "big") * 2 + png[24:29]
        bomb += zlib.crc32(bomb[12:]).to_bytes(4, "big") + png[33:]
        for reason, data in (
            ("bad_data", jpeg[: len(jpeg) // 2]),
            ("bad_data", png[: len(png) // 2]),
            ("bad_encoding", os.urandom(1000)),
            ("bad_encoding", b""),
            ("bad_size", bomb),
        ):
            bad = CompressedImage(format="jpeg")
            bad.data.frombytes(data)
            figure(f"{len(data)} bytes: {reason}", drops(rig, reason, lambda b=bad: rig.publish(thermal, b)))
        rig.fuse(thermal, rgb)


def test_a_simulated_clock_that_starts_at_0_and_jumps(figure):
    """Forward by an hour, back by two (a bag that loops), back to 0."""
    with Bench(use_sim_time=True, stall_timeout=0.5) as bench:
        rig = bench.rig
        clock = rig.node.create_publisher(Clock, "/clock", 10)
        stamps: list[int] = [0]

        def tick() -> None:
            stamps.append(stamps[-1] + NS // 10)
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(stamps[-1], NS)
            clock.publish(message)
            rig.publish(at_ns=stamps[-1])

        rig.start()
        for jump_s in (0, 3600, -7200, -10, 5):
            stamps[:] = [max(0, stamps[-1] + jump_s * NS)]
            begin = time.monotonic()
            rig.wait(lambda: rig.fused and stamp_ns(rig.fused[-1]) in stamps[1:], tick)
            figure(f"clock jumps by {jump_s} s: fused again after, s", time.monotonic() - begin)
        assert not rig.errors()


def test_the_published_pixels_are_those_of_the_network(rig):
    """After everything above the node computes what a new fuser does."""
    assert not rig.set_parameter("output.steady", False)  # it holds what the pairs before were, within some grey levels
    thermal, rgb = thermal_image(), rgb_image()
    fuser = Fuser.from_pretrained(threads=1)
    expected = fuser(pixels_of(thermal), pixels_of(rgb)).astype(int)
    assert np.abs(pixels_of(rig.fuse(thermal, rgb)).astype(int) - expected).max() <= 2
