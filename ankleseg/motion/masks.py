"""Masks of a bone on the thick slices of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from ankleseg.rigid.warping import file_order_tensor, grid_points, in_file_order, normaliser, sampled, slabs
from ankleseg.volumes.geometry import Affine, bounding_box, slice_axis
from ankleseg.volumes.poses import transform

ACROSS = 8  # samples through a slice
ALONG = 2  # samples along each side of a voxel in the slice
BLOCK = np.array(list(product((-0.25, 0.25), repeat=3))).T  # samples are taken eight at a time: 2×2×2 about a middle


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
        mask, affine: of the bone in the static scan, 0 to 1.
        frame_from_static: its pose on each frame; on a frame whose pose is not finite it fills nothing.
        shape, frame_affine: grid of the frames.
    """
    blocks = np.array([ACROSS if axis == slice_axis(frame_affine) else ALONG for axis in range(3)]) // 2
    frame_from_block = np.diag([*1 / blocks, 1.0])
    frame_from_block[:3, 3] = 0.5 / blocks - 0.5
    known = [frame for frame, pose in enumerate(frame_from_static) if np.isfinite(pose).all()]
    static_from_block = np.linalg.inv(frame_from_static[known]) @ frame_affine @ frame_from_block
    bone = _Bone(mask, affine, static_from_block)
    result = np.zeros((len(frame_from_static), *shape[2::-1]), np.float32)  # as it lies in files
    for frame, place in zip(known, static_from_block, strict=True):
        _fill(result[frame], bone, place, blocks)
    return result.T


class _Bone:
    """A mask as its blocks of samples see it.

    Attributes:
        mask: cut to its box, with a margin.
        surroundings: mean of all voxels that the samples of a block about a voxel may touch: 0 and 1 need no samples.
        voxel_from_static: of both.
    """

    def __init__(self, mask: np.ndarray, affine: Affine, static_from_block: Float[np.ndarray, "t 4 4"]) -> None:
        box = bounding_box(mask > 0)
        first = np.array([cut.start for cut in box])
        steps = np.abs(np.linalg.inv(affine) @ static_from_block)[:, :3, :3]
        reach = (steps.sum(-1) * BLOCK.max()).max(0, initial=0)
        # Half a voxel to the nearest one, and one to its neighbours, which interpolation reads.
        margin = np.floor(reach + 0.501).astype(int) + 1
        around = [int(side) for side in margin for _ in (0, 1)]
        self.mask: Float[Tensor, "z y x"] = functional.pad(file_order_tensor(mask[box]), around)
        self.voxel_from_static = np.linalg.inv(affine)
        self.voxel_from_static[:3, 3] += margin - first
        self.surroundings = self.mask
        for axis, side in enumerate(margin[::-1].tolist()):
            window, beyond = [1, 1, 1], [0, 0, 0]
            window[axis], beyond[axis] = 2 * side + 1, side
            self.surroundings = functional.avg_pool3d(self.surroundings[None], window, 1, beyond)[0]


def _fill(frame: Float[np.ndarray, "w v u"], bone: _Bone, static_from_block: Affine, blocks: np.ndarray) -> None:
    """Fill one frame, block by block, and take the means of its voxels' blocks."""
    voxel_from_block = bone.voxel_from_static @ static_from_block
    size = bone.mask.shape[::-1]
    ends = np.array(list(product(*((-1.0, float(side)) for side in size))))
    reached = transform(np.linalg.inv(voxel_from_block), ends)
    low = np.maximum(np.floor(reached.min(0) / blocks).astype(int), 0)
    high = np.minimum(np.ceil(reached.max(0) / blocks).astype(int) + 1, frame.shape[::-1])
    if np.any(high <= low):
        return
    start = np.eye(4)
    start[:3, 3] = low * blocks
    places = normaliser(size) @ voxel_from_block @ start
    offsets = torch.from_numpy(places[:3, :3] @ BLOCK).float()
    grid, count = in_file_order(places), ((high - low) * blocks)[::-1]
    window = frame[tuple(slice(first, last) for first, last in zip(low[::-1], high[::-1], strict=True))]
    for rows in slabs(count, int(blocks[2])):
        middles = grid_points(rows, count, grid, bone.mask.device)
        filled = sampled(bone.surroundings, middles, mode="nearest").flatten()
        mixed = ((filled > 0) & (filled < 1)).nonzero()[:, 0]
        samples = middles.flatten(1)[:, mixed, None] + offsets[:, None]
        filled[mixed] = sampled(bone.mask, samples).mean(-1)
        means = functional.avg_pool3d(filled.reshape(1, *middles.shape[1:]), blocks[::-1].tolist())[0]
        window[rows.start // blocks[2] : rows.stop // blocks[2]] = means.numpy()
