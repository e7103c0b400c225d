"""Laws of the table in which a person overrules the program."""

from __future__ import annotations

from pathlib import Path

import pytest
from laws import for_all

from ankleseg.errors import CohortError
from ankleseg.motion.overrule import COLUMNS, TABLE, read_overrules

HEAD = "\t".join(COLUMNS)


def write(folder: Path, *rows: str, head: str = HEAD) -> Path:
    (folder / TABLE).write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return folder


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    assert read_overrules(tmp_path) == {}
    assert (tmp_path / TABLE).read_text() == HEAD + "\n"
    write(tmp_path, "sub-1\tsub-1_walk\t3\ttalus\tfailed\t")
    content = (tmp_path / TABLE).read_bytes()
    read_overrules(tmp_path)
    assert (tmp_path / TABLE).read_bytes() == content


def test_rows_are_read_by_sequence_frame_and_bone(tmp_path: Path) -> None:
    write(
        tmp_path,
        "sub-1\tsub-1_walk\t3\ttalus\tfailed\tthe slice is missing",
        "sub-1\tsub-1_walk\t0\ttalus\tok\t",
        "sub-2\tsub-2_walk\t3\ttalus\tsuspect\tß",
    )
    assert read_overrules(tmp_path) == {
        ("sub-1_walk", 3, "talus"): ("failed", "the slice is missing"),
        ("sub-1_walk", 0, "talus"): ("ok", ""),
        ("sub-2_walk", 3, "talus"): ("suspect", "ß"),
    }


def test_a_table_of_a_spreadsheet_reads_too(tmp_path: Path) -> None:
    """A byte order mark, line ends of Windows, no column of notes."""
    head = "subject\tsequence\tframe\tbone\tstatus"
    (tmp_path / TABLE).write_bytes(b"\xef\xbb\xbf" + f"{head}\r\ns\tw\t1\ttibia\tok\r\n".encode())
    assert read_overrules(tmp_path) == {("w", 1, "tibia"): ("ok", "")}


@for_all(
    ("rows", "head", "problem"),
    [
        (["s\tw\tone\ttalus\tok\t"], HEAD, "has a frame 'one'; write a whole number, counted from 0"),
        (["s\tw\t-1\ttalus\tok\t"], HEAD, "has a frame '-1'; write a whole number, counted from 0"),
        (["s\tw\t1\ttalus\tgood\t"], HEAD, "has a status 'good'; write ok, suspect, failed"),
        (["s\tw\t1\ttalus\tok\t"] * 2, HEAD, "speaks twice of talus on frame 1 of w; keep one of the rows"),
        (
            ["s\tw\t1\tok"],
            "subject\tsequence\tframe\tstatus",
            f"has no column bone; give it the columns {', '.join(COLUMNS)}",
        ),
    ],
)
def test_what_cannot_be_understood_is_told(tmp_path: Path, rows: list[str], head: str, problem: str) -> None:
    with pytest.raises(CohortError) as told:
        read_overrules(write(tmp_path, *rows, head=head))
    assert str(told.value) == f"{tmp_path / TABLE}: {problem}"
