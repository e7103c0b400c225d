"""Volumes of structures relative to the head, and how much they vary over subjects and over acquisitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Variation:
    """Spread of ``n`` values; None where it is not defined.

    ``std`` is that of the sample (divided by n − 1), ``iqr`` the 75th minus the 25th percentile, which interpolate
    linearly. ``std_by_mean`` is the coefficient of variation, ``iqr_by_median`` its robust sister.
    """

    n: int
    mean: float | None = None
    std: float | None = None
    std_by_mean: float | None = None
    median: float | None = None
    iqr: float | None = None
    iqr_by_median: float | None = None


def volume_ratios(volumes_ml: Mapping[str, float], intracranial_ml: float) -> dict[str, float | None]:
    """Divide volumes by the intracranial volume, which takes out the size of the head; None where that is 0."""
    return {name: volume / intracranial_ml if intracranial_ml else None for name, volume in volumes_ml.items()}


def variation(values: Sequence[float | None] | Float[np.ndarray, " n"]) -> Variation:
    """Describe the spread of values; those that are None or NaN do not count.

    The spread of fewer than two values is None, and so is a quotient by 0.

    Source: the echo-time study of SegSRGAN (slides, 2021) gives both quotients.
    """
    given = np.array([np.nan if value is None else value for value in values], dtype=float)
    known = given[~np.isnan(given)]
    if not known.size:
        return Variation(0)
    mean, median = float(known.mean()), float(np.median(known))
    if known.size < 2:
        return Variation(1, mean=mean, median=median)
    std = float(known.std(ddof=1))
    low, high = np.percentile(known, [25, 75])
    iqr = float(high - low)
    return Variation(len(known), mean, std, std / mean if mean else None, median, iqr, iqr / median if median else None)


def variation_of_acquisitions(table: Float[np.ndarray, "subjects acquisitions"]) -> list[Variation]:
    """Spread over the subjects of each acquisition, one a column.

    Only subjects that every acquisition measured count (no NaN in their row): an acquisition that fails on the
    difficult ones would seem steadier otherwise.
    """
    complete = table[~np.isnan(table).any(axis=1)]
    return [variation(column) for column in complete.T]


def variation_within_subjects(table: Float[np.ndarray, "subjects acquisitions"]) -> list[Variation]:
    """Spread of each subject over its acquisitions, one a row; what was not measured (NaN) does not count."""
    return [variation(row) for row in table]
