"""What a displacement field does to space: how it changes volumes, where it folds, how far it is from the true one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.volumes.geometry import Affine

Field = Float[np.ndarray, "d *spatial"]
Determinant = Float[np.ndarray, "*spatial"]

SMALLEST = 1e-3  # determinant, below which its logarithm is that of this


def jacobian_determinant(displacement: Field, affine: Affine | None = None) -> Determinant:
    """Volume of a voxel after x ↦ x + u(x), by central differences; at most 0 where space folds.

    Args:
        displacement: (D, *spatial), D = 2 or 3, in voxels, in the order of the axes; each side of 2 voxels or more.
        affine: of its grid, voxel to RAS+ mm, where the displacement is in RAS+ mm.
    """
    derivative = np.stack([np.stack(np.gradient(u)) for u in displacement])
    if affine is not None:
        derivative = np.tensordot(np.linalg.inv(affine[:3, :3]).astype(derivative.dtype), derivative, axes=1)
    for axis in range(len(derivative)):
        derivative[axis, axis] += 1
    if len(derivative) == 2:
        (a, b), (c, d) = derivative
        return a * d - b * c
    (a, b, c), (d, e, f), (g, h, i) = derivative  # `np.linalg.det` takes many times as long
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def folded_share(determinant: Determinant, mask: Bool[np.ndarray, "*spatial"] | None = None) -> float:
    """Share of the voxels of a mask, or of all, at which space folds: a Jacobian determinant of 0 or less."""
    folded = determinant <= 0 if mask is None else determinant[mask] <= 0
    return float(folded.mean()) if folded.size else 0.0


def log_jacobian_sd(determinant: Determinant, mask: Bool[np.ndarray, "*spatial"]) -> float:
    """Standard deviation of the logarithm of the Jacobian determinant over a mask."""
    return float(np.log(np.maximum(determinant[mask], SMALLEST)).std(ddof=1))


def target_errors(
    displacement: Field, truth: Field, spacing: Sequence[float], mask: Bool[np.ndarray, "*spatial"] | None = None
) -> Float[np.ndarray, " n"]:
    """Distances in mm, in the voxels of a mask, between where two fields lead.

    Args:
        displacement, truth: (D, *spatial).
        spacing: mm along the axes of fields in voxels; 1 each for fields in mm.
        mask: None: all voxels.
    """
    apart = displacement - truth if mask is None else displacement[:, mask] - truth[:, mask]
    return np.linalg.norm(apart.reshape(len(apart), -1) * np.asarray(spacing, float)[:, None], axis=0)
