"""The spacing that a network is trained at travels with it, so that scans of another resolution are brought to it."""

from __future__ import annotations

import numpy as np

from ankleseg.cohorts import Cohort
from ankleseg.transforms import Preparation, ResampleToSpacingd
from ankleseg.volumes.files import read_grid
from ankleseg.volumes.geometry import spacing


def at_common_spacing(preparation: Preparation, cohort: Cohort, dimensions: int) -> Preparation:
    """Return the preparation with the median spacing of a cohort, in mm, where it could have one and has none.

    Args:
        preparation: one with a spacing, or without `ResampleToSpacingd`, is returned as it is.
        cohort: the training subjects; only headers are read.
        dimensions: 2 leaves the axis across the slices at the scan's own spacing, 3 sets all axes.
    """
    resamples = any(isinstance(transform, ResampleToSpacingd) for transform in preparation.transforms)
    if not resamples or preparation.spacing is not None:
        return preparation
    sides = [spacing(preparation.oriented(read_grid(case.images[0]).affine)) for case in cohort.cases]
    median = [round(float(value), 4) for value in np.median(sides, axis=0)]
    return preparation.with_spacing([*median[:2], median[2] if dimensions == 3 else None])
