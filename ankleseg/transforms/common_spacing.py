"""The spacing that a network is trained at travels with it, so that scans of another resolution are brought to it."""

from __future__ import annotations

import dataclasses

import numpy as np

from ankleseg.cohorts import Cohort
from ankleseg.transforms.preparation import Preparation
from ankleseg.volumes.frames import read_grid
from ankleseg.volumes.geometry import spacing


def at_common_spacing(preparation: Preparation, cohort: Cohort, dimensions: int) -> Preparation:
    """Return the preparation with the median spacing of a cohort, in mm, where it has none of its own.

    Args:
        preparation: one with a ``spacing`` is returned as it is.
        cohort: the training subjects; only headers are read.
        dimensions: 2 leaves the axis across the slices at the scan's own spacing, 3 sets all axes.
    """
    if preparation.spacing is not None:
        return preparation
    headers = [read_grid(case.images[0]) for case in cohort.cases]
    found = [spacing(preparation.place(header.shape, header.affine).affine) for header in headers]
    median = [round(float(value), 4) for value in np.median(found, axis=0)]
    return dataclasses.replace(preparation, spacing=[*median[:2], median[2] if dimensions == 3 else None])
