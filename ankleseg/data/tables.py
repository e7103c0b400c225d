"""Writing the tables of a preparation."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from ankleseg.files import replace_file


def write_csv(path: Path, rows: Iterable[Mapping[str, str]], columns: Iterable[str]) -> None:
    """Write rows as CSV in UTF-8, beside and renamed; names of files keep their bytes, whatever their encoding."""
    with replace_file(path) as part, part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.DictWriter(file, list(columns))
        table.writeheader()
        table.writerows(rows)
