"""The spacing that a network is trained at travels with it, so that scans of another resolution are brought to it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

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
    median = [round(float(value), 4) for value in np.median(_sides(preparation, cohort), axis=0)]
    return preparation.with_spacing([*median[:2], median[2] if dimensions == 3 else None])


def distances_of_slices(
    preparation: Preparation, cohort: Cohort, dimensions: int, axis: int | None
) -> tuple[float, float] | None:
    """Return the smallest and largest distance of slices, in mm, that a network of blocks sees as they were scanned.

    Args:
        preparation: of the training subjects.
        cohort: the training subjects; only headers are read.
        dimensions: of the patches; slice by slice, their distance counts for nothing.
        axis: the prepared one across the slices, None where any may be.

    Returns:
        None where patches are slices, or all scans are brought to one distance.
    """
    if dimensions == 2 or axis is None or (preparation.spacing is not None and preparation.spacing[axis] is not None):
        return None
    across = _sides(preparation, cohort)[:, axis]
    return float(across.min()), float(across.max())


def _sides(preparation: Preparation, cohort: Cohort) -> Float[np.ndarray, "cases 3"]:
    """Spacing of each scan along the prepared axes, mm."""
    return np.array([spacing(preparation.oriented(read_grid(case.images[0]).affine)) for case in cohort.cases])
