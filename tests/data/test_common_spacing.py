"""The spacing of training is that of prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from preparations import preparation

from ankleseg.cohorts import Case, Cohort
from ankleseg.data import at_common_spacing, distances_of_slices
from ankleseg.transforms import Preparation
from ankleseg.volumes import write_volume


def cohort_of(folder: Path, spacings: list[tuple[float, float, float]]) -> Cohort:
    cases = []
    for number, spacing in enumerate(spacings):
        path = folder / f"{number}.nii.gz"
        write_volume(path, np.zeros((4, 5, 6), np.int16), np.diag([*spacing, 1.0]))
        cases.append(Case(name=str(number), subject=str(number), channels={"image": path}))
    return Cohort(root=folder, cases=tuple(cases), structures=())


def test_the_median_spacing_along_the_prepared_axes(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, [(0.3, 0.4, 2.0), (0.3, 0.4, 2.0), (0.5, 0.6, 3.0)])
    whole = preparation(axcodes="SAR")
    assert at_common_spacing(whole, cohort, 3).spacing == (2.0, 0.4, 0.3)
    assert at_common_spacing(whole, cohort, 2).spacing == (2.0, 0.4, None)
    assert at_common_spacing(preparation(axcodes=None), cohort, 3).spacing == (0.3, 0.4, 2.0)


def test_a_spacing_of_its_own_is_kept_and_nothing_is_added_to_a_list(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, [(2.0, 2.0, 2.0)])
    for whole in (preparation(spacing=(1.0, 1.0, None)), Preparation([])):
        assert at_common_spacing(whole, cohort, 2) is whole


def test_blocks_of_slices_that_stay_apart_know_how_far(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path, [(2.0, 0.4, 0.3), (3.5, 0.4, 0.3)])
    as_scanned = preparation(axcodes="SAR", spacing=(1.0, 1.0, None))
    assert distances_of_slices(as_scanned, cohort, 3, 2) == (2.0, 3.5)
    assert distances_of_slices(as_scanned, cohort, 2, 2) is None
    assert distances_of_slices(as_scanned, cohort, 3, 0) is None
