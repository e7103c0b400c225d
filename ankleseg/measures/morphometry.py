"""Sizes of structures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool


def volume_ml(mask: Bool[np.ndarray, "x y z"], spacing: np.ndarray | Sequence[float]) -> float:
    """Volume of a mask in millilitres; ``spacing`` is the size of a voxel in mm."""
    return float(np.count_nonzero(mask) * np.prod(np.asarray(spacing, dtype=float)) / 1000)
