"""Ankles that several phantom tests look at."""

from __future__ import annotations

import numpy as np
import pytest
from ankle_grids import labels_of

from ankleseg.phantoms import Ankle, Grid, draw_ankle


@pytest.fixture(scope="session")
def ankles() -> list[tuple[Ankle, np.ndarray, Grid]]:
    """Three controls and three children with equinus, with their labels."""
    drawn = [
        draw_ankle(np.random.default_rng(seed), group=group) for seed in range(3) for group in ("control", "equinus")
    ]
    return [(ankle, *labels_of(ankle)) for ankle in drawn]
