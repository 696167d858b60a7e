"""A pair of images in, the fused image out; luminance and colour, apart and together (ITU-R BT.601, full range)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.fusion.backends import Backend, create_backend
from mmcfusion_ros.fusion.conditions import BAND, denoise
from mmcfusion_ros.fusion.models import PURPOSES, find_model
from mmcfusion_ros.fusion.network import Network
from mmcfusion_ros.fusion.registration import blend
from mmcfusion_ros.network.variants import Variant

LARGEST_SIDE = 4096
SMALLEST_SIDE = 32

ONE = 1 << 13  # a gain of 1 in int16
LARGEST_GAIN = 1.5
DARK = 16  # grey levels: darker ones have no colour that could be trusted with a larger gain
DAYLIGHT, LAMPS = 0.08, 0.14  # casts: of daylight no more than that, of lamps no less
SMALLER = 8  # times, the image that a cast is looked for in

ROOM = 8  # grey levels, by which the fused image may differ from the network's where nothing moves


@dataclass(frozen=True, eq=False)
class RegisteredPair:
    """A pair on the RGB pixel grid, as any fuser can take it; images of ``H x W`` uint8.

    ``thermal`` is white hot, ``clean`` the luminance without noise, ``colour`` as ``split_luminance`` gives it,
    ``weight`` the share of thermal as ``Registration.warp`` gives it.
    """

    thermal: np.ndarray
    clean: np.ndarray
    luminance: np.ndarray
    colour: np.ndarray | None = None
    weight: np.ndarray | None = None


class Steadiness:
    """Holds each pixel of the fused image as long as both sources hold still there, with some room.

    The room is ``ROOM`` grey levels where neither source has changed since the last frame, less by as much as one has,
    and none where one has changed by ``ROOM``: what moves is as the network gave it. What is held follows as soon as
    the network's image is further away, so slow changes of the light pass.
    """

    def __init__(self) -> None:
        self._last: tuple[np.ndarray, ...] = ()

    def reset(self) -> None:
        """Forgets the frames before, as at the start of another stream."""
        self._last = ()

    def __call__(self, thermal: np.ndarray, luminance: np.ndarray, fused: np.ndarray) -> np.ndarray:
        """The next frame as the network got it and gave it, ``H x W`` uint8, to the fused image that goes out. The
        arrays are kept: they may not be written to later."""
        last, steady = self._last, np.empty_like(fused)
        if not last or last[0].shape != fused.shape:
            last = thermal, luminance, fused
        for top in range(0, len(fused), BAND):
            rows = slice(top, top + BAND)
            changes = cv2.max(cv2.absdiff(thermal[rows], last[0][rows]), cv2.absdiff(luminance[rows], last[1][rows]))
            room = cv2.subtract(np.full_like(changes, ROOM), changes)
            least, most = cv2.subtract(fused[rows], room), cv2.add(fused[rows], room)
            cv2.min(cv2.max(last[2][rows], least), most, steady[rows])
        self._last = thermal, luminance, steady
        return steady


class Fuser:
    """Fuses registered pairs with one network on one backend; if it ``denoises``, noisy images go through
    :func:`~mmcfusion_ros.fusion.conditions.denoise` before. ``steadiness`` is for the frames of one stream, in order.

    Thermal images are white hot for everyone; for weights that expect black hot they are turned over here."""

    def __init__(
        self,
        backend: Backend | Network,
        reason: str = "as configured",
        denoises: bool = True,
        steadiness: Steadiness | None = None,
    ) -> None:
        self.backend = backend
        self.reason = reason
        self.denoises = denoises
        self.steadiness = steadiness

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
        if thermal.dtype != np.uint8:
            raise ValueError(f"thermal image of {thermal.dtype}; it must be uint8, scale 16-bit counts first")
        if thermal.ndim != 2 or thermal.shape != luminance.shape:
            raise ValueError(f"thermal {thermal.shape} and luminance {luminance.shape} must have one shape H x W")
        clean = denoise if self.denoises else lambda image: image
        return self.fuse(RegisteredPair(clean(thermal), clean(luminance), luminance, colour), {})[0]

    def fuse(self, pair: RegisteredPair, moments: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """A pair, whose size whoever took it in has checked, to the fused image, like the visible one, and to the
        thermal image as the network got it, ``H x W`` uint8. ``moments`` gets the end of stage ``network``.

        Weights made for detectors are those that expect black hot: their images have no colours of lamps (see
        :func:`daylight`), with which detectors find less.
        """
        backend, variant, (height, width) = self.backend, self.backend.variant, pair.clean.shape
        for_detectors = backend.thermal_polarity == "black_hot"
        thermal, luminance = cv2.bitwise_not(pair.thermal) if for_detectors else pair.thermal, pair.clean
        if pair.weight is not None:
            thermal = blend(thermal, luminance, pair.weight)
        multiple, smallest = variant.size_multiple, variant.smallest_size
        if height % multiple or width % multiple or min(height, width) < smallest:
            fused = backend(pad(thermal, variant), pad(luminance, variant))[:height, :width]
        else:
            fused = backend(thermal, luminance)
        moments["network"] = time.perf_counter()
        if self.steadiness:
            fused = self.steadiness(thermal, luminance, fused)
        if pair.weight is not None:
            fused = blend(fused, pair.luminance, pair.weight)
        return merge_luminance(fused, pair.colour, None if for_detectors else 1.0), thermal


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


def split_luminance(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """``H x W x 3`` uint8, red first, to its luminance ``H x W`` uint8 and its colour for ``merge_luminance``.

    The colour is the image itself. A grey image, ``H x W``, is its own luminance and has no colour.
    """
    return (image, None) if image.ndim == 2 else (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), image)


def daylight(colour: np.ndarray) -> float:
    """How far the colours of an ``H x W x 3`` uint8 image, red first, are those of daylight and not of lamps: 0 to 1.

    By the cast of the whole image (a grey world has none): the mean of (channel - Y) / (Y + 16), as the length of a
    vector. Lamps turn all that they shine on yellow or green, and detectors know such colours from few photographs.
    """
    height, width = (max(1, side // SMALLER) for side in colour.shape[:2])
    small = cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    luminance = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)[..., None]
    cast = float(np.linalg.norm(((small - luminance) / (luminance + DARK)).mean(axis=(0, 1))))
    return min(max((LAMPS - cast) / (LAMPS - DAYLIGHT), 0.0), 1.0)


def merge_luminance(luminance: np.ndarray, colour: np.ndarray | None, saturation: float | None = 1.0) -> np.ndarray:
    """``H x W`` uint8 luminance F and a colour of the same size to ``H x W x 3`` uint8, red first.

    Each channel is F + g (channel - Y), where Y is the luminance that the colour had and g = (F + 16) / (Y + 16) scales
    its saturation along: at most 1.5, and never so that a channel is clipped; all times ``saturation``, 0 to 1 (None:
    :func:`daylight` of the colour). Where F = Y the colour comes out as it was; elsewhere within 1 of that formula.
    Without colour the luminance is returned as it is.
    """
    if colour is None:
        return luminance
    merged = np.empty_like(colour)
    one = ONE * (daylight(colour) if saturation is None else saturation)
    for top in range(0, len(luminance), BAND):
        band = slice(top, top + BAND)
        f, y = (plane.astype(np.int16) for plane in (luminance[band], cv2.cvtColor(colour[band], cv2.COLOR_RGB2GRAY)))
        differences = [channel - y for channel in cv2.split(colour[band])]
        _, gain = cv2.threshold(cv2.divide(f + DARK, y + DARK, scale=one), LARGEST_GAIN * one, 0, cv2.THRESH_TRUNC)
        for room, needed in ((255 - f, reduce(np.maximum, differences)), (f, -reduce(np.minimum, differences))):
            # In 64ths, with a little more room than needed, so that where none is needed there is no limit.
            gain = np.minimum(gain, cv2.divide(64 * room + 2, 64 * needed + 1, scale=ONE))
        cv2.merge([(f + cv2.multiply(gain, d, scale=1 / ONE)).astype(np.uint8) for d in differences], merged[band])
    return merged
