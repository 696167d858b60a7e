"""Training: the losses, the samples, and a loop that learns, stops and goes on as if it had not stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.network.weights import load_network, read_metadata
from mmcfusion_ros.training.data import VALIDATION_EVERY, PairSampler
from mmcfusion_ros.training.losses import LOSS_WEIGHTS, PAPER_WEIGHTS, fusion_losses, paper_losses, sobel
from mmcfusion_ros.training.train import Trainer, TrainingOptions, learning_rate, train

TINY = TrainingOptions(steps=6, batch=2, crop=64, warm_up=2)


def write_pairs(folder: Path, count: int = 5, size: tuple[int, int] = (80, 96)) -> Path:
    """Warm discs in thermal, stripes in RGB."""
    rng = np.random.default_rng(count)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for part in ("ir", "vi"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        x, y = rng.integers(20, 60, 2)
        thermal = 30 + 200 * ((columns - x) ** 2 + (rows - y) ** 2 < 150) + rng.normal(0, 2, size)
        visible = 100 + 60 * np.sin(columns / (2 + i)) + rng.normal(0, 2, size)
        cv2.imwrite(str(folder / "ir" / f"{i:02}.png"), np.clip(thermal, 0, 255).astype(np.uint8))
        rgb = np.repeat(np.clip(visible, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        cv2.imwrite(str(folder / "vi" / f"{i:02}.png"), rgb)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def two_sources():
    """Texture of one source where the other one is black: the ideal fused image is their sum."""
    torch.manual_seed(0)
    texture = torch.rand(2, 1, 40, 48)
    left = torch.zeros_like(texture)
    left[..., :24] = texture[..., :24]
    return left, texture - left, texture


def total(losses, weights):
    assert losses.keys() == weights.keys()
    return sum(weights[name] * term for name, term in losses.items())


LOSSES = pytest.mark.parametrize(
    ("losses", "weights"), [(fusion_losses, LOSS_WEIGHTS), (paper_losses, PAPER_WEIGHTS)], ids=["ours", "paper"]
)


class TestLosses:
    @LOSSES
    def test_better_images_cost_less(self, losses, weights):
        thermal, visible, ideal = two_sources()
        candidates = [ideal, 0.7 * ideal + 0.1, ideal / 2, torch.zeros_like(ideal), 1 - ideal]
        costs = [total(losses(image, thermal, visible), weights).item() for image in candidates]
        assert costs[0] == min(costs)
        assert costs[0] < 0.8 * min(costs[1:])

    def test_each_of_our_terms_tells_the_ideal_image_from_its_negative(self):
        thermal, visible, ideal = two_sources()
        good, bad = fusion_losses(ideal, thermal, visible), fusion_losses(1 - ideal, thermal, visible)
        for name in LOSS_WEIGHTS:
            assert good[name] < 0.7 * bad[name], name

    def test_a_pair_of_equal_images_fused_to_itself_costs_nothing_where_it_should(self):
        _, _, image = two_sources()
        terms = fusion_losses(image, image, image)
        assert terms["intensity"] == 0
        assert terms["gradient"] == 0
        assert terms["structure"].item() == pytest.approx(0, abs=1e-5)
        assert sum(paper_losses(image, image, image).values()) == 0

    def test_intensity_is_the_mean_distance_to_the_brighter_source(self):
        thermal, visible = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.5, 0.1]])
        shape = (1, 1, 8, 8)
        thermal, visible = (image.repeat(8, 4).reshape(shape) for image in (thermal, visible))
        terms = fusion_losses(torch.full(shape, 0.6), thermal, visible)
        assert terms["intensity"].item() == pytest.approx((0.1 + 0.2) / 2)

    def test_gradient_follows_the_sign_of_the_stronger_source(self):
        ramp = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
        flat = torch.full_like(ramp, 0.3)
        assert fusion_losses(ramp + 0.2, ramp, flat)["gradient"].item() == pytest.approx(0, abs=1e-6)
        inverted = fusion_losses(1 - ramp, ramp, flat)["gradient"]
        assert inverted > 1.9 * fusion_losses(flat, ramp, flat)["gradient"]

    def test_sobel_gives_the_slope_per_pixel(self):
        rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing="ij")
        slopes = sobel((3 * columns - 2 * rows)[None, None])
        torch.testing.assert_close(slopes[0, 0, 1:-1, 1:-1], torch.full((7, 5), 3.0))
        torch.testing.assert_close(slopes[0, 1, 1:-1, 1:-1], torch.full((7, 5), -2.0))

    def test_paper_loss_is_the_published_formula(self):
        """L1 to both sources, and 50 times L1 between the absolute Sobel responses, here with OpenCV's kernels."""
        rng = np.random.default_rng(0)
        fused, thermal, visible = rng.random((3, 30, 41))

        def edges(image):
            parts = (cv2.Sobel(image, cv2.CV_64F, *d, borderType=cv2.BORDER_REPLICATE) for d in ((1, 0), (0, 1)))
            return sum(np.abs(part) for part in parts)

        expected = np.abs(fused - thermal).mean() + np.abs(fused - visible).mean()
        expected += 50 * np.abs(edges(fused) - edges(np.maximum(thermal, visible))).mean()
        tensors = (torch.from_numpy(image)[None, None] for image in (fused, thermal, visible))
        assert total(paper_losses(*tensors), PAPER_WEIGHTS).item() == pytest.approx(expected)

    @LOSSES
    @pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
    @pytest.mark.parametrize("same", [True, False])
    def test_gradients_are_finite_on_flat_crops(self, losses, weights, level, same):
        thermal = torch.full((2, 1, 32, 32), level)
        visible = thermal if same else torch.rand(2, 1, 32, 32)
        for start in (thermal, torch.zeros_like(thermal), visible):
            fused = start.clone().requires_grad_()
            cost = total(losses(fused, thermal, visible), weights)
            cost.backward()
            assert torch.isfinite(cost)
            assert torch.isfinite(fused.grad).all()


class TestPairSampler:
    def test_batches_are_crops_in_0_to_1(self, pairs):
        batch = PairSampler([pairs], crop=64, seed=0).batch(0, 3)
        for images in batch:
            assert images.shape == (3, 1, 64, 64)
            assert images.dtype == torch.float32
            assert images.min() >= 0
            assert images.max() <= 1
            assert images.std() > 0.05

    def test_batch_depends_on_seed_and_step_alone(self, pairs):
        first, second = PairSampler([pairs], 64, seed=5), PairSampler([pairs], 64, seed=5)
        second.batch(9, 4)
        assert all(map(torch.equal, first.batch(7, 2), second.batch(7, 2)))
        assert not torch.equal(first.batch(7, 2)[0], first.batch(8, 2)[0])
        assert not torch.equal(first.batch(7, 2)[0], PairSampler([pairs], 64, seed=6).batch(7, 2)[0])

    def test_both_images_of_a_pair_are_cropped_and_turned_alike(self, tmp_path):
        write_pairs(tmp_path, 2)
        for path in (tmp_path / "ir").iterdir():
            cv2.imwrite(str(tmp_path / "vi" / path.name), cv2.imread(str(path)))
        for images in zip(*PairSampler([tmp_path], 64, seed=0).batch(0, 30), strict=True):
            ranks = [image.flatten().argsort(stable=True).argsort() for image in (x.round(decimals=2) for x in images)]
            correlation = torch.corrcoef(torch.stack([rank.float() for rank in ranks]))[0, 1]
            assert correlation > 0.7

    def test_every_twelfth_pair_is_held_out(self, tmp_path):
        write_pairs(tmp_path, 14)
        sampler = PairSampler([tmp_path], 64, seed=0)
        assert VALIDATION_EVERY == 12
        assert len(sampler.validation) == 2
        assert len(sampler.folders[0]) == 12
        held_out = cv2.imread(str(tmp_path / "ir" / "12.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(sampler.validation[1][0], held_out)
        assert not any(np.array_equal(thermal, held_out) for thermal, _ in sampler.folders[0])

    def test_each_folder_is_drawn_by_the_root_of_its_size(self, pairs, tmp_path):
        write_pairs(tmp_path, 19)
        np.testing.assert_allclose(
            PairSampler([pairs, tmp_path], 64, 0).weights, [2 / (2 + 17**0.5), 17**0.5 / (2 + 17**0.5)]
        )


class TestWrongPairs:
    """Each is one line that names the file."""

    def refused(self, folder, *words, error=ValueError, crop=64):
        with pytest.raises(error) as caught:
            PairSampler([folder], crop, 0)
        text = str(caught.value)
        assert "\n" not in text
        for word in words:
            assert word in text

    def test_name_without_a_partner(self, tmp_path):
        write_pairs(tmp_path)
        (tmp_path / "vi" / "03.png").rename(tmp_path / "vi" / "three.png")
        self.refused(tmp_path, str(tmp_path), "ir/03", "no partner")

    def test_sizes_that_differ(self, tmp_path):
        write_pairs(tmp_path)
        cv2.imwrite(str(tmp_path / "vi" / "03.png"), np.zeros((80, 97, 3), np.uint8))
        self.refused(tmp_path, "ir/03.png", "vi/03.png", "(80, 96)", "(80, 97)")

    def test_16_bit_thermal(self, tmp_path):
        write_pairs(tmp_path)
        cv2.imwrite(str(tmp_path / "ir" / "03.png"), np.zeros((80, 96), np.uint16))
        self.refused(tmp_path, "ir/03.png", "16-bit")

    def test_smaller_than_the_crop(self, tmp_path):
        self.refused(write_pairs(tmp_path), "ir/00.png", "(80, 96)", "82", crop=82)

    @pytest.mark.parametrize("part", ["ir", "vi"])
    @pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\0\0"])
    def test_corrupt_image(self, tmp_path, part, content):
        write_pairs(tmp_path)
        (tmp_path / part / "03.png").write_bytes(content)
        self.refused(tmp_path, f"{part}/03.png", "not a readable image")

    def test_empty_folder(self, tmp_path):
        write_pairs(tmp_path, 0)
        self.refused(tmp_path, str(tmp_path), "no image", error=FileNotFoundError)

    @pytest.mark.parametrize("missing", ["ir", "vi"])
    def test_missing_folder(self, tmp_path, missing):
        write_pairs(tmp_path, 3)
        for path in (tmp_path / missing).iterdir():
            path.unlink()
        (tmp_path / missing).rmdir()
        self.refused(tmp_path, str(tmp_path / missing), "not a folder", error=FileNotFoundError)

    def test_too_few_pairs_to_hold_one_out(self, tmp_path):
        self.refused(write_pairs(tmp_path, 1), str(tmp_path), "too few pairs")


class TestOptions:
    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"variant": "b9"}, "'b9'"),
            ({"loss": "mine"}, "'mine'; known losses: ours, paper"),
            ({"crop": 65}, "crop is 65; variant lite needs a multiple of 2, at least 64"),
            ({"crop": 62}, "at least 64"),
            ({"steps": 0}, "steps is 0"),
            ({"batch": 0}, "batch is 0"),
        ],
    )
    def test_options_that_make_no_sense(self, change, complaint):
        with pytest.raises(ValueError, match=complaint):
            replace(TINY, **change)

    @pytest.mark.parametrize("device", ["tpu", *([] if torch.cuda.is_available() else ["cuda"])])
    def test_device_that_is_not_there(self, pairs, device):
        with pytest.raises(ValueError, match=f"'{device}'"):
            Trainer(TINY, [pairs], device)

    def test_save_every_zero_steps(self, pairs, tmp_path):
        with pytest.raises(ValueError, match="save_every is 0"):
            train(TINY, [pairs], tmp_path, save_every=0)

    def test_learning_rate_rises_linearly_and_falls_to_zero(self):
        options = TrainingOptions(steps=100, warm_up=10, learning_rate=2.0)
        rates = [learning_rate(step, options) for step in range(101)]
        np.testing.assert_allclose(rates[:10], np.linspace(0.2, 2, 10))
        assert (np.diff(rates[10:]) < 0).all()
        assert rates[55] == pytest.approx(1)
        assert rates[100] == pytest.approx(0)


class Interrupted(Exception):
    """Stands for the end of the power supply."""


def interrupt_at(monkeypatch, step):
    advance = Trainer.advance

    def advance_or_stop(trainer):
        if trainer.step == step:
            raise Interrupted
        return advance(trainer)

    monkeypatch.setattr(Trainer, "advance", advance_or_stop)


@pytest.fixture(scope="module")
def finished(pairs, tmp_path_factory):
    """The folder of a whole run."""
    out = tmp_path_factory.mktemp("run")
    assert train(TINY, [pairs], out, save_every=2) == out / "lite.safetensors"
    return out


class TestTrainer:
    def test_a_short_run_lowers_the_loss_on_held_out_pairs(self, pairs):
        trainer = Trainer(replace(TINY, steps=40, warm_up=5, learning_rate=2e-3), [pairs])
        before = trainer.validate()
        for _ in range(25):
            trainer.advance()
        assert trainer.validate() < 0.95 * before

    @pytest.mark.parametrize("loss", ["ours", "paper"])
    def test_loss_that_is_not_a_number_changes_no_weights(self, pairs, monkeypatch, loss):
        trainer = Trainer(replace(TINY, loss=loss), [pairs])
        trainer.advance()
        networks = (trainer.network, trainer.average)
        before = [{name: t.clone() for name, t in network.state_dict().items()} for network in networks]
        cost = trainer.loss
        with monkeypatch.context() as patch:
            patch.setattr(trainer, "loss", lambda *images: cost(*images) * float("nan"))
            assert np.isnan(trainer.advance())
        for network, old in zip(networks, before, strict=True):
            assert all(torch.equal(old[name], tensor) for name, tensor in network.state_dict().items())
        assert trainer.step == 2
        assert np.isfinite(trainer.advance())
        assert any(not torch.equal(before[0][name], t) for name, t in trainer.network.state_dict().items())

    def test_weights_of_the_run_are_a_model(self, finished):
        network = load_network(finished / "lite.safetensors")
        assert network.variant.name == "lite"
        fused = Fuser.from_pretrained(finished / "lite.safetensors", "torch", device="cpu")(
            *np.random.default_rng(0).integers(0, 256, (2, 64, 70), dtype=np.uint8)
        )
        assert fused.shape == (64, 70)
        assert fused.std() > 5

    def test_a_run_starts_from_given_weights(self, pairs, finished):
        trainer = Trainer(replace(TINY, init=str(finished / "lite.safetensors")), [pairs])
        expected = load_network(finished / "lite.safetensors").state_dict()
        for network in (trainer.network, trainer.average):
            assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
        assert trainer.network.training

    def test_weights_of_another_variant_are_no_start(self, pairs, finished):
        with pytest.raises(ValueError, match="holds variant lite, the run is of b0"):
            Trainer(replace(TINY, variant="b0", init=str(finished / "lite.safetensors")), [pairs])

    def test_weights_say_how_they_were_trained(self, finished, pairs):
        metadata = read_metadata(finished / "lite.safetensors")
        assert metadata["step"] == "6"
        assert pairs.name in metadata["training_data"]
        assert '"crop": 64' in metadata["training_options"]
        assert float(metadata["validation_loss"]) > 0

    def test_preview_shows_the_held_out_pairs(self, finished):
        preview = cv2.imread(str(finished / "preview.jpg"))
        assert preview.shape[1] == 1280
        assert preview.std() > 20

    def test_stopped_and_resumed_run_ends_with_the_same_bits(self, pairs, finished, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            interrupt_at(patch, 5)
            with pytest.raises(Interrupted):
                train(TINY, [pairs], tmp_path, save_every=2)
        assert read_metadata(tmp_path / "lite.safetensors")["step"] == "4"
        train(TINY, [pairs], tmp_path, save_every=2)
        for name in ("last.safetensors", "lite.safetensors"):
            whole, resumed = load_file(finished / name), load_file(tmp_path / name)
            assert whole.keys() == resumed.keys()
            assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []

    def test_finished_run_is_left_as_it_is(self, pairs, finished):
        before = (finished / "last.safetensors").read_bytes()
        assert train(TINY, [pairs], finished) == finished / "lite.safetensors"
        assert (finished / "last.safetensors").read_bytes() == before

    @pytest.mark.parametrize("change", [{"seed": 1}, {"batch": 3}, {"learning_rate": 1e-4}, {"loss": "paper"}])
    def test_resuming_with_other_options_is_refused(self, pairs, finished, change):
        with pytest.raises(ValueError, match=r"was started with .*choose another folder") as caught:
            train(replace(TINY, **change), [pairs], finished)
        assert str(finished / "last.safetensors") in str(caught.value)

    @pytest.mark.parametrize("content", [b"", b"junk" * 99, None])
    def test_damaged_checkpoint_is_named(self, pairs, finished, tmp_path, content):
        whole = (finished / "last.safetensors").read_bytes()
        (tmp_path / "last.safetensors").write_bytes(whole[: len(whole) // 3] if content is None else content)
        with pytest.raises(ValueError, match="not a checkpoint of this training") as caught:
            train(TINY, [pairs], tmp_path)
        assert str(tmp_path / "last.safetensors") in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_weights_file_in_place_of_the_checkpoint_is_refused(self, pairs, finished, tmp_path):
        (tmp_path / "last.safetensors").write_bytes((finished / "lite.safetensors").read_bytes())
        with pytest.raises(ValueError, match="not a checkpoint of this training"):
            train(TINY, [pairs], tmp_path)

    def test_checkpoint_survives_a_failure_while_it_is_written(self, pairs, finished, tmp_path, monkeypatch):
        path = tmp_path / "last.safetensors"
        path.write_bytes((finished / "last.safetensors").read_bytes())
        before = path.read_bytes()
        trainer = Trainer(TINY, [pairs])

        def write_half(tensors, target, metadata):
            Path(target).write_bytes(b"half of it")
            raise OSError("no space left on device")

        monkeypatch.setattr("mmcfusion_ros.network.weights.save_file", write_half)
        with pytest.raises(OSError, match="no space left"):
            trainer.save(path)
        assert path.read_bytes() == before
        trainer.resume(path)
        assert trainer.step == 6
