"""The small foot, as fixtures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import small_foot

from ankleseg.cohorts import Case


@pytest.fixture
def affine() -> np.ndarray:
    return small_foot.AFFINE.copy()


@pytest.fixture
def foot() -> dict[str, np.ndarray]:
    return small_foot.foot()


@pytest.fixture
def write_case(tmp_path: Path) -> Callable[..., Case]:
    """Write the foot, or arrays and affines given instead of its own, and return its case."""
    return partial(small_foot.write_foot, tmp_path)
