"""What soft tissue does beyond the polyrigid blend: a smooth field in the frame that vanishes at the bones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ankleseg.rigid.warping import file_order_tensor, move_points, normaliser, sampled
from ankleseg.volumes.geometry import Affine

RELEASE_MM = 5.0  # from a bone, where the field acts in full; in the bone it does not
LARGEST_MM = 4.0  # less than that, so that no point of soft tissue is led into a bone


@dataclass(frozen=True, eq=False)
class Residual:
    """A displacement of the points of a frame, before the polyrigid blend takes them to the static scan.

    Attributes:
        displacement: (X, Y, Z, 3) RAS+ mm, none longer than `LARGEST_MM`; linear between its nodes.
        affine: of its grid, voxel to RAS+ mm of the frame.
    """

    displacement: Float[np.ndarray, "x y z 3"]
    affine: Affine

    def __call__(self, points: Float[Tensor, "3 n"], distance: Float[Tensor, "n"]) -> Float[Tensor, "3 n"]:
        """Points where the blend is read, given the distance of each from the nearest bone in mm."""
        places = move_points(points, self._normalised)
        share = (distance / RELEASE_MM).clamp(max=1)
        found = [sampled(axis.to(points.device), places, padding="border") for axis in self._axes]
        return points + share * torch.stack(found)

    @cached_property
    def _normalised(self) -> Affine:
        return normaliser(self.displacement.shape) @ np.linalg.inv(self.affine)

    @cached_property
    def _axes(self) -> list[Tensor]:
        return [file_order_tensor(axis) for axis in np.moveaxis(self.displacement, -1, 0)]
