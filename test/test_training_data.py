"""Training samples: crops, degradations, what is held out, and pairs that cannot be used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from image_pairs import write_pairs

from mmcfusion_ros.training.config import Degradations, Folder, TrainingConfig
from mmcfusion_ros.training.data import VALIDATION_EVERY, PairSampler
from mmcfusion_ros.training.degradation import degrade

DEGRADATIONS = [field.name for field in fields(Degradations)]
VEILS = "glare", "fog"
OF_THERMAL = {"thermal_noise", "thermal_contrast", "misalignment"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def sampler(*folders, **values):
    data = [folder if isinstance(folder, Folder) else Folder(str(folder)) for folder in folders]
    return PairSampler(TrainingConfig(**{"data": data, "batch": 3, "crop": 128, "steps": 6, "workers": 0} | values))


class TestMemory:
    def test_what_has_no_room_is_decoded_when_it_is_drawn(self, tmp_path):
        write_pairs(tmp_path, 5)
        kept, decoded = sampler(tmp_path), sampler(tmp_path, cache_gb=0.0)
        assert all(map(torch.equal, kept[2], decoded[2]))
        shutil.rmtree(tmp_path)
        assert len(kept[2][0]) == 3
        with pytest.raises(ValueError, match="No such file"):
            decoded[2]

    def test_the_room_is_for_all_folders_together(self, pairs, tmp_path):
        write_pairs(tmp_path / "other", 5)
        data = sampler(pairs, tmp_path / "other", cache_gb=7 * (2 * 144 * 160 + 8) / 1e9)
        shutil.rmtree(tmp_path / "other")
        assert [len(data.folders[number][i]) for number, i in ((0, 4), (1, 0), (1, 1))] == [2, 2, 2]
        with pytest.raises(ValueError, match="No such file"):
            data.folders[1][2]

    def test_other_processes_of_a_run_find_what_the_first_has_decoded(self, tmp_path, monkeypatch):
        """Those that it starts have its environment and their number in it, as Lightning sets it."""
        first = sampler(write_pairs(tmp_path, 5), devices=3)
        for path in tmp_path.glob("*/*.png"):
            path.write_bytes(b"")
        monkeypatch.setenv("LOCAL_RANK", "1")
        second = sampler(tmp_path, devices=3)
        assert all(map(torch.equal, first[2], second[2]))
        assert np.array_equal(first.validation, second.validation)

    def test_all_pairs_are_trained_on_if_none_is_held_out(self, tmp_path):
        assert sampler(write_pairs(tmp_path / "all", 13)).chosen == [[*range(1, 12)]]
        data = sampler(tmp_path / "all", hold_out=False)
        assert data.chosen == [[*range(13)]]
        assert len(data.validation) == 2

    def test_folders_of_ones_own_are_validated(self, pairs, tmp_path):
        data = sampler(pairs, validate_on=[str(write_pairs(tmp_path / "other", 3))])
        assert len(data.validation) == 3
        assert 0 in data.chosen[0]

    def test_validation_is_shared_out_among_processes(self, tmp_path):
        data = sampler(write_pairs(tmp_path, 61))
        assert len(data.validation) == 6
        shares = []
        for data.rank in range(4):
            data.world = 4
            shares += [share[0].tobytes() for share in data.validation_share()]
        assert len(set(shares)) == 4  # as many of each: two are left out
        data.world = 7
        assert len(data.validation_share()) == 6

    def test_so_many_pairs_are_validated(self, tmp_path):
        assert len(sampler(write_pairs(tmp_path, 37)).validation) == 4
        assert len(sampler(tmp_path, validate_pairs=2).validation) == 2


class TestBatches:
    def test_are_crops_in_0_to_1(self, pairs):
        batch = sampler(pairs, degradations=Degradations(**dict.fromkeys(DEGRADATIONS, 0.5)))[0]
        assert len(batch) == 4
        for images in batch:
            assert images.shape == (3, 1, 128, 128)
            assert images.dtype == torch.float32
            assert images.min() >= 0
            assert images.max() <= 1
            assert images.std() > 0.03

    def test_depend_on_seed_and_step_alone(self, pairs):
        first, second = sampler(pairs, seed=5), sampler(pairs, seed=5)
        second[9]
        assert all(map(torch.equal, first[7], second[7]))
        assert not torch.equal(first[7][0], first[8][0])
        assert not torch.equal(first[7][0], sampler(pairs, seed=6)[7][0])

    def test_are_shared_out_among_processes(self, pairs):
        whole, parts = sampler(pairs, batch=6), [sampler(pairs, batch=6) for _ in range(2)]
        for rank, part in enumerate(parts):
            part.rank, part.world = rank, 2
            assert all(torch.equal(mine, all_[rank::2]) for mine, all_ in zip(part[3], whole[3], strict=True))

    def test_come_in_order_from_any_step(self, pairs):
        """In a process of its own, as training has: workers are forked, which the threads of OpenVINO and DDS that
        other tests leave in this process do not survive."""
        program = f"""
import torch
from test_training_data import sampler
for workers in (0, 2):
    data = sampler({str(pairs)!r}, workers=workers)
    batches = list(data.loader(first_step=2))
    assert len(batches) == 4, len(batches)
    assert all(all(map(torch.equal, batch, data[step])) for step, batch in enumerate(batches, start=2))
"""
        here = Path(__file__).parent
        environment = {**os.environ, "PYTHONPATH": f"{here}:{here.parent}:{os.environ.get('PYTHONPATH', '')}"}
        subprocess.run([sys.executable, "-c", program], check=True, timeout=120, env=environment)

    def test_both_images_of_a_pair_are_cropped_and_turned_alike(self, tmp_path):
        write_pairs(tmp_path, 2)
        for path in (tmp_path / "ir").iterdir():
            cv2.imwrite(str(tmp_path / "vi" / path.name), cv2.imread(str(path)))
        thermal_in, visible_in, thermal, visible = sampler(tmp_path, batch=30, photometric=0.0)[0]
        assert torch.equal(thermal, visible)
        assert torch.equal(thermal_in, thermal)
        assert torch.equal(visible_in, visible)
        assert len({image.numpy().tobytes() for image in thermal}) == 30

    @pytest.fixture
    def ramps(self, tmp_path):
        """A ramp of one grey level a pixel tells by its slope how far a crop was shrunk."""
        for part in ("ir", "vi"):
            (tmp_path / part).mkdir()
            for name in ("a.png", "b.png"):
                cv2.imwrite(str(tmp_path / part / name), np.tile(np.arange(0, 240, dtype=np.uint8), (240, 1)))
        return tmp_path

    def test_crops_are_as_large_as_the_scale_allows(self, ramps):
        for scale in (1.0, 1.8):
            images = sampler(ramps, batch=40, photometric=0.0, crop_scale=scale)[0][2] * 255
            spans = (images.amax((1, 2, 3)) - images.amin((1, 2, 3)) + 1) / 128
            assert spans.min() >= 0.95
            assert scale * 0.9 < spans.max() <= scale + 0.05

    def test_smaller_images_are_enlarged(self, ramps):
        images = sampler(ramps, crop=320, photometric=0.0)[0][2] * 255
        assert images.shape == (3, 1, 320, 320)
        assert ((images.amax((1, 2, 3)) - images.amin((1, 2, 3))) == 239).all()

    @pytest.mark.parametrize("name", ["photometric", "overexposure", "white_sky"])
    def test_variations_change_inputs_and_targets(self, pairs, name):
        plain, varied = (sampler(pairs, **{"photometric": 0.0, name: chance})[0] for chance in (0.0, 1.0))
        assert not torch.equal(plain[3], varied[3])
        assert torch.equal(varied[0], varied[2])
        assert torch.equal(varied[1], varied[3])


class TestDegradations:
    @pytest.mark.parametrize("name", DEGRADATIONS)
    def test_each_changes_its_input_and_no_target(self, pairs, name):
        clean = sampler(pairs)[0]
        worse = sampler(pairs, degradations=Degradations(**{name: 1.0}))[0]
        changed, same = (0, 1) if name in OF_THERMAL else (1, 0)
        assert all(not torch.equal(*images) for images in zip(worse[changed], clean[changed], strict=True))
        for i in (same, 2) if name in VEILS else (same, 2, 3):
            assert torch.equal(worse[i], clean[i])

    @pytest.mark.parametrize("name", VEILS)
    def test_a_veil_stays_in_the_target_where_thermal_is_flat(self, pairs, name):
        clean, worse = (sampler(pairs, degradations=Degradations(**{name: chance}))[0] for chance in (0.0, 1.0))
        assert (worse[3] >= clean[3]).all()
        assert (worse[3] > clean[3] + 0.05).any()
        warm = clean[2] > 0.7
        assert torch.equal(worse[3][warm], clean[3][warm])

    @pytest.mark.parametrize("name", DEGRADATIONS)
    def test_each_does_what_it_says(self, name):
        rng = np.random.default_rng(0)
        ramp = np.linspace(0.2, 0.8, 64, dtype=np.float32)
        image = ramp[:, None] * np.ones(64, np.float32)
        for _ in range(20):
            pair = degrade(image, image, Degradations(**{name: 1.0}), rng)
            result = pair[0] if name in OF_THERMAL else pair[1]
            assert result.dtype == np.float32
            assert 0 <= result.min() <= result.max() <= 1
            noise, ratio = (result - image).std(), result.std() / image.std()
            rows = result.mean(axis=1)
            assert {
                "thermal_noise": noise <= 0.082 and np.allclose(rows, ramp, atol=0.05),
                "visible_noise": noise <= 0.062 and np.allclose(rows, ramp, atol=0.04),
                "thermal_contrast": 0.29 < ratio < 0.71 and np.isclose(result.mean(), image.mean(), atol=1e-5),
                "misalignment": 0.95 <= ratio <= 1 and np.abs(rows - ramp).max() < 3.5 * (ramp[1] - ramp[0]),
                "darkness": result.mean() < 0.55 * image.mean() and ratio < 0.6,
                "glare": (result >= image).all() and result.max() > image.max(),
                "fog": 0.29 < ratio < 0.81 and result.mean() > image.mean() and result.std(axis=1).max() < 1e-6,
            }[name]

    def test_are_as_frequent_as_configured(self, pairs):
        thermal_in, visible_in, thermal, visible = sampler(
            pairs, batch=400, photometric=0.0, degradations=Degradations(misalignment=0.25, fog=0.5)
        )[0]
        shares = [(a != b).flatten(1).any(1).float().mean() for a, b in ((thermal_in, thermal), (visible_in, visible))]
        assert 0.17 < shares[0] < 0.33
        assert 0.42 < shares[1] < 0.58


class TestFolders:
    def test_every_twelfth_pair_is_held_out(self, tmp_path):
        write_pairs(tmp_path, 14)
        data = sampler(tmp_path)
        assert VALIDATION_EVERY == 12
        assert len(data.validation) == 2
        assert len(data.chosen[0]) == 12
        held_out = cv2.imread(str(tmp_path / "ir" / "12.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(data.validation[1][0], held_out)
        assert not any(np.array_equal(thermal, held_out) for thermal, _ in (data.folders[0][i] for i in data.chosen[0]))

    def test_pet_is_learned_in_the_place_of_the_thermal_image(self, pairs, tmp_path):
        mri, pet = sampler(pairs).folders[0][1]
        for name, part in (("MRI", "ir"), ("PET", "vi")):
            (tmp_path / name).symlink_to(pairs / part)
        first, second = sampler(tmp_path).folders[0][1]
        np.testing.assert_array_equal(first, pet)
        np.testing.assert_array_equal(second, mri)

    def test_are_drawn_by_the_root_of_their_size_or_by_weight(self, pairs, tmp_path):
        write_pairs(tmp_path, 19)
        roots = np.array([2, 17**0.5])
        np.testing.assert_allclose(sampler(pairs, tmp_path).weights, roots / roots.sum())
        np.testing.assert_allclose(sampler(Folder(str(pairs), 3.0), Folder(str(tmp_path), 1.0)).weights, [0.75, 0.25])


class TestWrongPairs:
    """Each is one line that names the file."""

    def refused(self, folder, *words, error=ValueError):
        with pytest.raises(error) as caught:
            sampler(folder)
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
        self.refused(tmp_path, "ir/03.png", "vi/03.png", "160x144", "97x80")

    def test_16_bit_thermal(self, tmp_path):
        write_pairs(tmp_path)
        cv2.imwrite(str(tmp_path / "ir" / "03.png"), np.zeros((80, 96), np.uint16))
        self.refused(tmp_path, "ir/03.png", "uint16")

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
        self.refused(tmp_path, str(tmp_path), "sub-folders", error=FileNotFoundError)

    def test_too_few_pairs_to_hold_one_out(self, tmp_path):
        self.refused(write_pairs(tmp_path, 1), str(tmp_path), "too few pairs")
