"""Training: a step that learns and survives bad numbers, and a run with its files, resumed in this process."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from image_pairs import write_pairs
from lightning_fabric import Fabric
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmcfusion_ros.evaluation.metrics import fusion_metrics
from mmcfusion_ros.fusion.fuser import Fuser
from mmcfusion_ros.network.weights import load_network, read_header, read_metadata, write_tensors
from mmcfusion_ros.training.config import LOSSES, Degradations, Folder, TrainingConfig
from mmcfusion_ros.training.data import PairSampler
from mmcfusion_ros.training.learner import ImagePrecision, Learner, launch_fabric, learning_rate
from mmcfusion_ros.training.run import Run
from mmcfusion_ros.training.train import train
from mmcfusion_ros.training.validation import validate


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The configuration of a run of a few seconds."""
    pairs = write_pairs(tmp_path_factory.mktemp("pairs"))
    return TrainingConfig(
        data=[Folder(str(pairs))],
        steps=6,
        batch=2,
        crop=128,
        warm_up=2,
        degradations=Degradations(thermal_noise=0.5, fog=0.5),
        accelerator="cpu",
        workers=0,
        validate_minutes=0.0,
    )


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """The folder of a whole run, validated after every step."""
    out = tmp_path_factory.mktemp("run") / "new"
    train(tiny, Run(out), fusion_metrics)
    return out


def learner_of(config):
    return Learner(config, launch_fabric(config))


def states(learner):
    """Copies of all that a step may change."""
    optimizer = learner.optimizer.state_dict()["state"].values()
    tensors = [*learner.network.state_dict().values(), *learner.average.state_dict().values()]
    return [tensor.clone() for tensor in (*tensors, *(tensor for state in optimizer for tensor in state.values()))]


def equal(some, others):
    return len(some) == len(others) and all(map(torch.equal, some, others))


class TestLearner:
    @pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
    def test_lowers_the_loss_on_held_out_pairs(self, tiny, precision):
        config = replace(
            tiny, steps=60, loss="paper", degradations=Degradations(), learning_rate=2e-3, precision=precision
        )
        learner, data = learner_of(config), PairSampler(config)
        before, _ = validate(learner, data.validation, fusion_metrics)
        for step in range(20):
            learner.learn(data[step])
        after, _ = validate(learner, data.validation, fusion_metrics)
        assert after["validation_loss"] < 0.8 * before["validation_loss"]

    def test_target_is_the_clean_pair(self, tiny):
        """With nothing but noise as input the loss is still that of the targets."""
        learner = learner_of(tiny)
        noise, targets = torch.rand(2, 2, 1, 128, 128), torch.rand(2, 2, 1, 128, 128)
        with torch.no_grad():
            expected = learner.total(learner.loss_terms(learner.network(*noise), *targets)).item()
        assert learner.learn((*noise, *targets))["loss"] == pytest.approx(expected, rel=1e-5)

    def test_loss_weights_replace_those_of_the_loss(self, tiny):
        batch = PairSampler(tiny)[0]
        plain = learner_of(tiny).learn(batch)
        name = max(plain.keys() - {"loss", "gradient_norm"}, key=lambda key: plain[key])
        weight = learner_of(tiny).loss_weights[name]
        heavier = learner_of(replace(tiny, loss_weights={name: weight + 1.0})).learn(batch)
        assert heavier["loss"] == pytest.approx(plain["loss"] + plain[name], rel=1e-4)

    def test_teacher_pulls_towards_its_fused_image_of_the_clean_pair(self, tiny, random_lite):
        config = replace(tiny, teacher=str(random_lite), teacher_weight=100.0)
        learner, batch = learner_of(config), PairSampler(config)[0]
        with torch.no_grad():
            difference = learner.network(*batch[:2]) - load_network(random_lite)(*batch[2:]).clamp(0, 1)
        values = learner.learn(batch)
        assert values["distillation"] == pytest.approx(difference.abs().mean().item(), rel=1e-4)
        assert values["loss"] > 90 * values["distillation"]
        before = load_file(random_lite)
        after = learner.teacher.half().state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

    def test_average_follows_the_network(self, tiny):
        learner = learner_of(replace(tiny, ema_decay=0.0, clip=0.0))  # 0: gradients as they are
        before = states(learner)
        learner.learn(PairSampler(tiny)[0])
        assert not equal(states(learner), before)
        assert equal(list(learner.average.parameters()), list(learner.network.parameters()))

    @pytest.mark.parametrize("loss", ["ours", "paper"])
    def test_bad_numbers_change_nothing(self, tiny, loss):
        config = replace(tiny, loss=loss)
        learner, data = learner_of(config), PairSampler(config)
        learner.learn(data[0])
        before = states(learner)
        values = learner.learn(tuple(images * float("nan") for images in data[1]))
        assert np.isnan(values["loss"])
        assert equal(states(learner), before)
        assert (learner.step, learner.skipped) == (2, 1)
        assert np.isfinite(learner.learn(data[2])["loss"])
        assert not equal(states(learner), before)
        assert learner.skipped == 1

    def test_bad_numbers_without_end_stop_the_run(self, tiny, monkeypatch):
        monkeypatch.setattr("mmcfusion_ros.training.learner.MOST_SKIPPED", 3)
        learner, batch = learner_of(tiny), tuple(torch.full((1, 1, 128, 128), float("inf")) for _ in range(4))
        for _ in range(2):
            learner.learn(batch)
        with pytest.raises(ValueError, match="not finite 3 times in a row; lower learning_rate"):
            learner.learn(batch)

    def test_half_precision_lowers_its_scale_and_resumes_with_it(self, tiny, tmp_path):
        """As on a GPU, with the CPU's scaler; the first scale is too large by construction."""
        config = replace(tiny, precision="16-mixed")

        def learner():
            scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
            return Learner(config, Fabric(accelerator="cpu", plugins=ImagePrecision("16-mixed", "cpu", scaler)))

        one, batch = learner(), PairSampler(config)[0]
        before = states(one)
        one.learn(batch)
        assert one.skipped == 1
        assert equal(states(one), before)
        scale = one.fabric.strategy.precision.scaler.get_scale()
        assert scale == 2.0**39
        one.save(tmp_path / "checkpoint.safetensors")
        other = learner()
        other.resume(tmp_path / "checkpoint.safetensors")
        assert other.fabric.strategy.precision.scaler.get_scale() == scale
        assert other.skipped == 1

    def test_mixed_precision_leaves_the_images_as_they_are(self, tiny):
        """lite mixes the sources themselves: in bfloat16 they would lose every second grey value."""
        learner, seen = learner_of(replace(tiny, precision="bf16-mixed")), []
        learner.network.module.head.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
        batch = PairSampler(tiny)[0]
        learner.learn(batch)
        features, thermal, visible = seen
        assert features.dtype == torch.bfloat16
        assert torch.equal(thermal, batch[0])
        assert torch.equal(visible, batch[1])

    def test_the_rate_of_the_authors_falls_once(self, tiny):
        config = replace(tiny, schedule="authors", steps=400, warm_up=0, learning_rate=1.0)
        assert [learning_rate(step, config) for step in (0, 10, 11, 399)] == [1, 1, 0.95, 0.95]

    def test_no_average_is_the_network_itself(self, tiny):
        learner = learner_of(replace(tiny, ema_decay=0.0))
        learner.learn(PairSampler(tiny)[0])
        assert equal([*learner.average.parameters()], [*learner.network.parameters()])

    def test_learning_rate_rises_linearly_and_falls_to_zero_or_stays(self):
        config = TrainingConfig(steps=100, warm_up=10, learning_rate=2.0)
        rates = [learning_rate(step, config) for step in range(101)]
        np.testing.assert_allclose(rates[:10], np.linspace(0.2, 2, 10))
        assert (np.diff(rates[10:]) < 0).all()
        assert rates[55] == pytest.approx(1)
        assert rates[100] == pytest.approx(0)
        constant = [learning_rate(step, replace(config, schedule="constant")) for step in range(101)]
        assert constant == rates[:10] + [2.0] * 91

    def test_starts_from_given_weights(self, tiny, finished):
        learner = learner_of(replace(tiny, init=str(finished / "last.safetensors")))
        expected = load_network(finished / "last.safetensors").state_dict()
        for network in (learner.network, learner.average):
            assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
        assert learner.network.training

    def test_weights_of_another_variant_are_no_start(self, tiny, finished):
        with pytest.raises(ValueError, match="holds variant lite, the run is of b0"):
            learner_of(replace(tiny, variant="b0", init=str(finished / "last.safetensors")))

    @pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
    def test_devices_that_are_not_there(self, tiny):
        with pytest.raises(ValueError, match="1 CUDA devices asked for, PyTorch finds 0"):
            launch_fabric(replace(tiny, accelerator="cuda"))

    def test_half_precision_on_a_cpu_is_refused(self, tiny):
        with pytest.raises(ValueError, match="16-mixed needs CUDA"):
            launch_fabric(replace(tiny, precision="16-mixed"))


class TestValidation:
    def test_is_of_whole_images_or_central_crops(self, tiny):
        sizes = []

        def measure(thermal, visible, fused):
            assert thermal.dtype == visible.dtype == fused.dtype == np.uint8
            assert thermal.shape == visible.shape == fused.shape
            sizes.append(thermal.shape)
            return {"mean": thermal[0, 0]}

        image = np.arange(147 * 163, dtype=np.uint32).reshape(147, 163) % 251
        pair = (image.astype(np.uint8),) * 2
        learner = learner_of(tiny)
        means, picture = validate(learner, [pair], measure)
        assert means["mean"] == pair[0][0, 0]
        learner.config = replace(tiny, validate_crop=128)
        means, _ = validate(learner, [pair], measure)
        assert means["mean"] == pair[0][9, 17]
        assert sizes == [(147, 163), (128, 128)]
        assert picture.shape == (1280 * 147 // (3 * 163), 1280)


class TestRun:
    def test_weights_are_a_model_and_say_how_they_were_trained(self, finished, tiny):
        fuser = Fuser.from_pretrained(finished / "best.safetensors", "torch", device="cpu")
        fused = fuser(*np.random.default_rng(0).integers(0, 256, (2, 64, 70), dtype=np.uint8))
        assert fused.shape == (64, 70)
        assert fused.std() > 5
        metadata = read_metadata(finished / "last.safetensors")
        assert metadata["step"] == "6"
        assert metadata["training_data"] == "/".join(Path(tiny.data[0].path).parts[-2:])
        assert json.loads(metadata["training_config"])["crop"] == 128
        assert str(Path(tiny.data[0].path).parent.parent) not in str(metadata)
        assert json.loads(metadata["validation"])["VIF"] > 0

    def test_every_term_is_in_a_table(self, finished, tiny):
        (row,) = csv.DictReader((finished / "terms.csv").open())
        assert row["step"] == str(tiny.steps)
        assert {"loss", "intensity", "gradient", "gradient_norm", "learning_rate"} <= row.keys()

    def test_the_example_of_the_documentation_runs(self, tmp_path, monkeypatch):
        text = (Path(__file__).resolve().parents[1] / "docs/train_and_evaluate.md").read_text()
        (example,) = (part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "LOSSES" in part)
        assert len([line for line in example.splitlines() if line.strip()]) < 30
        monkeypatch.chdir(tmp_path)
        monkeypatch.setitem(LOSSES, "mine", LOSSES["ours"])  # gone again at the end
        exec(example, {})
        assert "brighter" in (tmp_path / "runs/mine/terms.csv").read_text()
        assert load_network(tmp_path / "runs/mine/best.safetensors")

    def test_log_has_a_line_with_the_metrics_per_validation(self, finished):
        with (finished / "log.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["step"] for row in rows] == list("123456")
        for row in rows:
            assert float(row["images_per_s"]) > 0
            assert row["skipped"] == "0"
            assert {"loss", "validation_loss", "EN", "VIF", "Qabf", "SCD"} <= row.keys()

    def test_best_weights_are_those_of_the_lowest_validation_loss(self, finished):
        with (finished / "log.csv").open() as file:
            rows = list(csv.DictReader(file))
        best = min(rows, key=lambda row: float(row["validation_loss"]))
        metadata = read_metadata(finished / "best.safetensors")
        assert metadata["step"] == best["step"]
        assert json.loads(metadata["validation"])["validation_loss"] == pytest.approx(float(best["validation_loss"]))

    def test_tensorboard_has_curves_and_pictures(self, finished):
        events = EventAccumulator(str(finished / "tensorboard")).Reload()
        curve = events.Scalars("validation/VIF")
        assert [event.step for event in curve] == [1, 2, 3, 4, 5, 6]
        picture = events.Images("thermal, visible, fused")[-1]
        assert picture.width == 1280

    def test_finished_run_is_left_as_it_is(self, tiny, finished):
        before = {path: path.read_bytes() for path in finished.glob("*.safetensors")}
        train(tiny, Run(finished, resume=True), fusion_metrics)
        assert len(before) == 3
        assert all(path.read_bytes() == content for path, content in before.items())

    @pytest.mark.parametrize("change", [{"seed": 1}, {"batch": 3}, {"loss": "paper"}, {"degradations": Degradations()}])
    def test_resuming_with_other_values_names_them(self, tiny, finished, change):
        with pytest.raises(ValueError, match=r"started with other values: .* choose another folder") as caught:
            train(replace(tiny, **change), Run(finished, resume=True), fusion_metrics)
        assert str(finished) in str(caught.value)
        (key,) = change
        assert f"{key} was {tiny.__dict__[key] if key != 'degradations' else ''}" in str(caught.value)

    def test_a_run_begun_before_a_key_was_known_resumes_with_its_default(self, tiny, finished, tmp_path):
        shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
        checkpoint = tmp_path / "checkpoint.safetensors"
        metadata, tensors = read_header(checkpoint), load_file(checkpoint)
        config = json.loads(metadata["config"])
        del config["overexposure"]
        write_tensors(tensors, checkpoint, {**metadata, "config": json.dumps(config)})
        train(tiny, Run(tmp_path, resume=True), fusion_metrics)
        with pytest.raises(ValueError, match=r"overexposure was 0\.0, now 0\.1"):
            train(replace(tiny, overexposure=0.1), Run(tmp_path, resume=True), fusion_metrics)

    def test_a_run_is_not_overwritten(self, finished):
        with pytest.raises(ValueError, match=r"holds a training run; go on with --resume") as caught:
            Run(finished)
        assert str(finished) in str(caught.value)

    def test_weights_of_somebody_are_not_overwritten(self, finished, tmp_path):
        shutil.copy(finished / "best.safetensors", tmp_path)
        with pytest.raises(ValueError, match=r"best\.safetensors is there, but no config\.yaml"):
            Run(tmp_path)

    def test_a_second_training_in_the_folder_is_refused(self, tiny, finished, tmp_path):
        shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
        first = Run(tmp_path, resume=True)
        first.begin(tiny, 6)
        with pytest.raises(ValueError, match="another training runs in"):
            train(replace(tiny, steps=7), Run(tmp_path, resume=True), fusion_metrics)
        first.close()
        train(replace(tiny, steps=7), Run(tmp_path, resume=True), fusion_metrics)

    def test_a_finished_run_goes_on_for_more_steps_with_data_that_moved(self, tiny, finished, tmp_path):
        shutil.copytree(finished, tmp_path / "run")
        moved = tmp_path / "elsewhere" / Path(tiny.data[0].path).parent.name / Path(tiny.data[0].path).name
        shutil.copytree(tiny.data[0].path, moved)
        config = replace(tiny, steps=8, data=[Folder(str(moved))])
        train(config, Run(tmp_path / "run", resume=True), fusion_metrics)
        assert json.loads(read_metadata(tmp_path / "run/last.safetensors")["step"]) == 8

    def test_what_was_learnt_is_kept_if_the_validation_fails(self, tiny, tmp_path):
        def broken(*images):
            raise ValueError("no metric today")

        with pytest.raises(ValueError, match="no metric today"):
            train(tiny, Run(tmp_path / "run"), broken)
        learner = learner_of(tiny)
        learner.resume(tmp_path / "run/checkpoint.safetensors")
        assert learner.step == 1

    def test_a_diverged_run_has_no_best_weights_and_no_loss(self, tiny, tmp_path):
        learner, run = learner_of(tiny), Run(tmp_path / "run")
        run.begin(tiny, 0)
        learner.step = 1
        run.follow(learner, {"loss": math.nan})
        run.record(learner, {"validation_loss": math.nan}, np.zeros((8, 8), np.uint8))
        run.close()
        assert not run.best.exists()
        (row,) = csv.DictReader((tmp_path / "run/log.csv").open())
        assert row["loss"] == "nan"

    def test_without_a_terminal_a_line_says_what_is_trained(self, tiny, tmp_path, capsys):
        config = replace(tiny, steps=4, validate_crop=50, warm_up=400, validate_minutes=10)
        train(config, Run(tmp_path / "run"), fusion_metrics)
        out = capsys.readouterr().out
        assert "lite: 0.86 million parameters, 4 pairs, steps 0 to 4 of 2 crops of 128 pixels" in out
        assert "(0.15 GFLOP forward each), on cpu" in out
        assert "warm-up 1 steps" in out
        assert "step 1/4  loss " in out

    def test_wandb_is_asked_to_follow_tensorboard(self, tiny, tmp_path, monkeypatch):
        """Here in its place: a module that keeps what it is asked for, and knows one project."""
        with monkeypatch.context() as patch:
            patch.setattr("mmcfusion_ros.training.config.find_spec", lambda name: None)
            with pytest.raises(ValueError, match="wandb is set, but not installed"):
                replace(tiny, wandb="known")
        (tmp_path / "wandb.py").write_text(
            "asked = []\nclass Error(Exception): pass\n"
            "def init(**options):\n"
            "    asked.append(options)\n"
            "    if options['project'] != 'known': raise Error('log in')\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        Run(tmp_path / "run").begin(replace(tiny, wandb="known"), 0)
        (options,) = sys.modules.pop("wandb").asked
        assert (options["group"], options["dir"], options["sync_tensorboard"]) == ("run", tmp_path / "run", True)
        with pytest.raises(ValueError, match="wandb: log in"):
            Run(tmp_path / "other").begin(replace(tiny, wandb="unknown"), 0)
        assert not (tmp_path / "other/config.yaml").exists()

    def test_images_too_small_to_validate_are_told_at_once(self, tiny, tmp_path):
        folder = write_pairs(tmp_path / "pairs")
        for path in folder.rglob("*.png"):
            cv2.imwrite(str(path), cv2.imread(str(path))[:40])
        with pytest.raises(ValueError, match="a side of 40 pixels is too short to validate, 41 are needed"):
            train(replace(tiny, data=[Folder(str(folder))]), Run(tmp_path / "run"), fusion_metrics)

    def test_nothing_to_resume(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="holds no training run; leave out --resume"):
            Run(tmp_path, resume=True)

    @pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"junk" * 99, lambda whole: whole[: len(whole) // 3]])
    def test_damaged_checkpoint_is_named(self, tiny, finished, tmp_path, damage):
        (tmp_path / "checkpoint.safetensors").write_bytes(damage((finished / "checkpoint.safetensors").read_bytes()))
        self.refused(tiny, tmp_path)

    def test_weights_file_in_place_of_the_checkpoint_is_refused(self, tiny, finished, tmp_path):
        (tmp_path / "checkpoint.safetensors").write_bytes((finished / "last.safetensors").read_bytes())
        self.refused(tiny, tmp_path)

    def refused(self, config, folder):
        (folder / "config.yaml").touch()
        with pytest.raises(ValueError, match="not a checkpoint of this training") as caught:
            train(config, Run(folder, resume=True), fusion_metrics)
        assert str(folder / "checkpoint.safetensors") in str(caught.value)
        assert "\n" not in str(caught.value)
