"""A child's ankle drawn by seed, and its labels on any grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from ankleseg.errors import ConfigError
from ankleseg.phantoms.bones import JOINTS, TALOCRURAL_AXIS, Bone, BoneModel, Variation, build_skeleton
from ankleseg.phantoms.grid import FAR, Field, FieldReader, Grid, sample
from ankleseg.phantoms.pose import rotation_about, scaling, translation
from ankleseg.phantoms.shapes import smooth_maximum, smooth_minimum, tube
from ankleseg.phantoms.soft_tissue import Cord, SoftTissue, build_soft_tissue
from ankleseg.phantoms.tissues import Tissue, label_of

Group = Literal["control", "equinus"]
Side = Literal["left", "right"]

GROUPS = ("control", "equinus")
SIDES = ("left", "right")
FIELD_SPACING = 1.2  # mm, of the grid on which the shapes are evaluated

SUBTALAR_AXIS = (-0.3, 0.7, 0.66)  # forwards, up and medially (Inman 1976)


@dataclass(frozen=True)
class Pose:
    """Angles of the joints in degrees, and where the ankle lies.

    Attributes:
        plantar_flexion: of the talus on the tibia; the foot points down.
        inversion: of the calcaneus under the talus.
        midfoot_flexion: further plantar flexion of the forefoot on the hindfoot.
        world_from_shin: 4×4 similarity that takes the right ankle's frame (mm at the average size) to the world;
            a left ankle's mirrors.
    """

    plantar_flexion: float
    inversion: float
    midfoot_flexion: float
    world_from_shin: np.ndarray

    @property
    def world_from_talus(self) -> np.ndarray:
        """Where the talus goes."""
        return self.world_from_shin @ rotation_about(TALOCRURAL_AXIS, -self.plantar_flexion)

    def world_from_foot(self, share: float = 1.0) -> np.ndarray:
        """Where a bone below the talus goes that follows a `share` of the subtalar motion."""
        return self.world_from_talus @ rotation_about(SUBTALAR_AXIS, self.inversion * share, (0.0, 10.0, -10.0))

    @property
    def world_from_forefoot(self) -> np.ndarray:
        """Where the cuneiform bones and the metatarsals go."""
        return self.world_from_foot(0.6) @ rotation_about((1, 0, 0), -self.midfoot_flexion, (0.0, 34.0, -12.0))

    def world_from_bone(self, bone: Bone) -> np.ndarray:
        """Where each bone goes."""
        if bone in (Bone.TIBIA, Bone.FIBULA):
            return self.world_from_shin
        if bone == Bone.TALUS:
            return self.world_from_talus
        if bone in (Bone.CALCANEUS, Bone.CUBOID):
            return self.world_from_foot()
        return self.world_from_foot(0.6) if bone == Bone.NAVICULAR else self.world_from_forefoot


@dataclass(frozen=True)
class Ankle:
    """One subject's ankle.

    Attributes:
        age: years.
        group, side: as in the cohort's table.
        pose: joint angles and place.
        skeleton: the bones, each in the common frame of the neutral right ankle.
        soft_tissue: everything around them.
        joint_space: mm at the average size.
        real: bones whose shape is given, not drawn: their neighbours make room for them.
    """

    age: float
    group: Group
    side: Side
    pose: Pose
    skeleton: Mapping[Bone, BoneModel]
    soft_tissue: SoftTissue
    joint_space: float
    real: frozenset[Bone] = frozenset()


def draw_ankle(rng: np.random.Generator, *, group: Group = "control", side: Side | None = None) -> Ankle:
    """Draw a child's ankle; the same `rng` state gives the same ankle, mirrored if the other `side` is asked for.

    Raises:
        ConfigError: an unknown group or side.
    """
    if group not in GROUPS:
        raise ConfigError(f"group {group!r} is unknown", mend=f"use {' or '.join(GROUPS)}")
    if side is not None and side not in SIDES:
        raise ConfigError(f"side {side!r} is unknown", mend=f"use {' or '.join(SIDES)}")
    drawn_side: Side = "left" if rng.random() < 0.5 else "right"
    chosen = drawn_side if side is None else side
    vary = Variation(rng)
    age = float(rng.uniform(7, 14))
    # Foot length grows almost linearly from 7 to 14 years, by about a quarter in all (Anderson, Blais and Green 1956).
    scale = (0.80 + 0.033 * (age - 7)) * vary.number(1.0, 0.035)
    joint_space = vary.number(3.6 - 0.16 * (age - 7), 0.25)
    equinus = float(rng.uniform(15, 35)) if group == "equinus" else 0.0
    lean = [vary.number(0, 4) for _ in range(3)]
    place = [vary.number(0, 8) for _ in range(3)]
    tilt = rotation_about((1, 0, 0), lean[0]) @ rotation_about((0, 1, 0), lean[1]) @ rotation_about((0, 0, 1), lean[2])
    mirror = scaling((-1, 1, 1)) if chosen == "left" else np.eye(4)
    pose = Pose(
        plantar_flexion=vary.number(14, 6) + equinus,
        inversion=vary.number(0, 4),
        midfoot_flexion=vary.number(4, 4),
        world_from_shin=mirror @ translation(place) @ tilt @ scaling(scale),
    )
    skeleton = build_skeleton(vary, joint_space)
    soft_tissue = build_soft_tissue(vary, calf_shortening=0.5 * equinus)
    return Ankle(age, group, chosen, pose, skeleton, soft_tissue, joint_space)


class AnkleLabels:
    """Labels of an ankle at the voxel centres of any grid that lies along `grid` (a `LabelSource` of the scanner).

    The shapes are evaluated once, on a grid of about 1.2 mm with the same axes and field of view; their signed
    distances are interpolated cubically, so that many samples cost little more than a few.

    Args:
        ankle: the subject.
        grid: field of view.
        spacing: of the grid on which the shapes are evaluated, mm.
    """

    def __init__(self, ankle: Ankle, grid: Grid, spacing: float = FIELD_SPACING) -> None:
        self._coarse = grid.resized(grid.spacing / spacing, padding=(3, 3, 3))
        self._layers = _layers(ankle, self._coarse)

    def __call__(self, grid: Grid) -> UInt8[np.ndarray, "x y z"]:
        readers = [(label, FieldReader(field, self._coarse, grid)) for label, field in self._layers]
        labels = np.zeros((grid.shape[2], grid.shape[0], grid.shape[1]), np.uint8)
        for index, plane in enumerate(labels):
            for label, reader in readers:
                found = reader.plane(index)
                if found is not None:
                    part, distances = found
                    np.copyto(plane[part], np.uint8(label), where=distances < 0)
        return np.moveaxis(labels, 0, 2)


def _layers(ankle: Ankle, coarse: Grid) -> list[tuple[int, Field]]:
    """Signed distances in the order they are painted, each with its label."""
    outer, bones = _bone_fields(ankle, coarse)
    skin = _skin(ankle, coarse, outer)
    soft = ankle.soft_tissue
    scale = _scale(ankle)
    under_skin = skin + scale * soft.skin_thickness
    layers = [(label_of(Tissue.SKIN), _whole(skin)), (label_of(Tissue.FAT), _whole(under_skin))]
    for pad in sample(soft.heel_pad, ankle.pose.world_from_foot(), coarse, 2.0):
        layers.append((label_of(Tissue.HEEL_PAD), Field(np.maximum(pad.values, under_skin[pad.box]), pad.start)))
    muscles = smooth_maximum(_muscles(ankle, coarse), skin + scale * soft.fat_thickness, 2.0)
    layers.append((label_of(Tissue.MUSCLE), _whole(muscles)))
    for tissue, cords in ((Tissue.VESSEL, soft.vessels), (Tissue.TENDON, soft.tendons)):
        layers.append((label_of(tissue), _whole(np.maximum(_cords(ankle, cords, coarse), under_skin + 0.4))))
    layers += _joints(ankle, outer)
    return layers + bones


def _whole(values: np.ndarray) -> Field:
    return Field(values.astype(np.float32, copy=False), np.zeros(3, int))


def _scale(ankle: Ankle) -> float:
    return float(np.cbrt(abs(np.linalg.det(ankle.pose.world_from_shin[:3, :3]))))


def _bone_fields(ankle: Ankle, coarse: Grid) -> tuple[dict[Bone, Field], list[tuple[int, Field]]]:
    """Surfaces of the bones, and their layers; bones are kept apart where the pose makes them meet."""
    outer: dict[Bone, Field] = {}
    layers: list[tuple[int, Field]] = []
    for bone in sorted(ankle.skeleton, key=lambda bone: (bone not in ankle.real, bone != Bone.TALUS, bone)):
        model = ankle.skeleton[bone]
        inside = [model.cortex] if model.growth_plate is None else [model.cortex, model.growth_plate]
        fields = sample(model.outer, ankle.pose.world_from_bone(bone), coarse, 6.5, inside)
        if not fields:
            continue
        surface, cortex, *plate = fields
        values = surface.values
        for other, neighbour in outer.items():
            shared = _shared_box(surface, neighbour)
            if shared is not None and bone not in ankle.real:
                mine, theirs = shared
                space = 1.5 if other not in ankle.real else 0.8 * _scale(ankle) * ankle.joint_space
                values[mine] = smooth_maximum(values[mine], space - neighbour.values[theirs], 0.5)
        outer[bone] = surface
        layers += _inside(bone, surface, cortex.values, [height.values for height in plate], model.plate_thickness)
    return outer, layers


def _inside(
    bone: Bone, surface: Field, cortex: np.ndarray, plate: list[np.ndarray], plate_thickness: float
) -> list[tuple[int, Field]]:
    """Layers of one bone in the order they are painted.

    A growth plate is painted as all that lies below its upper face, and the bone below it painted again over that:
    a thin sheet would be lost between the nodes of the coarse grid, its two faces are not.
    """
    values, half = surface.values, 0.5 * plate_thickness
    marrow = values + cortex
    parts = [(Tissue.CORTEX, values), (Tissue.MARROW, marrow)]
    for height in plate:
        parts += [
            (Tissue.GROWTH_PLATE, np.maximum(values + 0.5 * cortex, height - half)),
            (Tissue.CORTEX, np.maximum(values, height + half)),
            (Tissue.MARROW, np.maximum(marrow, height + half)),
        ]
    return [(label_of(tissue, bone), Field(part, surface.start)) for tissue, part in parts]


def _shared_box(first: Field, second: Field) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """The part of two boxes of one grid that overlaps, as slices of each."""
    low = np.maximum(first.start, second.start)
    high = np.minimum(first.start + first.values.shape, second.start + second.values.shape)
    if np.any(high <= low):
        return None
    cuts = [
        tuple(slice(int(a), int(b)) for a, b in zip(low - field.start, high - field.start, strict=True))
        for field in (first, second)
    ]
    return cuts[0], cuts[1]


def _merge(whole: np.ndarray, fields: Iterable[Field], blend: float = 0.0) -> None:
    for field in fields:
        whole[field.box] = smooth_minimum(whole[field.box], field.values, blend)


def _skin(ankle: Ankle, coarse: Grid, bones: Mapping[Bone, Field]) -> np.ndarray:
    """Distance to the skin: the envelopes of shin and foot, grown where a bone would come too near the surface."""
    whole = np.full(coarse.shape, FAR, np.float32)
    pose = ankle.pose
    for shapes, place in (
        (ankle.soft_tissue.shin_skin, pose.world_from_shin),
        (ankle.soft_tissue.foot_skin, pose.world_from_foot(0.6)),
    ):
        for shape in shapes:
            _merge(whole, sample(shape, place, coarse, FAR), blend=18.0)
    for field in bones.values():
        _merge(whole, [Field(field.values - 4.5, field.start)], blend=3.0)
    return whole


def _muscles(ankle: Ankle, coarse: Grid) -> np.ndarray:
    """Distance to the muscles; where two bellies meet, a thin layer of fat stays between them."""
    nearest = np.full(coarse.shape, FAR, np.float32)
    second = np.full(coarse.shape, FAR, np.float32)
    pose = ankle.pose
    for shapes, place in (
        (ankle.soft_tissue.shin_muscles, pose.world_from_shin),
        (ankle.soft_tissue.foot_muscles, pose.world_from_foot(0.6)),
    ):
        for shape in shapes:
            for field in sample(shape, place, coarse, 3.0):
                first, next_one = nearest[field.box], second[field.box]
                np.minimum(next_one, np.maximum(first, field.values), out=next_one)
                np.minimum(first, field.values, out=first)
    return np.maximum(nearest, 0.45 - 0.5 * (second - nearest))


def _cords(ankle: Ankle, cords: list[Cord], coarse: Grid) -> np.ndarray:
    whole = np.full(coarse.shape, FAR, np.float32)
    scale = _scale(ankle)
    for cord in cords:
        for path in cord.paths(ankle.pose.world_from_shin, ankle.pose.world_from_foot(0.6)):
            for segment in tube(path, cord.radius * scale):
                _merge(whole, sample(segment, np.eye(4), coarse, 2.5))
    return whole


def _joints(ankle: Ankle, bones: Mapping[Bone, Field]) -> list[tuple[int, Field]]:
    """Cartilage where the two bones of a joint face each other, and a film of fluid half-way between them."""
    layers = []
    space = _scale(ankle) * ankle.joint_space
    for first, second in JOINTS:
        shared = _shared_box(bones[first], bones[second]) if first in bones and second in bones else None
        if shared is None:
            continue
        one, other = bones[first].values[shared[0]], bones[second].values[shared[1]]
        corner = bones[first].start + [part.start for part in shared[0]]
        between, across = 0.6 * (one + other - 1.3 * space), 0.5 * (one - other)
        layers += [
            (label_of(tissue), Field(np.maximum(between, bound), corner))
            for tissue, bound in (
                (Tissue.CARTILAGE, between),
                (Tissue.JOINT_FLUID, across - 0.25),
                (Tissue.CARTILAGE, across + 0.25),
            )
        ]
    return layers
