"""The spacing of training is that of prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ankleseg.cohorts import Case, Cohort
from ankleseg.transforms import Otsu, Preparation, ZScore, at_common_spacing
from ankleseg.volumes import write_volume


def cohort_of(folder: Path, spacings: list[tuple[float, float, float]]) -> Cohort:
    cases = []
    for number, spacing in enumerate(spacings):
        path = folder / f"{number}.nii.gz"
        write_volume(path, np.zeros((4, 5, 6), np.int16), np.diag([*spacing, 1.0]))
        cases.append(Case(name=str(number), subject=str(number), channels={"image": path}))
    return Cohort(root=folder, cases=tuple(cases), structures=())


def test_median_spacing_along_the_prepared_axes(tmp_path: Path):
    cohort = cohort_of(tmp_path, [(0.3, 0.4, 2.0), (0.3, 0.4, 2.0), (0.5, 0.6, 3.0)])
    preparation = Preparation(orientation="SAR", foreground=Otsu(), scaling=ZScore())
    assert at_common_spacing(preparation, cohort, 3).spacing == (2.0, 0.4, 0.3)
    assert at_common_spacing(preparation, cohort, 2).spacing == (2.0, 0.4, None)


def test_a_spacing_of_its_own_is_kept(tmp_path: Path):
    preparation = Preparation(foreground=Otsu(), scaling=ZScore(), spacing=[1.0, 1.0, None])
    assert at_common_spacing(preparation, cohort_of(tmp_path, [(2.0, 2.0, 2.0)]), 2) is preparation
