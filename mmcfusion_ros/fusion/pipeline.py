"""A frame's way from two camera images to the fused one: the same objects live, from a bag and in the benchmark."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from mmcfusion_ros.alignment.refinement import Refiner
from mmcfusion_ros.fusion.colour import split_luminance
from mmcfusion_ros.fusion.errors import FrozenThermalError
from mmcfusion_ros.fusion.frozen import FROZEN_POLICIES, FrozenDetector
from mmcfusion_ros.fusion.fuser import Fuser, check_visible
from mmcfusion_ros.fusion.registration import Registration, blend
from mmcfusion_ros.fusion.thermal import ThermalScaler

EXCHANGED = "the thermal images have colours and the RGB images none: are the cameras exchanged?"


class StageClock:
    """Time spent in each named stage of one frame, in milliseconds."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._started = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Ends a stage, which began where the one before ended."""
        now = time.perf_counter()
        self.milliseconds[stage] = 1e3 * (now - self._last)
        self._last = now

    def finish(self) -> dict[str, float]:
        """All stages and their ``total``."""
        return {**self.milliseconds, "total": 1e3 * (self._last - self._started)}


@dataclass(frozen=True, eq=False)
class RegisteredPair:
    """A pair on the RGB pixel grid, as any fuser can take it; images of ``H x W`` uint8.

    ``thermal`` is white hot, ``clean`` the luminance without noise, ``colour`` as ``split_luminance`` gives it,
    ``weight`` the share of thermal as :meth:`Registration.warp` gives it.
    """

    thermal: np.ndarray
    clean: np.ndarray
    luminance: np.ndarray
    colour: np.ndarray | None
    weight: np.ndarray | None

    def seen_by(self, fuser: Fuser) -> np.ndarray:
        """The thermal image as that fuser's network is to get it."""
        return blend(fuser.as_expected(self.thermal), self.clean, self.weight)

    def coloured(self, fused: np.ndarray, fuser: Fuser) -> np.ndarray:
        """What the network of that fuser made of the pair, ``H x W`` uint8, as an image like the visible one."""
        return fuser.colourise(blend(fused, self.luminance, self.weight), self.colour)


class FusionPipeline:
    """Thermal scaling, denoising, registration, fusion and colour with fixed settings.

    ``frozen_policy`` says what happens to a pair whose thermal frame is an old one, by ``frozen``: pass_through gives
    the visible image as it is, fuse goes on, drop raises ``FrozenThermalError``. ``registered`` is the last thermal
    image as the network got it, ``H x W`` uint8 on the RGB pixel grid, black hot where its weights expect that; of a
    frozen one the visible luminance. ``weight`` is its share in the image that came out, as :meth:`Registration.warp`
    gives it. ``pair`` is the last one that was fused. ``refiner`` watches the registration and, if it may, follows the
    cameras.
    """

    def __init__(
        self,
        fuser: Fuser,
        scaler: ThermalScaler,
        registration: Registration,
        frozen: FrozenDetector | None = None,
        frozen_policy: str = "pass_through",
        refiner: Refiner | None = None,
    ) -> None:
        if frozen_policy not in FROZEN_POLICIES:
            raise ValueError(f"frozen_policy is {frozen_policy!r}; it must be one of {', '.join(FROZEN_POLICIES)}")
        self.fuser = fuser
        self.scaler = scaler
        self.registration = registration
        self.refiner = refiner
        self.calibration = registration.calibration
        self.frozen = frozen or FrozenDetector()
        self._frozen_policy = frozen_policy
        self._doubts: list[str] = []
        self._exchanged = False
        self.registered = np.zeros((0, 0), np.uint8)
        self.weight: np.ndarray | None = None
        self.pair: RegisteredPair | None = None

    def look(self, thermal: np.ndarray, stamp_s: float) -> np.ndarray:
        """The next thermal image without its telemetry, a view; notes whether it is an old one, by ``frozen``.

        ``h x w`` uint8 or uint16, or ``h x w x 3`` uint8, red first, in the colours of a palette; its stamp in seconds.
        ``ValueError`` if nothing is left of it.
        """
        thermal = self.scaler.crop(thermal)
        self.frozen(thermal, stamp_s)
        return thermal

    def check_age(self) -> None:
        """``FrozenThermalError`` if the thermal image is an old one and ``frozen_policy`` is drop."""
        if self.frozen.is_frozen and self._frozen_policy == "drop":
            raise self._frozen_error()

    def __call__(self, thermal: np.ndarray, visible: np.ndarray, clock: StageClock) -> np.ndarray:
        """A thermal and a visible image (``H x W [x 3]`` uint8, red first) to a fused image like the visible one.

        Thermal: as :meth:`look` gives it. Raises ``ValueError`` for images that do not fit, ``FusionError`` if the
        backend fails, ``FrozenThermalError`` as :meth:`check_age` does.
        """
        _check_thermal(thermal)
        check_visible(visible)
        self._exchanged = thermal.ndim > visible.ndim and self.scaler.options.palette == "white_hot"
        self.check_age()
        if self.passes_through:
            clock.lap("thermal")
            self.registered = split_luminance(visible)[0]
            self.weight = np.zeros_like(self.registered)
            return visible
        thermal = self.fuser.clean(self.scaler(thermal))
        clock.lap("thermal")
        luminance, colour = split_luminance(visible)
        clean = self.fuser.clean(luminance)
        clock.lap("luminance")
        if self.refiner:
            self.refiner.offer(thermal, clean)
        warped = self._warp(thermal, clean.shape)
        self.pair = RegisteredPair(warped, clean, luminance, colour, self.weight)
        self.registered = self.pair.seen_by(self.fuser)
        clock.lap("registration")
        fused = self.fuser.fuse_clean(self.registered, clean)
        clock.lap("network")
        fused = self.pair.coloured(fused, self.fuser)
        clock.lap("colour")
        return fused

    def thermal_alone(self, thermal: np.ndarray, rgb_shape: tuple[int, int] | None) -> np.ndarray:
        """A thermal image as ``__call__`` takes it to ``H x W`` uint8 on the RGB pixel grid of that shape.

        In the polarity that the network's weights expect; where the thermal camera sees nothing, as cold as can be.
        Without a shape (height, width) only brought to 8 bits. An old one raises ``FrozenThermalError`` unless
        ``frozen_policy`` is fuse: there is no visible image to give instead.
        """
        _check_thermal(thermal)
        if self.frozen.is_frozen and self._frozen_policy != "fuse":
            raise self._frozen_error()
        scaled = self.scaler(thermal)
        if rgb_shape is None:
            self.weight = None
            return self.fuser.as_expected(scaled)
        warped = self._warp(scaled, rgb_shape)
        return self.fuser.as_expected(blend(warped, np.zeros_like(warped), self.weight))

    @property
    def passes_through(self) -> bool:
        """Whether the last image was the visible one as it is, since the thermal one was an old one."""
        return self.frozen.is_frozen and self._frozen_policy == "pass_through"

    def use(self, registration: Registration) -> None:
        """Registers what comes with this registration; where it is another one, a refiner begins anew."""
        if registration is self.registration:
            return
        self.registration = registration
        if self.refiner:
            self.refiner.rebase(registration)

    def reset(self) -> None:
        """Forgets the frames before, as after a jump of the clock."""
        self.scaler.reset()
        self.frozen.reset()
        if self.refiner:
            self.refiner.stop()
            self.refiner = Refiner(self.registration, self.refiner.options)

    def problems(self) -> list[str]:
        """What looks wrong with the cameras or their calibration, in words."""
        problems = self.scaler.problems() + self._doubts
        if self._exchanged:
            problems.insert(0, EXCHANGED)
        if self.frozen.is_frozen and self._frozen_policy != "fuse":
            problems.insert(0, f"the thermal camera has sent the same frame for {self.frozen.age_s:.1f} s")
        return problems + (self.refiner.problems() if self.refiner else [])

    def report(self) -> dict[str, str]:
        """For diagnostics, by key."""
        counts = {
            "thermal_frozen_frames": str(self.frozen.frames),
            "thermal_freezes": str(self.frozen.freezes),
            "thermal_bad_pixels": str(self.scaler.bad_pixels.count),
        }
        return counts | (self.refiner.report() if self.refiner else {})

    def _frozen_error(self) -> FrozenThermalError:
        return FrozenThermalError(f"the thermal camera has sent the same frame for {self.frozen.age_s:.2f} s")

    def _warp(self, thermal: np.ndarray, rgb_shape: tuple[int, int]) -> np.ndarray:
        registration = self.refiner.registration if self.refiner else self.registration
        warped, self.weight = registration.warp(thermal, rgb_shape)
        self._doubts = self.registration.doubts(thermal.shape, rgb_shape)
        return warped


def _check_thermal(thermal: np.ndarray) -> None:
    raw = thermal.ndim == 2 and thermal.dtype in (np.uint8, np.uint16)
    coloured = thermal.ndim == 3 and thermal.shape[2] == 3 and thermal.dtype == np.uint8
    if not thermal.size or not (raw or coloured):
        raise ValueError(
            f"thermal image of {thermal.dtype}, shape {thermal.shape}; it must be h x w uint8 or uint16, "
            "or h x w x 3 uint8"
        )
