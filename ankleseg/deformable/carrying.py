"""Carrying label maps along a field: each voxel takes the label of most weight among the eight around its place."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from ankleseg.rigid.warping import grid_points, move_points, slabs
from ankleseg.volumes.geometry import Affine

Interpolation = Literal["linear", "nearest"]


def carry_labels(
    labels: Integer[np.ndarray, "x y z"],
    affine: Affine,
    displacement: Float[np.ndarray, "u v w 3"],
    grid_affine: Affine,
    interpolation: Interpolation = "linear",
) -> Integer[np.ndarray, "u v w"]:
    """Show a label map as a displacement field says.

    Args:
        labels, affine: of the moving scan; any whole numbers, 0 outside.
        displacement, grid_affine: RAS+ mm, see `Mapping.on_grid`.
        interpolation: ``linear`` takes the label whose mask, interpolated linearly, is largest; ``nearest`` the label
            of the nearest voxel.
    """
    size = np.array(displacement.shape[:3])
    voxel_from_world = np.linalg.inv(affine)
    source = torch.from_numpy(np.ascontiguousarray(np.pad(labels, 1)))
    result = np.empty(tuple(size), labels.dtype)
    read: Callable[[Tensor, Tensor], Tensor] = _likeliest if interpolation == "linear" else _nearest
    for rows in slabs(size, 1):
        moved = torch.from_numpy(displacement[rows.start : rows.stop]).movedim(-1, 0)
        places = move_points(grid_points(rows, size, grid_affine, moved.device) + moved, voxel_from_world) + 1
        limit = torch.tensor(source.shape).view(3, 1, 1, 1) - 1
        result[rows.start : rows.stop] = read(source, places.clamp_min(0).minimum(limit)).numpy()
    return result


def _nearest(labels: Tensor, places: Tensor) -> Tensor:
    return labels[tuple(places.round().long())]


def _likeliest(labels: Tensor, places: Tensor) -> Tensor:
    """The label of most weight; the first of equals."""
    sides = torch.tensor(labels.shape).view(3, 1, 1, 1)
    low = places.floor().long().minimum(sides - 2)
    part = places - low
    corners, shares = [], []
    for corner in product((0, 1), repeat=3):
        corners.append(labels[tuple(low[axis] + step for axis, step in enumerate(corner))])
        shares.append(torch.stack([part[axis] if step else 1 - part[axis] for axis, step in enumerate(corner)]).prod(0))
    most, best = torch.full_like(shares[0], -1.0), corners[0]
    for label in corners:
        weight = sum((share * (other == label) for share, other in zip(shares, corners, strict=True)), torch.zeros(()))
        best = torch.where(weight > most, label, best)
        most = torch.maximum(weight, most)
    return best
