"""A phantom in motion from files to joint angles: what is written, and how far it is from the truth."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from motion_studies import motion_settings, tree

from ankleseg.motion import SubjectResult, describe, prepare_motion_cohort
from ankleseg.phantoms import DynamicSettings, moving_ankle
from ankleseg.phantoms.cohort import write_scan
from ankleseg.phantoms.sequences import write_sequence
from ankleseg.volumes import read_mask, read_volume
from ankleseg.volumes.poses import displacement_of, is_rigid
from ankleseg.volumes.transforms import read_itk_transform

SUBJECT, FRAMES = "sub-C01", 3
NAME = f"{SUBJECT}_task-active"
BONES = ("calcaneus", "talus", "tibia")


@dataclass(frozen=True)
class Run:
    root: Path
    truth: Path
    out: Path
    results: list[SubjectResult]
    inputs: dict[str, str]

    @property
    def dyn(self) -> Path:
        return self.out / SUBJECT / "dyn"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One control, three noisy frames of 7 mm slices; the truth is taken away before the run."""
    folder = tmp_path_factory.mktemp("accuracy")
    root, truth, out = folder / "study", folder / "truth", folder / "out"
    subject = moving_ankle(SUBJECT, size="demo", seed=0)
    settings = DynamicSettings(frames=FRAMES, profile="gaussian", thickness=7, snr=15)
    write_scan(root, SUBJECT, subject.scan)
    write_sequence(root, SUBJECT, "active", subject.sequence("active", settings))
    (root / "participants.tsv").write_text(
        f"participant_id\tgroup\tside\n{SUBJECT}\t{subject.ankle.group}\t{subject.ankle.side}\n"
    )
    shutil.move(root / "derivatives" / "truth", truth)
    inputs = tree(root)
    changes = (
        *("motion.cleaning.frames=3", "motion.highres=true", "motion.spacing=[4,4,8]", "motion.profile=gaussian"),
        "motion.criteria.jump_mm=[80,90]",  # three frames of a whole cycle do lie far apart
    )
    return Run(root, truth, out, prepare_motion_cohort(root, out, motion_settings(*changes)), inputs)


def table(path: Path, delimiter: str = "\t") -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def poses_of(path: Path) -> dict[tuple[int, str], dict]:
    return {(row["frame"], row["bone"]): row for row in json.loads(path.read_text())}


def test_bones_are_where_they_truly_are_and_nothing_wrong_is_called_ok(run: Run) -> None:
    found, true = poses_of(run.dyn / f"{NAME}_poses.json"), poses_of(run.truth / SUBJECT / "dyn" / f"{NAME}_poses.json")
    errors = {}
    for bone in BONES:
        mask = read_mask(run.root / f"derivatives/manual/{SUBJECT}/anat/{SUBJECT}_label-{bone}_mask.nii.gz")
        points = np.argwhere(mask.data)[::200] @ mask.affine[:3, :3].T + mask.affine[:3, 3]
        for frame in range(FRAMES):
            pose, expected = (np.array(rows[frame, bone]["frame_from_static"]) for rows in (found, true))
            errors[frame, bone] = float(displacement_of(pose, expected, points).mean())
    assert np.median(list(errors.values())) <= 0.3, errors
    wrong = {key: error for key, error in errors.items() if error > 1 and found[key]["status"] == "ok"}
    assert not wrong
    assert sum(row["status"] == "ok" for row in found.values() if row["bone"] in BONES) >= 7, "most can be trusted"


def test_masks_on_the_frames_overlap_with_the_true_ones(run: Run) -> None:
    for bone in BONES:
        true = read_volume(run.truth / SUBJECT / "dyn" / f"{NAME}_label-{bone}_mask.nii.gz", dimensions=4)
        found = read_volume(run.dyn / f"{NAME}_label-{bone}_mask.nii.gz", dimensions=4)
        fraction = read_volume(run.dyn / f"{NAME}_label-{bone}_fraction.nii.gz", dimensions=4)
        assert found.data.shape == true.data.shape == fraction.data.shape
        np.testing.assert_allclose(found.affine, true.affine, atol=1e-4)
        assert 2 * (found.data * true.data).sum() / (found.data.sum() + true.data.sum()) > 0.9
        assert fraction.data.min() >= 0 and fraction.data.max() <= 1.0001
        # A fraction is kept in steps of 1/255, so that one that is half may be written as a little less.
        np.testing.assert_array_equal((fraction.data >= 0.5 - 1 / 255) & (found.data > 0), found.data > 0)


def test_joint_angles_follow_the_poses(run: Run) -> None:
    rows = table(run.dyn / f"{NAME}_angles.csv", ",")
    joints = ("talocrural", "subtalar", "tibiocalcaneal")
    places = [(int(row["frame"]), row["joint"]) for row in rows]
    assert sorted(places) == sorted((frame, joint) for frame in range(FRAMES) for joint in joints)
    assert set(rows[0]) == {
        *("frame", "joint", "dorsiflexion_deg", "inversion_deg", "internal_rotation_deg"),
        *("lateral_mm", "anterior_mm", "superior_mm", "status"),
    }
    true = {(row["frame"], row["joint"]): row for row in table(run.truth / SUBJECT / "dyn" / f"{NAME}_angles.csv", ",")}
    whole = [row for row in rows if row["joint"] == "tibiocalcaneal"]
    found = np.array([float(row["dorsiflexion_deg"]) for row in whole])
    expected = np.array([float(true[row["frame"], row["joint"]]["dorsiflexion_deg"]) for row in whole])
    assert np.ptp(expected) > 10
    # The axes are found from the shapes of the bones, some degrees off those the phantom was made with.
    assert np.abs(found - expected).max() < 0.25 * np.ptp(expected) + 3


def test_poses_are_written_as_agreed(run: Run) -> None:
    rows = json.loads((run.dyn / f"{NAME}_poses.json").read_text())
    assert {(row["frame"], row["bone"]) for row in rows} == {(f, b) for f in range(FRAMES) for b in ("global", *BONES)}
    assert len(rows) == FRAMES * 4
    for row in rows:
        assert list(row) == ["frame", "bone", "status", "correlation", "frame_from_static"]
        assert row["status"] in ("ok", "suspect", "failed")
        if row["status"] != "failed":
            assert is_rigid(np.array(row["frame_from_static"])) and -1 <= row["correlation"] <= 1
            stem = f"transforms/{NAME}_frame-{row['frame']:02d}_bone-{row['bone']}_from-static_to-frame"
            pose = read_itk_transform(run.dyn / f"{stem}.tfm")
            np.testing.assert_allclose(pose, row["frame_from_static"], atol=1e-4)
            assert np.loadtxt(run.dyn / f"{stem}.mat").shape == (4, 4)


def test_every_file_that_was_promised_is_there(run: Run) -> None:
    files = set(tree(run.out))
    frames = [f"{NAME}_frame-{frame:02d}" for frame in range(FRAMES)]
    anat, dyn = f"{SUBJECT}/anat/{SUBJECT}", f"{SUBJECT}/dyn"
    assert files == {
        *("dataset_description.json", "participants.tsv", "cleaning.tsv", "status.tsv", "overrule.tsv"),
        *("manifest.json", "report.html", f"{SUBJECT}/report.html"),
        *(f"{SUBJECT}/.clean.json", f"{dyn}/.{NAME}.json", f"{dyn}/.{NAME}_registered.json"),
        *(f"{anat}_T1w.nii.gz", f"{anat}_label-foot_mask.nii.gz"),
        *(f"{anat}_label-{bone}_{kind}.nii.gz" for bone in BONES for kind in ("mask", "weights")),
        *(f"{dyn}/{NAME}_{end}" for end in ("dynamic.nii.gz", "dynamic.json", "poses.json", "quality.tsv")),
        *(f"{dyn}/{NAME}_{end}" for end in ("angles.csv", "angles.json")),
        *(f"{dyn}/{NAME}_label-{bone}_{kind}.nii.gz" for bone in BONES for kind in ("mask", "fraction")),
        *(f"{dyn}/{frame}_{end}.nii.gz" for frame in frames for end in ("desc-highres_T1w", "displacement")),
        *(
            f"{dyn}/transforms/{frame}_bone-{bone}_from-static_to-frame.{end}"
            for frame in frames
            for bone in ("global", *BONES)
            for end in ("tfm", "mat")
        ),
    }
    assert not {row["status"] for row in table(run.out / "status.tsv")} - {"ok", "suspect"}, "else files are left out"


def test_tables_tell_every_bone_on_every_frame(run: Run) -> None:
    rows = table(run.out / "status.tsv")
    assert rows == table(run.dyn / f"{NAME}_quality.tsv")
    assert {(row["subject"], row["sequence"], int(row["frame"]), row["bone"]) for row in rows} == {
        (SUBJECT, NAME, frame, bone) for frame in range(FRAMES) for bone in BONES
    }
    promised = "subject sequence frame bone status correlation overlap error_mm error_deg step_mm step_deg reason"
    assert set(promised.split()) <= set(rows[0])
    assert all((row["status"] == "ok") == (row["reason"] == "") for row in rows)
    told = describe(run.results)
    assert told.splitlines()[-1].startswith(f"{3 * FRAMES} bones on frames: ")
    assert (run.out / "participants.tsv").read_bytes() == (run.root / "participants.tsv").read_bytes()


def test_the_displacements_and_the_fine_images_show_what_the_frame_shows(run: Run) -> None:
    frames = read_volume(run.dyn / f"{NAME}_dynamic.nii.gz", dimensions=4)
    found = poses_of(run.dyn / f"{NAME}_poses.json")
    for frame in range(FRAMES):
        stored = nibabel.load(run.dyn / f"{NAME}_frame-{frame:02d}_displacement.nii.gz")
        field, affine = np.asarray(stored.dataobj)[..., 0, :] * (-1, -1, 1), stored.affine  # LPS is stored
        assert field.shape == (*frames.data.shape[:3], 3)
        np.testing.assert_allclose(affine, frames.affine, atol=1e-4)
        fraction = read_volume(run.dyn / f"{NAME}_label-tibia_fraction.nii.gz", dimensions=4).data[..., frame]
        inner = np.argwhere(fraction > 0.99)[::20]
        places = inner @ affine[:3, :3].T + affine[:3, 3]
        pose = np.array(found[frame, "tibia"]["frame_from_static"])
        static = (np.linalg.inv(pose) @ np.c_[places, np.ones(len(places))].T).T[:, :3]
        moved = places + field[tuple(inner.T)]
        assert np.median(np.linalg.norm(moved - static, axis=1)) < 0.05, "a bone moves as its pose says"
        fine = read_volume(run.dyn / f"{NAME}_frame-{frame:02d}_desc-highres_T1w.nii.gz", dtype=None)
        assert fine.data.dtype == np.int16
        np.testing.assert_allclose(np.sort(fine.spacing), [4, 4, 8], atol=1e-3)


def test_inputs_are_as_they_were_and_reports_name_the_subject(run: Run) -> None:
    assert tree(run.root) == run.inputs
    assert not (run.root / "derivatives" / "truth").exists()
    assert SUBJECT in (run.out / "report.html").read_text()
    assert NAME.removeprefix(f"{SUBJECT}_") in (run.out / SUBJECT / "report.html").read_text()
