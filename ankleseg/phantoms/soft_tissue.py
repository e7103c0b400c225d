"""Skin, muscles, tendons and vessels of a right ankle, in the frame of `ankleseg.phantoms.bones`.

Each part belongs to the shin or to the foot, and moves with it; tendons and vessels run from one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ankleseg.phantoms.bones import Variation
from ankleseg.phantoms.shapes import Shape, capsule, column, ellipsoid


@dataclass(frozen=True)
class Cord:
    """A tendon or vessel: points in the shin's and the foot's frame, joined smoothly once the ankle is posed.

    Attributes:
        shin: (n, 3) points that move with the tibia, from above to below.
        foot: (m, 3) points that move with the foot, from behind to the front.
        radius: mm.
        strands: sideways offsets (k, 3) of parallel strands, which make a flat band.
    """

    shin: np.ndarray
    foot: np.ndarray
    radius: float
    strands: np.ndarray

    def paths(self, world_from_shin: np.ndarray, world_from_foot: np.ndarray, step: float = 5.0) -> list[np.ndarray]:
        """Polylines (n, 3) in the world, one a strand, about `step` mm between points."""
        from scipy.interpolate import PchipInterpolator

        lines = []
        for offset in self.strands:
            points = np.concatenate(
                [
                    (part + offset) @ pose[:3, :3].T + pose[:3, 3]
                    for part, pose in ((self.shin, world_from_shin), (self.foot, world_from_foot))
                    if len(part)
                ]
            )
            length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
            count = max(int(length[-1] / step), 2)
            lines.append(PchipInterpolator(length, points)(np.linspace(0, length[-1], count)))
        return lines


@dataclass(frozen=True)
class SoftTissue:
    """The soft parts of one subject.

    Attributes:
        shin_skin, foot_skin: envelopes of the shin and the foot.
        shin_muscles, foot_muscles: bellies.
        tendons: tendons, ligaments and the plantar fascia.
        vessels: arteries and veins.
        heel_pad: where fat is divided by septa.
        skin_thickness, fat_thickness: mm, of the skin and of the fat under it down to the muscles.
    """

    shin_skin: list[Shape]
    foot_skin: list[Shape]
    shin_muscles: list[Shape]
    foot_muscles: list[Shape]
    tendons: list[Cord]
    vessels: list[Cord]
    heel_pad: Shape
    skin_thickness: float
    fat_thickness: float


def build_soft_tissue(vary: Variation, calf_shortening: float) -> SoftTissue:
    """Draw the soft parts of one subject; `calf_shortening` (mm) lifts the lower end of the calf muscle."""
    return SoftTissue(
        shin_skin=_shin_skin(vary),
        foot_skin=_foot_skin(vary),
        shin_muscles=_shin_muscles(vary, calf_shortening),
        foot_muscles=_foot_muscles(vary),
        tendons=_cords(vary, TENDONS) + _cords(vary, LIGAMENTS),
        vessels=_cords(vary, VESSELS),
        heel_pad=ellipsoid(vary.place(5, -34, -54), vary.size(24, 30, 15)),
        skin_thickness=vary.number(1.3, 0.2),
        fat_thickness=vary.number(3.5, 0.8),
    )


def _varied_column(
    vary: Variation,
    axis: int,
    heights: Sequence[float],
    centres: Sequence[Sequence[float]],
    radii: Sequence[Sequence[float]],
    end: float = 0,
) -> Shape:
    """A column whose two radii are each scaled once and whose course is shifted.

    `end` lifts its first knot by so many mm and the others in proportion, the last not at all.
    """
    knots = np.array(heights, float)
    knots += end * (knots[-1] - knots) / (knots[-1] - knots[0])
    shift = vary.place(0, 0, 0)[:2]
    return column(axis, knots, np.array(centres, float) + shift, np.array(radii, float) * vary.size(1, 1))


def _shin_skin(vary: Variation) -> list[Shape]:
    return [
        _varied_column(
            vary,
            2,
            [-25, 0, 25, 50, 80, 130],
            [[1, -8], [1, -8], [1, -9], [1, -11], [1, -14], [1, -18]],
            [[30, 29], [33, 31], [31.5, 31], [31, 33], [35, 38], [43, 48]],
        )
    ]


def _foot_skin(vary: Variation) -> list[Shape]:
    return [
        _varied_column(
            vary,
            1,
            [-32, -20, 5, 40, 80, 125, 155, 175],
            [[4, -33], [3, -31], [1, -28], [0, -25], [0, -33], [1, -41], [-2, -45], [-6, -47]],
            [[24, 27], [28, 32], [32, 35], [36, 31], [41, 25], [45, 20], [40, 14], [28, 9]],
        ),
        ellipsoid(vary.place(4.5, -37, -37), vary.size(25.5, 28, 27.5)),
    ]


# name: heights, centres (x, y) and radii (x, y) of the sections
SHIN_MUSCLES: dict[str, tuple[list[float], list[tuple[float, float]], list[tuple[float, float]]]] = {
    "soleus": (
        [32, 44, 62, 90, 130],
        [(3, -34), (3, -32), (2, -33), (2, -36), (2, -40)],
        [(3, 1.5), (11, 4), (20, 10), (29, 17), (35, 22)],
    ),
    "long flexor of the great toe": (
        [6, 22, 45, 75, 130],
        [(4, -18), (7, -20), (9, -21), (10, -21), (11, -22)],
        [(3, 2.5), (8, 6), (11, 8), (12, 9), (13, 10)],
    ),
    "deep flexors": (
        [18, 34, 60, 130],
        [(-11, -17), (-9, -18), (-8, -18), (-6, -20)],
        [(3, 2.5), (7, 5), (10, 8), (13, 10)],
    ),
    "peroneal": (
        [4, 22, 50, 130],
        [(25, -16), (27, -18), (28, -17), (29, -15)],
        [(2.5, 3), (5.5, 7), (7.5, 11), (9, 14)],
    ),
    "extensors": (
        [18, 36, 60, 130],
        [(9, 18), (11, 17), (13, 15), (15, 13)],
        [(5, 2.5), (10, 5), (13, 8), (15, 12)],
    ),
    "tibialis anterior": ([34, 56, 130], [(-3, 19), (0, 18), (4, 17)], [(4, 2.5), (9, 6), (13, 10)]),
}

# name: the two ends, and the radii there
FOOT_MUSCLES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float, float]] = {
    "abductor of the great toe": ((-17, -24, -42), (-27, 66, -36), 8.5, 7.5),
    "short flexor of the toes, medial half": ((-4, -26, -48), (-9, 76, -47), 8.0, 6.5),
    "short flexor of the toes, lateral half": ((6, -26, -48), (5, 76, -48), 7.5, 6.0),
    "abductor of the little toe": ((18, -28, -45), (29, 62, -43), 7.5, 6.0),
    "quadratus plantae": ((-2, -14, -40), (0, 46, -37), 9.0, 6.5),
    "short extensor of the toes": ((17, 10, -8), (12, 62, 1), 5.0, 3.5),
    "short flexor of the great toe": ((-14, 54, -32), (-20, 112, -45), 8.0, 6.5),
    "adductor of the great toe": ((2, 54, -32), (-4, 112, -46), 7.5, 5.5),
    "short flexor of the little toe": ((18, 50, -34), (25, 108, -46), 6.5, 5.0),
    "first interosseous": ((-14, 66, -18), (-15, 112, -36), 5.0, 4.5),
    "second interosseous": ((-3, 66, -18), (-3, 112, -38), 4.5, 4.0),
    "third interosseous": ((8, 62, -22), (11, 110, -39), 4.5, 4.0),
    "fourth interosseous": ((18, 58, -26), (24, 106, -40), 4.5, 4.0),
}


def _shin_muscles(vary: Variation, calf_shortening: float) -> list[Shape]:
    bellies = []
    for name, (heights, centres, radii) in SHIN_MUSCLES.items():
        lift = calf_shortening if name == "soleus" else 0.0
        bellies.append(vary.rough(_varied_column(vary, 2, heights, centres, radii, end=lift), 0.7, (12, 45)))
    return bellies


def _foot_muscles(vary: Variation) -> list[Shape]:
    bellies = [
        capsule(vary.place(*start), vary.place(*end), *vary.size(first, last))
        for start, end, first, last in FOOT_MUSCLES.values()
    ]
    return [vary.rough(belly, 0.6, (10, 35)) for belly in bellies]


@dataclass(frozen=True)
class _Course:
    """Course of a cord of the average ankle: its radius, its points in the shin and in the foot, its width if flat."""

    radius: float
    shin: Sequence[tuple[float, float, float]] = ()
    foot: Sequence[tuple[float, float, float]] = ()
    width: float = 0.0


TENDONS = {
    "Achilles": _Course(
        2.6,
        [(2, -41, 130), (2, -38, 70), (3, -38, 45)],
        [(5, -49, -14), (5, -53.5, -24), (4, -53.5, -36)],
        width=8,
    ),
    "plantar fascia": _Course(
        1.3, foot=[(3, -36, -54), (1, -10, -55), (0, 30, -50), (0, 70, -53), (0, 120, -58)], width=10
    ),
    "tibialis posterior": _Course(2.2, [(-9, -15, 60), (-16, -13, 28), (-20, -9, 10)], [(-21, 8, -8), (-22, 28, -12)]),
    "long flexor of the toes": _Course(
        1.6, [(-11, -18, 60), (-17, -17, 25), (-20, -14, 5)], [(-20, 4, -18), (-16, 30, -32), (-6, 60, -43)]
    ),
    "long flexor of the great toe": _Course(
        1.9, [(3, -20, 30), (-3, -20, 4)], [(-6, -17, -13), (-15, 6, -24), (-17, 35, -34), (-21, 100, -48)]
    ),
    "peroneus longus": _Course(
        1.9, [(27, -17, 50), (25, -15, 5)], [(23, -12, -15), (23, 8, -28), (14, 24, -34), (-8, 48, -36)]
    ),
    "peroneus brevis": _Course(1.8, [(26, -13, 40), (24, -12, 4)], [(24, -5, -14), (26, 18, -22), (25, 38, -26)]),
    "tibialis anterior": _Course(2.3, [(-4, 20, 70), (-8, 23, 25)], [(-15, 32, 8), (-24, 50, -8)]),
    "long extensor of the great toe": _Course(
        1.6, [(2, 19, 60), (-1, 23, 20)], [(-7, 35, 10), (-14, 60, 0), (-22, 115, -24)]
    ),
    "long extensor of the toes": _Course(2.0, [(8, 18, 60), (7, 22, 20)], [(5, 34, 9), (6, 60, 0), (8, 115, -26)]),
}

LIGAMENTS = {
    "deltoid, to the sustentaculum": _Course(1.4, [(-21, 0, 8)], [(-17, 5, -8)]),
    "deltoid, to the talus": _Course(1.4, [(-21, -4, 8)], [(-14, -12, -6)], width=2),
    "deltoid, to the navicular": _Course(1.2, [(-21, 4, 9)], [(-20, 26, -8)]),
    "anterior talofibular": _Course(1.1, [(20, 1, -4)], [(12, 14, -4)]),
    "posterior talofibular": _Course(1.2, [(20, -9, -4)], [(4, -15, -7)]),
    "calcaneofibular": _Course(1.2, [(22, -5, -9)], [(18, -18, -26)]),
    "anterior tibiofibular": _Course(1.2, [(12, 14, 20), (20, 2, 12)]),
    "posterior tibiofibular": _Course(1.2, [(10, -16, 20), (19, -10, 10)]),
    "cervical, in the tarsal sinus": _Course(1.6, foot=[(6, 8, -8), (9, 10, -19)]),
    "interosseous talocalcaneal": _Course(1.5, foot=[(0, 4, -9), (2, 5, -17)]),
    "bifurcate": _Course(1.1, foot=[(9, 15, -10), (2, 28, -8)]),
    "dorsal of the tarsus": _Course(1.0, foot=[(-8, 24, 3), (-9, 46, 0)], width=8),
    "long plantar": _Course(1.6, foot=[(6, -22, -46), (8, 4, -36), (10, 38, -32)], width=7),
    "spring": _Course(1.6, foot=[(-13, 9, -27), (-14, 26, -18)], width=4),
}

VESSELS = {
    "posterior tibial artery": _Course(
        1.2, [(-6, -24, 70), (-12, -22, 20), (-14, -20, 2)], [(-15, -10, -22), (-15, 20, -36), (-8, 70, -46)]
    ),
    "posterior tibial vein": _Course(
        1.0, [(-8, -26, 70), (-14, -24, 20), (-16, -22, 2)], [(-18, -12, -24), (-20, 20, -40)]
    ),
    "anterior tibial artery": _Course(1.0, [(4, 17, 60), (3, 22, 18)], [(0, 38, 8), (-4, 70, -4)]),
    "great saphenous vein": _Course(1.3, [(-27, 2, 90), (-27, 8, 20)], [(-27, 25, -2), (-22, 70, -4)]),
    "small saphenous vein": _Course(1.2, [(14, -42, 90), (20, -34, 30), (24, -28, 0)], [(27, -5, -20)]),
}


def _cords(vary: Variation, courses: Mapping[str, _Course]) -> list[Cord]:
    cords = []
    for course in courses.values():
        offsets = np.linspace(-course.width / 2, course.width / 2, 3) if course.width else np.zeros(1)
        drift = 0.5 * vary.place(0, 0, 0)
        shin, foot = (np.array(part, float).reshape(-1, 3) + drift for part in (course.shin, course.foot))
        cords.append(Cord(shin, foot, float(vary.size(course.radius)[0]), np.outer(offsets, [1.0, 0.0, 0.0])))
    return cords
