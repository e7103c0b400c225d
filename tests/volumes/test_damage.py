"""Two hundred damaged files: each is refused in one line, or read where it lay, or read with a remark."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from damage import KINDS, damage, silent_change, write_good

from ankleseg.volumes import read_header

FILES = 40  # of each kind
SLOWEST = 5.0  # seconds


@pytest.mark.parametrize("kind", KINDS)
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
