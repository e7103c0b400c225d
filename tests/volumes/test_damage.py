"""Hundreds of damaged files: each is refused in one line, or read where it lay, or read with a remark."""

from __future__ import annotations

import time
from pathlib import Path

from damage import KINDS, damage, damage_text, read_text, silent_change, write_good, write_good_texts
from laws import for_all

from ankleseg.volumes import read_header

FILES = 40  # of each kind
SLOWEST = 5.0  # seconds


@for_all("kind", KINDS)
def test_damage_is_refused_or_remarked_and_never_a_silent_change_of_geometry(kind: str, tmp_path: Path) -> None:
    path = write_good(tmp_path, kind)
    good, header = path.read_bytes(), read_header(path)
    wrong = []
    for seed in range(FILES):
        path.write_bytes(good)
        how = damage(path, kind, seed)
        began = time.perf_counter()
        problem = silent_change(path, header)
        if problem is None and time.perf_counter() - began > SLOWEST:
            problem = "takes longer than five seconds"
        if problem is not None:
            wrong.append(f"{how}: {problem}")
    assert wrong == []


def test_damaged_tables_and_sidecars_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    wrong = []
    for path in write_good_texts(tmp_path):
        good = path.read_bytes()
        for seed in range(FILES):
            how = damage_text(path, seed)
            if problem := read_text(path):
                wrong.append(f"{how}: {problem}")
            path.write_bytes(good)
    assert wrong == []
