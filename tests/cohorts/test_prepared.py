"""What the preparation wrote, told from other folders; that it is trained on alike is a law of the data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ankleseg.cohorts import load_cohort
from ankleseg.cohorts.prepared import preparation_of
from ankleseg.errors import CohortError

ENTRY = {
    "subject": "s1", "group": None, "side": "left", "images": {"t1": "c/t1.nii.gz"}, "foreground": "c/f.nii.gz",
    "unknown": ["talus"], "labels": "c/l.nii.gz",
}  # fmt: skip
WRITTEN = {"structures": {"calcaneus": 1, "talus": 2}, "regions": False, "preparation": [], "cases": {"c": ENTRY}}


def test_a_prepared_cohort_is_known_by_its_manifest_and_a_run_is_none(tmp_path: Path) -> None:
    for name in ("t1", "f", "l"):
        (tmp_path / "c").mkdir(exist_ok=True)
        (tmp_path / "c" / f"{name}.nii.gz").touch()
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(WRITTEN))
    cohort = load_cohort(tmp_path)
    (case,) = cohort.cases
    assert cohort.structures == ("calcaneus", "talus") and not cohort.regions and preparation_of(tmp_path) == []
    assert (case.name, case.subject, case.side, case.unknown) == ("c", "s1", "left", ("talus",))
    assert case.channels == {"t1": tmp_path / "c/t1.nii.gz"} and case.foreground == tmp_path / "c/f.nii.gz"
    assert {name: reference.value for name, reference in case.references.items()} == WRITTEN["structures"]
    for damaged in ({"cases": {"c": {**ENTRY, "images": None}}}, {"structures": ["talus"]}, {"cases": {"c": {}}}):
        manifest.write_text(json.dumps(WRITTEN | damaged))
        with pytest.raises(CohortError, match=r"manifest.json: is not understood \(.*\); run python -m ankleseg.prepa"):
            load_cohort(tmp_path)
    manifest.write_text(json.dumps({name: value for name, value in WRITTEN.items() if name != "regions"}))
    with pytest.raises(CohortError, match="is not understood"):  # of an earlier version
        load_cohort(tmp_path)
    manifest.write_text(json.dumps({"seed": 0, "split": {}}))
    assert preparation_of(tmp_path) is None
    with pytest.raises(CohortError, match="is not a cohort"):
        load_cohort(tmp_path)
