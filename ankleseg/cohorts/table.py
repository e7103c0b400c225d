"""Plain tables, one row a scan.

Columns: ``subject`` or ``case`` (or both); ``image``, or ``image_<channel>`` for each channel; optional ``group`` and
``side``; for the references either ``mask_<structure>`` for each structure, or ``labels`` with one label map and
``value_<structure>`` with the value of each structure in it; ``dynamic_<name>`` for each dynamic sequence, a 4-D file
that is called ``<case>_<name>`` afterwards. Paths are relative to the table. Columns are separated by
tabs in a .tsv, and by commas or semicolons in a .csv.
"""

from __future__ import annotations

import csv
from pathlib import Path

from ankleseg.cohorts.case import Case, Cohort, Reference, known_text, parse_side, suggestion
from ankleseg.errors import CohortError

COLUMNS = ("subject", "case", "image", "group", "side", "labels")
PREFIXES = ("image_", "mask_", "value_", "dynamic_")


def load_table(table: Path, *, strict: bool = True) -> Cohort:
    """List the cases of a .csv or .tsv table.

    Args:
        strict: refuse the table for what is wrong with one row; else the case keeps it as its problem.

    Raises:
        CohortError: unreadable, an unknown or missing column, an unknown side, or a case named twice.
    """
    rows = read_rows(table)
    columns = list(rows[0]) if rows else []
    _check_columns(table, columns)
    cases = tuple(_case(table, row, strict) for row in rows)
    structures = [column.partition("_")[2] for column in columns if column.startswith(("mask_", "value_"))]
    return Cohort(table, cases, tuple(dict.fromkeys(structures)))


def read_rows(table: Path) -> list[dict[str, str]]:
    """Read a table as one mapping a row from column to stripped text; empty rows are left out.

    Raises:
        CohortError: unreadable, no rows, or a row with more or fewer cells than the header.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(table, file.readline())
            file.seek(0)
            cells = [[cell.strip() for cell in row] for row in csv.reader(file, delimiter=delimiter)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"cannot be read as a table ({error})", file=table, mend="save it as UTF-8 text") from None
    cells = [row for row in cells if any(row)]
    if len(cells) < 2:
        raise CohortError("holds no rows", file=table, mend="give it a header and one row a scan")
    header = cells[0]
    if len(set(header)) < len(header):
        raise CohortError("names a column twice", file=table, mend="give every column its own name")
    for number, row in enumerate(cells[1:], start=1):
        if len(row) != len(header):
            raise CohortError(
                f"has {len(row)} cells in row {number} and {len(header)} columns", file=table, mend="correct the row"
            )
    return [dict(zip(header, row, strict=True)) for row in cells[1:]]


def _delimiter(table: Path, first_line: str) -> str:
    return "\t" if table.suffix.lower() == ".tsv" else max(",;", key=first_line.count)


def _check_columns(table: Path, columns: list[str]) -> None:
    for column in columns:
        if column not in COLUMNS and not column.startswith(PREFIXES):
            known = (*COLUMNS, *(f"{prefix}…" for prefix in PREFIXES))
            raise CohortError(
                f"has an unknown column {column!r}",
                file=table,
                mend=f"{suggestion(column, COLUMNS)}known are: {', '.join(known)}",
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


def _case(table: Path, row: dict[str, str], strict: bool) -> Case:
    name = row.get("case") or row.get("subject") or ""
    subject = row.get("subject") or name
    if not name:
        raise CohortError("has a row without subject or case", file=table, mend="name the subject of each scan")
    group = known_text(row.get("group"))
    try:
        return Case(
            name=name,
            subject=subject,
            images=_images(table, row, name),
            references=_references(table, row, name),
            group=group,
            side=parse_side(row.get("side"), table, subject),
            sequences=_sequences(table, row, name),
        )
    except CohortError as problem:
        if strict:
            raise
        return Case(name, subject, (), group=group, problem=problem)


def _images(table: Path, row: dict[str, str], case: str) -> tuple[Path, ...]:
    images = {column: text for column, text in row.items() if column == "image" or column.startswith("image_")}
    for column, text in images.items():
        if known_text(text) is None:
            raise CohortError(f"gives no {column} for case {case}", file=table, mend="fill it, or leave the case out")
    return tuple(table.parent / text for text in images.values())


def _sequences(table: Path, row: dict[str, str], case: str) -> dict[str, Path]:
    cells = {column.removeprefix("dynamic_"): text for column, text in row.items() if column.startswith("dynamic_")}
    return {f"{case}_{name}": table.parent / text for name, text in cells.items() if known_text(text) is not None}


def _references(table: Path, row: dict[str, str], case: str) -> dict[str, Reference]:
    references: dict[str, Reference] = {}
    labels = known_text(row.get("labels"))
    for column, text in row.items():
        kind, _, structure = column.partition("_")
        if known_text(text) is None or not structure:
            continue
        if kind == "mask":
            references[structure] = Reference(table.parent / text)
        elif kind == "value" and labels is not None:
            if not text.isdecimal():
                raise CohortError(
                    f"gives {case} the label value {text!r} for {structure}", file=table, mend="write a whole number"
                )
            references[structure] = Reference(table.parent / labels, int(text))
    return references
