"""Parameters that take effect while the node runs, on a real one: without a lost frame, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from camera_messages import pixels_of, stamp_ns
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from ros_helpers import Bench, Rig

SHIFTED = "homography: [1, 0, {shift}, 0, 1, 0, 0, 0, 1]\nthermal_size: [64, 48]\nrgb_size: [64, 48]\n"


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    file = tmp_path_factory.mktemp("calibration") / "rig.yaml"
    file.write_text(SHIFTED.format(shift=0))
    with Bench(**{"registration.type": "homography", "registration.file": str(file)}) as bench:
        bench.rig.start()
        bench.rig.fuse()
        yield bench.rig


def drops(rig: Rig) -> dict[str, str]:
    """Counts of the next diagnostics."""
    first = len(rig.statuses)
    rig.wait(lambda: len(rig.statuses) > first)
    return {name: value for name, value in rig.values().items() if name.startswith("dropped.")}


def picture(rig: Rig) -> np.ndarray:
    """A pair of the same scene as ever, fused."""
    return pixels_of(rig.fuse()).astype(int)


def differ(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).mean() > 1)


def test_encoding_changes_without_a_lost_frame(rig):
    before, first = drops(rig), len(rig.fused)
    sent = []
    for encoding in ("mono8", "bgr8", "rgb8"):
        for _ in range(4):
            sent.append(rig.publish())
            rig.wait(lambda: len(rig.fused) == first + len(sent))
        assert rig.set_parameter("output_encoding", encoding) == ""
    assert rig.fuse().encoding == "rgb8"
    assert [stamp_ns(message) for message in rig.fused[first : first + 12]] == sent
    assert [message.encoding for message in rig.fused[first : first + 12]] == ["rgb8"] * 4 + ["mono8"] * 4 + [
        "bgr8"
    ] * 4
    assert drops(rig) == before


def test_compressed_images_come_and_go(rig):
    assert rig.set_parameter("publish_compressed", True) == ""
    rig.wait(lambda: rig.compressed, rig.publish)
    size = len(rig.compressed[-1].data)
    assert rig.set_parameter("jpeg_quality", 5) == ""
    rig.wait(lambda: len(rig.compressed[-1].data) < 0.8 * size, rig.publish)
    assert rig.set_parameter("publish_compressed", False) == ""
    rig.wait(lambda: not rig.node.count_publishers("fused/image_raw/compressed"), rig.publish)
    rig.fuse()


def test_thermal_scaling(rig):
    before = picture(rig)
    assert rig.set_parameter("thermal.polarity", "black_hot") == ""
    assert differ(picture(rig), before)
    assert rig.set_parameter("thermal.polarity", "white_hot") == ""
    assert not differ(picture(rig), before)


def test_calibration(rig, tmp_path):
    before, old = picture(rig), rig.get_parameter("registration.file")
    file = tmp_path / "shifted.yaml"
    file.write_text(SHIFTED.format(shift=40))
    assert rig.set_parameter("registration.file", str(file)) == ""
    assert differ(picture(rig), before)
    file.write_text(SHIFTED.format(shift=0))
    assert rig.set_parameter("registration.file", str(file)) == ""  # read again
    assert not differ(picture(rig), before)
    assert rig.set_parameter("registration.file", old) == ""


@pytest.mark.parametrize(("name", "value", "old", "skew_s"), [
    ("pairing.slop", 0.3, 0.05, 0.2),
    ("pairing.thermal_offset", 0.6, 0.0, 0.6),
    ("pairing.thermal_offset", -0.6, 0.0, -0.6),
])  # fmt: skip
def test_pairing(rig, name, value, old, skew_s):
    skew_ns, sent = round(skew_s * 1e9), []
    assert rig.set_parameter(name, value) == ""
    rig.wait(
        lambda: sent and any(stamp_ns(m) in sent for m in rig.fused), lambda: sent.append(rig.publish(skew_ns=skew_ns))
    )
    assert rig.set_parameter(name, old) == ""
    rig.fuse()


@pytest.mark.parametrize(("name", "value", "reason"), [
    ("thermal.low_percentile", 99.9, "the low one must be below the high one"),
    ("thermal.palette", "lava", "thermal palette is 'lava'"),
    ("registration.file", "/no/such.yaml", "calibration file /no/such.yaml does not exist"),
    ("registration.file", "", "registration.file is empty"),
    ("jpeg_quality", 101, "Min: 1, Max: 100"),
    ("model", "lite", "model takes effect at configure"),
])  # fmt: skip
def test_what_is_refused_leaves_all_as_it_was(rig, name, value, reason):
    before, old = picture(rig), rig.get_parameter(name)
    assert reason in rig.set_parameter(name, value)
    assert rig.get_parameter(name) == old
    assert not differ(picture(rig), before)


def test_all_or_none(rig):
    before = rig.fuse()
    changes = {"output_encoding": "mono8", "registration.file": "/no/such.yaml"}
    parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in changes.items()]
    request = SetParametersAtomically.Request(parameters=parameters)
    result = rig.call("set_parameters_atomically", SetParametersAtomically, request).result
    assert "/no/such.yaml does not exist" in result.reason
    assert rig.get_parameter("output_encoding") == "rgb8"
    assert rig.fuse().encoding == before.encoding


def test_what_is_set_before_the_first_frame_or_while_inactive_stays(rig):
    assert rig.set_parameter("output_encoding", "bgr8") == ""
    assert rig.change("deactivate")
    assert rig.set_parameter("publish_compressed", True) == ""
    assert rig.change("activate")
    first = len(rig.compressed)
    rig.wait(lambda: len(rig.compressed) > first, rig.publish)
    assert rig.fuse().encoding == "bgr8"


def test_ranges_for_sliders(rig):
    quality = rig.describe_parameter("jpeg_quality").integer_range[0]
    assert (quality.from_value, quality.to_value) == (1, 100)
    slop = rig.describe_parameter("pairing.slop").floating_point_range[0]
    assert (slop.from_value, slop.to_value) == (0.0, 10.0)
