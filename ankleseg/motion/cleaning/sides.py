"""Left or right: what the table says against what the bones show."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ankleseg.cohorts.case import Side
from ankleseg.motion.cleaning.anatomy import Foot, Points
from ankleseg.volumes import Finding, Verdict, Volume, anatomical_axis
from ankleseg.volumes.geometry import ANATOMICAL_AXES, Affine

ACROSS = 0.3  # cosine of 72°: a shin further from upright, or toes further from the front, are no way to lie
ELSEWHERE = 0.1  # share of the bones in the field of view of a sequence, below which it shows another place


def judge_side(
    file: Path, given: Side | None, shown: Foot | None, *, elsewhere: bool, mend_flipped: bool
) -> tuple[Side | None, bool, list[Finding]]:
    """Compare the side of the table with that of the bones.

    The bones of a mirrored right foot are those of a left one: no shape tells a flipped scan from one of the other
    side. Where the scan lies can: a scan of the other side shows nothing of what the sequences show.

    Args:
        file: the static scan.
        given: side by the table.
        shown: foot by the bones; None where too few bones are left to tell.
        elsewhere: whether no sequence of the case shows the place of the bones.
        mend_flipped: mirror a flipped scan.

    Returns:
        The side to go on with, whether the scan has to be mirrored before it can be used, and the findings.
    """
    found = None if shown is None else shown.side
    if found is None:
        if given is None:
            problem = "its side is not in the table, and its bones do not show it"
            return None, False, [Finding(file, Verdict.SUSPECT, problem, "write left or right into the table")]
        problem = f"its bones do not show whether it is a {given} foot"
        return given, False, [Finding(file, Verdict.OK, problem, "check left and right in a viewer")]
    if given is None:
        problem = f"its side is not in the table; its bones are those of a {found} foot"
        return found, False, [Finding(file, Verdict.OK, problem, f"{found} was taken; write it into the table")]
    if found == given:
        return given, False, []
    problem = f"its bones are those of a {found} foot, and the table says {given}"
    if elsewhere:
        problem += "; it does not lie where its sequences lie"
        return given, True, [Finding(file, Verdict.DIFFERENT, problem, f"find the static scan of the {given} foot")]
    if mend_flipped:
        return given, True, [Finding(file, Verdict.MIRRORED, problem, "scan and masks were mirrored")]
    mend = f"if the scan was flipped on its way, set mend_flipped=true; if it is of the {found} foot, correct the table"
    return given, True, [Finding(file, Verdict.MIRRORED, problem, mend)]


def flipped_axis(shown: Foot, affine: Affine) -> int:
    """Return the array axis to reverse in a flipped scan: that along which the foot points the wrong way.

    A foot lies with its shin towards the head and its toes up, where a patient lies on the back; if both are so, left
    and right were exchanged.
    """
    if shown.up[2] < -ACROSS:
        return anatomical_axis(affine, "IS")
    return anatomical_axis(affine, "PA" if shown.forward[1] < -ACROSS else "LR")


def check_lie(file: Path, shown: Foot | None) -> list[Finding]:
    """Say if the header lets the foot lie as no patient on the back does: shin to the head, toes up."""
    if shown is None:
        return []
    findings = []
    for what, direction, code in (("shin points", shown.up, "S"), ("toes point", shown.forward, "A")):
        axis = ANATOMICAL_AXES["RAS".index(code)]
        if direction["RAS".index(code)] < ACROSS:
            towards = _direction(direction)
            problem = f"by its header the {what} to {towards}, not to {code} ({axis})"
            findings.append(Finding(file, Verdict.SUSPECT, problem, "check its orientation in a viewer"))
    return findings


def lies_elsewhere(points: Points, sequences: Iterable[Volume]) -> bool:
    """Tell whether there are sequences and none of them has the bones in its field of view, by the headers."""
    shares = []
    for sequence in sequences:
        voxels = (points - sequence.affine[:3, 3]) @ np.linalg.inv(sequence.affine[:3, :3]).T
        inside = (voxels > -0.5) & (voxels < np.array(sequence.data.shape[:3]) - 0.5)
        shares.append(float(inside.all(1).mean()))
    return bool(shares) and max(shares) < ELSEWHERE


def _direction(vector: np.ndarray) -> str:
    """Letter of the anatomical direction closest to a vector."""
    axis = int(np.abs(vector).argmax())
    return ANATOMICAL_AXES[axis][int(vector[axis] > 0)]
