"""From points of the fixed scan to those of the moving one, and back: an affine map after a field on a working grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ankleseg.rigid.warping import grid_points, move_points, slabs
from ankleseg.spatial_transform import inverted, sample
from ankleseg.volumes.geometry import Affine

Matrix = Float[np.ndarray, "4 4"]
WorldField = Float[np.ndarray, "x y z 3"]


@dataclass(frozen=True, eq=False)
class Mapping:
    """Where each point of the fixed scan lies in the moving one: p ↦ A (p + W u(p)).

    Attributes:
        moving_from_fixed: A, RAS+ mm.
        displacement: u, voxels of the working grid; None is zero.
        affine: of the working grid, voxel to RAS+ mm of the fixed scan; W is its linear part.
    """

    moving_from_fixed: Matrix
    displacement: Float[Tensor, "1 3 u v w"] | None = None
    affine: Affine | None = None

    def on_grid(self, shape: Sequence[int], affine: Affine) -> WorldField:
        """Return the displacement from each voxel of a grid in the fixed world to where it lies in the moving scan.

        Args:
            shape, affine: of the grid.

        Returns:
            RAS+ mm, float32; beyond the working grid the displacement of its border goes on.
        """
        return self._sampled(self.displacement, shape, affine, np.eye(4), self.moving_from_fixed)

    def inverse_on_grid(self, shape: Sequence[int], affine: Affine) -> WorldField:
        """Return the displacement from each voxel of a grid in the moving world to where it lies in the fixed scan."""
        back = None if self.displacement is None else inverted(self.displacement)
        return self._sampled(back, shape, affine, np.linalg.inv(self.moving_from_fixed), np.eye(4))

    def _sampled(
        self, displacement: Tensor | None, shape: Sequence[int], affine: Affine, before: Matrix, after: Matrix
    ) -> WorldField:
        """The displacement p ↦ after (q + W u(q)) − p with q = before p, slab by slab."""
        size = np.array(shape[:3])
        result = np.empty((*shape[:3], 3), np.float32)
        device = torch.device("cpu") if displacement is None else displacement.device
        for rows in slabs(size, 1):
            points = grid_points(rows, size, affine, device)
            moved = move_points(points, before)
            if displacement is not None:
                assert self.affine is not None
                places = move_points(moved, np.linalg.inv(self.affine))[None]
                steps = sample(displacement, places, padding_mode="border")[0]
                linear = np.eye(4)
                linear[:3, :3] = self.affine[:3, :3]
                moved = moved + move_points(steps, linear)
            result[rows.start : rows.stop] = (move_points(moved, after) - points).movedim(0, -1).cpu().numpy()
        return result
