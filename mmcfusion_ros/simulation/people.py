"""Walking people: a jointed figure, whose limbs are drawn one by one as tapered capsules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmcfusion_ros.simulation.canvas import Canvas, paints, pixels_per_metre, project

STEP_CYCLE_M = 1.35
PHASES = 96
HIGHLIGHT_FROM_PIXELS_PER_METRE = 20.0
COAT_RGB = ((176, 40, 44), (36, 58, 108), (226, 178, 60), (52, 92, 70), (60, 60, 66), (206, 204, 198), (122, 62, 104))
TROUSERS_RGB = ((44, 54, 82), (58, 56, 54), (120, 104, 84), (34, 34, 40), (92, 100, 112))
SKIN_RGB = ((236, 192, 162), (210, 158, 124), (156, 108, 80), (240, 204, 178))
HAIR_RGB = ((44, 32, 26), (92, 62, 38), (180, 140, 84), (120, 118, 116), (22, 20, 22))
SHOES_RGB, BACKPACK_RGB = (48, 42, 40), (70, 74, 64)


@dataclass(frozen=True)
class Person:
    """A person at a moment: feet at ``x, z`` metres, walking towards ``heading`` (x, z; unit), ``walked`` metres.

    ``clothes``: the colours of coat, trousers, skin, hair, shoes and backpack, ``6 x 3``.
    """

    x: float
    z: float
    heading: tuple[float, float]
    walked: float
    height: float
    clothes: np.ndarray
    backpack: bool

    @property
    def extent(self) -> np.ndarray:
        """World points around the person, ``2 x 3``."""
        return np.array([(self.x - 0.7, 0.0, self.z), (self.x + 0.7, 2.0, self.z)])

    @property
    def middle(self) -> tuple[float, float, float]:
        """Where the light on the person is taken."""
        return self.x, 1.2, self.z


def random_clothes(rng: np.random.Generator) -> np.ndarray:
    """The colours of coat, trousers, skin, hair, shoes and backpack, ``6 x 3``."""
    picked = [options[rng.integers(len(options))] for options in (COAT_RGB, TROUSERS_RGB, SKIN_RGB, HAIR_RGB)]
    return np.array([*picked, SHOES_RGB, BACKPACK_RGB], dtype=float)


def draw_person(canvas: Canvas, person: Person, gain: np.ndarray, haze: np.ndarray) -> None:
    """Draws shadow and figure; ``gain`` (3) and ``haze`` (3) turn a surface colour into the one seen."""
    feet = np.array([person.x, 0.0, person.z])
    scale, size = pixels_per_metre(feet), person.height / 1.75
    forward, right = np.array(
        [(person.heading[0], 0.0, person.heading[1]), (person.heading[1], 0.0, -person.heading[0])]
    )
    order = _drawing_order(forward, right, person.backpack)
    phase = int(person.walked / (STEP_CYCLE_M * size) * PHASES) % PHASES
    limbs = WALK[phase, order] @ (size * np.array([right, (0.0, 1.0, 0.0), forward]))
    ends, radii = project(feet + limbs), size * scale * RADII[order]
    seen, celsius = person.clothes[WEARS[order]] * gain, CELSIUS[order]
    if scale < HIGHLIGHT_FROM_PIXELS_PER_METRE:
        canvas.capsules(ends, radii, paints(seen + haze, celsius))
        return
    canvas.darken(project(feet + SHADOW), 0.45)
    offset = radii[:, :, None] * (0.24, -0.14)
    in_turn = np.arange(2 * len(order)).reshape(2, -1).T.ravel()
    canvas.capsules(
        np.concatenate([ends, ends + offset])[in_turn],
        np.concatenate([radii, 0.7 * radii])[in_turn],
        paints(
            np.concatenate([0.74 * seen, 1.06 * seen])[in_turn] + haze,
            np.concatenate([celsius - 1.2, celsius + 0.6])[in_turn],
        ),
    )


def _walk_cycle() -> dict[str, np.ndarray]:
    """The joints over one cycle of two steps, each ``PHASES x 3``: right, up, forward; metres for 1.75 m of height."""
    phase = np.linspace(0, 2 * np.pi, PHASES, endpoint=False)

    def joint(right: float, up: float, forward: float = 0.0) -> np.ndarray:
        return np.stack([np.full(PHASES, right), up + 0.02 * np.cos(2 * phase), np.full(PHASES, forward)], axis=1)

    def swing(angle: np.ndarray, length: float) -> np.ndarray:
        return length * np.stack([np.zeros(PHASES), -np.cos(angle), np.sin(angle)], axis=1)

    joints = {
        "hips": joint(0, 0.92), "chest": joint(0, 1.36), "neck": joint(0, 1.44), "nape": joint(0, 1.56),
        "skull": joint(0, 1.59), "crown": joint(0, 1.65), "chin": joint(0, 1.54, 0.04), "brow": joint(0, 1.60, 0.055),
        "pack_top": joint(0, 1.36, -0.20), "pack_bottom": joint(0, 1.04, -0.19),
    }  # fmt: skip
    for name, side, turn in (("left", -1.0, 0.0), ("right", 1.0, np.pi)):
        leg = 0.42 * np.sin(phase + turn)
        bend = 0.15 + 0.75 * np.maximum(0, np.cos(phase + turn)) ** 2
        joints[f"{name}_chest"], joints[f"{name}_waist"] = joint(0.11 * side, 1.36), joint(0.07 * side, 0.84)
        joints[f"{name}_hip"] = joint(0.09 * side, 0.92)
        joints[f"{name}_knee"] = joints[f"{name}_hip"] + swing(leg, 0.44)
        joints[f"{name}_ankle"] = joints[f"{name}_knee"] + swing(leg - bend, 0.42)
        joints[f"{name}_toe"] = joints[f"{name}_ankle"] + np.array([0.0, -0.04, 0.16])
        joints[f"{name}_shoulder"] = joint(0.20 * side, 1.36)
        joints[f"{name}_elbow"] = joints[f"{name}_shoulder"] + swing(-leg, 0.29) + np.array([0.03 * side, 0, 0])
        joints[f"{name}_wrist"] = joints[f"{name}_elbow"] + swing(0.35 - leg, 0.23)
        joints[f"{name}_hand"] = joints[f"{name}_elbow"] + swing(0.35 - leg, 0.28)
    return joints


COAT, TROUSERS, SKIN, HAIR, SHOES, BACKPACK = range(6)
_SIDE_LIMBS = [
    ("wrist", "hand", 0.040, 0.045, SKIN, 31.0),
    ("shoulder", "elbow", 0.072, 0.055, COAT, 23.5),
    ("elbow", "wrist", 0.055, 0.045, COAT, 23.0),
    ("ankle", "toe", 0.050, 0.045, SHOES, 19.0),
    ("knee", "ankle", 0.068, 0.050, TROUSERS, 24.5),
    ("hip", "knee", 0.100, 0.072, TROUSERS, 26.5),
]
_MIDDLE_LIMBS = [
    ("left_chest", "left_waist", 0.105, 0.105, COAT, 25.0),
    ("right_chest", "right_waist", 0.105, 0.105, COAT, 25.0),
    ("chest", "hips", 0.130, 0.120, COAT, 26.0),
    ("neck", "nape", 0.060, 0.055, SKIN, 34.0),
    ("skull", "crown", 0.095, 0.105, HAIR, 29.0),
    ("chin", "brow", 0.070, 0.092, SKIN, 34.5),
    ("pack_top", "pack_bottom", 0.13, 0.14, BACKPACK, 15.0),
]
_LIMBS = [
    *((f"left_{a}", f"left_{b}", r_a, r_b, wears, celsius) for a, b, r_a, r_b, wears, celsius in _SIDE_LIMBS),
    *((f"right_{a}", f"right_{b}", r_a, r_b, wears, celsius) for a, b, r_a, r_b, wears, celsius in _SIDE_LIMBS),
    *_MIDDLE_LIMBS,
]
_JOINTS = _walk_cycle()
WALK = np.stack([np.stack([_JOINTS[a], _JOINTS[b]], axis=1) for a, b, *_ in _LIMBS], axis=1)
RADII = np.array([limb[2:4] for limb in _LIMBS])
WEARS = np.array([limb[4] for limb in _LIMBS])
CELSIUS = np.array([limb[5] for limb in _LIMBS])
SHADOW = np.array([(0.30 * np.cos(a), 0.0, 0.18 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 16, endpoint=False)])

_LEFT, _RIGHT = list(range(6)), list(range(6, 12))
_TRUNK, _NECK_AND_HAIR, _FACE, _PACK = [12, 13, 14], [15, 16], [17], [18]


def _drawing_order(forward: np.ndarray, right: np.ndarray, backpack: bool) -> list[int]:
    """The limbs, those farther from the camera first."""
    far, near = (_RIGHT, _LEFT) if right[2] > 0 else (_LEFT, _RIGHT)
    walks_away = forward[2] > 0.5
    body = [*near[3:], *_TRUNK, *_NECK_AND_HAIR, *([] if walks_away else _FACE)]
    pack = _PACK if backpack else []
    return [*far, *body, *pack, *near[:3]] if walks_away else [*far, *pack, *body, *near[:3]]
