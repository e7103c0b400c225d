"""Penalties on displacement or velocity fields (B, D, *spatial), D = 2 or 3, in voxels, in the order of array axes.

The bending energy (Rueckert 1999) is MONAI's ``BendingEnergyLoss``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ankleseg.spatial_transform import composed

Field = Float[Tensor, "batch dimensions *spatial"]
Scalar = Float[Tensor, ""]


class Diffusion(nn.Module):
    """Mean of the squared forward differences of a field, averaged over the axes (Balakrishnan 2019).

    Ours, because MONAI's ``DiffusionLoss`` takes central differences, which do not see a field that alternates from
    voxel to voxel, and sums over the axes.

    Args:
        squared: False takes absolute differences.
    """

    def __init__(self, squared: bool = True) -> None:
        super().__init__()
        self.squared = squared

    def forward(self, field: Field) -> Scalar:
        slopes = [field.float().diff(dim=axis) for axis in range(2, field.ndim)]  # half precision rounds them away
        sizes = [slope.square() if self.squared else slope.abs() for slope in slopes]
        return torch.stack([size.mean() for size in sizes]).mean()


class InverseConsistency(nn.Module):
    """Mean squared distance, in voxels, by which going with one displacement and back with the other misses the start.

    Both live on one grid; beyond it, a displacement is that of the border (Christensen and Johnson 2001).
    """

    def forward(self, there: Field, back: Field) -> Scalar:
        """Compare two displacements: ``there`` from the grid to the other image, ``back`` the other way."""
        return composed(there, back).square().sum(1).mean()
