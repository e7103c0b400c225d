"""Cohorts on disk: only paths matter, so the files are empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from ankleseg.cohorts import Case, Cohort


@pytest.fixture
def ankles() -> Cohort:
    """Seven controls and seven equinus as published, one of each scanned in two sessions."""
    names = [f"sub-C{number:02d}" for number in range(1, 8)] + [f"sub-E{number:02d}" for number in range(1, 8)]
    cases = [
        Case(name, name, {"image": Path(f"{name}.nii.gz")}, group="control" if "C" in name else "equinus")
        for name in names
    ]
    for subject in ("sub-C03", "sub-E05"):
        group = "control" if "C" in subject else "equinus"
        cases.append(Case(f"{subject}_ses-2", subject, {"image": Path(f"{subject}_2.nii.gz")}, group=group))
    return Cohort(Path("ankles"), tuple(cases))
