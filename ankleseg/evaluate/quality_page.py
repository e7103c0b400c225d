"""What the report of an evaluation of image quality shows, smallest gain first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ankleseg.evaluate.image_scores import BASELINE, FOREGROUND, PREDICTION, STRUCTURES, WHOLE, ImageScore
from ankleseg.evaluate.page_facts import checkpoint_facts, versions, without_folders
from ankleseg.evaluate.quality_summary import QualityEvaluation, summarise_images
from ankleseg.evaluate.scores import SCORED, Score
from ankleseg.evaluate.tables import summarise
from ankleseg.report import CaseBlock, Column, Page, Picture, Section, Table

DRAWN = 24  # cases, those of the smallest gain; every case is in the tables
NAMES = {WHOLE: "whole image", STRUCTURES: "inside the structures", FOREGROUND: "foreground"}
COLUMNS = {
    "psnr_db": Column("PSNR dB", 2, "10 log10(peak² / mean squared difference); peak: maximum of the reference"),
    "gain_db": Column("gain dB", 2, "PSNR above that of the cubic spline, or of the input on the reference's own grid"),
    "ssim": Column("SSIM", 4, "structural similarity"),
    "correlation": Column("NCC", 4, "normalised cross-correlation: Pearson's correlation"),
    "gms": Column("GMS", 4, "mean similarity of the gradient magnitudes: higher is better"),
    "gmsd": Column("GMSD", 4, "its standard deviation: lower is better"),
}
READING = (
    "PSNR measures noise against the peak, the maximum of the whole reference: 6 dB more is half the error. Air "
    "without signal is easy and raises it, so the columns for the whole image flatter every method. Gain is the PSNR "
    "above that of a cubic spline interpolation of the same input, case by case; where the input has the grid of the "
    "reference already, above that of the input itself.",
    "SSIM compares mean, contrast and structure around each voxel; NCC is the correlation of the intensities, which "
    "heeds neither gain nor offset; GMS compares the steepness of edges. All three are 1 for a perfect image. GMSD, "
    "the spread of the gradient similarity, is 0.",
    "Everything is compared on the grid of the reference, on the same voxels for all methods: those that the "
    "prediction and the input show. Intensities are taken as they are; PSNR punishes a prediction of another gain than "
    "the reference.",
    "The pictures show the slices of the input edge-on, or such a slice where the input has the grid of the reference. "
    "All images have the grey scale of the reference; differences are orange where an image is too bright and blue "
    "where it is too dark. The lower row enlarges the frame.",
)


def build_quality_page(evaluation: QualityEvaluation) -> Page:
    """Put together the page: summary, structures, cases from the smallest gain to the greatest, and the full table."""
    order = _least_gain_first(evaluation.images)
    summary = _summary_table(summarise_images(evaluation.images))
    sections = [Section("Summary", _notes(evaluation), [summary])]
    if evaluation.structures:
        sections.append(Section("Structures", (), [_structure_table(evaluation.structures)]))
    sections.append(Section("How to read it", READING))
    shown = f"The {DRAWN} of the smallest gain of {len(order)} cases are shown." if len(order) > DRAWN else ""
    blocks = [_case_block(evaluation, name) for name in order[:DRAWN]]
    sections.append(Section("Cases, smallest gain first", (shown,) if shown else (), blocks))
    sections.append(Section("All scores", ("Click on a heading to sort.",), [_full_table(evaluation.images)]))
    names = ", ".join(dict.fromkeys(row.image for row in evaluation.images if row.kind == PREDICTION and row.image))
    count = f"{len(order)} case" + ("" if len(order) == 1 else "s")
    lead = f"{names or 'Images'} in {count}, against {evaluation.references.root.resolve().name}"
    facts = [
        ("Date", evaluation.date),
        ("Predictions", evaluation.predictions.folder.resolve().name),
        ("References", evaluation.references.root.resolve().name),
        *checkpoint_facts(evaluation.predictions.checkpoints),
        ("Versions", versions("numpy", "scipy", "scikit-image")),
    ]
    return Page("Image quality report", lead, facts, sections)


def _notes(evaluation: QualityEvaluation) -> list[str]:
    rows = evaluation.images
    notes = []
    unscored = {row.case: row.status for row in rows if row.kind == PREDICTION and row.status != SCORED}
    if unscored:
        said = ", ".join(f"{case} ({status})" for case, status in unscored.items())
        notes.append(f"{len(unscored)} of {len({row.case for row in rows})} cases could not be scored: {said}.")
    regions = {row.region for row in rows if row.status == SCORED}
    if STRUCTURES in regions:
        notes.append("Inside the structures: in the union of the structures that the reference has.")
    if FOREGROUND in regions:
        notes.append(
            "Foreground: the reference above Otsu's threshold, holes filled, where it comes without structures."
        )
    return notes


def _summary_table(summary: Sequence[dict[str, Any]]) -> Table:
    """A row a method, a band of columns a region."""
    regions = list(dict.fromkeys(entry["region"] for entry in summary))
    columns = [Column("image"), Column("is a")]
    for region in regions:
        band = f"{NAMES[region]}: mean"
        columns.append(Column("cases", None, "", band))
        for name, column in COLUMNS.items():
            columns.append(Column(column.heading, column.decimals, column.meaning, band))
            if name == "psnr_db":
                columns.append(Column("SD", 2, "of the PSNR over the cases", band))
    found = {(entry["image"], entry["kind"], entry["region"]): entry for entry in summary}
    rows: list[list[Any]] = []
    for image, kind in dict.fromkeys((entry["image"], entry["kind"]) for entry in summary):
        cells: list[Any] = [image, kind]
        for region in regions:
            entry = found.get((image, kind, region))
            cells += [None] * (len(COLUMNS) + 2) if entry is None else _summary_cells(entry)
        rows.append(cells)
    return Table(columns, rows)


def _summary_cells(entry: dict[str, Any]) -> list[Any]:
    cells: list[Any] = [entry["cases"]]
    for name in COLUMNS:
        cells.append(entry[name]["mean"])
        if name == "psnr_db":
            cells.append(entry[name]["std"])
    return cells


def _structure_table(scores: Sequence[Score]) -> Table:
    columns = [
        *(Column(name) for name in ("group", "structure", "scored")),
        Column("Dice", 3, "mean", "mean"),
        Column("SD", 3, "of the Dice", "mean"),
        Column("HD95 mm", 2, "larger of the two directed 95th percentiles", "mean"),
        Column("ASSD mm", 2, "average symmetric surface distance", "mean"),
        Column("volume error %", 1, "predicted minus reference, in per cent of the reference", "mean"),
        Column("missed", None, "only the reference has voxels: Dice 0", "cases"),
        Column("invented", None, "only the prediction has voxels: Dice 0", "cases"),
        Column("not scored", None, "in no mean", "cases"),
    ]
    rows = [
        (
            *(entry[name] for name in ("group", "structure", "scored")),
            entry["dice"]["mean"],
            entry["dice"]["std"],
            *(entry[name]["mean"] for name in ("hd95_mm", "assd_mm", "volume_error_percent")),
            *(entry[name] for name in ("missed", "invented", "not_scored")),
        )
        for entry in summarise(scores)
    ]
    return Table(columns, rows)


def _least_gain_first(rows: Sequence[ImageScore]) -> list[str]:
    """Names of the cases: those that could not be scored, then by their smallest gain, or PSNR without a baseline."""

    def badness(case: str) -> tuple[int, float]:
        mine = [row for row in rows if row.case == case and row.kind == PREDICTION]
        if any(row.status != SCORED for row in mine):
            return 0, 0.0
        gains = [row.gain_db if row.gain_db is not None else row.psnr_db for row in mine]
        return 1, min((gain for gain in gains if gain is not None), default=float("inf"))

    return sorted(dict.fromkeys(row.case for row in rows), key=badness)


def _case_block(evaluation: QualityEvaluation, name: str) -> CaseBlock:
    rows = [row for row in evaluation.images if row.case == name]
    problems = list(dict.fromkeys(row.status for row in rows if row.status != SCORED))
    masks = [
        f"{row.structure}: Dice {row.dice:.3f}"
        for row in evaluation.structures
        if row.case == name and row.dice is not None
    ]
    png = evaluation.pictures.get(name)
    base = next((row.image for row in rows if row.image == BASELINE and row.status == SCORED), "input")
    said = f"Slice through {name}: {base}, prediction, reference and differences"
    return CaseBlock(
        name=name,
        kind=", ".join([*([rows[0].group] if rows[0].group else []), *masks]),
        status=", ".join(problems) or "scored",
        good=not problems,
        message=" · ".join(dict.fromkeys(without_folders(row.message) for row in rows if row.message)),
        picture=None if png is None else Picture(png, said),
        table=_case_table([row for row in rows if row.status == SCORED]),
    )


def _case_table(rows: Sequence[ImageScore]) -> Table | None:
    if not rows:
        return None
    columns = [Column("image"), Column("is a"), Column("region"), *COLUMNS.values()]
    return Table(columns, [(row.image, row.kind, NAMES[row.region], *_numbers(row)) for row in rows])


def _full_table(rows: Sequence[ImageScore]) -> Table:
    columns = [*(Column(name) for name in ("case", "group", "image", "is a", "region", "result")), *COLUMNS.values()]
    cells = [
        (row.case, row.group, row.image, row.kind, NAMES.get(row.region, ""), row.status, *_numbers(row))
        for row in rows
    ]
    return Table(columns, cells, sortable=True)


def _numbers(row: ImageScore) -> list[Any]:
    return [getattr(row, name) for name in COLUMNS]
