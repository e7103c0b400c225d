"""What a person says of single registrations, in a table that every run reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ankleseg.cohorts.spreadsheets import read_rows
from ankleseg.errors import CohortError
from ankleseg.files import replace_file

TABLE = "overrule.tsv"
COLUMNS = ("subject", "sequence", "frame", "bone", "status", "note")
STATUSES = ("ok", "suspect", "failed")

Overrules = Mapping[tuple[str, int, str], tuple[str, str]]  # (sequence, frame, bone): (status, note)


def read_overrules(out: Path) -> dict[tuple[str, int, str], tuple[str, str]]:
    """Read ``overrule.tsv``; it is made, empty, where it is not there.

    Raises:
        CohortError: a column is missing, a frame is no number, a status is unknown, or a row comes twice.
    """
    file = out / TABLE
    if not file.is_file():
        with replace_file(file) as part:
            part.write_text("\t".join(COLUMNS) + "\n", encoding="utf-8")
    if len(file.read_text(encoding="utf-8-sig").splitlines()) < 2:
        return {}
    found: dict[tuple[str, int, str], tuple[str, str]] = {}
    for row in read_rows(file):
        missing = [column for column in COLUMNS[1:5] if column not in row]
        if missing:
            raise CohortError(
                f"has no column {missing[0]}", file=file, mend=f"give it the columns {', '.join(COLUMNS)}"
            )
        if not row["frame"].isdecimal():
            raise CohortError(f"has a frame {row['frame']!r}", file=file, mend="write a whole number, counted from 0")
        if row["status"] not in STATUSES:
            raise CohortError(f"has a status {row['status']!r}", file=file, mend=f"write {', '.join(STATUSES)}")
        key = (row["sequence"], int(row["frame"]), row["bone"])
        if key in found:
            raise CohortError(
                f"speaks twice of {key[2]} on frame {key[1]} of {key[0]}", file=file, mend="keep one of the rows"
            )
        found[key] = (row["status"], row.get("note", ""))
    return found


def without_registration(overrules: Overrules, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, int, str]]:
    """Return what is overruled and none of the rows of quality tables: a name mistyped, or a frame counted from 1."""
    known = {(row["sequence"], row["frame"], row["bone"]) for row in rows}
    return [key for key in overrules if key not in known]
