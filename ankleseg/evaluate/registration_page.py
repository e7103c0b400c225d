"""What the report of an evaluation of registrations shows, beside the published numbers."""

from __future__ import annotations

from ankleseg.evaluate.page_facts import versions, without_folders
from ankleseg.evaluate.registration_scores import RegistrationEvaluation
from ankleseg.report import Column, Page, Section, Table

# Balakrishnan et al., IEEE TMI 2019, table I: 250 test scans of the brain, 160×192×224, 30 structures
PUBLISHED = (
    ("affine only", 0.584, 0.157, None, None, None),
    ("ANTs SyN (CC)", 0.749, 0.136, 0.185, 9059.0, None),
    ("NiftyReg (CC)", 0.755, 0.143, 0.793, 2347.0, None),
    ("VoxelMorph (CC)", 0.753, 0.145, 0.366, 57.0, 0.45),
    ("VoxelMorph (MSE)", 0.752, 0.140, 0.184, 57.0, 0.45),
)
READING = (
    "Dice is the mean over the labels that the moved or the fixed label map has; a label that only one of them has "
    "counts 0, and its surface distance is the diagonal of the image. Target error needs the true field, as only made "
    "scans have.",
    "The published numbers are of other scans and other structures: they tell what is usual, not who is better.",
    "The mean squared local correlation lies between 0 and 1, so its loss lies between −1 and 0. A published NCC of "
    "−8.49 for VoxelMorph on BraTS 2021 is outside: it is a sum or a scaled value, or the covariance was lost to "
    "rounding in float32 where a window is flat and bright, which gives losses of any size.",
)


def build_registration_page(evaluation: RegistrationEvaluation) -> Page:
    """Put together the page: registrations, labels, the published table, and how to read them."""
    sections = [
        Section("Registrations", (), [_registrations(evaluation)]),
        Section("Published, for comparison", READING[1:2], [_published()]),
        Section("How to read it", (READING[0], READING[2])),
        Section("Labels", ("Click on a heading to sort.",), [_labels(evaluation)]),
    ]
    count = len(evaluation.registrations)
    lead = f"{count} registration{'' if count == 1 else 's'}, {evaluation.scored} compared with a reference"
    facts = [("Date", evaluation.date), ("Versions", versions("numpy", "scipy"))]
    return Page("Registration evaluation", lead, facts, sections)


def _registrations(evaluation: RegistrationEvaluation) -> Table:
    columns = [
        *(Column(name) for name in ("registration", "method", "called", "labels")),
        Column("Dice", 3),
        Column("HD95 mm", 2),
        Column("mean mm", 2, "", "target error"),
        Column("95 % mm", 2, "", "target error"),
        Column("folded %", 3),
        Column("SD of log Jacobian", 3),
        Column("seconds", 1),
        Column("message"),
    ]
    rows = [
        [
            row.registration,
            row.method,
            row.result,
            row.labels or None,
            row.dice,
            row.hd95_mm,
            row.target_error_mm,
            row.target_error_p95_mm,
            None if row.folded is None else 100 * row.folded,
            row.log_jacobian_sd,
            row.seconds,
            without_folders(row.message),
        ]
        for row in evaluation.registrations
    ]
    return Table(columns, rows, sortable=True)


def _published() -> Table:
    columns = [
        Column("method"),
        Column("Dice", 3),
        Column("SD", 3, "of the Dice"),
        Column("folded %", 3),
        Column("seconds, CPU", 0),
        Column("seconds, GPU", 2),
    ]
    return Table(columns, PUBLISHED, caption="Balakrishnan et al. 2019: 250 brains, 30 structures")


def _labels(evaluation: RegistrationEvaluation) -> Table:
    columns = [Column("registration"), Column("label"), Column("finding"), Column("Dice", 3), Column("HD95 mm", 2)]
    rows = [[row.registration, row.label, row.finding, row.dice, row.hd95_mm] for row in evaluation.labels]
    return Table(columns, rows, sortable=True)
