"""Scaling and mirroring, which rigid poses (`ankleseg.volumes.poses`) do not hold."""

from __future__ import annotations

import numpy as np

from ankleseg.phantoms.shapes import Vector


def scaling(factors: float | Vector) -> np.ndarray:
    """Scaling about the origin; a negative factor mirrors that axis."""
    return np.diag([*(np.ones(3) * np.asarray(factors, float)), 1.0])
