"""Folders of pairs as people have them, and image files of all kinds."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mmcfusion_ros.data.images import read_rgb, read_thermal
from mmcfusion_ros.data.pair_folder import LAYOUTS, find_pairs, pair_up


def write(path, image=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((8, 9), np.uint8) if image is None else image)
    return path


def turned():
    """EXIF data of a camera that was held on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


class TestLayouts:
    @pytest.mark.parametrize("layout", LAYOUTS, ids="+".join)
    @pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
    def test_each_in_any_case(self, tmp_path, layout, case):
        thermal, rgb = (write(tmp_path / case(name) / "a.png") for name in layout)
        (files,) = find_pairs(tmp_path)
        assert (files.name, files.thermal, files.rgb) == ("a", thermal, rgb)

    def test_roadscene_as_its_authors_named_it(self, tmp_path):
        thermal = write(tmp_path / "cropinfrared" / "FLIR_00006.jpg")
        rgb = write(tmp_path / "crop_LR_visible" / "FLIR_00006.jpg")
        (files,) = find_pairs(tmp_path)
        assert (files.thermal, files.rgb) == (thermal, rgb)

    def test_llvip_has_its_parts_below_the_cameras(self, tmp_path):
        for camera in ("infrared", "visible"):
            for name in ("train/010002", "train/010001", "test/190001"):
                write(tmp_path / camera / f"{name}.jpg")
        pairs = find_pairs(tmp_path)
        assert [files.name for files in pairs] == ["test/190001", "train/010001", "train/010002"]
        assert pairs[0].thermal == tmp_path / "infrared/test/190001.jpg"

    def test_suffixes_may_differ_and_other_files_are_left_alone(self, tmp_path):
        write(tmp_path / "ir" / "a.b.PNG")
        write(tmp_path / "vi" / "a.b.jpg")
        (tmp_path / "ir" / "readme.txt").write_text("")
        assert [files.name for files in find_pairs(tmp_path)] == ["a.b"]

    def test_other_folders_beside_them_do_not_matter(self, tmp_path):
        for name in ("ir", "vi", "ir_warp", "labels"):
            write(tmp_path / name / "a.png")
        assert find_pairs(tmp_path)[0].thermal.parent.name == "ir"

    @pytest.mark.parametrize(
        ("folder", "layout", "functional"),
        [
            ("brain", ("MRI", "PET"), True),
            ("brain", ("mri", "spect"), True),
            ("brain", ("MRI", "CT"), False),
            ("pet_mri/test", ("ir", "vi"), True),
            ("SPECT-MRI", ("ir", "vi"), True),
            ("pet_cameras/test", ("ir", "vi"), False),
            ("petmri/test", ("ir", "vi"), False),
            ("pet_mri/ct_mri/test", ("ir", "vi"), False),
        ],
    )
    def test_functional_images_take_the_place_of_the_thermal_one(self, tmp_path, folder, layout, functional):
        for name in layout:
            write(tmp_path / folder / name / "a.png")
        (files,) = find_pairs(tmp_path / folder)
        images = np.zeros((2, 2)), np.ones((2, 2))
        in_roles = files.in_roles(*images)
        assert [id(image) for image in in_roles] == [id(image) for image in (images[::-1] if functional else images)]


class TestWrongFolders:
    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
            find_pairs(tmp_path / "nowhere")

    def test_without_one_of_the_cameras_says_what_is_accepted(self, tmp_path):
        write(tmp_path / "ir" / "a.png")
        with pytest.raises(FileNotFoundError, match=r"ir \+ vi, .*cropinfrared \+ crop_lr_visible.* mri \+ ct"):
            find_pairs(tmp_path)

    def test_empty(self, tmp_path):
        write(tmp_path / "Ir" / "a.png")
        (tmp_path / "Vis").mkdir()
        with pytest.raises(FileNotFoundError, match=r"Vis holds no image \(.*\.png"):
            find_pairs(tmp_path)

    @pytest.mark.parametrize(("here", "there"), [("MRI", "PET"), ("PET", "MRI")])
    def test_image_without_partner(self, tmp_path, here, there):
        for name in (here, there):
            write(tmp_path / name / "a.png")
        write(tmp_path / here / "b.png")
        with pytest.raises(ValueError, match=rf"{here}/b has no partner in {there}/ \(1 such"):
            find_pairs(tmp_path)


class TestNames:
    """What folders of others look like."""

    @pytest.mark.parametrize(
        ("thermal", "rgb", "name"),
        [
            ("ir/07_ir.png", "vi/07_vis.png", "07"),
            ("ir/IR7.png", "vi/VIS7.png", "7"),
            ("ir/set/a-thermal.png", "vi/set/a-rgb.jpg", "set/a"),
            ("ir/caf\u00e9.png", "vi/cafe\u0301.png", "caf\u00e9"),  # composed and decomposed
            ("ir/a.webp", "vi/a.png", "a"),
            ("07_ir.png", "07_vis.png", "07"),
        ],
    )
    def test_words_for_the_camera_do_not_count(self, tmp_path, thermal, rgb, name):
        for path in (thermal, rgb):
            write(tmp_path / path)
        (files,) = find_pairs(tmp_path)
        assert (files.name, files.thermal, files.rgb) == (name, tmp_path / thermal, tmp_path / rgb)

    def test_words_count_where_names_agree(self, tmp_path):
        for path in ("ir/a_vis.png", "vi/a_vis.png", "ir/a_ir.png", "vi/a_ir.png"):
            write(tmp_path / path)
        assert [files.name for files in find_pairs(tmp_path)] == ["a_ir", "a_vis"]

    def test_hidden_files_are_none(self, tmp_path):
        for path in ("ir/a.png", "vi/a.png", "ir/._a.png", "vi/.thumbs/a.png"):
            write(tmp_path / path)
        assert [files.name for files in find_pairs(tmp_path)] == ["a"]

    def test_two_files_of_one_name(self, tmp_path):
        for path in ("ir/a.png", "ir/a.jpg", "vi/a.png"):
            write(tmp_path / path)
        with pytest.raises(ValueError, match=r"a\.jpg and a\.png are both called a"):
            find_pairs(tmp_path)

    def test_a_root_says_where_its_pairs_are(self, tmp_path):
        for part in ("train", "test"):
            for path in ("ir/a.png", "vi/a.png"):
                write(tmp_path / "MSRS" / part / path)
        with pytest.raises(FileNotFoundError, match=r"there are some in .*MSRS/test, .*MSRS/train; known"):
            find_pairs(tmp_path / "MSRS")

    def test_two_folders_of_any_name(self, tmp_path):
        for path in ("warm/a.png", "seen/a.png"):
            write(tmp_path / path)
        (files,) = pair_up(tmp_path / "warm", tmp_path / "seen")
        assert files.rgb == tmp_path / "seen" / "a.png"

    def test_a_list(self, tmp_path):
        (tmp_path / "pairs.txt").write_text(
            "# thermal, rgb\nx/b_ir.png y/b_vis.png\n\nx/a.png,y/other.png\nx y/c d.png\ty/e f.png\r\n"
        )
        pairs = find_pairs(tmp_path / "pairs.txt")
        names = [("a", "other.png"), ("b", "b_vis.png"), ("c d", "e f.png")]
        assert [(files.name, files.rgb.name) for files in pairs] == names

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a.png\n", "line 1: not two"),
            ("a b\na c\n", "line 2: a second"),
            ("#\n", "no pair"),
            ("\xe9 f", r"pairs\.txt is no text"),
        ],
    )
    def test_a_list_that_is_wrong(self, tmp_path, text, message):
        (tmp_path / "pairs.txt").write_text(text, encoding="latin-1")
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            find_pairs(tmp_path / "pairs.txt")


class TestFiles:
    def test_alpha_is_dropped_and_colour_kept(self, tmp_path):
        bgra = np.random.default_rng(0).integers(0, 256, (8, 9, 4), dtype=np.uint8)
        path = write(tmp_path / "a.png", bgra)
        np.testing.assert_array_equal(read_rgb(path), bgra[..., 2::-1])
        np.testing.assert_array_equal(read_thermal(path), cv2.cvtColor(bgra[..., :3], cv2.COLOR_BGR2GRAY))

    def test_grey_becomes_rgb(self, tmp_path):
        grey = np.arange(72, dtype=np.uint8).reshape(8, 9)
        np.testing.assert_array_equal(read_rgb(write(tmp_path / "a.png", grey)), np.dstack([grey] * 3))

    def test_thermal_keeps_16_bits(self, tmp_path):
        counts = np.arange(29000, 29072, dtype=np.uint16).reshape(8, 9)
        path = write(tmp_path / "a.png", counts)
        np.testing.assert_array_equal(read_thermal(path), counts)

    @pytest.mark.parametrize("shape", [(8, 9), (8, 9, 3), (8, 9, 4)])
    def test_visible_of_16_bits_is_refused(self, tmp_path, shape):
        path = write(tmp_path / "a.png", np.full(shape, 4000, np.uint16))
        with pytest.raises(ValueError, match=r"a\.png: uint16 pixels; a visible image must have 8 bits"):
            read_rgb(path)

    def test_thermal_in_degrees_stays_float(self, tmp_path):
        path = write(tmp_path / "a.tiff", np.full((8, 9), 21.5, np.float32))
        np.testing.assert_array_equal(read_thermal(path), np.full((8, 9), 21.5, np.float32))

    def test_other_pixels_are_refused(self, tmp_path):
        path = write(tmp_path / "a.tiff", np.full((8, 9), -3, np.int16))
        with pytest.raises(ValueError, match=r"a\.tiff: int16 pixels"):
            read_thermal(path)

    def test_both_images_are_turned_as_exif_says(self, tmp_path):
        """Unchanged thermal beside a turned RGB image would be another picture."""
        image = np.arange(72, dtype=np.uint8).reshape(8, 9)
        Image.fromarray(image).save(tmp_path / "a.png", exif=turned())
        np.testing.assert_array_equal(read_thermal(tmp_path / "a.png"), np.rot90(image, -1))
        np.testing.assert_array_equal(read_rgb(tmp_path / "a.png")[..., 0], np.rot90(image, -1))

    @pytest.mark.parametrize("read", [read_thermal, read_rgb])
    def test_a_jpeg_that_was_cut_off_is_no_grey_picture(self, tmp_path, read):
        path = write(tmp_path / "a.jpg", np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[:-400])
        with pytest.raises(ValueError, match=r"a\.jpg: not a readable image, cut off"):
            read(path)

    def test_the_end_of_a_thumbnail_is_not_that_of_the_picture(self, tmp_path):
        picture = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
        whole, thumbnail = (cv2.imencode(".jpg", image)[1].tobytes() for image in (picture, picture[::8, ::8]))
        app1 = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
        path = tmp_path / "a.jpg"
        path.write_bytes(whole[:2] + app1 + whole[2:])
        assert read_thermal(path).shape == (64, 64)
        path.write_bytes((whole[:2] + app1 + whole[2:])[:-400])
        with pytest.raises(ValueError, match=r"a\.jpg: not a readable image, cut off"):
            read_thermal(path)

    @pytest.mark.parametrize("read", [read_thermal, read_rgb])
    @pytest.mark.parametrize("content", [b"", b"junk", b"\x89PNG\r\n\x1a\n"])
    def test_unreadable(self, tmp_path, read, content):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.png: not a readable image"):
            read(tmp_path / "a.png")

    @pytest.mark.parametrize("read", [read_thermal, read_rgb])
    def test_cut_short(self, tmp_path, read):
        path = write(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(ValueError, match=r"a\.png: not a readable image"):
            read(path)
