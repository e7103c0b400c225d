"""Registered bones in motion against the truth of a phantom: poses, masks on the frames, joint angles."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from ankleseg.cohorts import is_dynamic, load_cohort
from ankleseg.cohorts.files import visible
from ankleseg.cohorts.registrations import GLOBAL, SUFFIX, read_registrations
from ankleseg.errors import FileError
from ankleseg.evaluate.motion_angles import angle_scores, read_angles
from ankleseg.evaluate.motion_evaluation import MotionEvaluation
from ankleseg.evaluate.motion_summary import (
    MISSING,
    AngleScore,
    PoseScore,
    summarise_angles,
    summarise_poses,
    wrong_called_ok,
)
from ankleseg.evaluate.motion_truth import Registrations, StaticTruth, static_truth
from ankleseg.evaluate.tables import write_csv, write_json
from ankleseg.files import replace_file
from ankleseg.measures import overlap
from ankleseg.volumes import read_volume, same_grid
from ankleseg.volumes.poses import displacement_of, invert_pose, rotation_degrees

TRUTH = "derivatives/truth"
RESULTS = ("motion.csv", "motion.json", "angles.csv", "report.html")
DEFINITIONS = {
    "error_mm": "target error: mean distance between where the estimated and the true pose put the voxels of the bone",
    "rotation_deg": "angle of the rotation between the estimated and the true pose",
    "dice": "of the registered and the true mask on the frame; not applicable where both are empty",
    "error_deg": "estimated minus true angle, both of poses in the axes found from the true static masks",
    "model_error_deg": "angle as the pipeline reports it minus that of the phantom, about the axes it was built in",
}


def evaluate_motion(
    predictions: str | Path, references: str | Path, out: str | Path, *, date: str | None = None
) -> MotionEvaluation:
    """Compare registered bones with the truth of a phantom cohort, and write tables and a report.

    These are ``motion.csv``, ``angles.csv``, ``motion.json`` and ``report.html``. Every bone of every true frame has a
    row; what was not estimated has the status ``missing``.

    Args:
        predictions: folder written by ``ankleseg.prepare recipe=ankle_dynamic``.
        references: phantom cohort with dynamic sequences.
        out: folder that receives the results.
        date: printed on the report; None takes the present minute.

    Raises:
        FileError: the references have no truth, or the predictions are no registered sequences.
        CohortError: the references are no cohort.
    """
    predictions, references, out = Path(predictions), Path(references), Path(out)
    files = visible((references / TRUTH).glob(f"sub-*/**/dyn/*{SUFFIX}"))
    if not files:
        raise FileError(
            "holds no true poses", file=references, mend="give the folder of a phantom made with dynamic=true"
        )
    if not is_dynamic(predictions):
        raise FileError(
            "holds no registered sequences", file=predictions, mend="give the out= of prepare recipe=ankle_dynamic"
        )
    for name in RESULTS:
        (out / name).unlink(missing_ok=True)
    cases = {case.name: case for case in load_cohort(references, strict=False).cases}
    poses: list[PoseScore] = []
    angles: list[AngleScore] = []
    problems: list[str] = []
    static: StaticTruth | None = None
    for file in _progress(files):
        place = file.relative_to(references / TRUTH)
        name = "_".join(place.parts[: place.parts.index("dyn")])
        if static is None or static.case.name != name:
            static = static_truth(cases.get(name), name)
            problems += [f"{name}: {static.problem}"] if static.problem else []
        found, problem = _estimated(predictions / place)
        problems += [problem] if problem else []
        true = {key: pose for key, pose in read_registrations(file).items() if pose.bone != GLOBAL}
        poses += _pose_scores(static, file, predictions / place, true, found)
        (model, broken), (reported, unread) = read_angles(file), read_angles(predictions / place)
        problems += [said for said in (broken, unread) if said]
        angles += angle_scores(static, file.name.removesuffix(SUFFIX), true, found, model, reported)
    evaluation = MotionEvaluation(
        out,
        predictions,
        references,
        tuple(poses),
        tuple(angles),
        tuple(problems),
        date or time.strftime("%Y-%m-%d %H:%M"),
    )
    _write(evaluation)
    return evaluation


def _progress(files: Sequence[Path]) -> Sequence[Path]:
    from tqdm import tqdm

    return tqdm(files, desc="comparing poses", unit="sequence")


def _estimated(file: Path) -> tuple[Registrations, str]:
    """The registrations of a sequence, or none and why."""
    try:
        return read_registrations(file), ""
    except FileError as error:
        return {}, str(error)


def _pose_scores(
    static: StaticTruth, truth: Path, estimate: Path, true: Registrations, found: Registrations
) -> list[PoseScore]:
    rows = []
    for bone in dict.fromkeys(bone for _, bone in true):
        frames = [frame for frame, of in true if of == bone]
        dice, said = _dice(_mask_file(truth, bone), _mask_file(estimate, bone), frames)
        for frame in frames:
            registration = found.get((frame, bone))
            status = MISSING if registration is None else registration.status
            pose = None if registration is None else registration.frame_from_static
            actual = true[frame, bone].frame_from_static
            error = turned = None
            if pose is not None and actual is not None and bone in static.points:
                error = float(displacement_of(pose, actual, static.points[bone]).mean())
                turned = float(rotation_degrees(invert_pose(actual) @ pose))
            rows.append(
                PoseScore(
                    subject=static.case.subject,
                    group=static.case.group,
                    side=static.case.side,
                    sequence=truth.name.removesuffix(SUFFIX),
                    frame=frame,
                    bone=bone,
                    status=status,
                    error_mm=error,
                    rotation_deg=turned,
                    dice=None if registration is None else dice.get(frame),
                    correlation=None if registration is None else registration.correlation,
                    message="no registration" if registration is None else said,
                )
            )
    return sorted(rows, key=lambda row: row.frame)


def _mask_file(poses: Path, bone: str) -> Path:
    return poses.with_name(f"{poses.name.removesuffix(SUFFIX)}_label-{bone}_mask.nii.gz")


def _dice(truth: Path, estimate: Path, frames: Sequence[int]) -> tuple[dict[int, float | None], str]:
    """Dice by frame, or nothing and why."""
    try:
        true = read_volume(truth, dtype=None, dimensions=4)
        mine = read_volume(estimate, dtype=None, dimensions=4)
    except FileError as error:
        return {}, f"no Dice: {Path(error.file or estimate).name} {error.problem}"
    if not same_grid(true.data.shape, true.affine, mine.data.shape, mine.affine):
        return {}, f"no Dice: {estimate.name} is on another grid than the true mask"
    return {frame: overlap(mine.data[..., frame] > 0, true.data[..., frame] > 0).dice for frame in frames}, ""


def _write(evaluation: MotionEvaluation) -> None:
    from ankleseg.evaluate.motion_page import build_motion_page
    from ankleseg.report import render_page

    out = evaluation.out
    write_csv(out / "motion.csv", [asdict(row) for row in evaluation.poses], [f.name for f in fields(PoseScore)])
    write_csv(out / "angles.csv", [asdict(row) for row in evaluation.angles], [f.name for f in fields(AngleScore)])
    content = {
        "date": evaluation.date,
        "predictions": evaluation.predictions.resolve().name,
        "references": evaluation.references.resolve().name,
        "definitions": DEFINITIONS,
        "wrong_called_ok": len(wrong_called_ok(evaluation.poses)),
        "poses": summarise_poses(evaluation.poses),
        "angles": summarise_angles(evaluation.angles),
        "problems": list(evaluation.problems),
    }
    write_json(out / "motion.json", content)
    with replace_file(out / "report.html") as part:
        part.write_text(render_page(build_motion_page(evaluation)), encoding="utf-8")
