"""Writing a sequence with its bones as a BIDS derivative, and telling what is there already."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.files import replace_file
from ankleseg.measures.helical_axes import finite_helical_axes, mean_helical_axis
from ankleseg.measures.kinematics import ANGLES, COLUMNS, SHIFTS, JointMotion, motion_rows, ranges_of_motion
from ankleseg.motion.cleaning import Cleaned
from ankleseg.motion.sequence import MovedSequence, binary
from ankleseg.motion.settings import MotionSettings
from ankleseg.motion.soft_tissue import SoftTissue, register_soft_tissue
from ankleseg.rigid.polyrigid import polyrigid_image, polyrigid_pullback
from ankleseg.rigid.profile import SliceProfile
from ankleseg.rigid.register import GLOBAL
from ankleseg.rigid.static_bones import StaticBones
from ankleseg.volumes import Volume, resampled_grid, write_volume
from ankleseg.volumes.displacement_fields import write_displacement_field
from ankleseg.volumes.poses import Pose
from ankleseg.volumes.transforms import write_flirt_matrix, write_itk_transform

QUALITY = (
    "subject", "sequence", "frame", "bone", "status", "correlation", "explained", "overlap", "shared", "error_mm",
    "error_deg", "step_mm", "step_deg", "reason",
)  # fmt: skip
SOFT_TISSUE = ("frame", "registered", "similarity_polyrigid", "similarity_registered", "folded")
FRACTION_STEP = 1 / 255  # of a voxel; fractions are kept in steps of it


def write_sequence(
    moved: MovedSequence, cleaned: Cleaned, bones: StaticBones, name: str, folder: Path, settings: MotionSettings
) -> list[Path]:
    """Write everything that is known of a sequence, and return the files.

    Args:
        moved: the sequence.
        cleaned: its case.
        bones: of its static scan.
        name: of the subject in the derivative.
        folder: ``dyn`` of the subject.
        settings: of the application.
    """
    stem, volume = moved.name, moved.source.volume
    files = []
    for bone, fractions in moved.fractions.items():
        header = volume.header
        files.append(
            write_volume(folder / f"{stem}_label-{bone}_mask.nii.gz", binary(fractions), volume.affine, like=header)
        )
        fraction = fractions / FRACTION_STEP
        np.rint(fraction, out=fraction)
        fraction *= FRACTION_STEP
        files.append(
            write_volume(folder / f"{stem}_label-{bone}_fraction.nii.gz", fraction, volume.affine, like=header)
        )
    files.append(_write_json(folder / f"{stem}_poses.json", pose_entries(moved)))
    files.append(write_table(folder / f"{stem}_quality.tsv", quality_rows(moved, name), QUALITY))
    files += _write_angles(moved, folder)
    files += _write_transforms(moved, cleaned, folder / "transforms")
    files += _write_images(moved, cleaned, bones, folder, settings)
    return files


def pose_entries(moved: MovedSequence) -> list[dict[str, Any]]:
    """Return what ``*_poses.json`` holds: an entry for the whole foot and for each bone on every frame."""
    entries = []
    for frame in range(moved.source.frames):
        for bone in (GLOBAL, *moved.bones):
            status = moved.verdicts[bone][frame].status if bone in moved.verdicts else "ok"
            if frame in moved.source.unusable:
                status = "failed"
            found = moved.registered[bone]
            entries.append(
                {
                    "frame": frame,
                    "bone": bone,
                    "status": status,
                    "correlation": None if status == "failed" else round(float(found.correlation[frame]), 6),
                    "frame_from_static": None if status == "failed" else found.frame_from_static[frame].tolist(),
                }
            )
    return entries


def quality_rows(moved: MovedSequence, subject: str) -> list[dict[str, Any]]:
    """Return the rows of ``*_quality.tsv``."""
    rows = []
    for frame in range(moved.source.frames):
        for bone in moved.bones:
            verdict, found = moved.verdicts[bone][frame], moved.registered[bone]
            numbers = {
                "correlation": found.correlation[frame],
                "explained": found.explained[frame],
                "overlap": found.overlap[frame],
                "shared": moved.shared[bone][frame],
                "error_mm": found.error_mm[frame],
                "error_deg": found.error_degrees[frame],
                "step_mm": verdict.step_mm,
                "step_deg": verdict.step_degrees,
            }
            told = {key: None if not np.isfinite(value) else round(float(value), 4) for key, value in numbers.items()}
            about = {"subject": subject, "sequence": moved.name, "frame": frame, "bone": bone, "status": verdict.status}
            rows.append({**about, **told, "reason": verdict.reason})
    return rows


def soft_tissue_rows(folder: Path, sequence: str) -> list[dict[str, Any]]:
    """Read the rows of ``*_soft-tissue.tsv``; none where soft tissue was not registered."""
    file = _soft_tissue_table(folder, sequence)
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened, delimiter="\t"))
    numbers = SOFT_TISSUE[2:]
    return [{**row, "frame": int(row["frame"]), **{name: float(row[name]) for name in numbers}} for row in rows]


def _soft_tissue_table(folder: Path, sequence: str) -> Path:
    return folder / f"{sequence}_soft-tissue.tsv"


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Path:
    """Write rows as a table, tabs between columns, ``n/a`` for what is not known."""
    with replace_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="," if path.suffix == ".csv" else "\t", lineterminator="\n")
        table.writerow(columns)
        for row in rows:
            table.writerow(["n/a" if row[column] is None else row[column] for column in columns])
    return path


def _write_angles(moved: MovedSequence, folder: Path) -> list[Path]:
    rows = [_rounded(row) for row in motion_rows(moved.motion)]
    files = [write_table(folder / f"{moved.name}_angles.csv", rows, COLUMNS)]
    content: dict[str, Any] = {
        "sequence": moved.name,
        "problem": moved.axes or None,
        "angles": list(ANGLES),
        "shifts": list(SHIFTS),
        "zero": "pose of the static scan",
        "ranges": [_rounded(row) for row in ranges_of_motion(moved.motion)],
        "helical_axes": {name: _helical(joint) for name, joint in moved.motion.items()},
    }
    if moved.smooth_motion is not None:
        smooth = [_rounded(row) for row in motion_rows(moved.smooth_motion)]
        files.append(write_table(folder / f"{moved.name}_desc-smooth_angles.csv", smooth, COLUMNS))
    files.append(_write_json(folder / f"{moved.name}_angles.json", content))
    return files


def _helical(joint: JointMotion) -> dict[str, Any]:
    axes = finite_helical_axes(joint)
    told: dict[str, Any] = {"axes": [_plain(asdict(axis)) for axis in axes], "mean": None}
    if axes:
        told["mean"] = _plain(asdict(mean_helical_axis(axes, joint.origin)))
    return told


def _write_transforms(moved: MovedSequence, cleaned: Cleaned, folder: Path) -> list[Path]:
    assert cleaned.static is not None
    files = []
    target = Volume(moved.source.volume.data[..., 0], moved.source.volume.affine)
    grids = {"source": _Grid(cleaned.static), "target": _Grid(target)}
    for entry in pose_entries(moved):
        if entry["frame_from_static"] is None:
            continue
        pose = np.array(entry["frame_from_static"])
        stem = f"{moved.name}_frame-{entry['frame']:02d}_bone-{entry['bone']}_from-static_to-frame"
        files.append(write_itk_transform(folder / f"{stem}.tfm", pose))
        files.append(write_flirt_matrix(folder / f"{stem}.mat", pose, **grids))
    return files


class _Grid:
    def __init__(self, volume: Volume) -> None:
        self.shape, self.affine = volume.data.shape[:3], volume.affine


def _write_images(
    moved: MovedSequence, cleaned: Cleaned, bones: StaticBones, folder: Path, settings: MotionSettings
) -> list[Path]:
    """The static scan moved into every frame, and the displacements on the grid of the frames."""
    assert cleaned.static is not None
    static, volume = cleaned.static, moved.source.volume
    files: list[Path] = []
    rows: list[dict[str, Any]] = []
    shape, affine = volume.data.shape[:3], volume.affine
    fine_shape, fine_affine = resampled_grid(shape, affine, _fine_spacing(static, volume, settings))
    trusted = {bone: moved.poses(bone) for bone in moved.bones}
    for frame, whole in enumerate(moved.registered[GLOBAL].frame_from_static):
        poses = {bone: stack[frame] for bone, stack in trusted.items() if np.isfinite(stack[frame]).all()}
        if not poses:
            continue
        stem = f"{moved.name}_frame-{frame:02d}"
        soft = _register_soft_tissue(moved, static, bones, frame, poses, settings)
        follow: dict[str, Any] = {"decay": settings.decay, "residual": soft and soft.residual}
        if soft is not None:
            rows.append(_soft_tissue_row(frame, soft))
        field = polyrigid_pullback(bones, poses, whole, shape, affine, **follow)
        files.append(write_displacement_field(folder / f"{stem}_displacement.nii.gz", field, affine))
        if settings.highres:
            image = polyrigid_image(static.data, static.affine, bones, poses, whole, fine_shape, fine_affine, **follow)
            whole_numbers = np.clip(np.rint(image, out=image), -32768, 32767, out=image).astype(np.int16)
            files.append(write_volume(folder / f"{stem}_desc-highres_T1w.nii.gz", whole_numbers, fine_affine))
    if rows:
        files.append(write_table(_soft_tissue_table(folder, moved.name), rows, SOFT_TISSUE))
    return files


def _register_soft_tissue(
    moved: MovedSequence,
    static: Volume,
    bones: StaticBones,
    frame: int,
    poses: Mapping[str, Pose],
    settings: MotionSettings,
) -> SoftTissue | None:
    """The soft tissue of a frame, None where it is not asked for."""
    if settings.soft_tissue == "polyrigid":
        return None
    source = moved.source
    return register_soft_tissue(
        static,
        bones,
        poses,
        moved.registered[GLOBAL].frame_from_static[frame],
        Volume(source.volume.data[..., frame], source.volume.affine),
        np.max([moved.fractions[bone][..., frame] for bone in poses], axis=0),
        SliceProfile(settings.thickness or source.thickness_mm, settings.profile),
        settings.decay,
    )


def _soft_tissue_row(frame: int, soft: SoftTissue) -> dict[str, Any]:
    row = {"similarity_polyrigid": soft.before, "similarity_registered": soft.after, "folded": soft.folded}
    return {"frame": frame, "registered": "no" if soft.residual is None else "yes", **_rounded(row)}


def _fine_spacing(static: Volume, volume: Volume, settings: MotionSettings) -> list[float]:
    """The spacing asked for, else that of the static scan, its largest along the slices of the sequence."""
    if settings.spacing is not None:
        return [float(value) for value in settings.spacing]
    fine = np.sort(static.spacing)
    return [float(fine[rank]) for rank in np.argsort(np.argsort(volume.spacing, kind="stable"), kind="stable")]


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return [round(float(one), 5) for one in value]
    return round(value, 5) if isinstance(value, float) else value


def _write_json(path: Path, content: Any) -> Path:
    with replace_file(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
