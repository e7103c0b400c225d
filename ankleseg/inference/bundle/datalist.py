"""The scans of a folder as a MONAI datalist."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from ankleseg import keys
from ankleseg.cohorts.case import in_order
from ankleseg.data.reading import item_of
from ankleseg.inference.inputs import cases_of

NOT_READ = (keys.LABEL, keys.FOREGROUND)


def datalist(path: str | Path, channels: Sequence[str] = ("image",)) -> list[dict[Hashable, Any]]:
    """List scans for a bundle: whatever ``python -m ankleseg.predict`` takes as its input.

    Args:
        path: a scan, a DICOM series, a folder of scans, a cohort or a table.
        channels: that the network expects, in its order.

    Returns:
        An item for each case, with the files of its channels, its name and its side.

    Raises:
        AnklesegError: there is no scan, or a channel is missing.
    """
    items = [item_of(in_order(case, channels)) for case in cases_of(path)]
    return [{key: value for key, value in item.items() if key not in NOT_READ} for item in items]
