"""Cohorts with dynamic sequences: what lies where, that truth is apart, and that the static scans do not change."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from ankleseg.config import compose
from ankleseg.errors import AnklesegError
from ankleseg.phantoms import (
    AnkleLabels,
    DynamicSettings,
    bone_cohort,
    draw_ankle,
    write_ankle_cohort,
    write_bone_mask_cohort,
)
from ankleseg.phantoms import dynamic_protocol as dynamic
from ankleseg.phantoms.__main__ import main
from ankleseg.phantoms.exam import subject_generators
from ankleseg.phantoms.protocol import PROTOCOLS, Protocol
from ankleseg.volumes import read_volume

BONES = ("calcaneus", "talus", "tibia")
TASKS = ("active", "passive")


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """Scans of few voxels, for tests that do not look at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, "demo", Protocol((48, 48, 12), (3.4, 3.4, 6.0), 1))
        patch.setitem(
            dynamic.DYNAMIC_PROTOCOLS, "demo", dynamic.DynamicProtocol(48, 3.4, (3.0, 3.0, 3.0), (2.0, 2.0, 2.0))
        )
        patch.setattr(AnkleLabels.__init__, "__defaults__", (3.0,))
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One control and one child with equinus, by the command's configuration."""
    out = tmp_path_factory.mktemp("motion") / "cohort"
    words = ["cohort=ankle", "dynamic=true", "subjects=2", "seed=5", "workers=1", f"out={out}"]
    main(
        compose(
            "phantoms", [*words, "motion.frames=2", "motion.thickness=7", "motion.gap=0.5", "motion.profile=gaussian"]
        )
    )
    return out


def files(root: Path) -> dict[str, str]:
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_sequences_lie_beside_the_static_scan_and_truth_apart(written):
    found = set(files(written))
    for name in ("sub-C01", "sub-E01"):
        for task in TASKS:
            sequence = f"{name}_task-{task}"
            assert {path for path in found if path.startswith(f"{name}/dyn/{sequence}")} == {
                f"{name}/dyn/{sequence}_dynamic.nii.gz",
                f"{name}/dyn/{sequence}_dynamic.json",
            }
            truth = f"derivatives/truth/{name}/dyn/{sequence}"
            assert {path for path in found if path.startswith(truth)} == {
                f"{truth}_poses.json",
                f"{truth}_angles.csv",
                *(f"{truth}_label-{bone}_mask.nii.gz" for bone in BONES),
            }
    kind = json.loads((written / "derivatives/truth/dataset_description.json").read_text())["DatasetType"]
    assert kind == "derivative"


def test_images_poses_masks_and_angles_belong_together(written):
    image = read_volume(written / "sub-C01/dyn/sub-C01_task-active_dynamic.nii.gz", dtype=None, dimensions=4)
    assert image.data.dtype == np.int16 and image.data.shape[3] == 2
    truth = written / "derivatives/truth/sub-C01/dyn"
    mask = read_volume(truth / "sub-C01_task-active_label-talus_mask.nii.gz", dtype=None, dimensions=4)
    assert mask.data.shape == image.data.shape and np.array_equal(mask.affine, image.affine)
    rows = json.loads((truth / "sub-C01_task-active_poses.json").read_text())
    assert [(row["frame"], row["bone"]) for row in rows] == [(frame, bone) for frame in range(2) for bone in BONES]
    assert all(set(row) == {"frame", "bone", "status", "correlation", "frame_from_static"} for row in rows)
    assert {row["status"] for row in rows} == {"ok"} and {row["correlation"] for row in rows} == {None}
    assert np.array(rows[0]["frame_from_static"]).shape == (4, 4)
    with (truth / "sub-C01_task-active_angles.csv").open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["frame", "joint", "dorsiflexion_deg", "inversion_deg", "internal_rotation_deg"]
    assert {row["joint"] for row in table} == {"talocrural", "subtalar", "tibiocalcaneal"} and len(table) == 6


def test_the_sidecar_says_what_a_scanner_would(written):
    sidecar = json.loads((written / "sub-E01/dyn/sub-E01_task-passive_dynamic.json").read_text())
    assert sidecar == {"SliceThickness": 7.0, "SpacingBetweenSlices": 8.5, "RepetitionTime": 9.0}


def test_static_scans_are_those_of_the_cohort_without_motion(written, tmp_path):
    write_ankle_cohort(tmp_path / "still", subjects=2, seed=5, workers=1)
    still, moving = files(tmp_path / "still"), files(written)
    shared = [path for path in still if not path.endswith("phantom.json")]
    assert len(shared) == 11
    assert all(still[path] == moving[path] for path in shared)
    assert "dynamic" not in json.loads((tmp_path / "still/phantom.json").read_text())


def test_the_same_settings_give_the_same_bytes_and_others_are_refused(written, tmp_path):
    motion = DynamicSettings(frames=2, thickness=7.0, gap=0.5, profile="gaussian")
    write_ankle_cohort(tmp_path / "again", subjects=1, seed=5, dynamic=True, motion=motion)
    again, first = files(tmp_path / "again"), files(written)
    shared = [path for path in again if "sub-C01" in path]
    assert len(shared) == 18
    assert all(again[path] == first[path] for path in shared)
    assert write_ankle_cohort(written, subjects=2, seed=5, dynamic=True, motion=motion) == written
    with pytest.raises(AnklesegError, match="holds another phantom"):
        write_ankle_cohort(written, subjects=2, seed=5, dynamic=True)


def test_real_bones_move_too(written, tmp_path, monkeypatch):
    pose = draw_ankle(subject_generators("sub-E01", 5)[0], group="equinus").pose
    monkeypatch.setattr(bone_cohort, "lay_ankle", lambda bones, side: pose)
    monkeypatch.setattr(bone_cohort, "FIELD_SPACING", 3.0)
    folder = written / "derivatives/manual/sub-E01/anat"
    masks = {bone: folder / f"sub-E01_label-{bone}_mask.nii.gz" for bone in BONES}
    side = (written / "participants.tsv").read_text().splitlines()[2].split("\t")[2]
    root = write_bone_mask_cohort(
        tmp_path / "bones", masks=masks, side=side, dynamic=True, motion=DynamicSettings(frames=2), workers=1
    )
    sequence = read_volume(root / "sub-R01/dyn/sub-R01_task-passive_dynamic.nii.gz", dtype=None, dimensions=4)
    mask = read_volume(
        root / "derivatives/truth/sub-R01/dyn/sub-R01_task-passive_label-calcaneus_mask.nii.gz", dimensions=4
    )
    assert sequence.data.shape[3] == 2 and mask.data.any((0, 1, 2)).all()
