"""Windows that lie elsewhere in each slice: cut out of a volume, and put back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from ankleseg.transforms.boxes import filled

Starts = Int[Tensor, "windows 2"]


def cut_windows(
    volume: Shaped[Tensor, "c x y z"], axis: int, first: int, starts: Starts, size: Sequence[int], fill: Sequence[float]
) -> Shaped[Tensor, "c u v w"]:
    """Cut a window out of each of some slices and stack them along the axis of the slices.

    Args:
        volume: what is cut.
        axis: across the slices, 0 to 2.
        first: the first slice; the others follow.
        starts: first voxel of each window along the other two axes, in their order; may be outside.
        size: sides of the windows.
        fill: what lies outside the volume, for each channel.
    """
    slices = volume.movedim(axis + 1, 1)
    rows, columns, valid = _places(starts, size, slices.shape[2:])
    numbers = torch.arange(first, first + len(starts))[:, None, None]
    cut = slices[:, numbers, rows[:, :, None], columns[:, None, :]]
    if not valid.all():
        cut = torch.where(valid, cut, filled(volume, [1, 1, 1], fill))
    return cut.movedim(1, axis + 1).contiguous()


def put_windows_back(
    windows: Shaped[Tensor, "c u v w"],
    axis: int,
    first: int,
    starts: Starts,
    shape: Sequence[int],
    fill: Sequence[float],
) -> Shaped[Tensor, "c x y z"]:
    """Put windows back where they were cut by `cut_windows`; around them lies ``fill``."""
    whole = filled(windows, shape, fill)
    slices, stack = whole.movedim(axis + 1, 1), windows.movedim(axis + 1, 1)
    rows, columns, valid = _places(starts, stack.shape[2:], slices.shape[2:])
    numbers = torch.arange(first, first + len(starts))[:, None, None]
    n, r, c = (part.expand(valid.shape)[valid] for part in (numbers, rows[:, :, None], columns[:, None, :]))
    slices[:, n, r, c] = stack[:, valid]
    return whole


def _places(starts: Tensor, size: Sequence[int], shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (S, U) and columns (S, V) of windows, moved into the volume, and (S, U, V) which were in it."""
    rows, columns = (starts[:, k, None] + torch.arange(size[k]) for k in (0, 1))
    inside = [(place >= 0) & (place < n) for place, n in ((rows, shape[0]), (columns, shape[1]))]
    valid = inside[0][:, :, None] & inside[1][:, None, :]
    return rows.clamp(0, shape[0] - 1), columns.clamp(0, shape[1] - 1), valid
