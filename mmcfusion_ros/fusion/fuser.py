"""A pair of images in, the fused image out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.fusion.backends import Backend, create_backend
from mmcfusion_ros.fusion.colour import daylight, merge_luminance, split_luminance
from mmcfusion_ros.fusion.denoising import denoise
from mmcfusion_ros.fusion.models import PURPOSES, find_model
from mmcfusion_ros.fusion.thermal import in_polarity
from mmcfusion_ros.network.variants import Variant

LARGEST_SIDE = 4096
SMALLEST_SIDE = 32


class Fuser:
    """Fuses registered pairs with one network on one backend; if it ``denoises``, noisy images go through
    :func:`~mmcfusion_ros.fusion.denoising.denoise` before.

    Thermal images are white hot for everyone; for weights that expect black hot they are turned over here."""

    def __init__(self, backend: Backend, reason: str = "as configured", denoises: bool = True) -> None:
        self.backend = backend
        self.reason = reason
        self.denoises = denoises

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = PURPOSES["detection"],
        backend: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        denoises: bool = True,
    ) -> Fuser:
        """A fuser with shipped weights by name (``detect``, made for detectors, or ``lite``, for eyes), or those of a
        ``.safetensors`` or OpenVINO ``.xml`` file.

        ``backend``: auto, openvino, torch; ``device``: auto, cpu, cuda; ``precision``: auto, float32, bfloat16,
        float16; ``threads``: processors to use, 0 for all; ``denoises``: as the class says. Raises
        ``FileNotFoundError``, ``ValueError`` or ``BackendError`` with one line that says what to do.
        """
        return cls(*create_backend(find_model(model), backend, device, precision, threads), denoises)

    def __str__(self) -> str:
        backend = self.backend
        polarity = backend.thermal_polarity.replace("_", " ")
        network = f"{backend.variant.name}, thermal {polarity}, on {backend.name}"
        return f"{network} ({backend.device}, {backend.precision}): {self.reason}"

    def __call__(self, thermal: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """``thermal`` ``H x W``, white hot, and ``visible`` ``H x W`` or ``H x W x 3`` (red first), uint8, to the
        fused image.

        The result has the shape of ``visible``: only its luminance is fused, its colour is put back. Sides of 32 to
        4096 pixels. Raises ``ValueError`` for other arrays, ``FusionError`` if the backend fails.
        """
        check_visible(visible)
        luminance, colour = split_luminance(visible)
        return self.colourise(self.fuse_luminance(thermal, luminance), colour)

    def fuse_luminance(self, thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """Two ``H x W`` uint8 images, the thermal one white hot, to the fused one."""
        _check(thermal, luminance)
        return self.fuse_clean(self.as_expected(self.clean(thermal)), self.clean(luminance))

    def clean(self, image: np.ndarray) -> np.ndarray:
        """An ``H x W`` uint8 image without the noise that the network is not to get."""
        return denoise(image) if self.denoises else image

    def as_expected(self, thermal: np.ndarray) -> np.ndarray:
        """A white-hot ``H x W`` uint8 image in the polarity that the weights expect, or such a one to white hot."""
        return in_polarity(thermal, self.backend.thermal_polarity)

    def colourise(self, fused: np.ndarray, colour: np.ndarray | None) -> np.ndarray:
        """The fused luminance with the colours of the visible image, as :func:`split_luminance` gives them; for weights
        made for detectors (black hot) without those of lamps (:func:`daylight`), with which detectors find less."""
        for_detectors = self.backend.thermal_polarity == "black_hot"
        saturation = daylight(colour) if for_detectors and colour is not None else 1.0
        return merge_luminance(fused, colour, saturation)

    def fuse_clean(self, thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """The network alone: what :meth:`clean` and :meth:`as_expected` gave, registered, to the fused image.

        Two ``H x W`` uint8 images with sides of 32 to 4096 pixels, which whoever took them in has checked.
        """
        height, width = thermal.shape
        padded = (pad(image, self.backend.variant) for image in (thermal, luminance))
        return self.backend(*padded)[:height, :width]


def pad(image: np.ndarray, variant: Variant) -> np.ndarray:
    """An ``H x W`` image, its lower and right edges repeated up to a size that the variant takes."""
    bottom, right = (
        max(-(-size // variant.size_multiple) * variant.size_multiple, variant.smallest_size) - size
        for size in image.shape
    )
    return cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE) if bottom or right else image


def check_visible(visible: np.ndarray) -> None:
    """``ValueError`` unless it is uint8, ``H x W`` or ``H x W x 3``, with sides of 32 to 4096 pixels."""
    if visible.dtype != np.uint8:
        raise ValueError(f"visible image of {visible.dtype}; it must be uint8")
    if visible.ndim != 2 and visible.shape[2:] != (3,):
        raise ValueError(f"visible image of shape {visible.shape}; it must be H x W or H x W x 3")
    check_size(visible.shape[1], visible.shape[0])


def check_size(width: int, height: int) -> None:
    """``ValueError`` unless both are 32 to 4096 pixels."""
    if not SMALLEST_SIDE <= min(width, height) <= max(width, height) <= LARGEST_SIDE:
        raise ValueError(f"image of {width}x{height}: sides must be {SMALLEST_SIDE} to {LARGEST_SIDE}")


def _check(thermal: np.ndarray, luminance: np.ndarray) -> None:
    check_visible(luminance)
    if thermal.dtype != np.uint8:
        raise ValueError(f"thermal image of {thermal.dtype}; it must be uint8, scale 16-bit counts first")
    if thermal.ndim != 2 or thermal.shape != luminance.shape:
        raise ValueError(f"thermal {thermal.shape} and luminance {luminance.shape} must have one shape H x W")
