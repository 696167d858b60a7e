"""Training configurations: files, overrides, and wrong values."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from mmcfusion_ros.training.config import Folder, TrainingConfig, differing_keys, load_config, save_config

SHIPPED = sorted(path.stem for path in (Path(__file__).resolve().parents[1] / "config" / "train").iterdir())


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_are_valid(name):
    config = load_config(name, folders=["a", "b"])
    assert config.data == [Folder("a"), Folder("b")]
    assert config.variant == {"paper": "b1"}.get(name, name)


def test_paper_is_the_recipe_of_the_paper():
    config = load_config("paper", folders=["msrs"])
    assert (config.loss, config.crop, config.batch, config.learning_rate) == ("paper", 256, 4, 1e-4)
    assert (config.schedule, config.warm_up, config.weight_decay, config.clip) == ("authors", 0, 0, 1)
    assert (config.ema_decay, config.hold_out) == (0, False)
    assert config.steps == 400 * 1083 // 4
    assert config.photometric == 0
    assert not any(asdict(config.degradations).values())


def test_overrides_win_over_the_file_and_folders_over_both(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("steps: 7\nbatch: 2\ndata: [{path: x, weight: 3}]\ndegradations: {fog: 0.2}\n")
    config = load_config(path, ["steps=9", "learning_rate=1e-5", "degradations.glare=1", "loss_weights.gradient=2"])
    assert (config.steps, config.batch, config.learning_rate) == (9, 2, 1e-5)
    assert (config.degradations.fog, config.degradations.glare) == (0.2, 1.0)
    assert config.loss_weights == {"gradient": 2.0}
    assert config.data == [Folder("x", 3.0)]
    assert load_config(path, ["data=[{path: y}]"], ["z"]).data == [Folder("z")]


def test_folders_to_validate_on_are_a_list():
    config = load_config("lite", ["hold_out=false", "validate_on=[a/test, b]"], ["x"])
    assert (config.hold_out, config.validate_on) == (False, ["a/test", "b"])


def test_saved_configuration_loads_as_it_was(tmp_path):
    config = load_config("b1", ["degradations.fog=0.3", "teacher=lite", "loss_weights.gradient=2"], ["a b", "c"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["degradations"]["fog"] == 0.3


def test_only_what_is_learnt_counts_as_another_configuration():
    one = asdict(TrainingConfig())
    assert differing_keys(one, {**one, "threads": 7, "validate_minutes": 1.0, "workers": 0}) == []
    assert differing_keys(one, {**one, "seed": 7, "batch": 9, "threads": 7}) == ["batch", "seed"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("variant=b9", ["'b9'", "b1, b0, lite"]),
        ("loss=mine", ["loss is 'mine'", "ours, paper"]),
        ("schedule=steps", ["schedule is 'steps'", "cosine, constant, authors"]),
        ("precision=int8", ["precision is 'int8'", "bf16-mixed"]),
        ("accelerator=tpu", ["accelerator is 'tpu'", "cpu, cuda"]),
        ("crop=130", ["crop is 130; variant lite needs a multiple of 4, at least 128"]),
        ("crop=124", ["at least 128"]),
        ("validate_crop=40", ["validate_crop is 40", "at least 41"]),
        ("crop_scale=0.5", ["crop_scale is 0.5"]),
        ("steps=0", ["steps is 0"]),
        ("batch=0", ["batch is 0"]),
        ("seed=-1", ["seed is -1"]),
        ("devices=3", ["batch is 2", "devices"]),
        ("learning_rate=-1", ["learning_rate is -1"]),
        ("validate_minutes=nan", ["validate_minutes is nan"]),
        ("crop_scale=inf", ["crop_scale is inf", "finite"]),
        ("ema_decay=2", ["ema_decay is 2", "between 0 and 1"]),
        ("loss_weights.gradient=nan", ["loss_weights.gradient is nan"]),
        ("data=[{path: x, weight: -1}]", ["weight of x is -1"]),
        ("photometric=2", ["photometric is 2", "between 0 and 1"]),
        ("white_sky=1.5", ["white_sky is 1.5", "between 0 and 1"]),
        ("degradations.fog=-0.1", ["fog is -0.1", "between 0 and 1"]),
        ("degradations.rain=1", ["rain"]),
        ("loss_weights.halo=1", ["'ours'", "'halo'", "its terms: "]),
        ("steps=many", ["configuration lite", "'many'", "(steps)"]),
        ("steps", ["--set steps", "key=value"]),
        ("stepz=3", ["'stepz'", "steps"]),
        ("data=[{weight: 1}]", ["path", "(data[0].path)"]),
        ("data=[{", ["configuration lite"]),
        ("data=[]", ["no training data"]),
    ],
)
def test_wrong_value_is_one_line_that_names_it(override, words):
    with pytest.raises(ValueError, match=r".") as caught:
        load_config("lite", ["data=[{path: x}]", override])
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_no_data_is_said(tmp_path):
    with pytest.raises(ValueError, match="no training data; name folders of pairs"):
        load_config("lite")


@pytest.mark.parametrize("name", ["heavy", "nowhere/mine.yaml"])
def test_missing_file_is_named_beside_the_shipped_ones(name):
    with pytest.raises(
        FileNotFoundError, match=r"no training configuration .*; give .* one of b1, lite, paper"
    ) as caught:
        load_config(name, folders=["x"])
    assert name in str(caught.value)


@pytest.mark.parametrize("text", ["steps: [", "- 1", "just words"])
def test_file_that_is_no_configuration(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"a\.yaml") as caught:
        load_config(tmp_path / "a.yaml", folders=["x"])
    assert "\n" not in str(caught.value)
