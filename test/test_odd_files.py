"""A tour of odd files and folders through ``evaluate``: each is right, or one clear line; none crashes or is silently
wrong. What the tests of ``data`` check of single readers is not repeated."""

from __future__ import annotations

import os
import re
import unicodedata
import zipfile
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from mmcfusion_ros.data.images import read_rgb
from mmcfusion_ros.evaluation.evaluate import evaluate
from mmcfusion_ros.evaluation.folders import EvaluationOptions, scale_alone
from mmcfusion_ros.fusion.fuser import split_luminance
from mmcfusion_ros.fusion.thermal import ThermalOptions

ROWS, COLUMNS = np.mgrid[:48, :64]
THERMAL = (40 + 3 * COLUMNS + 10 * (ROWS // 16)).astype(np.uint8)
RGB = np.dstack([200 - 2 * COLUMNS, 4 * ROWS, 80 + COLUMNS + ROWS]).astype(np.uint8)
COUNTS = 29000 + 10 * THERMAL.astype(np.uint16)
KELVIN = COUNTS.astype(np.float32) / 100


def encoded(image, suffix="png", mode=None, **options):
    """By Pillow, which is not what the package reads with."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = BytesIO()
    (picture.convert(mode) if mode else picture).save(
        file, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix), **options
    )
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def with_alpha(image, alpha=None):
    alpha = np.full(image.shape[:2], 255, np.uint8) if alpha is None else alpha
    return np.dstack([image, alpha])


def archive():
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        content.writestr("a.png", encoded(THERMAL))
    return file.getvalue()


PNG, VISIBLE = encoded(THERMAL), encoded(RGB)
GREY_PALETTE = Image.fromarray(THERMAL).convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
FEW_COLOURS = Image.fromarray(RGB).quantize(16)
HOLES = np.where(COLUMNS < 9, 0, 255).astype(np.uint8)

# Name: thermal and RGB file, their suffixes, and how far grey levels of the fused image may be off on the mean.
RIGHT = {
    "png": (PNG, VISIBLE, "png png", 0),
    "grey and alpha": (encoded(with_alpha(THERMAL)), VISIBLE, "png png", 0),
    "RGBA": (PNG, encoded(with_alpha(RGB)), "png png", 0),
    "RGBA with holes": (PNG, encoded(with_alpha(RGB, HOLES)), "png png", 0),
    "palette of greys": (encoded(GREY_PALETTE), VISIBLE, "png png", 1),
    "palette of colours": (PNG, encoded(FEW_COLOURS), "png png", 12),
    "thermal in colours that are grey": (encoded(np.dstack([THERMAL] * 3)), VISIBLE, "png png", 0),
    "RGB that is grey": (PNG, encoded(RGB, mode="L"), "png png", 1),
    "by OpenCV": (PNG, cv2.imencode(".png", RGB[..., ::-1])[1].tobytes(), "png png", 0),
    "with a resolution": (encoded(THERMAL, dpi=(300, 300)), encoded(RGB, dpi=(72, 72)), "png png", 0),
    "with a colour profile that is none": (PNG, encoded(RGB, icc_profile=b"no profile"), "png png", 0),
    "jpg grey": (encoded(THERMAL, "jpg", quality=98), VISIBLE, "jpg png", 2),
    "jpg": (PNG, encoded(RGB, "jpg", quality=98), "png jpg", 2),
    "jpg progressive": (PNG, encoded(RGB, "jpg", quality=98, progressive=True), "png jpg", 2),
    "jpg of 4:2:0": (PNG, encoded(RGB, "jpg", quality=95, subsampling=2), "png jpg", 3),
    "jpeg": (PNG, encoded(RGB, "jpg", quality=98), "png jpeg", 2),
    "JPG": (PNG, encoded(RGB, "jpg", quality=98), "png JPG", 2),
    "PNG": (PNG, VISIBLE, "PNG PNG", 0),
    "png called jpg": (PNG, VISIBLE, "jpg jpg", 0),
    "jpg called png": (PNG, encoded(RGB, "jpg", quality=98), "png png", 2),
    "jpg in CMYK": (PNG, encoded(RGB, "jpg", mode="CMYK", quality=98), "png jpg", 12),
    "bmp": (encoded(THERMAL, "bmp"), encoded(RGB, "bmp"), "bmp bmp", 0),
    "bmp with alpha": (PNG, encoded(with_alpha(RGB), "bmp"), "png bmp", 0),
    "tif": (encoded(THERMAL, "tif"), encoded(RGB, "tif"), "tif tif", 0),
    "tiff LZW": (encoded(THERMAL, "tif", compression="tiff_lzw"), encoded(RGB, "tif", compression="tiff_lzw"),
                 "tiff tiff", 0),
    "tiff deflate": (PNG, encoded(RGB, "tif", compression="tiff_adobe_deflate"), "png tiff", 0),
    "tiff packbits": (PNG, encoded(RGB, "tif", compression="packbits"), "png tiff", 0),
    "tiff of two pages": (PNG, encoded(RGB, "tif", save_all=True, append_images=[Image.fromarray(255 - RGB)]),
                          "png tiff", 0),
    "webp": (PNG, encoded(RGB, "webp", quality=98), "png webp", 4),
    "webp lossless": (encoded(THERMAL, "webp", lossless=True, mode="RGB"), encoded(RGB, "webp", lossless=True),
                      "webp webp", 0),
    **{f"EXIF {turn}": (encoded(THERMAL, exif=turned(turn)), encoded(RGB, exif=turned(turn)), "png png", 0)
       for turn in (1, 2, 3, 4, 5, 6, 7, 8)},
    "EXIF 3 of RGB alone": (PNG, encoded(RGB[::-1, ::-1], exif=turned(3)), "png png", 0),
    "EXIF of no value": (PNG, encoded(RGB, exif=turned(9)), "png png", 0),
    "EXIF 6 of a jpg": (PNG, encoded(np.rot90(RGB), "jpg", quality=98, exif=turned(6)), "png jpg", 2),
    "16 bits": (encoded(COUNTS), VISIBLE, "png png", 0),
    "16 bits tiff": (encoded(COUNTS, "tif"), VISIBLE, "tiff png", 0),
    "floats": (encoded(KELVIN, "tif"), VISIBLE, "tiff png", 0),
}  # fmt: skip

# Name: thermal and RGB file, their suffixes, and what is said.
REFUSED = {
    "empty": (b"", VISIBLE, "png png", r"odd\.png: not a readable image"),
    "HTML": (PNG, b"<!doctype html><title>404</title>", "png png", r"odd\.png: not a readable image"),
    "text": (b"P2 of no kind\n", VISIBLE, "png png", r"odd\.png: not a readable image"),
    "archive": (archive(), VISIBLE, "png png", r"odd\.png: not a readable image"),
    "NUL": (bytes(4096), VISIBLE, "bmp png", r"odd\.bmp: not a readable image"),
    **{f"{suffix} cut off": (PNG, encoded(RGB, suffix)[:-600], f"png {suffix}", rf"odd\.{suffix}: not a readable")
       for suffix in ("png", "jpg", "bmp", "tiff", "webp")},
    "png with a wrong sum": (PNG, VISIBLE[:60] + bytes([VISIBLE[60] ^ 255]) + VISIBLE[61:], "png png",
                             r"odd\.png: not a readable"),
    "one row more": (PNG, encoded(np.vstack([RGB, RGB[-1:]])), "png png", r"is 64x48, .*odd\.png is 64x49"),
    "turned RGB alone": (PNG, encoded(RGB, exif=turned(6)), "png png", r"is 64x48, .*odd\.png is 48x64"),
    "too small": (encoded(THERMAL[:40]), encoded(RGB[:40]), "png png", r"odd\.png: image of 64x40"),
    "one pixel": (encoded(THERMAL[:1, :1]), encoded(RGB[:1, :1]), "png png", r"odd\.png: image of 1x1"),
    "16 bits of RGB": (PNG, cv2.imencode(".png", RGB.astype(np.uint16) * 257)[1].tobytes(), "png png",
                       r"odd\.png: uint16 pixels; a visible image must have 8 bits"),
    "32-bit integers": (encoded(COUNTS.astype(np.int32), "tif"), VISIBLE, "tiff png", r"odd\.tiff: int32 pixels"),
}  # fmt: skip


@pytest.fixture
def put(tmp_path):
    """Writes a pair; with a sound one beside it from the start."""

    def put(thermal=PNG, rgb=VISIBLE, suffixes="png png", name="odd"):
        for part, content, suffix in zip(("ir", "vi"), (thermal, rgb), suffixes.split(), strict=True):
            path = tmp_path / "set" / part / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "set"

    put(name="sound")
    return put


def fused_of(folder, name="odd"):
    (result,) = evaluate([folder], ["max"], folder.parent / "out", EvaluationOptions())
    assert result.folder.failures == []
    return split_luminance(read_rgb(folder.parent / "out" / result.folder.name / "max/fused" / f"{name}.png"))[0]


def upright(image, orientation):
    """As a viewer turns it."""
    ways = (
        lambda i: i, lambda i: i[:, ::-1], lambda i: i[::-1, ::-1], lambda i: i[::-1],
        lambda i: np.swapaxes(i, 0, 1), lambda i: np.rot90(i, -1), lambda i: np.rot90(np.swapaxes(i, 0, 1), 2),
        np.rot90,
    )  # fmt: skip
    return ways[orientation - 1](image)


@pytest.mark.parametrize("case", RIGHT)
def test_right(put, case):
    thermal, rgb, suffixes, tolerance = RIGHT[case]
    image = KELVIN if case == "floats" else COUNTS
    grey = scale_alone(ThermalOptions(), image) if case.startswith(("16", "floats")) else THERMAL
    expected = np.maximum(grey, split_luminance(RGB)[0])
    if case.startswith("EXIF") and case[5:].isdigit():
        expected = upright(expected, int(case[5:]))
    fused = fused_of(put(thermal, rgb, suffixes)).astype(int)
    assert fused.shape == expected.shape
    assert np.abs(fused - expected).mean() <= max(tolerance, 0.6)  # of the round trip by colour


@pytest.mark.parametrize("case", REFUSED)
def test_refused(put, case):
    thermal, rgb, suffixes, said = REFUSED[case]
    folder = put(thermal, rgb, suffixes)
    (result,) = evaluate([folder], ["max"], folder.parent / "out", EvaluationOptions())
    (failure,) = result.folder.failures
    assert "\n" not in failure
    assert re.search(said, failure)
    assert len(result.rows["max"]) == 1


NAMES = ["ü ñ 夜", "with space", 'it\'s "quoted"', "100%d", "{0}", "-dash", "a.b.c", "n" * 200, "tab\there", "#7"]


@pytest.mark.parametrize("name", NAMES)
def test_names(put, name):
    assert fused_of(put(name=name), name).shape == (48, 64)


def test_composed_and_decomposed_letters_are_the_same(put):
    folder = put(name="é")
    path = folder / "vi" / f"{unicodedata.normalize('NFC', 'é')}.png"
    path.rename(path.with_name(unicodedata.normalize("NFD", "é") + ".png"))
    assert fused_of(folder, "é").shape == (48, 64)


def linked(folder):
    for part in ("ir", "vi"):
        (folder / part / "odd.png").symlink_to(folder / part / "sound.png")


def linked_folder(folder):
    (folder / "vi").rename(folder / "elsewhere")
    (folder / "vi").symlink_to("elsewhere")


def noise_of_desktops(folder):
    for name in (".DS_Store", "._sound.png", "Thumbs.db", "notes.txt", "sound.xml"):
        (folder / "ir" / name).write_bytes(b"\0\1")


def hidden_folder(folder):
    (folder / "ir/.thumbnails").mkdir()
    (folder / "ir/.thumbnails/x.png").write_bytes(PNG)


@pytest.mark.parametrize("change", [linked, linked_folder, noise_of_desktops, hidden_folder])
def test_folders_that_are_fine(put, change):
    folder = put(name="other")
    change(folder)
    assert fused_of(folder, "sound").shape == (48, 64)


def broken_link(folder):
    (folder / "ir/odd.png").symlink_to("nowhere")
    (folder / "vi/odd.png").write_bytes(VISIBLE)


def folder_called_png(folder):
    (folder / "ir/odd.png").mkdir()
    (folder / "vi/odd.png").write_bytes(VISIBLE)


def fifo(folder):
    os.mkfifo(folder / "ir/odd.png")
    (folder / "vi/odd.png").write_bytes(VISIBLE)


@pytest.mark.parametrize("change", [broken_link, folder_called_png, fifo])
def test_what_is_no_file_costs_its_pair_or_is_named(put, change):
    folder = put(name="other")
    change(folder)
    try:
        (result,) = evaluate([folder], ["max"], folder.parent / "out", EvaluationOptions())
    except (ValueError, OSError) as error:
        said = str(error)
    else:
        (said,) = result.folder.failures
    assert "odd" in said
    assert "\n" not in said


def twice(folder):
    (folder / "ir/sound.jpg").write_bytes(encoded(THERMAL, "jpg"))


def other_case(folder):
    (folder / "ir/sound.png").rename(folder / "ir/Sound.png")


def no_image(folder):
    (folder / "ir/sound.png").unlink()


def no_camera(folder):
    no_image(folder)
    (folder / "ir").rmdir()


def file_in_place_of_a_folder(folder):
    no_camera(folder)
    (folder / "ir").write_bytes(PNG)


def loop(folder):
    no_camera(folder)
    (folder / "ir").symlink_to("ir")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (twice, "sound.*both called sound"),
        (other_case, "sound has no partner|Sound has no partner"),
        (no_image, "ir holds no image"),
        (no_camera, "has no two sub-folders"),
        (file_in_place_of_a_folder, "has no two sub-folders"),
        (loop, "has no two sub-folders"),
    ],
)
def test_folders_that_are_refused(put, tmp_path, change, said):
    folder = tmp_path / "set"
    change(folder)
    with pytest.raises((ValueError, OSError), match=said) as caught:
        evaluate([folder], ["max"], tmp_path / "out", EvaluationOptions())
    assert "\n" not in str(caught.value)
