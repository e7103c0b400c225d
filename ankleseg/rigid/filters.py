"""Linear filters along one axis of a grid, each a small matrix: blur, coarsening and slope are products of them.

At the ends of the grid the last value goes on.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def along(values: Float[Tensor, "..."], matrix: Float[Tensor, "new old"], axis: int) -> Float[Tensor, "..."]:
    """Apply a filter to every line of ``values`` along an axis."""
    before, after = values.shape[:axis], values.shape[axis + 1 :]
    lines = values.reshape(math.prod(before), values.shape[axis], math.prod(after))
    return (matrix.to(values) @ lines).reshape(*before, len(matrix), *after)


def averaging(size: int, factor: int) -> Float[Tensor, "new size"]:
    """Mean of every ``factor`` voxels; what is left over at the end is dropped."""
    result = torch.zeros(size // factor, size)
    for row in range(len(result)):
        result[row, row * factor : (row + 1) * factor] = 1 / factor
    return result


def box(size: int, width: float) -> Float[Tensor, "size size"]:
    """Mean over ``width`` voxels around each, which need not be a whole number."""
    half = int(width / 2 + 0.5)
    reach = torch.arange(-half, half + 1)
    return _filter(size, ((width / 2 - reach.abs()) + 0.5).clamp(0, 1))


def gaussian(size: int, deviation: float) -> Float[Tensor, "size size"]:
    """Gaussian of ``deviation`` voxels, cut off at three of them."""
    half = max(1, round(3 * deviation))
    reach = torch.arange(-half, half + 1)
    return _filter(size, torch.exp(-0.5 * (reach / deviation) ** 2))


def slope(size: int) -> Float[Tensor, "size size"]:
    """Central differences a voxel; one-sided ones at the ends."""
    places = torch.arange(size)
    above, below = (places + 1).clamp(max=size - 1), (places - 1).clamp(min=0)
    identity = torch.eye(size)
    return (identity[above] - identity[below]) / (above - below).clamp(min=1)[:, None]


def _filter(size: int, kernel: Tensor) -> Tensor:
    """The matrix of a symmetric kernel, which is brought to the sum 1."""
    half, places, identity = len(kernel) // 2, torch.arange(size), torch.eye(size)
    kernel = kernel / kernel.sum()
    return sum(share * identity[(places + reach).clamp(0, size - 1)] for reach, share in enumerate(kernel, -half))
