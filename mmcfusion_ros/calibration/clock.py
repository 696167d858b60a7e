"""The constant offset between the clocks of two cameras, from the motion that both see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

BLOCKS = (8, 6)
WORK_SIZE = (160, 120)
STEP_S = 1 / 400
LEAST_ENERGY = 0.6  # grey levels per second: the noise of a camera
LEAST_SECONDS = 2.0
LEAST_CORRELATION = 0.25
LEAST_LEAD = 0.05
SEGMENTS = 6


@dataclass(frozen=True)
class Motion:
    """Motion energy of one camera: ``times`` (n, seconds, rising) and ``energy`` (n x blocks)."""

    times: np.ndarray
    energy: np.ndarray

    @property
    def period_s(self) -> float:
        """Median time between two frames."""
        return float(np.median(np.diff(self.times)))


@dataclass(frozen=True)
class ClockOffset:
    """``offset_s`` is to be added to thermal stamps (the parameter ``pairing.thermal_offset``).

    ``deviation_s`` is its standard deviation over parts of the recording, ``correlation`` that of the two motions at
    this offset (-1 to 1). ``problem`` says why it is not to be trusted, or is empty.
    """

    offset_s: float
    deviation_s: float
    correlation: float
    problem: str


def motion_energy(frames: Iterable[tuple[float, np.ndarray]]) -> Motion:
    """Of ``(stamp in seconds, luminance H x W uint8)``, in order of the stamps.

    Mean absolute difference of neighbouring frames per second, in blocks of the image, at the time between the two.
    Repeated images, as of a thermal camera during its shutter correction, are left out. ``ValueError`` for fewer than
    ten frames that differ.
    """
    times, energies = [], []
    last_stamp, last = 0.0, None
    for stamp, luminance in frames:
        small = cv2.resize(luminance, WORK_SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
        image = cv2.GaussianBlur(small, (0, 0), 1.0)
        if last is not None:
            difference = cv2.absdiff(image, last)
            if stamp <= last_stamp or not difference.any():
                continue
            energy = cv2.resize(difference, BLOCKS, interpolation=cv2.INTER_AREA).ravel()
            times.append((stamp + last_stamp) / 2)
            energies.append(energy / (stamp - last_stamp))
        last_stamp, last = stamp, image
    if len(times) < 10:
        raise ValueError(f"{len(times) + 1} different frames in the order of their stamps; at least 11 are needed")
    return Motion(np.array(times), np.array(energies, dtype=np.float64))


def clock_offset(thermal: Motion, rgb: Motion, limit_s: float = 1.0) -> ClockOffset:
    """The offset within ``+-limit_s`` at which both cameras move alike.

    Both must see about the same field of view. ``ValueError`` for less than two seconds seen by both.
    """
    searched = np.arange(-limit_s, limit_s + STEP_S / 2, STEP_S)
    scores = _agreement(thermal, rgb, searched).mean(axis=0)
    coarse = float(searched[scores.argmax()])
    apart = np.abs(searched - coarse) > 3 * max(thermal.period_s, rgb.period_s)
    rival = float(scores[apart].max(initial=-1.0))
    # Near the offset nearly the whole recording is seen by both.
    offsets = coarse + np.arange(-0.1, 0.1 + STEP_S / 2, STEP_S)
    products = _agreement(thermal, rgb, offsets)
    offset, correlation = _vertex(offsets, products.mean(axis=0)), float(products.mean(axis=0).max())
    # Jackknife over parts of the recording.
    parts = np.array_split(products, SEGMENTS)
    left_out = [_vertex(offsets, np.concatenate(parts[:i] + parts[i + 1 :]).mean(axis=0)) for i in range(SEGMENTS)]
    deviation = float(np.std(left_out) * np.sqrt(SEGMENTS - 1))
    at_end = abs(offset) > limit_s - STEP_S
    return ClockOffset(offset, deviation, correlation, _problem(at_end, correlation, rival, deviation, rgb.period_s))


def _problem(at_end: bool, correlation: float, rival: float, deviation: float, period_s: float) -> str:
    if correlation < LEAST_CORRELATION:
        return f"the motions of the two cameras agree by {correlation:.2f} only; move the rig, or record more motion"
    if at_end:
        return "the offset lies at the end of the searched range; search further"
    if correlation - rival < LEAST_LEAD:
        return "another offset fits nearly as well: the motion repeats itself; record motion that does not"
    if deviation > period_s:
        return f"parts of the recording differ by {1e3 * deviation:.0f} ms; record longer"
    return ""


def _agreement(thermal: Motion, rgb: Motion, offsets: np.ndarray) -> np.ndarray:
    """``samples x offsets``: products of the two normalised energies, whose mean over samples is their correlation.

    The samples are those times of the RGB camera that the thermal one saw too, at every offset.
    """
    start = max(rgb.times[0], thermal.times[0] + offsets[-1])
    end = min(rgb.times[-1], thermal.times[-1] + offsets[0])
    if end - start < LEAST_SECONDS:
        raise ValueError(
            f"both cameras saw {max(0.0, end - start):.1f} s in common at every offset from {offsets[0]:.2f} to "
            f"{offsets[-1]:.2f} s; {LEAST_SECONDS} s are needed: record longer, or search less"
        )
    stride = max(1, round(min(thermal.period_s, rgb.period_s) / 2 / STEP_S))
    samples = int((end - start) / STEP_S) // stride * stride
    reference = _normalised(_changes_at(rgb, start + STEP_S * np.arange(0, samples, stride)))
    dense = _changes_at(thermal, start - offsets[-1] + STEP_S * np.arange(samples + len(offsets)))
    begins = range(len(offsets) - 1, -1, -1)  # the larger the offset, the earlier the thermal sample
    moved = (_normalised(dense[begin : begin + samples : stride]) for begin in begins)
    return np.stack([(reference * energy).mean(axis=1) for energy in moved], axis=1)


def _changes_at(motion: Motion, times: np.ndarray) -> np.ndarray:
    """Logarithm of the energy at these times, against its mean over the frames around."""
    logarithm = np.log(motion.energy + LEAST_ENERGY)

    def mean_over(periods: float) -> np.ndarray:
        weights = np.exp(-0.5 * ((times[:, None] - motion.times) / (periods * motion.period_s)) ** 2) + 1e-12
        return weights @ logarithm / weights.sum(axis=1, keepdims=True)

    return mean_over(0.6) - mean_over(12)


def _normalised(energy: np.ndarray) -> np.ndarray:
    centred = energy - energy.mean(axis=0)
    return centred / (centred.std(axis=0) + 1e-9)


def _vertex(x: np.ndarray, y: np.ndarray) -> float:
    """Of the parabola through the highest of the points and its neighbours."""
    i = int(np.clip(y.argmax(), 1, len(y) - 2))
    bend = y[i - 1] - 2 * y[i] + y[i + 1]
    shift = 0.5 * (y[i - 1] - y[i + 1]) / bend if bend < 0 else 0.0
    return float(x[i] + np.clip(shift, -1, 1) * (x[1] - x[0]))
