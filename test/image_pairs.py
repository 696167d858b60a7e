"""Small folders of image pairs for the tests of training, and images as messages of no library."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from mmcfusion_ros.stream.messages import plain_image
from mmcfusion_ros.stream.pairing import Pair
from mmcfusion_ros.stream.pipeline import FusionPipeline, Result


def write_noise_pairs(folder: Path, names: str, size: tuple[int, int] = (64, 80)) -> Path:
    """Grey noise of ``size`` (height, width), a pair for each letter of ``names``."""
    rng = np.random.default_rng(0)
    for part in ("ir", "vi"):
        (folder / part).mkdir(parents=True)
        for name in names:
            cv2.imwrite(str(folder / part / f"{name}.png"), rng.integers(0, 256, size, dtype=np.uint8))
    return folder


def write_pairs(folder: Path, count: int = 5, size: tuple[int, int] = (144, 160)) -> Path:
    """Warm discs in thermal, stripes in RGB."""
    rng = np.random.default_rng(count)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for part in ("ir", "vi"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        x, y = rng.integers(30, 110, 2)
        thermal = 30 + 200 * ((columns - x) ** 2 + (rows - y) ** 2 < 450) + rng.normal(0, 2, size)
        visible = 100 + 60 * np.sin(columns / (2 + i)) + rng.normal(0, 2, size)
        cv2.imwrite(str(folder / "ir" / f"{i:02}.png"), np.clip(thermal, 0, 255).astype(np.uint8))
        rgb = np.repeat(np.clip(visible, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        cv2.imwrite(str(folder / "vi" / f"{i:02}.png"), rgb)
    return folder


def as_message(image: np.ndarray) -> SimpleNamespace:
    """``H x W`` uint8, uint16 or float32, or ``H x W x 3`` uint8, red first."""
    encoding = "rgb8" if image.ndim == 3 else {1: "mono8", 2: "16UC1", 4: "32FC1"}[image.itemsize]
    return plain_image(image, encoding)


def fuse(pipeline: FusionPipeline, thermal: np.ndarray, visible: np.ndarray, stamp_s: float = 0.0) -> Result:
    """As a pair of messages."""
    stamp_ns = round(stamp_s * 1e9)
    return pipeline.fuse(Pair(as_message(thermal), as_message(visible), stamp_ns, stamp_ns, 0))
