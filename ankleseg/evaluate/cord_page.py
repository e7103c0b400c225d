"""What the report of spinal cords shows: all predictions side by side, each cord from end to end, then the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ankleseg.evaluate.cord_evaluation import CordEvaluation, summarise_cord
from ankleseg.evaluate.cord_scores import CordScore, SliceRow
from ankleseg.evaluate.page import alike, build_page, image_of, unscored_notes, worst_first
from ankleseg.evaluate.page_facts import without_folders
from ankleseg.evaluate.scores import read_pair
from ankleseg.report import Column, Page, Picture, Section, Table
from ankleseg.report.cord import areas_along, sagittal_overlay

DRAWN = 12  # the worst cases; every case is in the tables
READING = (
    "The centreline is compared slice by slice with that of the reference mask: the one that was segmented along where "
    "the predictions hold it, else that of the predicted mask. A slice of the reference without a point counts as one "
    "outside 1.5 and 5 mm.",
    "The area is that of the section perpendicular to the centreline. Its error is told for each slice in which the "
    "reference has cord; a slice that the prediction leaves out is wrong by 100 %. Errors at the ends of the cord are "
    "those of the masks along the scan, in mm; where the image ends before the cord, only a cord that is too short has "
    "one.",
)
SAGITTAL = (
    "From the left of the patient. Each row shows the voxels at the middle of the reference from left to right, so "
    "that the cord stays in the picture where it bends sideways. Filled: prediction, line: reference."
)


def build_cord_page(result: CordEvaluation) -> Page:
    """Put together the page: means, the cases side by side, areas and sagittal pictures, and the plain report."""
    names = list(result.evaluation.protocols)
    pictured = [f"The figures, the cases and all scores by structure are those of {names[0]}."] if names[1:] else []
    notes = [*READING, *pictured, *unscored_notes(result.evaluation)]
    first = [Section("The cord", notes, [_summary_table(summarise_cord(result.cord))])]
    if names[1:]:
        first.append(Section("Side by side", ("Dice of each case.",), [_side_by_side(result.cord, names)]))
    order = worst_first(result.evaluation)
    said = (f"The {DRAWN} worst of {len(order)} cases are shown.",) if len(order) > DRAWN else ()
    pictures = [picture for case in order[:DRAWN] for picture in _pictures(result, case)]
    first.append(Section("Along the cord", said, pictures))
    last = Section("All cords", ("Click on a heading to sort.",), [_full_table(result.cord)])
    return build_page(result.evaluation, title="Spinal cord report", first=first, last=[last])


def _summary_table(summary: Sequence[Mapping[str, Any]]) -> Table:
    shown = (
        (Column("Dice", 3, "", "mean"), "dice", "mean"),
        (Column("HD95 mm", 2, "larger of the two directed 95th percentiles", "mean"), "hd95_mm", "mean"),
        (Column("volume %", 1, "predicted minus reference, in per cent of the reference", "mean"), *_percent("volume")),
        (Column("ends mm", 1, "size of the errors of both ends", "mean"), "end_mm", "mean"),
        (Column("median mm", 2, "median over the cases", "centreline"), "centreline_median_mm", "median"),
        (Column("largest mm", 2, "in any case", "centreline"), "centreline_largest_mm", "max"),
        (Column("≤ 1.5 mm", 3, "share of the slices of the reference", "centreline"), *_share("1_5")),
        (Column("≤ 5 mm", 3, "share of the slices of the reference", "centreline"), *_share("5")),
        (Column("mean %", 1, "predicted minus reference, in per cent of the reference", "area"), *_percent("area")),
        (
            Column("size %", 1, "mean of the size of the errors of all slices", "area"),
            "area_error_size_percent",
            "mean",
        ),
        (Column("p95 %", 1, "95th percentile over the slices of a case", "area"), "area_error_p95_percent", "mean"),
        (Column("≤ 5 %", 3, "share of the slices of the reference", "area"), "area_within_5_percent", "mean"),
    )
    columns = [Column("predictions"), Column("structure"), *(column for column, _, _ in shown)]
    columns += [Column("scored", None, "with a prediction and a reference", "cases"), Column("all", None, "", "cases")]
    rows = [
        (
            *(entry["predictions"], entry["structure"]),
            *(entry[name][which] for _, name, which in shown),
            *(entry["scored"], entry["cases"]),
        )
        for entry in summary
    ]
    return Table(columns, rows)


def _percent(what: str) -> tuple[str, str]:
    return f"{what}_error_percent", "mean"


def _share(mm: str) -> tuple[str, str]:
    return f"centreline_within_{mm}_mm", "mean"


def _side_by_side(cord: Sequence[CordScore], names: Sequence[str]) -> Table:
    """A row a case, a column for each of the predictions, as published for automatic and exact centrelines."""
    dice = {(row.case, row.structure, row.predictions): row.dice for row in cord}
    keys = dict.fromkeys((row.case, row.structure) for row in cord)
    rows: list[tuple[Any, ...]] = [(*key, *(dice.get((*key, name)) for name in names)) for key in keys]
    for what, measure in (("mean", np.mean), ("median", np.median)):
        known = ([value for row in rows if (value := row[2 + place]) is not None] for place in range(len(names)))
        rows.append((what, "", *(float(measure(values)) if values else None for values in list(known))))
    return Table([Column("case"), Column("structure"), *(Column(name, 3) for name in names)], rows)


def _full_table(cord: Sequence[CordScore]) -> Table:
    names = ("predictions", "case", "structure")
    numbers = {
        "dice": Column("Dice", 3),
        "hd95_mm": Column("HD95 mm", 2),
        "lower_end_mm": Column("lower end mm", 1),
        "upper_end_mm": Column("upper end mm", 1),
        "centreline_median_mm": Column("median mm", 2, "", "centreline"),
        "centreline_largest_mm": Column("largest mm", 2, "", "centreline"),
        "centreline_within_1_5_mm": Column("≤ 1.5 mm", 3, "", "centreline"),
        "area_mm2": Column("predicted mm²", 1, "", "area"),
        "reference_area_mm2": Column("reference mm²", 1, "", "area"),
        "area_error_size_percent": Column("error %", 1, "", "area"),
        "area_within_5_percent": Column("≤ 5 %", 3, "", "area"),
        "slices_missed": Column("missed", None, "", "slices"),
        "slices_beyond": Column("beyond", None, "", "slices"),
    }
    rows = [
        (
            *(getattr(row, name) for name in names),
            row.finding or row.status,
            *(getattr(row, name) for name in numbers),
            without_folders(row.message),
        )
        for row in cord
    ]
    return Table([*map(Column, (*names, "result")), *numbers.values(), Column("message")], rows, sortable=True)


def _pictures(result: CordEvaluation, case: str) -> list[Picture]:
    """Areas along the cord of a case and its sagittal picture, of each structure."""
    pictures = []
    for structure in result.evaluation.structures:
        rows = [row for row in result.slices if (row["case"], row["structure"]) == (case, structure)]
        if not rows:
            continue
        about = f"{case}, {structure}"
        pictures.append(Picture(_areas(rows), f"Area of {about} along it", f"{about}: area along the cord."))
        if (sagittal := _sagittal(result, case, structure)) is not None:
            pictures.append(Picture(sagittal, f"Sagittal picture of {about}", f"{about}. {SAGITTAL}"))
    return pictures


def _areas(rows: Sequence[SliceRow]) -> bytes:
    """The curves of a case; slices beyond the reference have no distance along it, and are left out."""
    curves: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    reference = None
    for name in dict.fromkeys(row["predictions"] for row in rows):
        here = [row for row in rows if row["predictions"] == name and row["along_mm"] is not None]
        along = np.array([row["along_mm"] for row in here])
        curves[name] = along, np.array([row["area_mm2"] for row in here], dtype=float)
        true = np.array([row["reference_area_mm2"] for row in here], dtype=float)
        if reference is None and not np.isnan(true).all():
            reference = along, true
    return areas_along(reference, curves)


def _sagittal(result: CordEvaluation, name: str, structure: str) -> bytes | None:
    """The masks of all predictions that lie on the grid of the first of them that can be read."""
    evaluation, masks, reference = result.evaluation, {}, None
    case = next((case for case in evaluation.references.cases if case.name == name), None)
    shown = None
    for protocol, folder in evaluation.protocols.items():
        for predicted in (one for one in folder.cases if one.name == name):
            pair = read_pair(predicted, case, structure, resampled=evaluation.resampled)
            if pair.prediction is None or (shown is not None and not alike(pair.prediction, shown[1])):
                continue
            shown = shown or (predicted, pair.prediction)
            masks[protocol] = pair.prediction.data
            if pair.reference is not None and alike(pair.reference, shown[1]):
                reference = pair.reference.data
    if shown is None:
        return None
    image = image_of(shown[0], case, shown[1])[1]
    return sagittal_overlay(image, masks, reference, shown[1].affine)
