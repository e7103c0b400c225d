"""Where the tiles of a volume lie, and how overlapping ones are blended."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ankleseg.volumes.geometry import bounding_box


def starts(length: int, window: int, step: int) -> list[int]:
    """First indices of windows that cover an axis; the last window is shifted back to end with the axis."""
    if length <= window:
        return [0]
    return [*range(0, length - window, step), length - window]


def tile_corners(shape: Sequence[int], window: Sequence[int], overlap: float) -> Iterator[tuple[int, ...]]:
    """Corners of the tiles of a grid; neighbours share the fraction ``overlap`` of a side (0 ≤ overlap < 1)."""
    steps = [max(1, int(side * (1 - overlap) + 1e-6)) for side in window]
    axes = [starts(*axis) for axis in zip(shape, window, steps, strict=True)]
    return itertools.product(*axes)


def blending_weights(window: Sequence[int], blend: str) -> Float[Tensor, "..."]:
    """Weight of each voxel of a tile.

    Args:
        window: sides of the tile.
        blend: ``uniform``, or ``smooth``: a Gaussian of one eighth of the side, no less than 1e-3 of its maximum,
            so that a voxel is decided by the tiles in which it lies well inside (Isensee et al. 2021).
    """
    weights = torch.ones(tuple(window))
    if blend == "smooth":
        for axis, side in enumerate(window):
            distance = (torch.arange(side) - (side - 1) / 2) / (side / 8)
            shape = [1] * len(window)
            shape[axis] = side
            weights = weights * torch.exp(-0.5 * distance**2).reshape(shape)
        weights = weights.clamp_min(1e-3)
    return weights


def box_of(mask: np.ndarray, margin: int = 0, divisor: int = 1) -> tuple[slice, ...] | None:
    """Bounding box of a mask, grown by a margin and to sides that divide by ``divisor`` where the grid allows it."""
    if not mask.any():
        return None
    box = []
    for part, length in zip(bounding_box(mask, margin), mask.shape, strict=True):
        high = min(part.start + -(-(part.stop - part.start) // divisor) * divisor, length)
        low = max(high - -(-(high - part.start) // divisor) * divisor, 0)
        box.append(slice(low, high))
    return tuple(box)
