"""Patches of two cohorts in one batch, so that what was learnt of the first is not forgotten."""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset

from ankleseg.errors import ConfigError


def check_share(share: float) -> None:
    """Refuse a share of rehearsed patches that leaves none of either cohort; raises ConfigError."""
    if not 0 < share < 1:
        raise ConfigError(f"invalid rehearsal.share {share}: expected more than 0, less than 1", mend="e.g. 0.25")


class RehearsedPatches(Dataset):
    """Patches of a cohort, a share of them replaced by those of another cohort (rehearsal, Robins 1995).

    Which ones follows from their numbers alone, evenly spread, so that every batch has its share to the nearest patch.

    Args:
        own: patches of the cohort that is trained on.
        source: as many of the cohort that was trained on before.
        share: of a batch, see `check_share`.
    """

    def __init__(self, own: Any, source: Any, share: float) -> None:
        self._own = own
        self._source = source
        self._share = share

    def __len__(self) -> int:
        return len(self._own)

    def __getitem__(self, index: int) -> dict[Any, Any]:
        """Patch ``index % length`` of epoch ``index // length``."""
        number = int(index) % len(self._own)
        rehearsed = int((number + 1) * self._share) > int(number * self._share)
        return (self._source if rehearsed else self._own)[index]
