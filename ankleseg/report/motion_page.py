"""The page of a subject in motion and the page of a cohort, each one HTML file that opens offline."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.report.colours import STRUCTURE_COLOURS, colours
from ankleseg.report.motion import GLOBAL, STATUSES, MotionCohort, MotionSequence, MotionSubject, PoseStatus
from ankleseg.report.motion_figures import group_curves, groups, joints, motion_curves, static_overlays
from ankleseg.report.movie import movie, static_slices
from ankleseg.report.overlays import BAR_MM, OPPOSITE

FOLDER = Path(__file__).parent
STATIC_SLICES = 10
MEASURES = {
    "dorsiflexion_deg": "dorsiflexion, °",
    "inversion_deg": "inversion, °",
    "internal_rotation_deg": "internal rotation, °",
    "lateral_mm": "lateral, mm",
    "anterior_mm": "anterior, mm",
    "superior_mm": "superior, mm",
}
HEADINGS = (
    ("frame", ""),
    ("bone", ""),
    ("status", ""),
    ("correlation", "of the frame with the posed static scan, within the bone"),
    ("overlap", "share of the bone inside the frame's field of view"),
    ("error mm", "standard error of the pose"),
    ("error °", "standard error of the rotation"),
    ("step mm", "move to the neighbouring frame"),
    ("step °", "turn to the neighbouring frame"),
    ("reason", ""),
)


def render_motion_subject(subject: MotionSubject) -> str:
    """Return the page of a subject as HTML that loads nothing from outside; every text is escaped.

    It shows the bones on the static scan; of each sequence a looping movie, the motion curves, every bone on every
    frame before and after its own registration, and the table of statuses, in which rows are marked by keyboard and
    exported as ``overrule.tsv``; and how to read all this.
    """
    bones = list(dict.fromkeys([*subject.static_masks, *(bone for s in subject.sequences for bone in s.bones)]))
    colour = colours(bones, STRUCTURE_COLOURS)
    slices = []
    if subject.static is not None and subject.static_affine is not None:
        shown = static_slices(subject.static, subject.static_affine, subject.static_masks, STATIC_SLICES)
        slices = [_safe(svg) for svg in static_overlays(shown, colour)]
    movies = [movie(sequence) for sequence in subject.sequences]
    return _render(
        "motion_subject.html",
        subject=subject,
        lead=_lead(subject),
        facts=[(k, v) for k, v in (("Group", subject.group), ("Side", subject.side), *subject.facts) if v],
        bones=bones,
        colour=colour,
        slices=slices,
        sequences=[_sequence(subject, s, content) for s, content in zip(subject.sequences, movies, strict=True)],
        examples=_examples(subject),
        headings=HEADINGS,
        statuses=STATUSES,
        bar_mm=BAR_MM,
        data=_script_data(subject, movies, colour),
    )


def render_motion_cohort(cohort: MotionCohort) -> str:
    """Return the page of a cohort as HTML that loads nothing from outside; every text is escaped.

    It shows the subjects with their verdicts and links to their pages, the statuses of their bones, the motion curves
    by group, and the ranges of motion with the differences between groups.
    """
    tasks: dict[str, list[Mapping[str, Any]]] = {}
    for row in cohort.angles:
        tasks.setdefault(task_of(row["subject"], row["sequence"]), []).append(row)
    names = list(dict.fromkeys(row["joint"] for row in cohort.ranges))
    angles = [measure for measure in MEASURES if measure.endswith("_deg")]
    return _render(
        "motion_cohort.html",
        cohort=cohort,
        verdicts=Counter(subject.verdict for subject in cohort.subjects),
        counts=_counts_by_group(cohort),
        curves=[(task, groups(rows), _safe(group_curves(rows))) for task, rows in tasks.items() if rows],
        measures=MEASURES,
        joints=names,
        angles=[MEASURES[measure] for measure in angles],
        ranges=_ranges_by_sequence(cohort, names, angles),
        extremes=_extremes(cohort),
        statuses=STATUSES,
    )


def task_of(subject: str, sequence: str) -> str:
    """Return what a sequence is called without the subject's name: ``sub-C01_task-active`` → ``task-active``."""
    return sequence.removeprefix(f"{subject}_")


def _lead(subject: MotionSubject) -> str:
    if not subject.sequences:
        return "No dynamic sequence of this subject could be used."
    counts = Counter(row.status for s in subject.sequences for row in s.rows if row.bone != GLOBAL)
    total = sum(counts.values())
    told = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    plural = "s" if len(subject.sequences) > 1 else ""
    return f"{len(subject.sequences)} sequence{plural}; {total} times a bone was placed on a frame: {told}."


def _sequence(subject: MotionSubject, sequence: MotionSequence, content: Mapping[str, Any]) -> dict[str, Any]:
    count = sequence.frames.shape[3]
    told = dict.fromkeys(row.bone for row in sequence.rows)
    others = [bone for bone in told if bone not in sequence.bones]
    measures = [measure for measure in MEASURES if any(row["measure"] == measure for row in sequence.ranges)]
    return {
        "label": task_of(subject.name, sequence.name),
        "count": count,
        "seconds": sequence.seconds,
        "slice": content["shown"][content["movie"]]["number"],
        "sides": (OPPOSITE[content["codes"][1]], content["codes"][1]),
        "bar": 100 * BAR_MM / (content["mm"] * content["width"]),
        "bones": sequence.bones,
        "sheet": [*others, *sequence.bones],
        "rows": sequence.rows,
        "joints": joints(sequence.angles),
        "curves": _safe(motion_curves(sequence.angles, count)) if sequence.angles else None,
        "measures": [MEASURES[measure] for measure in measures],
        "soft_tissue": sequence.soft_tissue,
        "soft_tissue_said": _soft_tissue_said(sequence.soft_tissue),
        "ranges": [_range_row(sequence.ranges, joint, measures) for joint in joints(sequence.ranges)],
    }


def _soft_tissue_said(rows: Sequence[Mapping[str, Any]]) -> str:
    """On how many frames registration was used, and what it gained there."""
    gains = [row["similarity_registered"] - row["similarity_polyrigid"] for row in rows if row["registered"] == "yes"]
    said = f"Registered beyond the polyrigid blend on {len(gains)} of {len(rows)} frames"
    if gains:
        said += f", where the mean squared local correlation rose by {_number(float(np.mean(gains)), 3)} on average"
    return f"{said}; the blend was kept where that gained too little or folded space."


def _range_row(ranges: Sequence[Mapping[str, Any]], joint: str, measures: Sequence[str]) -> dict[str, Any]:
    """A joint's ranges, each with the ends it lies between, and the number of frames in them."""
    mine = {row["measure"]: row for row in ranges if row["joint"] == joint}
    cells = []
    for measure in measures:
        row = mine.get(measure)
        if row is None or row["range"] is None:
            cells.append(("–", ""))
        else:
            ends = f"{_number(row['least'], 1)} to {_number(row['greatest'], 1)}"
            cells.append((_number(row["range"], 1), ends))
    return {"joint": joint, "cells": cells, "frames": max((row["frames"] for row in mine.values()), default=0)}


def _script_data(subject: MotionSubject, movies: Sequence[Mapping[str, Any]], colour: Mapping[str, str]) -> Any:
    """What the script of the page works on, as JSON that cannot end its element."""
    sequences = [
        {
            **content,
            "name": sequence.name,
            "bones": sequence.bones,
            "count": sequence.frames.shape[3],
            "rows": [asdict(row) for row in sequence.rows],
        }
        for sequence, content in zip(subject.sequences, movies, strict=True)
    ]
    told = {"subject": subject.name, "statuses": STATUSES, "whole": GLOBAL, "colour": colour, "sequences": sequences}
    return _safe(json.dumps(told, separators=(",", ":")).replace("<", "\\u003c"))


def _examples(subject: MotionSubject) -> list[dict[str, Any]]:
    """A bone that lies well and one that does not, of this very subject."""
    drawn = [
        (number, sequence, row)
        for number, sequence in enumerate(subject.sequences)
        for row in sequence.rows
        if row.bone in sequence.masks and np.any(sequence.masks[row.bone][..., row.frame] >= 0.5)
    ]
    good = [entry for entry in drawn if entry[2].status == "ok"]
    if not good:
        return []
    number, _, row = max(good, key=lambda entry: entry[2].correlation or 0.0)
    examples = [_example(number, row, "own", "A good one.", "The line runs along the rim of the bone on every side.")]
    bad = [entry for entry in drawn if entry[2].status != "ok"]
    if bad:
        number, _, row = min(bad, key=lambda entry: (-STATUSES.index(entry[2].status), entry[2].correlation or 0.0))
        text = f"Called {row.status}{f': {row.reason}' if row.reason else ''}. Look where the line leaves the rim."
        return [*examples, _example(number, row, "own", "A bad one.", text)]
    moved = [entry for entry in good if entry[2].bone in entry[1].placed_by_foot]
    if moved:
        number, _, row = min(moved, key=lambda entry: _agreement(entry[1], entry[2]))
        text = (
            "No line of this subject that is drawn is called bad. This is the bone that moved most against the rest of "
            "the foot, as the pose of the whole foot alone places it: the line does not follow the rim."
        )
        examples.append(_example(number, row, "foot", "What a bad one looks like.", text))
    return examples


def _example(number: int, row: PoseStatus, placed: str, heading: str, text: str) -> dict[str, Any]:
    told = f" (correlation {row.correlation:.2f})" if row.correlation is not None and placed == "own" else ""
    said = f"{row.bone[:1].upper()}{row.bone[1:]}, frame {row.frame + 1}{told}. {text}"
    return {
        "sequence": number, "frame": row.frame, "bone": row.bone, "placed": placed, "heading": heading, "text": said
    }  # fmt: skip


def _agreement(sequence: MotionSequence, row: PoseStatus) -> float:
    """Share of voxels that a bone's two placements have in common."""
    own = sequence.masks[row.bone][..., row.frame] >= 0.5
    foot = sequence.placed_by_foot[row.bone][..., row.frame] >= 0.5
    return float((own & foot).sum() / max(1, (own | foot).sum()))


def _counts_by_group(cohort: MotionCohort) -> list[tuple[str, int, dict[str, int]]]:
    """Name of the group, its subjects, and its statuses; all subjects last."""
    names = sorted({subject.group or "no group" for subject in cohort.subjects})
    table = []
    for name in [*names, *(["all"] if len(names) > 1 else [])]:
        mine = [subject for subject in cohort.subjects if name in ("all", subject.group or "no group")]
        table.append((name, len(mine), {s: sum(subject.counts.get(s, 0) for subject in mine) for s in STATUSES}))
    return table


def _ranges_by_sequence(cohort: MotionCohort, names: Sequence[str], angles: Sequence[str]) -> list[list[str]]:
    """A row for every subject and sequence: subject, group, sequence, and the range of every angle of every joint."""
    found = {(row["subject"], row["sequence"], row["joint"], row["measure"]): row["range"] for row in cohort.ranges}
    rows = dict.fromkeys((row["subject"], row["group"], row["sequence"]) for row in cohort.ranges)
    return [
        [subject, group or "–", task_of(subject, sequence)]
        + [_number(found.get((subject, sequence, joint, angle)), 1) for joint in names for angle in angles]
        for subject, group, sequence in rows
    ]


def _extremes(cohort: MotionCohort) -> list[tuple[str, Any]]:
    """The subject with the largest and the one with the smallest share of ok, for the reader to look at first."""
    placed = [subject for subject in cohort.subjects if sum(subject.counts.values())]
    if not placed:
        return []
    by_share = sorted(placed, key=lambda subject: subject.counts.get("ok", 0) / sum(subject.counts.values()))
    return [("good", by_share[-1]), *([("bad", by_share[0])] if len(placed) > 1 else [])]


def _render(template: str, **content: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["probability"] = lambda p: "< 0.001" if p is not None and p < 0.001 else _number(p, 3)
    environment.filters["bone"] = lambda bone: "whole foot" if bone == GLOBAL else bone
    return environment.get_template(template).render(**content)


def _safe(markup: str) -> Any:
    """Mark markup made here, whose texts are escaped, as such."""
    from markupsafe import Markup

    return Markup(markup)


def _number(value: float | None, decimals: int) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return f"{round(float(value), decimals) + 0.0:.{decimals}f}".replace("-", "−")  # + 0.0 turns -0.0 into 0.0
