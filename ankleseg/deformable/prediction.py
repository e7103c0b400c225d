"""What a registration network predicts of a pair, brought to the working grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from monai.data import MetaTensor
from monai.transforms import allow_missing_keys_mode
from torch import Tensor

from ankleseg import keys
from ankleseg.deformable.scans import Scan
from ankleseg.errors import ConfigError, GeometryError
from ankleseg.spatial_transform import identity, sample
from ankleseg.transforms import Preparation, ResampleToGridd
from ankleseg.transforms.metadata import affine_of
from ankleseg.volumes import same_grid


def predictor(network: Any, preparation: Preparation) -> Callable[[Scan, Scan], Float[Tensor, "1 3 x y z"]]:
    """Return what gives the displacement of two scans on one grid, in its voxels.

    Both scans, their intensities as stored, are prepared as those were that the network learnt from, but for the one
    grid in the world (`ResampleToGridd`), which would cut off scans that lie elsewhere: the network is convolutional.

    Args:
        network: takes moving and fixed image (1, 2, *size) and gives a flow that its ``displacement(flow, size)`` turns
            into voxels of that grid, as `ankleseg.networks.VoxelMorph`.
        preparation: of the scans that it was trained on.

    Raises:
        ConfigError: the preparation does not say which voxels the network was trained on.
        GeometryError (when called): the scans are on different grids once they are prepared.
    """
    if preparation.spacing is None or None in preparation.spacing:
        raise ConfigError(
            "the preparation brings scans to no spacing, so the size of its voxels is not known",
            mend="train with prepare=registration and prepare.spacing",
        )
    nodes = zip(preparation.nodes, preparation.transforms, strict=True)
    steps = Preparation([node for node, step in nodes if not isinstance(step, ResampleToGridd)])

    @torch.no_grad()
    def predict(fixed: Scan, moving: Scan) -> Tensor:
        first, second = (_prepared(scan, steps) for scan in (moving, fixed))
        shape, affine = second.shape[1:], affine_of(second)
        if not same_grid(first.shape[1:], affine_of(first), shape, affine):
            raise GeometryError(
                "the preparation of the checkpoint brings the two scans to different grids",
                mend="train with prepare=registration, which crops no scan by what it shows",
            )
        device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
        pair = torch.cat([first.as_tensor(), second.as_tensor()])[None].float()
        flow = network(pair.to(device))
        displacement = network.displacement(flow, shape).float()
        step = torch.tensor(np.linalg.inv(affine) @ fixed.affine, dtype=torch.float32, device=device)
        voxels = identity(fixed.data.shape, displacement)[0].flatten(1)
        places = (step[:3, :3] @ voxels + step[:3, 3:]).view(1, 3, *fixed.data.shape)
        found = sample(displacement, places, padding_mode="border")[0].flatten(1)
        return (torch.linalg.inv(step[:3, :3]) @ found).view(1, 3, *fixed.data.shape)

    return predict


def _prepared(scan: Scan, steps: Preparation) -> MetaTensor:
    data = torch.from_numpy(np.ascontiguousarray(scan.data, np.float32))[None]
    image = MetaTensor(data, affine=torch.as_tensor(scan.affine))
    with allow_missing_keys_mode(steps):
        return steps({keys.IMAGE: image})[keys.IMAGE]
