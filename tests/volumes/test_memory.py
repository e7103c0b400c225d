"""Laws of free memory: a machine that does not tell has enough."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from laws import for_all

from ankleseg.errors import FileError
from ankleseg.volumes import available_memory, read_volume, write_volume


@pytest.mark.parametrize("answer", [None, ValueError("unrecognized configuration name"), -1])
def test_scans_are_read_on_a_machine_that_does_not_tell_its_memory(
    answer: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def silent(_name: str) -> int:
        if isinstance(answer, Exception):
            raise answer
        return -1

    def without_proc(path: Path, *more: object, **others: object) -> str:
        raise FileNotFoundError(path)

    write_volume(tmp_path / "scan.nii.gz", np.ones((3, 4, 5), np.int16), np.eye(4))
    monkeypatch.setattr(Path, "read_text", without_proc)
    if answer is None:
        monkeypatch.delattr(os, "sysconf")
    else:
        monkeypatch.setattr(os, "sysconf", silent)
    assert available_memory() == sys.maxsize
    assert read_volume(tmp_path / "scan.nii.gz").data.sum() == 60


@for_all(("value", "said"), [(1e39, r"holds 1 voxel beyond the range of float32, up to 1e\+39")])
def test_what_single_precision_cannot_hold_is_refused_not_made_infinite(value: float, said: str, tmp_path: Path):
    data = np.ones((3, 4, 5))
    data[1, 1, 1] = value
    write_volume(tmp_path / "scan.nii.gz", data, np.eye(4))
    with pytest.raises(FileError, match=said):
        read_volume(tmp_path / "scan.nii.gz")
    assert read_volume(tmp_path / "scan.nii.gz", dtype=None).data.max() == value
