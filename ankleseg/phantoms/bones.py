"""The bones of a right ankle as smooth implicit shapes, all in one frame.

Frame: millimetres, x towards lateral, y towards anterior, z towards superior; the origin is the centre of the arc of
the talar dome, the foot flat, the shin upright. Sizes are those of a child of about twelve; a subject is scaled as a
whole. Joint surfaces are congruent because one bone is carved by the other across the joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ankleseg.phantoms.noise import bumps
from ankleseg.phantoms.shapes import (
    Shape,
    Vector,
    capsule,
    carved,
    column,
    displaced,
    ellipsoid,
    half_space,
    intersection,
    rounded_box,
    union,
)


class Bone(IntEnum):
    """Bones by the number that marks them in a label map; 0 is no bone."""

    TIBIA = 1
    FIBULA = 2
    TALUS = 3
    CALCANEUS = 4
    NAVICULAR = 5
    CUBOID = 6
    MEDIAL_CUNEIFORM = 7
    INTERMEDIATE_CUNEIFORM = 8
    LATERAL_CUNEIFORM = 9
    METATARSAL_1 = 10  # each with the first bone of its toe
    METATARSAL_2 = 11
    METATARSAL_3 = 12
    METATARSAL_4 = 13
    METATARSAL_5 = 14


JOINTS = (
    (Bone.TALUS, Bone.TIBIA),
    (Bone.TALUS, Bone.FIBULA),
    (Bone.TALUS, Bone.CALCANEUS),
    (Bone.TALUS, Bone.NAVICULAR),
    (Bone.CALCANEUS, Bone.CUBOID),
    (Bone.NAVICULAR, Bone.MEDIAL_CUNEIFORM),
    (Bone.NAVICULAR, Bone.INTERMEDIATE_CUNEIFORM),
    (Bone.NAVICULAR, Bone.LATERAL_CUNEIFORM),
    (Bone.MEDIAL_CUNEIFORM, Bone.METATARSAL_1),
    (Bone.INTERMEDIATE_CUNEIFORM, Bone.METATARSAL_2),
    (Bone.LATERAL_CUNEIFORM, Bone.METATARSAL_3),
    (Bone.CUBOID, Bone.METATARSAL_4),
    (Bone.CUBOID, Bone.METATARSAL_5),
)


TALOCRURAL_AXIS = (1.0, -0.1, -0.07)  # medial to lateral, a little backwards and down (Inman 1976)


@dataclass(frozen=True)
class BoneModel:
    """A bone and what lies inside it.

    Attributes:
        outer: surface of the whole bone.
        cortex: thickness of its cortex at points (3, n), mm.
        growth_plate: signed distance (3, n) → (n,) to the middle of the growth plate, mm, or None.
        plate_thickness: of the growth plate, mm.
    """

    outer: Shape
    cortex: Callable[[np.ndarray], np.ndarray]
    growth_plate: Callable[[np.ndarray], np.ndarray] | None = None
    plate_thickness: float = 0.0


class Variation:
    """Draws the numbers of one subject around those of the average one.

    Args:
        rng: where they come from.
        amount: 1 for the usual spread, 0 for the average subject.
    """

    def __init__(self, rng: np.random.Generator, amount: float = 1.0) -> None:
        self.rng = rng
        self.amount = amount

    def place(self, x: float, y: float, z: float) -> np.ndarray:
        """A point moved by 1 mm (standard deviation)."""
        return np.array([x, y, z]) + self.amount * np.clip(self.rng.normal(0, 1.0, 3), -2.5, 2.5)

    def size(self, *millimetres: float) -> np.ndarray:
        """Lengths changed by 6 % (standard deviation), each on its own."""
        change = np.clip(self.rng.normal(0, 0.06, len(millimetres)), -0.15, 0.15)
        return np.array(millimetres) * (1 + self.amount * change)

    def number(self, mean: float, deviation: float) -> float:
        """A number drawn from a normal distribution cut at 2.5 deviations."""
        return mean + self.amount * deviation * float(np.clip(self.rng.normal(), -2.5, 2.5))

    def rough(self, shape: Shape, amplitude: float = 0.5, wavelengths: tuple[float, float] = (12.0, 40.0)) -> Shape:
        """`shape` with a smoothly bumpy surface."""
        return displaced(shape, bumps(self.rng, self.amount * amplitude, wavelengths), 3 * amplitude)


def build_skeleton(vary: Variation, gap: float) -> dict[Bone, BoneModel]:
    """Draw the bones of one subject.

    Args:
        vary: the subject's variation.
        gap: joint space between two bones, mm (cartilage of both).
    """
    talus = vary.rough(_talus(vary), 0.5)
    fibula = carved(vary.rough(_fibula(vary), 0.4), talus, gap)
    tibia = carved(carved(vary.rough(_tibia(vary), 0.6), talus, gap, blend=2.0), fibula, 1.8, blend=2.0)
    calcaneus = carved(vary.rough(_calcaneus(vary), 0.7), talus, gap, blend=2.0)
    navicular = carved(vary.rough(_navicular(vary), 0.4), talus, gap)
    cuboid = carved(vary.rough(_cuboid(vary), 0.4), calcaneus, gap)
    outer = {
        Bone.TIBIA: tibia,
        Bone.FIBULA: fibula,
        Bone.TALUS: talus,
        Bone.CALCANEUS: calcaneus,
        Bone.NAVICULAR: navicular,
        Bone.CUBOID: cuboid,
    }
    for bone, shape in _cuneiforms(vary):
        outer[bone] = carved(shape, navicular, gap * 0.8)
    for bone, shape in _metatarsals(vary):
        behind = next(first for first, second in JOINTS if second == bone)
        outer[bone] = carved(shape, outer[behind], gap * 0.8)
    return {bone: _with_inside(bone, shape, vary) for bone, shape in outer.items()}


def _talus(vary: Variation) -> Shape:
    radius = vary.number(17.0, 0.5)
    half_width = vary.number(12.8, 0.8)
    groove = vary.number(1.0, 0.4)

    along, forward, upward = _axis_frame()

    def trochlea(points: np.ndarray) -> np.ndarray:
        # A body of revolution about the talocrural axis, so that the tibia fits it in every position of the joint.
        x, y, z = (row[0] * points[0] + row[1] * points[1] + row[2] * points[2] for row in (along, forward, upward))
        # Wider in front than behind, and saddle-shaped: a shallow groove runs along the middle of the dome.
        side = half_width + 0.09 * y
        saddle = radius - groove * np.maximum(1 - (x / half_width) ** 2, -0.5)
        radial = np.sqrt(y * y + z * z) - saddle
        lateral = np.abs(x) - side
        outside = np.sqrt(np.maximum(radial + 3, 0) ** 2 + np.maximum(lateral + 3, 0) ** 2)
        return outside + np.minimum(np.maximum(radial, lateral) + 3, 0) - 3

    reach = np.array([half_width + 4, radius + 2, radius + 2])
    dome = Shape(trochlea, -reach, reach)
    body = intersection(dome, half_space((0, 0, vary.number(-9, 0.7)), (0.05, -0.15, -1)), 6)
    body = intersection(body, half_space((0, 13, 0), (0, 1, -0.15)), 6)
    head = ellipsoid(vary.place(-7.5, 22.5, -8), vary.size(10.5, 8.5, 9.5))
    neck = capsule(vary.place(-1.5, 8, -2), vary.place(-6.5, 20, -7), *vary.size(10.5, 9))
    lateral_process = capsule(vary.place(8, -1, -3), vary.place(13.5, -2, -8.5), *vary.size(7, 4.5))
    posterior_process = capsule(vary.place(-2, -8, -4), vary.place(-3, -13, -8), *vary.size(7, 4.5))
    return union(body, neck, head, lateral_process, posterior_process, blend=5)


def _axis_frame() -> np.ndarray:
    """Rows: unit vectors along the talocrural axis (to lateral), forwards and upwards of it."""
    along = np.array(TALOCRURAL_AXIS) / np.linalg.norm(TALOCRURAL_AXIS)
    forward = np.cross([0.0, 0.0, 1.0], along)
    forward /= np.linalg.norm(forward)
    return np.stack([along, forward, np.cross(along, forward)]).astype(np.float32)


def _tibia(vary: Variation) -> Shape:
    top = 130.0
    heights = [4, 18, 26, 36, 50, 70, top]
    centres = [[0, 0], [-0.5, 0.0], [-0.5, 0.5], [-1, 0], [-1.5, -1], [-2, -1], [-3, 0]]
    radii = np.array([[18.5, 17.5], [19.5, 18], [19, 17.5], [16.5, 15.5], [13.5, 13], [11.5, 12], [11, 12.5]])
    radii = radii * vary.size(1, 1)
    lean = np.array([vary.number(0, 0.02), vary.number(0, 0.02)])
    shaft_centres = np.array(centres) + np.outer(np.array(heights) - 20, lean)
    shaft = column(2, heights, shaft_centres, radii, (3, vary.number(0.05, 0.02), vary.number(2.4, 0.3)))
    malleolus = capsule(vary.place(-16.5, 1, 24), vary.place(-21, 1, vary.number(9.5, 1.5)), *vary.size(9, 6.0))
    posterior_lip = ellipsoid(vary.place(0, -11, 18), vary.size(15, 7, 7))
    # The plafond ends a little below the dome's equator in front and behind; the talus carves the rest.
    trimmed = intersection(shaft, half_space((0, 0, vary.number(11.5, 0.8)), (0, 0, -1)), 5)
    return union(trimmed, malleolus, posterior_lip, blend=5)


def _fibula(vary: Variation) -> Shape:
    heights = [-9, -4, 4, 14, 26, 45, 80, 130]
    centres = [[22, -5], [22, -4.5], [22.5, -4], [23, -5], [23, -7], [23.5, -9], [24, -11], [24, -11]]
    radii = np.array([[3, 4.5], [5, 7], [6, 8.5], [6, 8], [6, 7], [5, 5.5], [5, 5.5], [5.5, 6]])
    along, drift = vary.number(0, 1.5), vary.place(0, 0, 0)[:2]
    radii = radii * vary.size(1, 1)
    shaft = column(2, np.array(heights) + along, np.array(centres) + drift, radii, (3, 0.06, 0.5))
    tip = ellipsoid(vary.place(22, -5, -7 + along), vary.size(4.5, 6, 6))
    return union(shaft, tip, blend=4)


def _calcaneus(vary: Variation) -> Shape:
    """Built along its own long axis (y), then pitched and placed under the talus."""
    tuberosity = rounded_box(vary.place(0, -22, -1), vary.size(13.5, 13, 16.5), 10.5)
    body = rounded_box(vary.place(0, -3, 0.5), vary.size(11.5, 20, 13.5), 9)
    facet = ellipsoid(vary.place(0.5, 5, 9), vary.size(11.5, 12, 9.5))
    front = capsule(vary.place(1.5, 8, -3), vary.place(3, 26, -5), *vary.size(11.5, 9.5))
    sustentaculum = ellipsoid(vary.place(-13, 9, 6), vary.size(9.5, 9, 6))
    heel = ellipsoid(vary.place(-2, -22, -10), vary.size(10, 11, 8))
    shape = union(tuberosity, body, facet, front, heel, sustentaculum, blend=7)
    stretch = vary.size(1, 1, 1) ** 0.6
    return _placed(shape, (6.0, -19.5, -27.0), pitch=vary.number(18, 4), turn=vary.number(-4, 3), stretch=stretch)


def _placed(shape: Shape, origin: Vector, pitch: float, turn: float, stretch: np.ndarray) -> Shape:
    """A shape built along y, turned about z (degrees, positive to medial), pitched up and moved to `origin`."""
    cos_p, sin_p = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
    cos_t, sin_t = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    lift = np.array([[1, 0, 0], [0, cos_p, -sin_p], [0, sin_p, cos_p]])
    heading = np.array([[cos_t, -sin_t, 0], [sin_t, cos_t, 0], [0, 0, 1]])
    rotation = heading @ lift
    to_shape = np.diag(1 / stretch) @ rotation.T
    start = to_shape @ np.asarray(origin)
    matrix, offset = to_shape.astype(np.float32), start.astype(np.float32).reshape(3, 1)
    length = float(stretch.mean())
    corners = np.array(np.meshgrid(*zip(shape.low, shape.high, strict=True))).reshape(3, -1)
    placed = rotation @ (stretch.reshape(3, 1) * corners) + np.asarray(origin).reshape(3, 1)

    def distance(points: np.ndarray) -> np.ndarray:
        x, y, z = points
        local = np.stack([row[0] * x + row[1] * y + row[2] * z for row in matrix])
        return length * shape(local - offset)

    return Shape(distance, placed.min(1), placed.max(1))


def _navicular(vary: Variation) -> Shape:
    disc = ellipsoid(vary.place(-9.5, 32, -9.5), vary.size(15, 9.5, 11.5))
    tuberosity = ellipsoid(vary.place(-20, 31, -13), vary.size(6, 6, 6.5))
    return union(intersection(disc, half_space((0, 39, 0), (0, 1, 0)), 4), tuberosity, blend=4)


def _cuboid(vary: Variation) -> Shape:
    return rounded_box(vary.place(11, 28, -20), vary.size(10, 15, 10.5), 6)


def _cuneiforms(vary: Variation) -> Iterable[tuple[Bone, Shape]]:
    sizes = {
        Bone.MEDIAL_CUNEIFORM: ((-19, 52, -15), (7.5, 11, 11)),
        Bone.INTERMEDIATE_CUNEIFORM: ((-8, 50.5, -9), (5.5, 9, 8.5)),
        Bone.LATERAL_CUNEIFORM: ((2, 50.5, -11), (6, 10, 9)),
    }
    for bone, (centre, half) in sizes.items():
        yield bone, vary.rough(rounded_box(vary.place(*centre), vary.size(*half), 4.5), 0.3)


def _metatarsals(vary: Variation) -> Iterable[tuple[Bone, Shape]]:
    lines = {
        Bone.METATARSAL_1: ((-20, 68, -18), (-24, 120, -36), 10.0, 6.5, 9.0),
        Bone.METATARSAL_2: ((-8.5, 64, -11), (-9, 128, -34), 7.0, 4.3, 6.0),
        Bone.METATARSAL_3: ((2, 65, -14), (4, 126, -36), 7.0, 4.0, 6.0),
        Bone.METATARSAL_4: ((12, 50, -19), (17, 120, -38), 7.0, 4.0, 6.0),
        Bone.METATARSAL_5: ((22, 44, -25), (31, 112, -40), 7.0, 4.2, 6.0),
    }
    for bone, (base, head, base_radius, shaft_radius, head_radius) in lines.items():
        start, end = vary.place(*base), vary.place(*head)
        near, far = start + 0.25 * (end - start), start + 0.85 * (end - start)
        thick, thin, knob = vary.size(base_radius, shaft_radius, head_radius)
        yield (
            bone,
            union(capsule(start, near, thick, thin), capsule(near, far, thin), capsule(far, end, thin, knob), blend=4),
        )


def _with_inside(bone: Bone, outer: Shape, vary: Variation) -> BoneModel:
    """Cortex and growth plate of a bone; the cortex of the shafts thickens away from the joint."""
    thickness = vary.number(0.9, 0.12)
    uneven = bumps(vary.rng, 0.22 * thickness, (8.0, 30.0))

    def cortex(points: np.ndarray) -> np.ndarray:
        depth = np.maximum(thickness + uneven(points), 0.35)
        if bone in (Bone.TIBIA, Bone.FIBULA):
            depth = depth + np.clip((points[2] - 38) * 0.045, 0, 2.4).astype(np.float32)
        elif bone >= Bone.METATARSAL_1:
            depth = depth + np.clip((points[1] - 68) * 0.05, 0, 0.9).astype(np.float32)
        return depth

    sheets = {Bone.TIBIA: _tibial_physis, Bone.FIBULA: _fibular_physis, Bone.CALCANEUS: _calcaneal_apophysis}
    if bone not in sheets:
        return BoneModel(outer, cortex)
    return BoneModel(outer, cortex, sheets[bone](vary), vary.number(1.5, 0.3))


def _tibial_physis(vary: Variation) -> Callable[[np.ndarray], np.ndarray]:
    level = vary.number(29, 1.2)
    waves = bumps(vary.rng, 0.7, (9.0, 30.0))

    def height(points: np.ndarray) -> np.ndarray:
        x, y, z = points
        medial_bump = 1.5 * np.exp(-((x + 6) ** 2 + (y - 4) ** 2) / 60)  # Kump's bump
        return z - level - medial_bump - waves(points)

    return height


def _fibular_physis(vary: Variation) -> Callable[[np.ndarray], np.ndarray]:
    level = vary.number(17, 1.0)
    waves = bumps(vary.rng, 0.5, (8.0, 20.0))
    return lambda points: points[2] - level - waves(points)


def _calcaneal_apophysis(vary: Variation) -> Callable[[np.ndarray], np.ndarray]:
    """A part of a sphere, parallel to the back of the heel."""
    radius = 44.0 - vary.number(7.0, 0.8)
    waves = bumps(vary.rng, 0.7, (8.0, 20.0))
    centre = np.array([[4.0], [-8.0], [-28.0]], np.float32)
    return lambda points: np.sqrt(((points - centre) ** 2).sum(0)) - radius - waves(points)
