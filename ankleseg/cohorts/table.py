"""Plain tables, one row a scan.

Columns: ``subject`` or ``case`` (or both); ``image``, or ``image_<channel>`` for each channel; optional ``group`` and
``side``; for the references either ``mask_<structure>`` for each structure, or ``labels`` with one label map and
``value_<structure>`` with the value of each structure in it, such as ``1``, or ``1+2+3`` for a region of several;
``dynamic_<name>`` for each dynamic sequence, a 4-D file
that is called ``<case>_<name>`` afterwards. Paths are relative to the table.
"""

from __future__ import annotations

from pathlib import Path

from ankleseg.cohorts.case import ONLY, Case, Cohort, Reference, Value, larger_first
from ankleseg.cohorts.names import identifier, known_text, parse_side, suggestion, whole_number
from ankleseg.cohorts.spreadsheets import Row, path_in, read_rows
from ankleseg.errors import CohortError
from ankleseg.volumes import is_segmentation_name

COLUMNS = ("subject", "case", "image", "group", "side", "labels")
PREFIXES = ("image_", "mask_", "value_", "dynamic_")


def load_table(table: Path, *, strict: bool = True) -> Cohort:
    """List the cases of a .csv or .tsv table.

    Args:
        strict: refuse the table for what is wrong with one row; else the case keeps it as its problem.

    Raises:
        CohortError: unreadable, an unknown or missing column, an unknown side, or a case named twice.
    """
    rows = [_renamed(table, row) for row in read_rows(table)]
    columns = list(rows[0]) if rows else []
    _check_columns(table, columns)
    cases = tuple(_case(table, row, strict) for row in rows)
    structures = [column.partition("_")[2] for column in columns if column.startswith(("mask_", "value_"))]
    return Cohort(table, cases, larger_first(dict.fromkeys(structures), cases))


def _usual(column: str) -> str:
    """The name of a column as it is known, whatever its capitals; a structure keeps its own."""
    prefix = next((prefix for prefix in PREFIXES if column.lower().startswith(prefix)), None)
    if prefix is not None:
        return prefix + column[len(prefix) :]
    return column.lower() if column.lower() in COLUMNS else column


def _renamed(table: Path, row: Row) -> Row:
    usual = Row({_usual(column): text for column, text in row.items()})
    if len(usual) < len(row):
        raise CohortError("names a column twice", file=table, mend="give every column its own name")
    usual.number = row.number
    return usual


def _check_columns(table: Path, columns: list[str]) -> None:
    for column in columns:
        if column not in COLUMNS and not column.startswith(PREFIXES):
            known = (*COLUMNS, *(f"{prefix}…" for prefix in PREFIXES))
            raise CohortError(
                f"has an unknown column {column!r}",
                file=table,
                mend=f"{suggestion(column, COLUMNS, 0.8)}known are: {', '.join(known)}; rename or remove it",
            )
    if "subject" not in columns and "case" not in columns:
        raise CohortError("has no column subject or case", file=table, mend="name the subject of each scan")
    if "image" not in columns and not any(column.startswith("image_") for column in columns):
        raise CohortError("has no column image", file=table, mend="give the path of each scan in a column image")
    if ("labels" in columns) != any(column.startswith("value_") for column in columns):
        raise CohortError(
            "needs both a column labels and columns value_<structure>, or neither",
            file=table,
            mend="give the label map in labels and the value of each structure, e.g. 1 in value_talus",
        )


def _case(table: Path, row: Row, strict: bool) -> Case:
    name = identifier(row.get("case")) or identifier(row.get("subject"))
    subject = identifier(row.get("subject")) or name
    if not name:
        raise CohortError(
            f"has a row without subject or case, row {row.number}", file=table, mend="name the subject of each scan"
        )
    group = identifier(row.get("group")) or None
    try:
        return Case(
            name=name,
            subject=subject,
            channels=_channels(table, row, name),
            references=_references(table, row, name),
            group=group,
            side=parse_side(row.get("side"), table, subject),
            sequences=_sequences(table, row, name),
        )
    except CohortError as problem:
        if strict:
            raise
        return Case(name, subject, {}, group=group, problem=problem)


def _channels(table: Path, row: Row, case: str) -> dict[str, Path]:
    images = {column: text for column, text in row.items() if column == "image" or column.startswith("image_")}
    for column, text in images.items():
        if known_text(text) is None:
            raise CohortError(f"gives no {column} for case {case}", file=table, mend="fill it, or leave the case out")
    return {column.removeprefix("image_") or ONLY: path_in(table, text) for column, text in images.items()}


def _sequences(table: Path, row: Row, case: str) -> dict[str, Path]:
    cells = {column.removeprefix("dynamic_"): text for column, text in row.items() if column.startswith("dynamic_")}
    return {f"{case}_{name}": path_in(table, text) for name, text in cells.items() if known_text(text) is not None}


def _references(table: Path, row: Row, case: str) -> dict[str, Reference]:
    references: dict[str, Reference] = {}
    labels = known_text(row.get("labels"))
    for column, text in row.items():
        kind, _, structure = column.partition("_")
        if known_text(text) is None or not structure:
            continue
        if kind == "mask":
            path = path_in(table, text)
            references[structure] = Reference(path, structure if is_segmentation_name(path) else None)
        elif kind == "value" and labels is not None:
            value = _value(text)
            if not value:
                raise CohortError(
                    f"gives {case} the label value {text!r} for {structure} (row {row.number}, column {column})",
                    file=table,
                    mend="write a whole number, or several like 1+2"
                    if value is None
                    else "write that of the structure: 0 is the background",
                )
            references[structure] = Reference(path_in(table, labels), value)
    return references


def _value(text: str) -> Value | None:
    """The label value in a cell, or the values of a region; None where it is neither, 0 where the background is in."""
    values = [whole_number(part) for part in text.split("+")]
    if None in values:
        return None
    if 0 in values:
        return 0
    several = tuple(sorted({value for value in values if value}))
    return several if len(several) > 1 else several[0]
