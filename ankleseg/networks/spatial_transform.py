"""Images moved by displacements, velocities integrated, fields resized: what registration networks are followed by.

A displacement u (B, D, *spatial) is in voxels of the grid that it lives on, in the order of the array's axes ("ij"):
moved(x) = moving(x + u(x)). The published spatial transformer (voxelmorph, PyTorch) has these units and this order, and
zeros outside; MONAI's ``Warp(padding_mode="zeros")`` and ``DVF2DDF`` agree with it and with these in single precision.
They take 1.2 to 1.4 times as long (an integration on 80×96×112 voxels 0.38–0.42 s, here 0.30 s; one thread,
``benchmarks/voxelmorph.py``), and count positions in the precision of the field: in half precision those beyond 256 are
rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

_LINEAR_MODE = {2: "bilinear", 3: "trilinear"}


def warped(
    image: Shaped[Tensor, "b c *spatial"],
    displacement: Float[Tensor, "b d *spatial"],
    mode: str = "bilinear",
    padding_mode: str = "zeros",
) -> Float[Tensor, "b c *spatial"]:
    """An image as a displacement moves it, in single precision: at x it has the value of the image at x + u(x).

    Args:
        image: (B, C, *spatial), of two or three dimensions.
        displacement: (B, D, *spatial), voxels, D the number of dimensions.
        mode: ``bilinear`` (of volumes too) or ``nearest``.
        padding_mode: ``zeros`` outside the voxels, or ``border``, the outermost voxels repeated.
    """
    field = displacement.float()
    sides = field.shape[2:]
    places = []
    for axis in reversed(range(len(sides))):  # positions of `grid_sample` begin with the last axis
        line = torch.arange(sides[axis], dtype=field.dtype, device=field.device)
        place = field[:, axis] + line.reshape([-1 if a == axis else 1 for a in range(len(sides))])
        places.append(place.mul(2 / max(sides[axis] - 1, 1)).sub(1))
    grid = torch.stack(places, dim=-1)
    return functional.grid_sample(image.to(grid.dtype), grid, mode, padding_mode, align_corners=True)


def integrated(velocity: Float[Tensor, "b d *spatial"], steps: int = 7) -> Float[Tensor, "b d *spatial"]:
    """The displacement after unit time along a stationary velocity, by scaling and squaring (Arsigny 2006).

    Args:
        velocity: voxels a unit of time.
        steps: squarings; published are 7.
    """
    displacement = velocity.float() / 2**steps
    for _ in range(steps):
        displacement = displacement + warped(displacement, displacement)
    return displacement


def composed(
    first: Float[Tensor, "b d *spatial"], second: Float[Tensor, "b d *spatial"]
) -> Float[Tensor, "b d *spatial"]:
    """The displacement of going first by one displacement, then by another: u1(x) + u2(x + u1(x)).

    Beyond the grid the second one is as at its border.
    """
    return first.float() + warped(second, first, padding_mode="border")


def resized(field: Float[Tensor, "b d *spatial"], size: Sequence[int]) -> Float[Tensor, "b d *size"]:
    """A field at another resolution, corners on corners, linear; its values are left as they are."""
    mode = _LINEAR_MODE[field.ndim - 2]
    return functional.interpolate(field.float(), size=tuple(size), mode=mode, align_corners=True)
