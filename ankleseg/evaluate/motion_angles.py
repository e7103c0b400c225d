"""Joint angles of estimated poses against true ones."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ankleseg.cohorts.names import known_text
from ankleseg.cohorts.registrations import SUFFIX
from ankleseg.evaluate.motion_summary import MISSING, AngleScore
from ankleseg.evaluate.motion_truth import Registrations, StaticTruth
from ankleseg.measures.kinematics import ANGLES, JOINTS, joint_motion

AngleTable = dict[tuple[int, str, str], float]


def angle_scores(
    static: StaticTruth,
    sequence: str,
    true: Registrations,
    found: Registrations,
    model: AngleTable,
    reported: AngleTable,
) -> list[AngleScore]:
    """Compare the angles of a sequence, a row a frame, joint and angle.

    Args:
        static: of the subject; without axes only the reported angles are compared.
        sequence: its name.
        true, found: what is known of the poses.
        model, reported: angles as the phantom was built by, and as the pipeline reports them.
    """
    bones = list(dict.fromkeys(bone for _, bone in true))
    frames = sorted({frame for frame, _ in true})
    status = {b: [found[f, b].status if (f, b) in found else MISSING for f in frames] for b in bones}
    estimated = _angles(static, found, bones, frames)
    actual = _angles(static, true, bones, frames)
    rows = []
    for joint, pair in JOINTS.items():
        if not set(pair) <= set(bones):
            continue
        for number, frame in enumerate(frames):
            states = [status[bone][number] for bone in pair]
            said = next(name for name in (MISSING, "failed", "suspect", "ok") if name in states)
            for k, angle in enumerate(ANGLES):
                mine = _number(estimated.get(joint), number, k)
                right = _number(actual.get(joint), number, k)
                told, built = reported.get((frame, joint, angle)), model.get((frame, joint, angle))
                rows.append(
                    AngleScore(
                        subject=static.case.subject,
                        group=static.case.group,
                        side=static.case.side,
                        sequence=sequence,
                        frame=frame,
                        joint=joint,
                        angle=angle,
                        status=said,
                        estimated_deg=mine,
                        true_deg=right,
                        error_deg=None if mine is None or right is None else mine - right,
                        reported_deg=told,
                        model_deg=built,
                        model_error_deg=None if told is None or built is None else told - built,
                    )
                )
    return rows


def _angles(
    static: StaticTruth, poses: Registrations, bones: Sequence[str], frames: Sequence[int]
) -> dict[str, Float[np.ndarray, "t 3"]]:
    """Joint angles, NaN where a pose is missing; nothing where the axes of the bones are not known."""
    if not static.axes or static.case.side is None:
        return {}
    nowhere = np.full((4, 4), np.nan)
    stacks = {}
    for bone in bones:
        entries = [poses.get((frame, bone)) for frame in frames]
        known = [None if entry is None else entry.frame_from_static for entry in entries]
        stacks[bone] = np.stack([nowhere if pose is None else pose for pose in known])
    return {joint: motion.angles for joint, motion in joint_motion(stacks, static.axes, static.case.side).items()}


def _number(angles: np.ndarray | None, frame: int, k: int) -> float | None:
    return float(angles[frame, k]) if angles is not None and np.isfinite(angles[frame, k]) else None


def read_angles(poses: Path) -> tuple[AngleTable, str]:
    """Read the table of angles beside a file of poses, by frame, joint and angle; empty without one.

    Returns:
        The table, and what is wrong with it.
    """
    file = poses.with_name(f"{poses.name.removesuffix(SUFFIX)}_angles.csv")
    if not file.is_file():
        return {}, ""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            return {
                (int(row["frame"]), row["joint"], angle): float(row[angle])
                for row in csv.DictReader(stream)
                for angle in ANGLES
                if known_text(row[angle]) is not None
            }, ""
    except (OSError, KeyError, ValueError, TypeError) as error:
        return {}, f"{file}: is not a table of joint angles ({error})"
