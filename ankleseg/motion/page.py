"""What the pages of a subject and of a cohort show, handed to the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ankleseg import __version__
from ankleseg.measures.kinematics import motion_rows, ranges_of_motion
from ankleseg.measures.motion_groups import compare_groups
from ankleseg.motion.cleaning import Cleaned
from ankleseg.motion.masks import fractions_on_frames
from ankleseg.motion.result import SubjectResult
from ankleseg.motion.sequence import OVERRULED, MovedSequence
from ankleseg.motion.settings import MotionSettings
from ankleseg.report.motion import MotionCohort, MotionSequence, MotionSubject, PoseStatus, SubjectSummary
from ankleseg.report.motion_page import render_motion_cohort, render_motion_subject
from ankleseg.rigid.register import GLOBAL

SOFT_TISSUE = {
    "polyrigid": "blended from the poses of the bones (polyrigid)",
    "registered": "registered to each frame beyond the polyrigid blend",
}


def subject_page(
    cleaned: Cleaned,
    sequences: Mapping[str, MovedSequence],
    settings: MotionSettings,
    soft_tissue: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    """Return the page of a subject.

    Args:
        cleaned, settings: of the subject.
        sequences: by name.
        soft_tissue: rows of ``*_soft-tissue.tsv`` by sequence.
    """
    static = cleaned.static
    subject = MotionSubject(
        name=cleaned.name,
        group=cleaned.group,
        side=cleaned.side,
        facts=[*facts(settings), *([("Masks", cleaned.origin)] if cleaned.origin else [])],
        findings=cleaned.findings,
        static=None if static is None else static.data,
        static_affine=None if static is None else static.affine,
        static_masks=cleaned.masks,
        sequences=[_sequence(moved, cleaned, soft_tissue[name]) for name, moved in sequences.items()],
        verdict=cleaned.status,
        cohort_page="../report.html",
    )
    return render_motion_subject(subject)


def cohort_page(title: str, results: Sequence[SubjectResult], settings: MotionSettings) -> str:
    """Return the page of a cohort."""
    about = {result.name: {"subject": result.name, "group": result.group or "n/a"} for result in results}
    angles, ranges = [], []
    for result in results:
        for sequence, rows in result.angles.items():
            angles += [{**about[result.name], "sequence": _task(sequence), **row} for row in rows]
        for sequence, rows in result.ranges.items():
            ranges += [{**about[result.name], "sequence": _task(sequence), **row} for row in rows]
    tasks = sorted({row["sequence"] for row in ranges})
    return render_motion_cohort(
        MotionCohort(
            title=title,
            facts=facts(settings),
            subjects=[_summary(result) for result in results],
            angles=angles,
            ranges=ranges,
            differences={task: compare_groups([row for row in ranges if row["sequence"] == task]) for task in tasks},
        )
    )


def facts(settings: MotionSettings) -> list[tuple[str, str]]:
    """Return what was done, as pairs of name and value."""
    thickness = "as the sidecar says" if settings.thickness is None else f"{settings.thickness:g} mm"
    gate = "none" if settings.criteria.gate is None else f"{settings.criteria.gate:g}"
    return [
        ("Program", f"ankleseg {__version__}"),
        ("Slice profile", f"{settings.profile}, {thickness}"),
        ("Gain over a bone", f"polynomial of order {settings.order}"),
        ("Gate on the correlation over the foot", gate),
        ("Soft tissue", SOFT_TISSUE[settings.soft_tissue]),
        ("Joint angles", "since the static scan; dorsiflexion, inversion and internal rotation are positive"),
    ]


def _sequence(moved: MovedSequence, cleaned: Cleaned, soft_tissue: Sequence[Mapping[str, Any]]) -> MotionSequence:
    assert cleaned.static is not None
    volume = moved.source.volume
    poses = moved.registered[GLOBAL].frame_from_static
    by_foot = {
        bone: fractions_on_frames(mask, cleaned.static.affine, poses, volume.data.shape, volume.affine)
        for bone, mask in cleaned.masks.items()
    }
    return MotionSequence(
        name=moved.name,
        frames=volume.data,
        affine=volume.affine,
        masks=moved.fractions,
        placed_by_foot=by_foot,
        rows=[_row(moved, bone, frame) for frame in range(moved.source.frames) for bone in moved.bones],
        angles=motion_rows(moved.motion),
        ranges=ranges_of_motion(moved.motion),
        seconds=moved.source.sidecar.seconds,
        soft_tissue=soft_tissue,
    )


def _row(moved: MovedSequence, bone: str, frame: int) -> PoseStatus:
    verdict, found = moved.verdicts[bone][frame], moved.registered[bone]
    judged, note = None, ""
    if verdict.reason.startswith(OVERRULED):
        judged, _, note = verdict.reason.removeprefix(f"{OVERRULED} from ").partition(": ")
    return PoseStatus(
        frame=frame,
        bone=bone,
        status=verdict.status,
        correlation=float(found.correlation[frame]),
        overlap=float(found.overlap[frame]),
        error_mm=float(found.error_mm[frame]),
        error_deg=float(found.error_degrees[frame]),
        step_mm=verdict.step_mm,
        step_deg=verdict.step_degrees,
        reason=verdict.reason,
        judged=judged,
        note=note,
    )


def _summary(result: SubjectResult) -> SubjectSummary:
    statuses = [row["status"] for row in result.quality]
    odd = [row for row in result.quality if row["status"] != "ok"]
    worst = min(odd, key=lambda row: (row["status"] != "failed", row["explained"] or 0), default=None)
    told: list[Any] = [row["problem"] for row in result.cleaning if row["problem"]]
    return SubjectSummary(
        result.name,
        result.group,
        result.side,
        result.status,
        reason=result.problem or "; ".join(told),
        counts={status: statuses.count(status) for status in ("ok", "suspect", "failed")},
        page=f"{result.name}/report.html" if result.status != "failed" else None,
        worst=""
        if worst is None
        else f"{_task(worst['sequence'])}, frame {worst['frame'] + 1}, {worst['bone']}: {worst['status']}",
    )


def _task(sequence: str) -> str:
    """The part of a sequence's name after the subject's."""
    return sequence.partition("_")[2] or sequence
