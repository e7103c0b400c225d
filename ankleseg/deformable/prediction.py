"""What a registration network predicts of a pair, brought to the working grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ankleseg.deformable.scans import Scan, on_grid
from ankleseg.spatial_transform import identity, sample
from ankleseg.volumes.geometry import reorient, resampled_grid


def predictor(network: Any, voxel_mm: float, codes: str) -> Callable[[Scan, Scan], Float[Tensor, "1 3 x y z"]]:
    """Return what gives the displacement of two scans on one grid, in its voxels.

    Args:
        network: takes moving and fixed image (1, 2, *size) from 0 to 1 and gives a flow that its ``displacement(flow,
            size)`` turns into voxels of that grid, as `ankleseg.networks.VoxelMorph`.
        voxel_mm: of the cubic voxels that it was trained on.
        codes: where their axes point to, such as ``RAS``.
    """

    @torch.no_grad()
    def predict(fixed: Scan, moving: Scan) -> Tensor:
        turned, place = reorient(fixed.data, fixed.affine, codes)
        shape, affine = resampled_grid(turned.shape, place, [voxel_mm] * 3)
        device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
        images = [torch.from_numpy(on_grid(scan, shape, affine).data.astype(np.float32)) for scan in (moving, fixed)]
        flow = network(torch.stack(images)[None].to(device))
        displacement = network.displacement(flow, shape).float()
        step = torch.tensor(np.linalg.inv(affine) @ fixed.affine, dtype=torch.float32, device=device)
        voxels = identity(fixed.data.shape, displacement)[0].flatten(1)
        places = (step[:3, :3] @ voxels + step[:3, 3:]).view(1, 3, *fixed.data.shape)
        found = sample(displacement, places, padding_mode="border")[0].flatten(1)
        return (torch.linalg.inv(step[:3, :3]) @ found).view(1, 3, *fixed.data.shape)

    return predict
