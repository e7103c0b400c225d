"""The digital ankle is an ankle: whole bones, apart from each other, right or left, plantar-flexed or not."""

from __future__ import annotations

import numpy as np
import pytest
from ankle_grids import labels_of, world_positions
from laws import for_all
from scipy.ndimage import label

from ankleseg.errors import ConfigError
from ankleseg.phantoms import Ankle, Bone, draw_ankle
from ankleseg.phantoms.tissues import Tissue, bone_of, tissue_of

MEASURED = (Bone.CALCANEUS, Bone.TALUS, Bone.TIBIA)


def test_every_bone_is_there_and_in_one_piece(ankles):
    for _, labels, _ in ankles:
        for bone in (*MEASURED, Bone.FIBULA, Bone.NAVICULAR, Bone.CUBOID):
            pieces, count = label(bone_of(labels) == bone)
            sizes = np.bincount(pieces.ravel())[1:]
            assert count >= 1 and sizes.max() / sizes.sum() > 0.995, (bone.name, sizes)
        assert {int(bone) for bone in np.unique(bone_of(labels))} >= {int(bone) for bone in Bone if bone < 10}


def test_bones_have_cortex_around_marrow_and_growth_plates_where_children_have_them(ankles):
    for _, labels, _ in ankles:
        for bone in MEASURED:
            tissues = tissue_of(labels[bone_of(labels) == bone])
            assert {Tissue.CORTEX, Tissue.MARROW} <= set(tissues)
            assert (Tissue.GROWTH_PLATE in tissues) == (bone != Bone.TALUS)


def test_bone_sizes_are_those_of_children(ankles):
    millilitres = {Bone.CALCANEUS: (14, 62), Bone.TALUS: (8, 36)}  # 7 to 14 years
    for ankle, labels, grid in ankles:
        voxel = abs(np.linalg.det(grid.affine[:3, :3])) / 1000
        for bone, (smallest, largest) in millilitres.items():
            assert smallest < voxel * (bone_of(labels) == bone).sum() < largest
        assert 7 <= ankle.age <= 14


def test_bones_of_a_joint_do_not_touch(ankles):
    for _, labels, _ in ankles:
        talus, tibia = (bone_of(labels) == bone for bone in (Bone.TALUS, Bone.TIBIA))
        for axis in range(3):
            assert not np.any(talus & np.roll(tibia, 1, axis)) and not np.any(talus & np.roll(tibia, -1, axis))


def test_no_bone_or_muscle_lies_bare(ankles):
    for _, labels, _ in ankles:
        air = labels == Tissue.AIR
        inner = (slice(1, -1),) * 3
        for axis in range(3):
            beside = np.roll(air, 1, axis) | np.roll(air, -1, axis)
            touching = labels[inner][beside[inner]]
            assert not bone_of(touching).any() and not np.any(touching == Tissue.MUSCLE)


@for_all("side", ["left", "right"])
def test_the_fibula_is_lateral_and_the_malleolus_of_the_tibia_medial(side):
    lateral = 1 if side == "right" else -1  # x grows towards the right of the body
    ankle = draw_ankle(np.random.default_rng(5), side=side)
    labels, grid = labels_of(ankle)
    tibia, fibula, talus = (
        world_positions(bone_of(labels) == bone, grid) for bone in (Bone.TIBIA, Bone.FIBULA, Bone.TALUS)
    )
    assert lateral * (fibula[:, 0].mean() - tibia[:, 0].mean()) > 15
    lowest = tibia[tibia[:, 2] < tibia[:, 2].min() + 5]
    assert lateral * (lowest[:, 0].mean() - talus[:, 0].mean()) < -10


def test_a_left_ankle_is_the_mirror_image_of_the_right_one():
    left, right = (draw_ankle(np.random.default_rng(6), side=side) for side in ("left", "right"))
    (left_labels, left_grid), (right_labels, right_grid) = labels_of(left), labels_of(right)
    assert not np.array_equal(left_labels, right_labels)
    # Both grids are centred on the ankle, so the mirror of one array is the other.
    assert np.mean(left_labels[:, :, ::-1] == right_labels) > 0.999
    assert left_grid.affine[0, 3] != pytest.approx(right_grid.affine[0, 3])


def plantar_flexion(labels: np.ndarray, grid) -> float:
    """Degrees by which the calcaneus points below the perpendicular to the tibia, from their long axes in the world."""
    directions = []
    for bone, towards in ((Bone.TIBIA, (0, 0, 1)), (Bone.CALCANEUS, (0, 1, 0))):
        places = world_positions(bone_of(labels) == bone, grid)
        axis = np.linalg.svd(places - places.mean(0), full_matrices=False)[2][0]
        directions.append(axis * np.sign(axis @ towards))
    return float(np.degrees(np.arccos(directions[0] @ directions[1]))) - 90


def test_the_equinus_group_is_more_plantar_flexed(ankles):
    angles = {"control": [], "equinus": []}
    for ankle, labels, grid in ankles:
        angles[ankle.group].append(plantar_flexion(labels, grid))
    assert 15 < np.mean(angles["equinus"]) - np.mean(angles["control"]) < 40


def test_the_heel_is_raised_in_equinus(ankles):
    heights: dict[str, list[float]] = {"control": [], "equinus": []}
    for ankle, labels, grid in ankles:
        heel = world_positions(bone_of(labels) == Bone.CALCANEUS, grid)
        back = heel[heel[:, 1] < heel[:, 1].min() + 5]
        heights[ankle.group].append((back[:, 2].mean() - ankle.pose.world_from_shin[2, 3]) / ankle.pose.scale)
    assert min(heights["equinus"]) > max(heights["control"])


def test_no_two_children_are_alike(ankles):
    volumes = [tuple((bone_of(labels) == bone).sum() for bone in MEASURED) for _, labels, _ in ankles]
    assert len(set(volumes)) == len(volumes)
    assert {ankle.side for ankle, _, _ in ankles} == {"left", "right"}


def test_unknown_groups_and_sides_are_refused():
    with pytest.raises(ConfigError, match="invalid group 'clubfoot': expected control or equinus"):
        draw_ankle(np.random.default_rng(0), group="clubfoot")
    with pytest.raises(ConfigError, match="invalid side 'both': expected left or right"):
        draw_ankle(np.random.default_rng(0), side="both")


def test_the_same_seed_draws_the_same_ankle():
    first, second = (draw_ankle(np.random.default_rng(8)) for _ in range(2))
    assert isinstance(first, Ankle)
    assert np.array_equal(labels_of(first)[0], labels_of(second)[0])
