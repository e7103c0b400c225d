"""Laws of bones given as meshes: a mask keeps their volume, a fit finds how they moved, what is carried follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from ankleseg.errors import FileError
from ankleseg.phantoms.bone_fitting import carry_along, fit_similarity
from ankleseg.phantoms.bone_meshes import BoneMesh, mask_of_mesh, read_bone_mesh
from ankleseg.phantoms.bones import Bone, Variation, build_skeleton
from ankleseg.phantoms.foot_maps import UNOSSIFIED, WITH, FootMap, carried_calcaneus, foot_map, right_bones
from ankleseg.phantoms.tissues import Tissue
from ankleseg.volumes.poses import rotation_about, translation

STEP = 1.5


def mesh_of(bone: Bone, seed: int = 0) -> BoneMesh:
    shape = build_skeleton(Variation(np.random.default_rng(seed)), gap=3.0)[bone].outer
    low = shape.low - 6
    lines = [np.arange(start, stop + 6, STEP, np.float32) for start, stop in zip(low, shape.high, strict=True)]
    points = np.stack([part.ravel() for part in np.meshgrid(*lines, indexing="ij")])
    field = shape(points).reshape([len(line) for line in lines])
    vertices, triangles, *_ = marching_cubes(field, 0.0)
    return BoneMesh(vertices * STEP + low, triangles)


@pytest.fixture(scope="module")
def talus() -> BoneMesh:
    return mesh_of(Bone.TALUS)


def test_a_filled_mesh_has_the_volume_of_the_mesh(talus: BoneMesh) -> None:
    mask = mask_of_mesh(talus, spacing=1.0)
    assert (mask.distance < 0).sum() / 1000 == pytest.approx(talus.volume, rel=0.02)
    assert cKDTree(talus.vertices).query(mask.surface)[0].max() < 1.5


def test_a_fit_finds_turn_shift_and_scale(talus: BoneMesh) -> None:
    true = translation((30, -80, 5)) @ rotation_about((1, 2, 0.5), 70) @ np.diag([1.15, 1.15, 1.15, 1.0])
    found = fit_similarity(talus, talus.moved(true))
    apart = np.linalg.norm(talus.moved(found).vertices - talus.moved(true).vertices, axis=1)
    assert apart.max() < 0.3


def test_what_is_carried_follows_its_neighbour() -> None:
    talus, calcaneus = mesh_of(Bone.TALUS), mesh_of(Bone.CALCANEUS)
    true = translation((10, 5, 0)) @ rotation_about((0, 0, 1), 40) @ np.diag([0.9, 0.9, 0.9, 1.0])
    carried = carry_along(calcaneus, talus, talus.moved(true))
    assert np.linalg.norm(carried.vertices - calcaneus.moved(true).vertices, axis=1).max() < 0.6
    other = mesh_of(Bone.TALUS, seed=5)
    gap = cKDTree(other.vertices).query(carry_along(calcaneus, talus, other).vertices)[0]
    assert 0.5 < gap.min() < 5


def test_files_that_hold_no_mesh(tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", v=np.zeros((4, 2)), f=np.zeros((1, 3)))
    with pytest.raises(FileError, match=r"has v \(4, 2\) and f \(1, 3\): expected \(n, 3\) and \(m, 3\)"):
        read_bone_mesh(tmp_path / "points.npz")
    with pytest.raises(FileError, match="is no mesh: expected arrays v and f"):
        read_bone_mesh(tmp_path / "missing.npz")


def test_a_real_foot_as_a_label_map_of_an_adult_or_a_child(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bones = right_bones(shared_data / "feet", "L_05")
    donor = carried_calcaneus(shared_data / "feet", "Norm_01", bones["talus"])
    own = bones["calcaneus"]
    assert abs(donor.volume / own.volume - 1) < 0.3
    masks = {WITH[bone]: mask_of_mesh(mesh, spacing=1.0) for bone, mesh in bones.items()}

    def made(share_of_adults: float) -> FootMap:
        monkeypatch.setattr("ankleseg.phantoms.foot_maps.ADULT", share_of_adults)
        return foot_map(masks, (20.0, 0.0), np.random.default_rng(0), {"subject": "L_05"})

    adult, child = made(1.0), made(0.0)
    count = np.bincount(adult.bones.ravel(), minlength=15)
    assert count[Bone.CALCANEUS] / 1000 == pytest.approx(own.volume, rel=0.05)
    assert count[Bone.TALUS] / 1000 == pytest.approx(bones["talus"].volume, rel=0.05)
    assert count[Bone.TIBIA] / 1000 > 1.2 * bones["tibia"].volume  # it goes on where the mesh ends
    inside = {Tissue.CORTEX, Tissue.MARROW}
    for bone, has_plate in ((Bone.TALUS, False), (Bone.CALCANEUS, True), (Bone.TIBIA, True)):
        assert set(np.unique(adult.tissues[adult.bones == bone])) == inside
        found = set(np.unique(child.tissues[child.bones == bone]))
        assert found == (inside | {Tissue.GROWTH_PLATE} if has_plate else inside)
        distance = distance_transform_edt(~(child.bones == bone))
        wider = distance_transform_edt(adult.bones == bone)[(adult.bones == bone) & (distance > 0)]
        assert len(wider) > 0 and wider.max() < UNOSSIFIED[1] + 1.8, "no more than a child's cartilage is left out"
        assert not ((child.bones == bone) & (adult.bones != bone)).any()
