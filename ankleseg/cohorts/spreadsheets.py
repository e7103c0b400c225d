"""Tables as spreadsheets and statistics programs write them, row by row."""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path

from ankleseg.cohorts.files import read_text
from ankleseg.errors import CohortError

WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")
TABLES = (".csv", ".tsv", ".txt")
SEPARATORS = ",;\t|"
SEPARATOR_LINE = re.compile(r'"?sep=(.|\\t)"?[,;\t| ]*(?:\r\n|\n|\r)', re.IGNORECASE)
UNNAMED = re.compile(r"|Unnamed: \d+(_level_\d+)?")  # what pandas calls a column without a name
ON_A_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class Row(dict[str, str]):
    """The cells of a row by column, stripped, and its ``number`` as a spreadsheet shows it."""

    number: int = 0


def read_rows(table: Path, *, lower: bool = False, each: str = "scan") -> list[Row]:
    """Read a table as rows from column to stripped text; empty rows and columns are left out.

    UTF-8, UTF-16 and the Windows code page are understood, commas, semicolons, tabs and bars between cells, a first
    line ``sep=;``, and a column of row numbers without a name.

    Args:
        lower: take the names of columns in small letters.
        each: what a row is about, for the message.

    Raises:
        CohortError: unreadable, no rows, a column twice, or a row with more or fewer cells than the header.
    """
    refuse_workbook(table)
    try:
        records = _records(table, read_text(table))
    except (OSError, ValueError, csv.Error) as error:
        mend = "save it as CSV (UTF-8) from the spreadsheet" if "workbook" in str(error) else "save it as UTF-8 text"
        raise CohortError(f"cannot be read as a table ({error})", file=table, mend=mend) from None
    records = {number: cells for number, cells in records.items() if any(cells)}
    if len(records) < 2:
        raise CohortError("holds no rows", file=table, mend=f"give it a header and one row a {each}")
    (_, header), *body = records.items()
    body = [(number, _fitted(table, cells, number, len(header))) for number, cells in body]
    kept = [place for place, name in enumerate(header) if _is_named(table, place, name, body)]
    names = [header[place].lower() if lower else header[place] for place in kept]
    if len(set(names)) < len(names):
        raise CohortError("names a column twice", file=table, mend="give every column its own name")
    rows = []
    for number, cells in body:
        row = Row(zip(names, (cells[place] for place in kept), strict=True))
        row.number = number
        rows.append(row)
    return rows


def refuse_workbook(table: Path) -> None:
    """Refuse the file of a spreadsheet program; raises CohortError."""
    if table.suffix.lower() in WORKBOOKS:
        raise CohortError(
            f"is a workbook ({table.suffix}), not a table of text",
            file=table,
            mend="save the sheet as CSV (UTF-8) and give that file",
        )


def path_in(table: Path, text: str) -> Path:
    """Return the path that a cell gives, relative to its table; ``~/`` is the home, and ``\\`` may part folders.

    Raises:
        CohortError: a path on a drive of Windows, read elsewhere.
    """
    path = table.parent / text
    if os.name != "nt" and "\\" in text and not path.exists():
        if ON_A_DRIVE.match(text):
            raise CohortError(
                f"gives the path {text!r}, on a drive of Windows", file=table, mend="write it as seen from this machine"
            )
        text = text.replace("\\", "/")
    if text.startswith("~/"):
        return Path(text).expanduser()
    return table.parent / text


def _records(table: Path, text: str) -> dict[int, list[str]]:
    """The cells of each row by its number; the line that names the separator is not shown by spreadsheets."""
    told = SEPARATOR_LINE.match(text)
    if told:
        text, separator = text[told.end() :], "\t" if told[1] == "\\t" else told[1]
    else:
        head = next((line for line in text.splitlines() if line.strip()), "")
        head = re.sub(r'"[^"]*"', "", head)
        usual = "\t" if table.suffix.lower() == ".tsv" else ","
        separator = usual if usual == "\t" and "\t" in head else max(usual + SEPARATORS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    return {number: [_one_line(cell) for cell in cells] for number, cells in enumerate(reader, start=1)}


def _one_line(cell: str) -> str:
    return re.sub(r"\s*[\r\n]\s*", " ", cell.strip())


def _fitted(table: Path, cells: list[str], number: int, columns: int) -> list[str]:
    """The cells of a row without empty ones beyond the header."""
    while len(cells) > columns and not cells[-1]:
        cells = cells[:-1]
    if len(cells) != columns:
        raise CohortError(
            f"has {len(cells)} cells in row {number} and {columns} columns", file=table, mend="correct the row"
        )
    return cells


def _is_named(table: Path, place: int, name: str, body: list[tuple[int, list[str]]]) -> bool:
    """Tell whether a column counts: not one that is empty, or that only counts the rows."""
    if not UNNAMED.fullmatch(name):
        return True
    column = [(number, cells[place]) for number, cells in body if cells[place]]
    counts = place == 0 and all(cell.isdecimal() for _, cell in column)  # the index of pandas, the row names of R
    if column and not counts:
        number, cell = column[0]
        raise CohortError(
            f"has a column without a name, number {place + 1}, with {cell!r} in row {number}",
            file=table,
            mend="name it, or clear it",
        )
    return False
