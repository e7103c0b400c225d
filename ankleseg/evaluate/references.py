"""The cohort that predictions are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ankleseg.cohorts import Cohort, load_cohort


def load_references(
    references: str | Path | Cohort,
    suffix: str | Sequence[str] | None = None,
    acquisition: str | int | None = None,
    select: Mapping[str, object] | None = None,
) -> Cohort:
    """Return a cohort, or load it from where it is; what is wrong with one case does not stop the others.

    Args:
        references: the cohort, or its folder or table.
        suffix, acquisition, select: which images are meant in a BIDS folder with several, see `load_cohort`.

    Raises:
        CohortError: there is no cohort.
    """
    if isinstance(references, Cohort):
        return references
    return load_cohort(references, suffix=suffix, acquisition=acquisition, select=select, strict=False, prefix="")
