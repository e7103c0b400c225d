"""What a displacement field does to space: how it changes volumes, where it folds, how far it is from the true one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

Field = Float[np.ndarray, "d *spatial"]


def jacobian_determinant(displacement: Field) -> Float[np.ndarray, "*spatial"]:
    """Volume of a voxel after x ↦ x + u(x), by central differences; at most 0 where space folds.

    Args:
        displacement: (D, *spatial), in voxels, in the order of the axes; each side of 2 voxels or more.
    """
    axes = tuple(range(1, displacement.ndim))
    derivative = np.stack([np.stack(np.gradient(u, axis=tuple(a - 1 for a in axes))) for u in displacement])
    derivative = np.moveaxis(derivative, (0, 1), (-2, -1)) + np.eye(len(displacement), dtype=displacement.dtype)
    return np.linalg.det(derivative)


def folded_share(displacement: Field, mask: Bool[np.ndarray, "*spatial"] | None = None) -> float:
    """Share of the voxels of a mask, or of all, at which space folds: a Jacobian determinant of 0 or less."""
    folded = jacobian_determinant(displacement) <= 0
    return float(folded.mean() if mask is None else folded[mask].mean()) if mask is None or mask.any() else 0.0


def target_error(
    displacement: Field,
    truth: Field,
    spacing: Sequence[float],
    mask: Bool[np.ndarray, "*spatial"] | None = None,
) -> float | None:
    """Mean distance in mm, over a mask, between where two fields in voxels lead; None where the mask is empty.

    Args:
        displacement, truth: (D, *spatial).
        spacing: mm along the axes.
        mask: None: all voxels.
    """
    sides = np.asarray(spacing, float).reshape(-1, *[1] * (displacement.ndim - 1))
    distance = np.linalg.norm((displacement - truth) * sides, axis=0)
    inside = distance if mask is None else distance[mask]
    return float(inside.mean()) if inside.size else None
