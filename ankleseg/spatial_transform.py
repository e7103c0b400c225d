"""Displacement fields as tensors: images moved by them, velocities integrated, fields composed, inverted, resized.

A displacement u (B, D, *spatial), D = 2 or 3, is in voxels of the grid that it lives on, in the order of the array's
axes ("ij"), and says where each voxel lies in the moving image: moved(x) = moving(x + u(x)), linear, voxel centres at
whole numbers. The published spatial transformer (voxelmorph, PyTorch) has these units and this order, and zeros
outside; MONAI's ``Warp(padding_mode="zeros")`` and ``DVF2DDF`` agree with it and with these in single precision.
They take 1.2 to 1.4 times as long (an integration on 80×96×112 voxels 0.38–0.42 s, here 0.30 s; one thread,
``benchmarks/voxelmorph.py``), read a single image on one core, as PyTorch shares a sampling among its threads by the
batch alone, and count positions in the precision of the field: in half precision those beyond 256 are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

Field = Float[Tensor, "b d *spatial"]

_LINEAR_MODE = {2: "bilinear", 3: "trilinear"}


def identity(size: Sequence[int], like: Tensor) -> Tensor:
    """Return the voxel each voxel is (1, D, *size), of the device and type of another tensor."""
    ranges = [torch.arange(length, device=like.device, dtype=like.dtype) for length in size]
    return torch.stack(torch.meshgrid(*ranges, indexing="ij"))[None]


def sample(
    images: Float[Tensor, "b c *spatial"],
    places: Float[Tensor, "b d *places"],
    mode: str = "bilinear",
    padding_mode: str = "zeros",
) -> Float[Tensor, "b c *places"]:
    """Read images at places, in voxels of the images.

    Args:
        images: (B, C, *spatial).
        places: (B, D, *size), of the type of the images.
        mode: ``bilinear`` (of volumes too) or ``nearest``.
        padding_mode: ``zeros`` outside the voxels, or ``border``, the outermost voxels repeated.
    """
    sides = torch.tensor([max(length - 1, 1) for length in reversed(images.shape[2:])], device=places.device)
    factor = (2 / sides.to(places.dtype)).view(1, -1, *[1] * (images.ndim - 2))
    normalised = places.flip(1).mul_(factor).sub_(1).movedim(1, -1)  # `grid_sample` begins with the last axis
    parts = _parts(images, normalised)
    if parts == 1:
        return functional.grid_sample(images, normalised, mode, padding_mode, align_corners=True)
    missing = -normalised.shape[1] % parts
    if missing:
        normalised = torch.cat([normalised, normalised[:, -1:].expand(-1, missing, *normalised.shape[2:])], 1)
    pieces = normalised.view(parts, -1, *normalised.shape[2:])
    batch = images.expand(parts, *images.shape[1:])
    found = functional.grid_sample(batch, pieces, mode, padding_mode, align_corners=True)
    return found.transpose(0, 1).flatten(1, 2)[None, :, : places.shape[2]]


def _parts(images: Tensor, places: Tensor) -> int:
    """Into how many parts along the first axis a sampling is cut: one a thread, where no batch gives them work."""
    if images.device.type != "cpu" or len(images) > 1 or images.requires_grad or places.requires_grad:
        return 1
    return min(torch.get_num_threads(), places.shape[1])


def warped(
    image: Shaped[Tensor, "b c *image"], displacement: Field, mode: str = "bilinear", padding_mode: str = "zeros"
) -> Float[Tensor, "b c *spatial"]:
    """An image as a displacement moves it, in single precision: at x it has the value of the image at x + u(x).

    Args:
        image: (B, C, *spatial), of two or three dimensions.
        displacement: (B, D, *spatial), voxels, D the number of dimensions.
        mode, padding_mode: as of `sample`.
    """
    field = displacement.float()
    return sample(image.to(field.dtype), identity(field.shape[2:], field) + field, mode, padding_mode)


def integrated(velocity: Field, steps: int = 7) -> Field:
    """The displacement after unit time along a stationary velocity, by scaling and squaring (Arsigny 2006).

    Args:
        velocity: voxels a unit of time.
        steps: squarings; published are 7.
    """
    displacement = velocity.float() / 2**steps
    for _ in range(steps):
        displacement = displacement + warped(displacement, displacement)
    return displacement


def composed(first: Field, second: Field) -> Field:
    """The displacement of going first by one displacement, then by another: u1(x) + u2(x + u1(x)).

    Beyond the grid the second one is as at its border.
    """
    return first.float() + warped(second, first, padding_mode="border")


def inverted(displacement: Field, *, tolerance: float = 0.01, most: int = 60) -> Field:
    """The displacement that leads back, by fixed-point iteration (Chen 2008).

    Where the field leads beyond the grid, nothing leads back; there the inverse continues that of the border.

    Args:
        tolerance: voxels by which going there and back may miss the start, in 999 voxels of 1000.
        most: iterations.
    """
    inverse = -displacement
    for _ in range(most):
        missed = composed(inverse, displacement)
        inverse = inverse - missed
        if missed.norm(dim=1).flatten()[::7].quantile(0.999) < tolerance:
            break
    return inverse


def resized(field: Float[Tensor, "b d *spatial"], size: Sequence[int]) -> Float[Tensor, "b d *size"]:
    """A field at another resolution, corners on corners, linear; its values are left as they are."""
    mode = _LINEAR_MODE[field.ndim - 2]
    return functional.interpolate(field.float(), size=tuple(size), mode=mode, align_corners=True)
