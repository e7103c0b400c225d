"""Heads that brain phantom tests look at."""

from __future__ import annotations

import numpy as np

from ankleseg.phantoms import Brain, BrainLabels, Grid, draw_brain
from ankleseg.phantoms.brain_protocol import BELOW, FIELD_OF_VIEW


def upright(spacing: float, scale: float = 1.0) -> Grid:
    """A field of view along the axes of the world; `spacing` in mm of a newborn's head."""
    shape = tuple(round(side / spacing) for side in FIELD_OF_VIEW)
    affine = np.diag([*([spacing * scale] * 3), 1.0])
    affine[:3, 3] = scale * (np.array([0, 0, -BELOW]) - spacing * (np.array(shape) - 1) / 2)
    return Grid((shape[0], shape[1], shape[2]), affine)


def labels_of_brain(seed: int, age: str = "neonate", spacing: float = 0.6) -> tuple[Brain, np.ndarray, Grid]:
    """Labels of a drawn head on an upright grid."""
    brain = draw_brain(np.random.default_rng(seed), age=age)
    grid = upright(spacing, brain.scale)
    return brain, BrainLabels(brain, grid)(grid), grid
