"""Masks of a bone on the thick slices of a frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch.nn import functional

from ankleseg.rigid.warping import file_order_tensor, grid_points, in_file_order, normaliser, sampled, slabs
from ankleseg.volumes.geometry import Affine, bounding_box, slice_axis
from ankleseg.volumes.poses import transform

ACROSS = 8  # samples through a slice
ALONG = 2  # samples along each side of a voxel in the slice


def fractions_on_frames(
    mask: Shaped[np.ndarray, "x y z"],
    affine: Affine,
    frame_from_static: Float[np.ndarray, "t 4 4"],
    shape: Sequence[int],
    frame_affine: Affine,
) -> Float[np.ndarray, "u v w t"]:
    """Return how much of each voxel of every frame a bone fills, float32 from 0 to 1.

    A voxel is a box as thick as the slices are apart; it is sampled 2×2 times in its slice and 8 times across.

    Args:
        mask, affine: of the bone in the static scan.
        frame_from_static: its pose on each frame; on a frame whose pose is not finite it fills nothing.
        shape, frame_affine: grid of the frames.
    """
    box = bounding_box(mask > 0)
    start = np.eye(4)
    start[:3, 3] = [cut.start for cut in box]
    part = file_order_tensor(mask[box])
    result = np.zeros((len(frame_from_static), *shape[2::-1]), np.float32)  # as it lies in files
    for filled, pose in zip(result, frame_from_static, strict=True):
        if np.isfinite(pose).all():
            _fill(filled, part, np.linalg.inv(frame_affine) @ pose @ affine @ start, slice_axis(frame_affine))
    return result.T


def _fill(
    filled: Float[np.ndarray, "w v u"], part: Float[torch.Tensor, "z y x"], frame_from_mask: Affine, across: int
) -> None:
    """Fill one frame, both grids in file order."""
    ends = np.array(np.meshgrid(*[(-1.0, side) for side in part.shape[::-1]], indexing="ij")).reshape(3, -1).T
    reached = transform(frame_from_mask, ends)
    low = np.maximum(np.floor(reached.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(reached.max(0)).astype(int) + 1, filled.shape[::-1])
    if np.any(high <= low):
        return
    counts = np.array([ACROSS if axis == across else ALONG for axis in range(3)])
    samples = np.diag([*1 / counts, 1.0])
    samples[:3, 3] = low + 0.5 / counts - 0.5
    places = in_file_order(normaliser(part.shape[::-1]) @ np.linalg.inv(frame_from_mask) @ samples)
    fine, thick = ((high - low) * counts)[::-1], int(counts[2])
    window = filled[tuple(slice(first, last) for first, last in zip(low[::-1], high[::-1], strict=True))]
    for rows in slabs(fine, thick):
        found = sampled(part, grid_points(rows, fine, places, part.device))
        means = functional.avg_pool3d(found[None], counts[::-1].tolist())[0]
        window[rows.start // thick : rows.stop // thick] = means.numpy()
