"""A folder of registered sequences as the preparation of a motion study writes it, and its truth, without registering.

The foot of a phantom moves as one piece, bones and all; the estimated poses are off by as much as a test asks for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.cohorts import load_cohort
from ankleseg.volumes import read_mask, read_volume, resample, resampled_grid, write_volume
from ankleseg.volumes.poses import rotation_about, translation

BONES = ("calcaneus", "talus", "tibia")
FRAMES = 3
SPACING = (1.4, 1.4, 8.0)


def sequence_name(subject: str) -> str:
    return f"{subject}_task-active"


def write_registered(
    cohort: Path, out: Path, status: Mapping[tuple[str, int, str], str] | None = None, subjects: Sequence[str] = ()
) -> Path:
    """Write the sequences of a phantom cohort, one a subject, as if all bones had been registered.

    Args:
        cohort: static scans with masks.
        out: folder of the derivative.
        status: of single bones (subject, frame, bone); ``ok`` where nothing is said.
        subjects: only these.
    """
    out.mkdir(parents=True)
    (out / "participants.tsv").write_text((cohort / "participants.tsv").read_text())
    for case in load_cohort(cohort).cases:
        if subjects and case.subject not in subjects:
            continue
        name, anat, dyn = case.name, out / case.name / "anat", out / case.name / "dyn"
        scan = read_volume(case.images[0])
        masks = {bone: read_mask(case.references[bone].path).data for bone in BONES}
        write_volume(anat / f"{name}_T1w.nii.gz", scan.data.astype(np.int16), scan.affine)
        for bone, mask in masks.items():
            write_volume(anat / f"{name}_label-{bone}_mask.nii.gz", mask, scan.affine)
        poses = foot_poses(scan.affine, scan.data.shape)
        shape, affine = resampled_grid(scan.data.shape, scan.affine, SPACING)
        frames = [resample(scan.data, pose @ scan.affine, shape, affine) for pose in poses]
        stem = sequence_name(name)
        write_volume(dyn / f"{stem}_dynamic.nii.gz", np.stack(frames, -1).astype(np.int16), affine)
        rows: list[dict[str, Any]] = []
        for bone, mask in masks.items():
            moved = []
            for frame, pose in enumerate(poses):
                told = (status or {}).get((name, frame, bone), "ok")
                rows.append(pose_row(frame, bone, pose, told))
                there = resample(mask.astype(np.float32), pose @ scan.affine, shape, affine) >= 0.5
                moved.append(there & (told != "failed"))
            write_volume(dyn / f"{stem}_label-{bone}_mask.nii.gz", np.stack(moved, -1), affine)
        rows += [pose_row(frame, "global", pose, "ok") for frame, pose in enumerate(poses)]
        (dyn / f"{stem}_poses.json").write_text(json.dumps(rows))
    return out


def write_truth(cohort: Path, registered: Path, root: Path) -> Path:
    """Write the cohort with the truth by which the sequences of `registered` are all perfect."""
    root.mkdir(parents=True)
    (root / "participants.tsv").write_text((cohort / "participants.tsv").read_text())
    for folder in sorted(registered.glob("sub-*")):
        (root / folder.name).symlink_to(cohort / folder.name)
        manual, truth = root / "derivatives" / "manual", root / "derivatives" / "truth" / folder.name / "dyn"
        manual.mkdir(parents=True, exist_ok=True)
        truth.mkdir(parents=True)
        (manual / folder.name).symlink_to(cohort / "derivatives" / "manual" / folder.name)
        for mask in (folder / "dyn").glob("*_mask.nii.gz"):
            (truth / mask.name).symlink_to(mask)
        poses = folder / "dyn" / f"{sequence_name(folder.name)}_poses.json"
        rows = [{**row, "correlation": None} for row in json.loads(poses.read_text()) if row["bone"] != "global"]
        (truth / poses.name).write_text(json.dumps(rows))
    return root


def foot_poses(affine: np.ndarray, shape: Sequence[int]) -> list[np.ndarray]:
    """How the foot lies in each frame: ``frame_from_static``."""
    middle = (affine @ [*((np.array(shape) - 1) / 2), 1])[:3]
    return [
        translation((2.0 * frame, -frame, 1)) @ rotation_about((1, 0.2, 0), 4.0 * frame, middle)
        for frame in range(FRAMES)
    ]


def pose_row(frame: int, bone: str, pose: np.ndarray | None, status: str) -> dict[str, Any]:
    failed = status == "failed"
    return {
        "frame": frame,
        "bone": bone,
        "status": status,
        "correlation": None if failed else 0.9,
        "frame_from_static": None if failed or pose is None else pose.tolist(),
    }
