"""What the report of volumes shows: their spread first, then every volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ankleseg.evaluate.page_facts import checkpoint_facts, versions, without_folders
from ankleseg.evaluate.scores import SCORED
from ankleseg.evaluate.tables import describe_values
from ankleseg.evaluate.volume_tables import MEDIAN_SUBJECT, QUANTITIES, VolumeRow, VolumeTable, Volumetry, volume_tables
from ankleseg.report import Column, Page, Picture, Section, Table
from ankleseg.report.acquisitions import volumes_by_acquisition

NAMED = 8  # subjects
LABELS = {"volume_ml": "Volume, ml", "ratio": "Ratio to the intracranial volume"}
AXES = {"volume_ml": "volume (ml)", "ratio": "ratio"}
DECIMALS = {"volume_ml": 2, "ratio": 4}
SPREAD = ("mean", "std_by_mean", "iqr_by_median")
READING = (
    "Heads differ in size, and so do their volumes. The ratio to the intracranial volume takes the size of the head "
    "out: what is left is the spread of the anatomy and of the segmentation. The subjects are the same in every "
    "acquisition, so acquisitions can be compared: the one of the smaller spread over the subjects is the steadier "
    "one, as far as the segmentation does not simply give everyone the same volume.",
    "std/mean is the standard deviation of the sample divided by the mean. IQR/median is the distance between the "
    "quartiles divided by the median; single outliers do not change it.",
    "Over the acquisitions of one subject the anatomy stays the same. Any spread there is an error of the "
    "segmentation, or of the scans.",
)


def build_volumetry_page(result: Volumetry) -> Page:
    """Put together the page: spread over subjects, within subjects, errors, figures and all volumes."""
    tables = volume_tables(result.volumes)
    spread = result.variation
    known = [name for name in QUANTITIES if any(table.quantity == name for table in tables)]
    over = [_over_subjects(spread, name) for name in known]
    sections = [Section("Spread over the subjects", _notes(result, tables), over)]
    if len(result.acquisitions) > 1:
        said = "The median of the subjects. Every subject has its rows in variation.csv."
        sections.append(
            Section("Spread over the acquisitions of a subject", (said,), [_within(spread, name) for name in known])
        )
    errors = _error_table(result.volumes)
    if errors.rows:
        sections.append(Section("Against the references", (), [errors]))
    figures = [_figure(tables, quantity) for quantity in QUANTITIES]
    shown = [figure for figure in figures if figure is not None]
    if shown:
        sections.append(Section("Volumes by acquisition", (), shown))
    sections.append(Section("How to read it", READING))
    sections.append(Section("All volumes", ("Click on a heading to sort.",), [_full_table(result.volumes)]))
    cases = len({(row.acquisition, row.case) for row in result.volumes})
    lead = f"{', '.join(result.structures)} in {cases} cases"
    if len(result.acquisitions) > 1:
        lead += f" of {len(result.acquisitions)} acquisitions"
    checkpoints = [path for folder in result.acquisitions.values() for path in folder.checkpoints]
    folders = {name: folder.folder.resolve().name for name, folder in result.acquisitions.items()}
    facts = [
        ("Date", result.date),
        (
            "Predictions",
            ", ".join(folder if name == folder else f"{name}: {folder}" for name, folder in folders.items()),
        ),
        *([("References", result.references.root.resolve().name)] if result.references else []),
        ("Intracranial volume", _intracranial(result)),
        *checkpoint_facts(list(dict.fromkeys(checkpoints))),
        ("Versions", versions("numpy")),
    ]
    return Page("Volumetry report", lead, facts, sections)


def _intracranial(result: Volumetry) -> str:
    sources = [row.intracranial_from for row in result.volumes if row.intracranial_from]
    if not sources:
        return f"unknown: {result.intracranial} was not predicted, and no reference of it could be read"
    counts = [f"{source} for {sources.count(source)} rows" for source in dict.fromkeys(sources)]
    return f"{result.intracranial}, {' and '.join(counts)}"


def _notes(result: Volumetry, tables: Sequence[VolumeTable]) -> list[str]:
    notes = []
    statuses = [row.status for row in result.volumes]
    unmeasured = {name: statuses.count(name) for name in dict.fromkeys(statuses) if name != SCORED}
    if unmeasured:
        said = ", ".join(f"{count} {name}" for name, count in unmeasured.items())
        notes.append(f"{sum(unmeasured.values())} of {len(statuses)} volumes are not known: {said}.")
    incomplete = list(dict.fromkeys(name for table in tables for name in table.incomplete))
    if incomplete and len(result.acquisitions) > 1:
        names = ", ".join(incomplete[:NAMED])
        names += f" and {len(incomplete) - NAMED} more" if len(incomplete) > NAMED else ""
        notes.append(f"Not measured in every acquisition, and so left out of this table where that is so: {names}.")
    return notes


def _over_subjects(variation: Sequence[dict[str, Any]], quantity: str) -> Table:
    """A row a structure, a band of columns an acquisition."""
    rows = [row for row in variation if row["over"] == "subjects" and row["quantity"] == quantity]
    columns = [Column("structure"), Column("subjects", None, "that every acquisition measured")]
    for name in dict.fromkeys(row["of"] for row in rows):
        columns += _spread_columns(quantity, name)
    cells: dict[str, list[Any]] = {}
    for row in rows:
        cells.setdefault(row["structure"], [row["structure"], row["n"]]).extend(row[name] for name in SPREAD)
    return Table(columns, list(cells.values()), caption=LABELS[quantity])


def _within(variation: Sequence[dict[str, Any]], quantity: str) -> Table:
    columns = [Column("structure"), Column("subjects"), *_spread_columns(quantity, "median of the subjects")]
    rows = [
        (row["structure"], row["n"], *(row[name] for name in SPREAD))
        for row in variation
        if row["over"] == "acquisitions" and row["of"] == MEDIAN_SUBJECT and row["quantity"] == quantity
    ]
    return Table(columns, rows, caption=LABELS[quantity])


def _spread_columns(quantity: str, band: str) -> list[Column]:
    return [
        Column("mean", DECIMALS[quantity], "", band),
        Column("std/mean", 4, "standard deviation of the sample divided by the mean", band),
        Column("IQR/median", 4, "distance between the quartiles divided by the median", band),
    ]


def _error_table(volumes: Sequence[VolumeRow]) -> Table:
    names = ("mean", "std", "median", "min", "max")
    band = "predicted minus reference, in % of the reference"
    columns = [
        *(Column(name) for name in ("acquisition", "structure", "n")),
        *(Column("SD" if name == "std" else name, 1, "", band) for name in names),
    ]
    rows = []
    for key in dict.fromkeys((row.acquisition, row.structure) for row in volumes):
        chosen = [row for row in volumes if (row.acquisition, row.structure) == key]
        described = describe_values([row.volume_error_percent for row in chosen])
        if described["n"]:
            rows.append((*key, described["n"], *(described[name] for name in names)))
    return Table(columns, rows)


def _figure(tables: Sequence[VolumeTable], quantity: str) -> Picture | None:
    chosen = [
        table for table in tables if table.quantity == quantity and np.nanmin(table.values) != np.nanmax(table.values)
    ]
    if not chosen:
        return None
    values = {table.structure: table.values for table in chosen}
    png = volumes_by_acquisition(values, chosen[0].acquisitions, label=AXES[quantity])
    return Picture(
        png,
        f"{LABELS[quantity]} of every subject by acquisition",
        f"{LABELS[quantity]} of every subject, joined over the acquisitions. Line: median, band: quartiles.",
    )


def _full_table(volumes: Sequence[VolumeRow]) -> Table:
    columns = [
        *(Column(name) for name in ("acquisition", "case", "group", "structure", "result")),
        Column("volume ml", 2),
        Column("intracranial ml", 1),
        Column("ratio", 4),
        Column("reference ml", 2),
        Column("error %", 1),
        Column("message"),
    ]
    numbers = ("volume_ml", "intracranial_ml", "ratio", "reference_ml", "volume_error_percent")
    rows = [
        (
            *(row.acquisition, row.case, row.group, row.structure, row.status),
            *(getattr(row, name) for name in numbers),
            without_folders(row.message),
        )
        for row in volumes
    ]
    return Table(columns, rows, sortable=True)
