"""Masks of the three bones of drawn ankles, without a scan."""

from __future__ import annotations

import numpy as np

from ankleseg.phantoms import Ankle, Bone, Grid
from ankleseg.phantoms.grid import sample

BONES = {"tibia": Bone.TIBIA, "talus": Bone.TALUS, "calcaneus": Bone.CALCANEUS}


def grid_around(ankle: Ankle, spacing: tuple[float, float, float] = (1.2, 1.2, 1.6)) -> Grid:
    """A grid of 130×150×90 mm with axes P, S, R around the hindfoot."""
    shape = tuple(round(side / size) for side, size in zip((130, 150, 90), spacing, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]]) * spacing
    centre = ankle.pose.world_from_shin[:3, 3] + [0, 0, 5]
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def bone_masks(ankle: Ankle, grid: Grid) -> dict[str, np.ndarray]:
    """Voxels whose centre lies in each bone."""
    masks = {}
    for name, bone in BONES.items():
        masks[name] = np.zeros(grid.shape, bool)
        for field in sample(ankle.skeleton[bone].outer, ankle.pose.world_from_bone(bone), grid, 2.0):
            masks[name][field.box] = field.values < 0
    return masks


def neutral_axes(ankle: Ankle) -> np.ndarray:
    """The axes in which the ankle is drawn, to the right, forwards and up: a rotation."""
    axes = ankle.pose.world_from_shin[:3, :3] / ankle.pose.scale
    return axes * [-1, 1, 1] if ankle.side == "left" else axes
