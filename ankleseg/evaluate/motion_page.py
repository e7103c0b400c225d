"""What the report of an evaluation of motion shows."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from ankleseg import __version__
from ankleseg.evaluate.motion_summary import (
    WRONG_MM,
    AngleScore,
    PoseScore,
    summarise_angles,
    summarise_poses,
    wrong_called_ok,
)
from ankleseg.report import Column, Page, Picture, Section, Table

if TYPE_CHECKING:
    from ankleseg.evaluate.motion_evaluation import MotionEvaluation

WORST = 50  # rows shown; every row is in motion.csv
READING = (
    "The target error is the mean distance, over the voxels of a bone, between where its estimated pose and its true "
    "pose put them. The rotation error is the angle between the two poses. Dice compares the registered and the true "
    "mask on the thick slices of the frame.",
    f"A pose that is off by more than {WRONG_MM:g} mm is wrong. Wrong results should be called suspect or failed: a "
    "wrong result called ok would be believed.",
    "Joint angles are compared twice. “Same axes”: estimated and true poses, both told in the axes found from the "
    "shapes of the bones in the static scan; this is the error of the registration. “Against the model”: the angles as "
    "the pipeline reports them against those about the axes the phantom was built in; this is the error of the "
    "registration and of the axes together.",
)


def build_motion_page(evaluation: MotionEvaluation) -> Page:
    """Put together the page: summary, wrong results, joint angles, a figure, and the worst rows."""
    wrong = wrong_called_ok(evaluation.poses)
    said = f"Wrong results called ok: {len(wrong)} of {sum(row.status == 'ok' for row in evaluation.poses)}."
    sections = [Section("Summary", (said, *evaluation.problems), [_summary_table(evaluation.poses)])]
    if wrong:
        sections.append(Section("Wrong results called ok", (), [_row_table(wrong)]))
    sections.append(Section("Joint angles", (), [_angle_table(evaluation.angles)]))
    figure = _figure(evaluation.poses)
    if figure is not None:
        sections.append(Section("Errors", (), [figure]))
    sections.append(Section("How to read it", READING))
    order = sorted(evaluation.poses, key=_badness)
    shown = (
        f"The {min(WORST, len(order))} worst of {len(order)} rows; all are in motion.csv. Click on a heading to sort."
    )
    sections.append(Section("Worst rows", (shown,), [_row_table(order[:WORST])]))
    subjects = len({row.subject for row in evaluation.poses})
    frames = len({(row.sequence, row.frame) for row in evaluation.poses})
    lead = f"{frames} frames of {subjects} subjects of {evaluation.references.resolve().name}, against their true poses"
    facts = [
        ("Date", evaluation.date),
        ("Predictions", evaluation.predictions.resolve().name),
        ("References", evaluation.references.resolve().name),
        ("Versions", f"ankleseg {__version__}, Python {platform.python_version()}, numpy {version('numpy')}"),
    ]
    return Page("Motion evaluation", lead, facts, sections)


def _badness(row: PoseScore) -> tuple[int, float]:
    """Wrong ones called ok first, then what is missing, then by error."""
    wrong = row.status == "ok" and row.error_mm is not None and row.error_mm > WRONG_MM
    return (0 if wrong else 1 if row.error_mm is None else 2, -(row.error_mm or 0.0))


def _summary_table(rows: Sequence[PoseScore]) -> Table:
    columns = [
        Column("called", None, "what the pipeline says of its result; all: everything, also what is missing"),
        Column("bone"),
        Column("rows", None, "a bone on a frame", "count"),
        Column("poses", None, "compared with a true one", "count"),
        Column("missing", None, "not estimated at all", "count"),
        Column("wrong", None, f"off by more than {WRONG_MM:g} mm", "count"),
        *(Column(name, 3, band="target error mm") for name in ("median", "95 %", "greatest")),
        *(Column(name, 3, band="rotation error °") for name in ("median", "95 %", "greatest")),
        *(Column(name, 3, band="Dice") for name in ("median", "5 %", "least")),
    ]
    cells = [
        (
            entry["called"],
            entry["bone"],
            *(entry[name] for name in ("rows", "poses", "missing", "wrong")),
            *(value for name in ("error_mm", "rotation_deg", "dice") for value in entry[name].values()),
        )
        for entry in summarise_poses(rows)
        if entry["rows"]
    ]
    return Table(columns, cells)


def _angle_table(rows: Sequence[AngleScore]) -> Table:
    columns = [
        Column("called", None, "what the pipeline says of the worse of the two bones"),
        Column("joint"),
        Column("angle"),
        Column("rows"),
        *(Column(name, digits, band="same axes") for name, digits in (("n", None), ("RMS °", 2), ("greatest °", 2))),
        *(
            Column(name, digits, band="against the model")
            for name, digits in (("n", None), ("RMS °", 2), ("greatest °", 2))
        ),
    ]
    names = ("called", "joint", "angle", "rows", "n", "rms_deg", "max_deg", "model_n", "model_rms_deg", "model_max_deg")
    cells = []
    for entry in summarise_angles(rows):
        told = {**entry, "angle": entry["angle"].removesuffix("_deg").replace("_", " ")}
        cells.append(tuple(told[name] for name in names))
    return Table(columns, cells)


def _row_table(rows: Sequence[PoseScore]) -> Table:
    columns = [
        *(Column(name) for name in ("subject", "group", "sequence", "frame", "bone", "called")),
        Column("target error mm", 3),
        Column("rotation error °", 3),
        Column("Dice", 3),
        Column("correlation", 3),
        Column("message"),
    ]
    measures = ("error_mm", "rotation_deg", "dice", "correlation", "message")
    names = ("subject", "group", "sequence", "frame", "bone", "status", *measures)
    cells = [tuple(getattr(row, name) for name in names) for row in rows]
    return Table(columns, cells, sortable=True)


def _figure(rows: Sequence[PoseScore]) -> Picture | None:
    from ankleseg.report.pose_errors import pose_errors

    known = [row for row in rows if row.error_mm is not None]
    if not known:
        return None
    png = pose_errors(
        [row.bone for row in known],
        [row.status for row in known],
        [row.error_mm or 0.0 for row in known],
        [row.correlation for row in known],
        limit_mm=WRONG_MM,
    )
    return Picture(
        png,
        "Target error of every bone and frame, and against its correlation",
        "Left: target error of every bone and frame, by what the pipeline called it. Right: the same against the "
        f"correlation. The line is at {WRONG_MM:g} mm; a mark above it is a wrong result.",
    )
