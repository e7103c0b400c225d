"""From the shapes of an ankle to labels on a grid: layers of signed distances, painted one over the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import UInt8

from ankleseg.phantoms.ankle import Ankle
from ankleseg.phantoms.bones import JOINTS, Bone
from ankleseg.phantoms.grid import FAR, Field, FieldReader, Grid, sample, trimmed
from ankleseg.phantoms.shapes import smooth_maximum, smooth_minimum, tube
from ankleseg.phantoms.soft_tissue import Cord
from ankleseg.phantoms.tissues import Tissue, label_of

FIELD_SPACING = 1.2  # mm, of the grid on which the shapes are evaluated
PLANES_AT_ONCE = 16  # painted together, to bound the memory


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
        self._layers = [(label, trimmed(field)) for label, field in _layers(ankle, self._coarse)]

    def __call__(self, grid: Grid) -> UInt8[np.ndarray, "x y z"]:
        readers = [(np.uint8(label), FieldReader(field, self._coarse, grid)) for label, field in self._layers]
        rows, columns, count = grid.shape
        labels = np.zeros((rows, count, columns), np.uint8)
        for start in range(0, count, PLANES_AT_ONCE):
            planes = range(start, min(start + PLANES_AT_ONCE, count))
            slab = labels[:, planes.start : planes.stop]
            for label, reader in readers:
                found = reader.block(planes)
                if found is not None:
                    part, distances = found
                    np.copyto(slab[part], label, where=distances < 0)
        return np.moveaxis(labels, 1, 2)


def _layers(ankle: Ankle, coarse: Grid) -> list[tuple[int, Field]]:
    """Signed distances in the order they are painted, each with its label."""
    outer, bones = _bone_fields(ankle, coarse)
    skin = _skin(ankle, coarse, outer)
    soft = ankle.soft_tissue
    scale = ankle.pose.scale
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
            space = _space(ankle, bone, other)
            if shared is not None and space is not None:
                mine, theirs = shared
                values[mine] = smooth_maximum(values[mine], space - neighbour.values[theirs], 0.5)
        outer[bone] = surface
        layers += _inside(bone, surface, cortex.values, [height.values for height in plate], model.plate_thickness)
    return outer, layers


def _space(ankle: Ankle, bone: Bone, before: Bone) -> float | None:
    """Least distance in mm that a bone keeps from one that was placed before it; None: any."""
    if bone in ankle.real:
        return ankle.real_gap
    return 1.5 if before not in ankle.real else 0.8 * ankle.pose.scale * ankle.joint_space


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
    scale = ankle.pose.scale
    for cord in cords:
        for path in cord.paths(ankle.pose.world_from_shin, ankle.pose.world_from_foot(0.6)):
            for segment in tube(path, cord.radius * scale):
                _merge(whole, sample(segment, np.eye(4), coarse, 2.5))
    return whole


def _joints(ankle: Ankle, bones: Mapping[Bone, Field]) -> list[tuple[int, Field]]:
    """Cartilage where the two bones of a joint face each other, and a film of fluid half-way between them."""
    layers = []
    space = ankle.pose.scale * ankle.joint_space
    for first, second in JOINTS:
        shared = _shared_box(bones[first], bones[second]) if first in bones and second in bones else None
        if shared is None:
            continue
        one, other = bones[first].values[shared[0]], bones[second].values[shared[1]]
        corner = bones[first].start + [part.start for part in shared[0]]
        between, across = 0.6 * (one + other - 1.4 * space), 0.5 * (one - other)
        layers += [
            (label_of(tissue), Field(np.maximum(between, bound), corner))
            for tissue, bound in (
                (Tissue.CARTILAGE, between),
                (Tissue.JOINT_FLUID, across - 0.25),
                (Tissue.CARTILAGE, across + 0.25),
            )
        ]
    return layers
