"""What the report of tumours shows: regions and lesions first, then why an accuracy says nothing, then the cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ankleseg.evaluate.page import build_page, unscored_notes
from ankleseg.evaluate.tumour_evaluation import TumourEvaluation, summarise_tumour
from ankleseg.report import Column, Page, Section, Table

ACCURACY = (
    "Accuracy is the share of all voxels of the image that have the right label. Nearly all are air and healthy "
    "brain, which nobody gets wrong: the column beside it is the accuracy of a prediction without a single voxel, "
    "and only the difference was found by anyone. It can be negative. Specificity has the same fault."
)


def build_tumour_page(result: TumourEvaluation) -> Page:
    """Put together the page: means of all predictions, accuracy, the cases of the main ones, and all lesions."""
    summary = summarise_tumour(result.tumour)
    first = [
        Section("Regions and lesions", _reading(result), [_region_table(summary)]),
        Section("Why an accuracy says nothing", (ACCURACY,), [_accuracy_table(summary)]),
    ]
    last = Section("All lesions", ("Click on a heading to sort.",), [_lesion_table(result)])
    return build_page(result.evaluation, title="Tumour report", first=first, last=[last])


def _reading(result: TumourEvaluation) -> list[str]:
    names = list(result.evaluation.protocols)
    pictured = f"The figures, the cases and all scores below are those of {names[0]}." if len(names) > 1 else ""
    lesions = (
        f"By lesion, as in BraTS 2023: pieces of the reference that are one after {result.dilation} steps of dilation "
        "are one lesion, compared with all predicted components that touch it dilated. Missed and invented lesions "
        f"count with Dice 0 and 374 mm, lesions up to {result.least_mm3:g} mm³ are left out."
    )
    return [text for text in (lesions, pictured, *unscored_notes(result.evaluation)) if text]


def _region_table(summary: list[dict[str, Any]]) -> Table:
    columns = [
        Column("predictions"),
        Column("region"),
        Column("Dice", 3, "", "by voxel, mean"),
        Column("SD of Dice", 3, "of the sample", "by voxel, mean"),
        Column("IoU", 3, "", "by voxel, mean"),
        Column("HD95 mm", 2, "larger of the two directed 95th percentiles", "by voxel, mean"),
        Column("sensitivity", 3, "share of the reference that was predicted", "by voxel, mean"),
        Column("specificity", 4, "share of the background that was predicted as such", "by voxel, mean"),
        Column("Dice", 3, "missed and invented lesions count with 0", "by lesion, mean"),
        Column("HD95 mm", 2, "missed and invented lesions count with 374 mm", "by lesion, mean"),
        Column("all", None, "of the reference, large enough to count", "lesions"),
        Column("found", None, "touched by a predicted component", "lesions"),
        Column("missed", None, "touched by none", "lesions"),
        Column("invented", None, "predicted components that touch none", "lesions"),
        Column("scored", None, "with a prediction and a reference", "cases"),
        Column("asked for", None, "", "cases"),
    ]
    names = ("iou", "hd95_mm", "sensitivity", "specificity", "lesion_dice", "lesion_hd95_mm")
    counts = ("lesions", "found", "missed", "invented", "scored", "cases")
    rows = [
        (
            *_key(entry),
            *(entry["dice"][name] for name in ("mean", "std")),
            *(entry[name]["mean"] for name in names),
            *(entry[name] for name in counts),
        )
        for entry in summary
    ]
    return Table(columns, rows)


def _accuracy_table(summary: list[dict[str, Any]]) -> Table:
    columns = [
        Column("predictions"),
        Column("region"),
        Column("accuracy %", 2, "share of all voxels with the right label", "mean"),
        Column("of an empty mask %", 2, "the accuracy of no prediction at all", "mean"),
        Column("found, points", 2, "the difference", "mean"),
        Column("Dice", 3, "", "mean"),
    ]
    rows = []
    for entry in summary:
        accuracy, empty = (entry[name]["mean"] for name in ("accuracy", "empty_accuracy"))
        if accuracy is not None:
            cells = 100 * accuracy, 100 * empty, 100 * (accuracy - empty)
            rows.append((*_key(entry), *cells, entry["dice"]["mean"]))
    return Table(columns, rows)


def _key(entry: Mapping[str, Any]) -> tuple[str, str]:
    return entry["predictions"], entry["region"]


def _lesion_table(result: TumourEvaluation) -> Table:
    names = ("predictions", "case", "region", "lesion", "finding")
    columns = [*map(Column, names), Column("volume ml", 3), Column("Dice", 3), Column("HD95 mm", 2)]
    cells = (*names, "volume_ml", "dice", "hd95_mm")
    return Table(columns, [[getattr(row, name) for name in cells] for row in result.lesions], sortable=True)
