"""Masks of a bone on the thick slices of a frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.volumes.geometry import Affine, bounding_box, slice_axis
from ankleseg.volumes.poses import Pose, invert_pose, transform

ACROSS = 8  # samples through a slice
ALONG = 2  # samples along each side of a voxel in the slice


def fractions_on_frame(
    mask: Bool[np.ndarray, "x y z"],
    affine: Affine,
    frame_from_static: Pose,
    shape: Sequence[int],
    frame_affine: Affine,
) -> Float[np.ndarray, "u v w"]:
    """Return how much of each voxel of a frame a bone fills, float32 from 0 to 1.

    A voxel is a box as thick as the slices are apart; it is sampled 2×2 times in its slice and 8 times across.

    Args:
        mask, affine: of the bone in the static scan.
        frame_from_static: its pose.
        shape, frame_affine: grid of the frame.
    """
    from scipy.ndimage import map_coordinates

    box = bounding_box(mask)
    part = np.pad(mask[box].astype(np.float32), 1)
    start = np.array([cut.start for cut in box]) - 1.0
    corners = start + np.array(np.meshgrid(*[(0.0, side) for side in part.shape], indexing="ij")).reshape(3, -1).T
    frame_from_mask = np.linalg.inv(frame_affine) @ frame_from_static @ affine
    reached = transform(frame_from_mask, corners)
    low = np.maximum(np.floor(reached.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(reached.max(0)).astype(int) + 1, shape[:3])
    result = np.zeros(tuple(shape[:3]), np.float32)
    if np.any(high <= low):
        return result
    mask_from_frame = np.linalg.inv(affine) @ invert_pose(frame_from_static) @ frame_affine
    counts = [ACROSS if axis == slice_axis(frame_affine) else ALONG for axis in range(3)]
    places = [
        np.arange(first, last)[:, None] + (np.arange(count) + 0.5) / count - 0.5
        for first, last, count in zip(low, high, counts, strict=True)
    ]
    total = np.zeros(high - low, np.float32)
    for i in range(counts[0]):
        for j in range(counts[1]):
            for k in range(counts[2]):
                x, y, z = places[0][:, i, None, None], places[1][None, :, j, None], places[2][None, None, :, k]
                voxels = np.stack([row[0] * x + row[1] * y + row[2] * z + row[3] for row in mask_from_frame[:3]])
                voxels -= start[:, None, None, None]
                total += map_coordinates(part, voxels.astype(np.float32), order=1, mode="constant")
    cut = tuple(slice(int(first), int(last)) for first, last in zip(low, high, strict=True))
    result[cut] = total / np.prod(counts)
    return result
