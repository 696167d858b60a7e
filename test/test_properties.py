"""Generated bad input: messages, pairing, parameters, calibration and weights files. No exception that is not the
promised one, no hang, no growth. ``MMCFUSION_NIGHTLY=1`` tries more than 10,000 inputs, otherwise some 300."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from camera_messages import HEIGHT, NS, WIDTH, header, ramp, rgb_from_message, thermal_from_message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ros_helpers import NIGHTLY, Bench
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mmcfusion_ros.fusion.calibration_file import load_calibration
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.network.weights import load_network
from mmcfusion_ros.ros.memory import give_back
from mmcfusion_ros.ros.node_parameters import qos_profile
from mmcfusion_ros.stream.messages import BadImage
from mmcfusion_ros.stream.mode import ModeSwitch
from mmcfusion_ros.stream.pairing import Pairer, PairingOptions
from mmcfusion_ros.stream.parameters import PARAMETERS
from mmcfusion_ros.stream.settings import Settings

GROWTH_MB = 20


def tries(number: int):
    """So many examples in CI, 40 times as many in the night; the same ones each time."""
    return settings(
        max_examples=number * (40 if NIGHTLY else 1),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def in_use_mb() -> dict[str, float]:
    """Memory that was in use after the last round of each test."""
    return {}


@pytest.fixture(autouse=True, params=["first", "second", "third"] if NIGHTLY else ["only"])
def no_growth(request, in_use_mb, figure):
    """After the same inputs a third time no more memory is in use than after the second."""
    yield
    give_back()
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:")]
    name, now_mb = request.function.__name__, int(line.split()[1]) / 1024
    growth_mb = now_mb - in_use_mb.get(name, now_mb)
    in_use_mb[name] = now_mb
    figure("memory in use has risen by, MB", growth_mb)
    assert request.param != "third" or growth_mb < GROWTH_MB


def encoded(extension: str) -> bytes:
    return cv2.imencode(extension, ramp(HEIGHT, WIDTH))[1].tobytes()


sizes = st.integers(0, 70) | st.sampled_from([HEIGHT, WIDTH, 16384, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)
stamps = st.integers(0, 20) | st.integers(0, 2**62)
encodings = st.sampled_from(["mono8", "mono16", "16UC1", "rgb8", "bgra8", "8UC3", "bayer_rggb8", "", "\0"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=20
)
raw_images = st.builds(
    lambda encoding, height, width, step, big, data: _image(encoding, height, width, step, big, data),
    encodings,
    sizes,
    sizes,
    sizes,
    st.integers(0, 255),
    st.binary(max_size=2000) | st.just(bytes(4 * HEIGHT * WIDTH)),
)


def _image(encoding, height, width, step, big, data) -> Image:
    message = Image(encoding=encoding, height=height, width=width, step=step, is_bigendian=big)
    message.data.frombytes(data)
    return message


@st.composite
def compressed_images(draw):
    """JPEG and PNG files with bytes changed, cut off or put in, and pure noise."""
    data = bytearray(draw(st.sampled_from([encoded(".jpg"), encoded(".png")])))
    for _ in range(draw(st.integers(0, 5))):
        position = draw(st.integers(0, len(data)))
        data[position : position + draw(st.integers(0, 40))] = draw(st.binary(max_size=40))
    message = CompressedImage(format=draw(st.sampled_from(["jpeg", "png", "", "rgb8; jpeg compressed rgb8"])))
    message.data.frombytes(bytes(data) if draw(st.integers(0, 9)) else draw(st.binary(max_size=300)))
    return message


@tries(80)
@given(raw_images | compressed_images())
def test_messages(message):
    for reader in (thermal_from_message, rgb_from_message):
        try:
            image = reader(message)
        except BadImage as error:
            assert error.reason in ("bad_encoding", "bad_size", "bad_data")  # noqa: PT017
        else:
            assert image.size
            assert image.dtype in (np.uint8, np.uint16)


@tries(60)
@given(
    st.lists(st.tuples(st.sampled_from(["thermal", "rgb"]), stamps, st.integers(-(10**10), 10**10)), max_size=60),
    st.integers(1, 5),
    st.booleans(),
)
def test_pairing_and_modes(frames, queue_size, with_clock):
    """Any stamps and any clock: queues stay bounded, every frame comes out once, and the mode is one of five."""
    now_ns, modes = 0, []
    pairer = Pairer(PairingOptions(10**8, 10**7, 10**9, queue_size))
    switch = ModeSwitch(1.0, 3, ("rgb", "thermal"), lambda new, old: modes.append(new), lambda: now_ns / 1e9)
    paired = 0
    for number, (stream, stamp, step) in enumerate(frames):
        now_ns += abs(step)
        pairs = pairer.add(stream, stamp, number, now_ns, stamp + step if with_clock else None)
        switch.note(arrived=[stream])
        for pair in pairs:
            paired += 1
            assert abs(pair.skew_ns) <= 10**8
            switch.note(**{"good" if pair.rgb % 2 else "bad": ["pair"]})
        assert 0 <= number + 1 - 2 * paired - sum(pairer.drops.values()) <= 2 * queue_size  # those that wait
    pairer.reset("end")
    assert 2 * paired + sum(pairer.drops.values()) == len(frames)
    assert set(modes) <= {"FUSED", "RGB_ONLY", "THERMAL_ONLY", "NONE"}


any_value = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers())


@tries(60)
@given(st.data())
def test_parameters(data):
    """Any value of any type is taken in the right type or refused by name; together they make settings or one line."""
    values = {}
    for parameter in PARAMETERS:
        extremes = [parameter.default, *(parameter.choices or ())]
        extremes += [type(parameter.default)(x) for x in (parameter.low, parameter.high) if x is not None]
        try:
            values[parameter.name] = parameter.check(data.draw(st.sampled_from(extremes) | any_value))
        except ValueError as error:
            assert parameter.name in str(error)  # noqa: PT017
            values[parameter.name] = data.draw(st.sampled_from(extremes))
        assert type(values[parameter.name]) is type(parameter.default)
    made = Settings(values)
    assert qos_profile(made, "input").depth >= 1
    assert qos_profile(made, "output").depth >= 1
    assert made.pairing().queue_size >= 1
    assert set(made.pass_through()) <= {"rgb", "thermal"}


SIZES = {"thermal_size": [64, 48], "rgb_size": [80, 60]}
numbers = st.floats() | st.integers() | st.text(max_size=5) | st.none()
yaml_values = st.recursive(
    numbers, lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=5), inner)
)
calibrations = (
    st.binary(max_size=200)
    | st.builds(lambda value: yaml.safe_dump({"homography": value} | SIZES).encode(), yaml_values)
    | st.builds(
        lambda nine: yaml.safe_dump({"homography": nine} | SIZES).encode(),
        st.lists(st.floats(-1e6, 1e6) | st.floats(-2, 2), min_size=9, max_size=9),
    )
    | st.text(max_size=100).map(lambda text: f"homography: {text}".encode())
)


@tries(60)
@given(calibrations)
def test_calibration_files(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "generated.yaml"
    path.write_bytes(content)
    try:
        calibration = load_calibration(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        return
    try:
        warped, _ = Registration(calibration).warp(np.zeros((48, 64), np.uint8), (60, 80))
    except ValueError as error:
        assert "outside" in str(error)  # noqa: PT017
    else:
        assert warped.shape == (60, 80)


@pytest.fixture(scope="module")
def weights(random_lite) -> bytes:
    return Path(random_lite).read_bytes()


@tries(30)
@given(data=st.data())
def test_weights_files(tmp_path_factory, weights, data):
    """The header changed, cut, lengthened; the data cut."""
    (length,) = struct.unpack("<Q", weights[:8])
    body, rest = bytearray(weights[8 : 8 + length]), weights[8 + length :]
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(body)))
        body[position : position + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    length = data.draw(st.just(len(body)) | st.integers(0, 2**64 - 1))
    path = tmp_path_factory.getbasetemp() / "generated.safetensors"
    path.write_bytes(
        struct.pack("<Q", length) + body + rest[: data.draw(st.just(len(rest)) | st.integers(0, len(rest)))]
    )
    try:
        load_network(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017


@pytest.fixture(scope="module")
def bench():
    with Bench(stall_timeout=0.2, watchdog_timeout=60.0) as bench:
        bench.rig.start()
        bench.rig.fuse()
        yield bench


infos = st.builds(
    lambda height, width, k: CameraInfo(height=height, width=width, k=k),
    sizes,
    sizes,
    st.lists(st.floats(), min_size=9, max_size=9),
)


@tries(30)
@given(st.lists(st.tuples(st.sampled_from(["thermal", "rgb", "info"]), raw_images, infos, stamps), max_size=8))
def test_the_callbacks_of_a_running_node(bench, messages):
    for stream, message, info, stamp in messages:
        if stream == "info":
            bench.rig.info.publish(info)
        else:
            message.header = header(min(stamp, (2**31 - 1) * NS), "frame")
            {"thermal": bench.rig.thermal, "rgb": bench.rig.rgb}[stream].publish(message)
    assert "fusion" in {thread.name for thread in threading.enumerate()}


def test_the_node_still_fuses(bench):
    bench.rig.wait(lambda: bench.rig.modes[-1] == "FUSED", bench.rig.publish)
    bench.rig.fuse()
    assert not bench.rig.errors()
    assert not bench.running.errors
