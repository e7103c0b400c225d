"""Small prepared cases made in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ankleseg.transforms import PreparedCase
from ankleseg.transforms.placement import place

SPACING = (0.6, 0.9, 3.0)


@pytest.fixture
def prepared_case() -> Callable[..., PreparedCase]:
    """Make a prepared case: a body with two smooth blobs (labels 1 and 2) on a grid of unequal spacing, axes PSR."""

    def make(shape: tuple[int, int, int] = (48, 40, 5), name: str = "s1", spacing=SPACING, **arrays) -> PreparedCase:
        x, y, z = np.meshgrid(
            *((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)), indexing="ij"
        )
        first = np.exp(-((x - 3) ** 2 + (y + 4) ** 2 + (z / 2) ** 2) / 40)
        second = np.exp(-((x + 5) ** 2 + (y - 5) ** 2 + (z / 2) ** 2) / 25)
        image = (3 * (first + second) - 1).astype(np.float32)[None]
        label = np.where(first > 0.5, 1, np.where(second > 0.5, 2, 0)).astype(np.uint8)
        foreground = (x / 12) ** 2 + (y / 15) ** 2 < 1
        axes = np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]], dtype=float)  # posterior, superior, right
        affine = np.eye(4)
        affine[:3, :3] = axes * np.array(spacing)
        content = {"image": image, "label": label, "foreground": foreground} | arrays
        stored = {key: np.asfortranarray(array) for key, array in content.items()}
        placement = place(stored["label"].shape, affine, orientation="PSR")
        return PreparedCase(name=name, affine=affine, placement=placement, **stored)

    return make
