"""Frozen detectors as differentiable functions: the same as ncnn runs them, and a loss that says what is missed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_detector import NcnnNetwork, TorchDetector, detection_loss, overlap

from mmcfusion_ros.data.images import read_rgb

DETECTORS = Path(__file__).resolve().parents[2] / "shared" / "detectors"


def write_ncnn(path, lines, weights):
    """A network of those lines, and of a float32 weight and a bias for each convolution."""
    path.write_text("\n".join(["7767517", f"{len(lines)} {len(lines) + 1}", *lines]) + "\n")
    with path.with_suffix(".bin").open("wb") as file:
        for weight, bias in weights:
            file.write(struct.pack("<I", 0) + weight.astype("<f4").tobytes() + bias.astype("<f4").tobytes())


class TestNcnnNetwork:
    LINES = (
        "Input a 0 1 image",
        "Convolution b 1 1 image x 0=4 1=3 3=2 4=1 5=1 6=108 9=1",
        "Split c 1 2 x y z",
        "Pooling d 1 1 y p 0=0 1=3 2=1 3=1",
        "BinaryOp e 2 1 p z out 0=0",
    )

    @pytest.fixture
    def network(self, tmp_path):
        rng = np.random.default_rng(0)
        self.weight, self.bias = rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
        write_ncnn(tmp_path / "net.param", self.LINES, [(self.weight, self.bias)])
        return NcnnNetwork(tmp_path / "net.param")

    def test_is_what_its_lines_say(self, network):
        image = torch.rand(2, 3, 16, 24)
        x = torch.relu(
            torch.conv2d(image, torch.from_numpy(self.weight).float(), torch.from_numpy(self.bias).float(), 2, 1)
        )
        expected = x + torch.max_pool2d(x, 3, 1, 1)
        torch.testing.assert_close(network(image)["out"], expected)

    def test_is_frozen_and_lets_gradients_through(self, network):
        image = torch.rand(1, 3, 16, 24, requires_grad=True)
        network(image)["out"].sum().backward()
        assert image.grad.abs().sum() > 0
        assert not list(network.parameters())

    def test_a_file_of_weights_that_does_not_fit(self, tmp_path):
        write_ncnn(tmp_path / "net.param", self.LINES, [(np.zeros((4, 3, 3, 3)), np.zeros(5))])
        with pytest.raises(ValueError, match=r"net\.param: its weights have"):
            NcnnNetwork(tmp_path / "net.param")

    def test_a_name_that_tells_no_form(self, tmp_path):
        write_ncnn(tmp_path / "net.param", self.LINES, [(np.zeros((4, 3, 3, 3)), np.zeros(4))])
        with pytest.raises(ValueError, match="yolox, nanodet"):
            TorchDetector(tmp_path / "net.param")


@pytest.mark.parametrize("name", ["yolox-nano.param", "nanodet-m-416.param"])
def test_finds_what_ncnn_finds(name, shared_data):
    """The best person and the best vehicle of a real image, by the same file through ncnn."""
    pytest.importorskip("ncnn", reason="ncnn is not installed")
    from mmcfusion_ros.evaluation.detection.detectors import load_detector

    path = DETECTORS / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    image = read_rgb(shared_data / "roadscene/train/vi/FLIR_08954.jpg")[:320, :416]
    image = np.pad(image, ((0, 416 - image.shape[0]), (0, 416 - image.shape[1]), (0, 0)))
    found = load_detector(path, threads=1)(image)
    with torch.no_grad():
        corners, scores = TorchDetector(path)(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    for kind in range(2):
        of_kind = found.kinds == kind
        best = int(scores[0, :, kind].argmax())
        assert scores[0, best, kind].item() == pytest.approx(found.scores[of_kind].max(), abs=0.02)
        theirs = torch.from_numpy(found.corners[of_kind][found.scores[of_kind].argmax()])
        assert overlap(corners[0, best, None].clamp(0, 416), theirs[None]).item() > 0.9
        np.testing.assert_allclose(corners[0, best].clamp(0, 416), theirs, atol=2)


def test_overlap_is_intersection_over_union():
    one = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    others = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    torch.testing.assert_close(overlap(one, others)[0], torch.tensor([1.0, 50 / 150, 0.0]))


class TestDetectionLoss:
    BOX = torch.tensor([[10.0, 10.0, 30.0, 50.0]])
    PERSON = torch.tensor([0])

    def loss(self, corners, person, boxes=BOX, kinds=PERSON):
        scores = torch.stack((torch.tensor(person), torch.zeros(len(person))), dim=1)
        images = (x.unsqueeze(0) for x in (torch.tensor(corners), scores, boxes, kinds))
        return detection_loss(*images, best=1).item()

    def test_a_sure_box_in_place_costs_least(self):
        here, beside, there = [10.0, 10.0, 30.0, 50.0], [14.0, 10.0, 34.0, 50.0], [60.0, 10.0, 80.0, 50.0]
        sure, unsure = self.loss([here], [0.9]), self.loss([here], [0.3])
        assert sure < unsure
        assert sure < self.loss([beside], [0.9]) < self.loss([there], [0.9])
        assert sure == pytest.approx(-np.log(0.9), abs=1e-3)

    def test_a_false_box_costs_unless_it_lies_on_what_is_ignored(self):
        here, there = [10.0, 10.0, 30.0, 50.0], [60.0, 10.0, 80.0, 50.0]
        clean, false = self.loss([here, there], [0.9, 0.0]), self.loss([here, there], [0.9, 0.6])
        assert false == pytest.approx(clean + 0.25 * 0.6 * -np.log(0.4), abs=1e-3)
        boxes, kinds = torch.cat((self.BOX, torch.tensor([there]))), torch.tensor([0, -1])
        assert self.loss([here, there], [0.9, 0.6], boxes, kinds) == pytest.approx(clean, abs=1e-3)

    def test_nothing_labelled(self):
        nothing = torch.zeros(1, 4), torch.tensor([-2])
        assert self.loss([[0.0, 0.0, 5.0, 5.0]], [0.01], *nothing) == 0
        assert self.loss([[0.0, 0.0, 5.0, 5.0]], [0.5], *nothing) > 0
