"""Small prepared samples made in memory, and the small foot of the transforms on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ankleseg import keys
from ankleseg.data.reading import slices_together
from ankleseg.transforms import IntensityRanged

PSR = np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]], dtype=float)  # axes posterior, superior, right
SPACING = (0.6, 0.9, 3.0)


@pytest.fixture
def prepared() -> Callable[..., dict[Any, Any]]:
    """Make a prepared sample: a body with two smooth blobs (labels 1 and 2) on a grid of unequal spacing, axes PSR."""

    def make(shape: tuple[int, int, int] = (48, 40, 5), name: str = "s1", spacing=SPACING, **more: Any) -> dict:
        x, y, z = np.meshgrid(
            *((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)), indexing="ij"
        )
        first = np.exp(-((x - 3) ** 2 + (y + 4) ** 2 + (z / 2) ** 2) / 40)
        second = np.exp(-((x + 5) ** 2 + (y - 5) ** 2 + (z / 2) ** 2) / 25)
        arrays = {
            keys.IMAGE: (3 * (first + second) - 1).astype(np.float32),
            keys.LABEL: np.where(first > 0.5, 1, np.where(second > 0.5, 2, 0)).astype(np.uint8),
            keys.FOREGROUND: (x / 12) ** 2 + (y / 15) ** 2 < 1,
        }
        tensors = {key: slices_together(torch.from_numpy(array)[None]) for key, array in arrays.items()}
        affine = np.eye(4)
        affine[:3, :3] = PSR * np.array(spacing)
        sample = tensors | {keys.AFFINE: torch.from_numpy(affine), keys.CASE: name} | more
        return IntensityRanged()(sample)

    return make
