"""Real bones, given as masks, are imaged where they are and as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ankle_grids import grid_around

from ankleseg.errors import ConfigError, FileError
from ankleseg.phantoms import AnkleLabels, Bone, Grid, LabelArray, draw_ankle, moving_bones, write_bone_mask_cohort
from ankleseg.phantoms.bone_masks import lay_ankle, read_bones
from ankleseg.phantoms.tissues import bone_of
from ankleseg.volumes import read_mask, write_volume

STRUCTURES = {"calcaneus": Bone.CALCANEUS, "talus": Bone.TALUS, "tibia": Bone.TIBIA}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory):
    """A drawn left ankle and its three bones as mask files."""
    ankle = draw_ankle(np.random.default_rng(2), group="equinus", side="left")
    grid = grid_around(ankle, spacing=1.0)
    labels = AnkleLabels(ankle, grid, spacing=1.6)(grid)
    folder = tmp_path_factory.mktemp("masks")
    paths = {
        name: write_volume(folder / f"{name}.nii.gz", (bone_of(labels) == bone).astype(np.uint8), grid.affine)
        for name, bone in STRUCTURES.items()
    }
    return ankle, paths


def test_the_average_ankle_laid_over_drawn_bones_finds_their_pose(drawn):
    ankle, paths = drawn
    found = lay_ankle(read_bones(paths), "left")
    assert found.plantar_flexion == pytest.approx(ankle.pose.plantar_flexion, abs=6)
    assert found.scale == pytest.approx(ankle.pose.scale, rel=0.05)
    np.testing.assert_allclose(found.world_from_shin[:3, 3], ankle.pose.world_from_shin[:3, 3], atol=4)


def test_a_missing_or_empty_mask_is_named(drawn, tmp_path):
    _, paths = drawn
    with pytest.raises(ConfigError, match="masks are given for talus; give one each for calcaneus, talus, tibia"):
        moving_bones({"talus": paths["talus"]}, side="left")
    empty = write_volume(tmp_path / "empty.nii.gz", np.zeros((9, 9, 9), np.uint8), np.eye(4))
    with pytest.raises(FileError, match="empty.nii.gz: holds no voxel of the bone"):
        moving_bones({**paths, "tibia": empty}, side="left")


def test_the_side_must_be_given(drawn, tmp_path):
    with pytest.raises(ConfigError, match="side is missing; set side=left or side=right"):
        write_bone_mask_cohort(tmp_path / "cohort", masks=drawn[1], side=None)


def test_the_childs_bones_are_imaged_as_they_are(shared_data: Path, tmp_path: Path):
    masks = {name: shared_data / "ankle" / f"child_ankle_{name}.nii.gz" for name in STRUCTURES}
    root = write_bone_mask_cohort(tmp_path / "bones", masks=masks, side="left", workers=1)
    assert (root / "participants.tsv").read_text().split() == [
        "participant_id",
        "group",
        "side",
        "sub-R01",
        "bones",
        "left",
    ]
    image = read_mask(root / "derivatives/manual/sub-R01/anat/sub-R01_label-talus_mask.nii.gz")
    grid = Grid(image.data.shape, image.affine)
    for name in STRUCTURES:
        painted = read_mask(root / f"derivatives/manual/sub-R01/anat/sub-R01_label-{name}_mask.nii.gz").data
        given = read_mask(masks[name])
        expected = LabelArray(given.data.astype(np.uint8), given.affine)(grid).astype(bool)
        assert 2 * (painted & expected).sum() / (painted.sum() + expected.sum()) > 0.975
        volume = painted.sum() * abs(np.linalg.det(image.affine[:3, :3]))
        within = expected.sum() * abs(np.linalg.det(image.affine[:3, :3]))
        assert volume == pytest.approx(within, rel=0.03)
