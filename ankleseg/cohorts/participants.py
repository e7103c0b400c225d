"""Who was scanned: ``participants.tsv`` and ``sub-*/sub-*_sessions.tsv``, with a row a subject or a row a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ankleseg.cohorts.files import is_given, visible
from ankleseg.cohorts.names import SIDES, Side, identifier, known_text, listed, matching, parse_side
from ankleseg.cohorts.spreadsheets import Row, read_rows
from ankleseg.errors import CohortError

TABLE = "participants.tsv"
ALSO = ("participants.csv", "participants.txt", "participants.xlsx", "participants.xls", "participants.ods")
KEY = "participant_id"
SESSION_COLUMNS = ("session_id", "session", "ses")
NO_SIDE = ("handedness", "hand", "dominance")  # columns of left and right that are none of the scan


@dataclass(frozen=True)
class Entry:
    """A row of a table, and the session it is about; None where it is about the whole subject."""

    table: Path
    row: Row
    session: str | None


@dataclass
class People:
    """What the tables of a BIDS folder say of its subjects.

    Attributes:
        table: ``participants.tsv``, or where it would be.
        columns: of this table; none where there is no such table.
        entries: of each subject's folder, those of its own table of sessions first.
        absent: names in the table that no folder has, with their rows.
        session_tables: whether subjects have tables of their own.
        remarks: what is odd about the table itself.
    """

    table: Path
    columns: tuple[str, ...] = ()
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    absent: dict[str, Row] = field(default_factory=dict)
    session_tables: bool = False
    remarks: list[str] = field(default_factory=list)

    def about(self, subject: str, session: str | None = None) -> tuple[str | None, Side | None]:
        """Return the group and the side of a subject in a session.

        A row of the session goes before one of the whole subject. A subject without sessions takes what all its rows
        agree on.

        Raises:
            CohortError: rows that contradict each other, or an unknown side.
        """
        group, _ = self._value("group", subject, session)
        side, entry = self._value("side", subject, session)
        return group, parse_side(side, entry.table if entry else self.table, subject)

    def row_of(self, subject: str) -> Row | None:
        """Return the first row of a subject, None without one."""
        entries = self.entries.get(subject)
        return entries[0].row if entries else None

    def knows(self, subject: str, session: str | None) -> bool:
        """Tell whether a row is about a subject and session."""
        return any(self._levels(subject, session))

    def _levels(self, subject: str, session: str | None) -> list[list[Entry]]:
        """The entries about a session, those about the session before those about the subject; own tables first."""
        entries = self.entries.get(subject, [])
        whole = [entry for entry in entries if entry.session is None]
        sessions = list(dict.fromkeys(entry.session for entry in entries if entry.session is not None))
        meant = sessions if session is None else matching(session, sessions)
        chosen = [entry for entry in entries if entry.session in meant]
        own = [entry for entry in chosen if entry.table != self.table]
        return [own, [entry for entry in chosen if entry.table == self.table], whole]

    def _value(self, column: str, subject: str, session: str | None) -> tuple[str | None, Entry | None]:
        for entries in self._levels(subject, session):
            told = {_meant(column, entry.row.get(column)): entry for entry in reversed(entries)}
            if len(told) > 1:
                ways = " and ".join(
                    f"{value or 'n/a'} (row {entry.row.number})" for value, entry in reversed(told.items())
                )
                mend = "name the column of their sessions session_id"
                if any(entry.session for entry in entries):
                    mend = "keep one row a session, and put the scan into the folder of its session, ses-…"
                raise CohortError(f"gives {subject} the {column}s {ways}", file=entries[0].table, mend=mend)
            for value, entry in told.items():
                if value is not None:
                    return value, entry
        return None, None


def read_people(root: Path, folders: Sequence[str], table: Path | None = None) -> People:
    """Read the tables of a BIDS folder.

    Args:
        root: with ``participants.tsv`` and the folders of the subjects.
        folders: names of these folders; rows are matched to them as `matching` says.
        table: instead of that of the folder.

    Raises:
        CohortError: an unreadable table, one without its key, or a name that several folders may have.
    """
    people = People(table or _table_in(root))
    for folder in folders:
        file = root / folder / f"{folder}_sessions.tsv"
        if is_given(file):
            people.session_tables = True
            people.entries[folder] = [
                Entry(file, row, _session(row)) for row in read_rows(file, lower=True, each="session")
            ]
    if not is_given(people.table):
        return people
    rows = read_rows(people.table, lower=True, each="subject, or remove the file")
    people.columns = tuple(rows[0])
    if KEY not in rows[0]:
        raise CohortError(f"has no column {KEY}", file=people.table, mend=f"name its first column {KEY}")
    for row in rows:
        _take(people, row, folders)
    people.remarks += _other_sides(people.table, rows)
    return people


def _table_in(root: Path) -> Path:
    """The table of a folder, in any capitals and also with another separator than tabs."""
    found = {file.name.lower(): file for file in visible(root.glob("[Pp][Aa][Rr][Tt]*.*"))}
    return next((found[name] for name in (TABLE, *ALSO) if name in found), root / TABLE)


def _take(people: People, row: Row, folders: Sequence[str]) -> None:
    name = known_text(row[KEY])
    if name is None:
        people.remarks.append(f"{people.table}: row {row.number} has no {KEY} and is passed over; fill it")
        return
    session = _session(row)
    found = matching(name, folders)
    if not found and "_ses-" in name.lower():
        start = name.lower().index("_ses-")
        name, session = name[:start], name[start + 1 :]
        found = matching(name, folders)
    if len(found) > 1:
        raise CohortError(
            f"has a row {name!r} that may be of {listed(found)}", file=people.table, mend="write the names in full"
        )
    if found:
        people.entries.setdefault(found[0], []).append(Entry(people.table, row, session))
    else:
        people.absent.setdefault(name, row)


def _session(row: Row) -> str | None:
    return next((text for column in SESSION_COLUMNS if (text := known_text(row.get(column))) is not None), None)


def _meant(column: str, text: str | None) -> str | None:
    """What a cell says, sides and numbers in one form, so that ``L`` does not contradict ``left``."""
    known = known_text(text)
    return identifier(text) or None if column != "side" or known is None else SIDES.get(known.lower(), known)


def _other_sides(table: Path, rows: Sequence[Row]) -> list[str]:
    """Remark on a column that holds sides under another name: without them, no foot is mirrored."""
    if "side" in rows[0]:
        return []
    found = []
    for column in rows[0]:
        told = {text.lower() for row in rows if (text := known_text(row[column])) is not None}
        if told and told <= {"left", "right", "l", "r"} & set(SIDES) and not any(word in column for word in NO_SIDE):
            found.append(column)
    return [
        f"{table}: its column {column!r} holds left and right, but sides are read from a column 'side'; "
        "rename it if it tells which side was scanned"
        for column in found
    ]
