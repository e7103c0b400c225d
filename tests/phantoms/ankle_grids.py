"""Coarse grids around an ankle, and what lies on them."""

from __future__ import annotations

import numpy as np

from ankleseg.phantoms import Ankle, AnkleLabels, Grid


def grid_around(ankle: Ankle, spacing: float = 1.6) -> Grid:
    """An isotropic grid of 160×160×90 mm with axes P, S, R, its centre 5 mm below the ankle's."""
    shape = tuple(round(side / spacing) for side in (160, 160, 90))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]]) * spacing
    centre = ankle.pose.world_from_shin[:3, 3] - [0, 0, 5]
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def labels_of(ankle: Ankle) -> tuple[np.ndarray, Grid]:
    """Coarse labels of an ankle, and their grid."""
    grid = grid_around(ankle)
    return AnkleLabels(ankle, grid, spacing=1.6)(grid), grid


def world_positions(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """World positions (n, 3) of the voxels of a mask."""
    return np.argwhere(mask) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
