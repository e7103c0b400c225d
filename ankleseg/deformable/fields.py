"""Displacement fields as tensors (B, D, *spatial), D = 2 or 3: voxels of their own grid, in the order of its axes.

A field u belongs to the fixed grid and says where each of its voxels lies in the moving image:
moved(x) = moving(x + u(x)). Sampling is linear, voxel centres at whole numbers (``align_corners=True``): the order and
unit of VoxelMorph and of MONAI's ``Warp``. Ours, because PyTorch shares the work of a sampling among its threads by the
batch alone, so that a single image is sampled on one core; here it is cut into parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Field = Float[Tensor, "batch dimensions *spatial"]
Images = Float[Tensor, "batch channels *spatial"]


def identity(size: Sequence[int], like: Tensor) -> Tensor:
    """Return the voxel each voxel is (1, D, *size), of the device and type of another tensor."""
    ranges = [torch.arange(length, device=like.device, dtype=like.dtype) for length in size]
    return torch.stack(torch.meshgrid(*ranges, indexing="ij"))[None]


def sample(
    images: Images, places: Float[Tensor, "batch dimensions *places"], *, mode: str = "bilinear", outside: str = "zeros"
) -> Float[Tensor, "batch channels *places"]:
    """Read images at places, in voxels of the images.

    Args:
        images: (B, C, *spatial).
        places: (B, D, *size).
        mode: ``bilinear`` or ``nearest``.
        outside: ``zeros``, or ``border``, which takes the nearest voxel.
    """
    sides = torch.tensor([max(length - 1, 1) for length in reversed(images.shape[2:])], device=places.device)
    factor = (2 / sides.to(places.dtype)).view(1, -1, *[1] * (images.ndim - 2))
    normalised = places.flip(1).mul_(factor).sub_(1).movedim(1, -1)
    parts = _parts(images, normalised)
    if parts == 1:
        return functional.grid_sample(images, normalised, mode, outside, align_corners=True)
    missing = -normalised.shape[1] % parts
    if missing:
        normalised = torch.cat([normalised, normalised[:, -1:].expand(-1, missing, *normalised.shape[2:])], 1)
    pieces = normalised.view(parts, -1, *normalised.shape[2:])
    found = functional.grid_sample(images.expand(parts, *images.shape[1:]), pieces, mode, outside, align_corners=True)
    return found.transpose(0, 1).flatten(1, 2)[None, :, : places.shape[2]]


def _parts(images: Tensor, places: Tensor) -> int:
    """Into how many parts along the first axis a sampling is cut: one a thread, where no batch gives them work."""
    if images.device.type != "cpu" or len(images) > 1 or images.requires_grad or places.requires_grad:
        return 1
    return min(torch.get_num_threads(), places.shape[1])


def warp(images: Images, displacement: Field, *, mode: str = "bilinear", outside: str = "zeros") -> Images:
    """Show images of the displacement's grid where it says: moved(x) = image(x + u(x))."""
    return sample(images, identity(displacement.shape[2:], displacement) + displacement, mode=mode, outside=outside)


def compose(outer: Field, inner: Field) -> Field:
    """Return the displacement of ``inner`` first and ``outer`` from there on: u(x) = i(x) + o(x + i(x))."""
    return inner + warp(outer, inner, outside="border")


def invert(displacement: Field, *, tolerance: float = 0.01, most: int = 60) -> Field:
    """Return the displacement that leads back, by fixed-point iteration (Chen 2008).

    Where the field leads beyond the grid, nothing leads back; there the inverse continues that of the border.

    Args:
        tolerance: voxels by which going there and back may miss the start, in 999 voxels of 1000.
        most: iterations.
    """
    inverse = -displacement
    for _ in range(most):
        missed = inverse + warp(displacement, inverse, outside="border")
        inverse = inverse - missed
        if missed.norm(dim=1).flatten()[::7].quantile(0.999) < tolerance:
            break
    return inverse


def jacobian_determinant(displacement: Float[Tensor, "1 3 x y z"]) -> Float[Tensor, "x y z"]:
    """Return the determinant of the derivative of x ↦ x + u(x), by central differences: at most 0 where space folds."""
    u = displacement[0]
    (a, b, c), (d, e, f), (g, h, i) = (torch.gradient(component) for component in u)
    a, e, i = a + 1, e + 1, i + 1
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
