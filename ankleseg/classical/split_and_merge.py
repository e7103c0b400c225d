"""Split and merge: blocks are split until they are uniform, then neighbours that are alike are joined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ankleseg.classical.brightness import Image, Mask, Spacing, bright_level

SIDES = (16, 8, 4, 2)  # of blocks, in voxels

Blocks = Int[np.ndarray, "x y z"]


@dataclass(frozen=True, kw_only=True)
class SplitAndMerge:
    """Regions of uniform blocks, those that are bright on average.

    Neither scikit-image nor scikit-learn has it: scikit-image merges a graph of regions (``rag_mean_color``), edge by
    edge in Python.

    Args:
        spread: largest standard deviation in a block that is not split, as a share of the range of intensities.
        merge: largest difference between the means of neighbouring blocks that are joined.

    Source: Horowitz and Pavlidis, JACM 1976.
    """

    spread: float = 0.06
    merge: float = 0.02

    def __call__(self, image: Image, inside: Mask, spacing: Spacing) -> Mask:
        margins = [(0, -length % SIDES[0]) for length in image.shape]
        padded, within = np.pad(image, margins), np.pad(inside, margins)
        blocks = split(padded, within, self.spread)
        regions = merged(blocks, padded, self.merge)
        counts = np.bincount(regions.ravel())
        means = np.bincount(regions.ravel(), padded.ravel()) / np.maximum(counts, 1)
        bright = means > bright_level(image, inside)
        bright[0] = False
        return bright[regions][tuple(slice(length) for length in image.shape)]


def split(image: Image, inside: Mask, spread: float) -> Blocks:
    """Number the largest uniform blocks from 1; 0 is outside.

    Args:
        image, inside: their sides divisible by 16.
        spread: largest standard deviation of the voxels inside; blocks of two voxels are not split any more.
    """
    blocks = np.zeros(image.shape, dtype=np.int64)
    for side in SIDES:
        count = _sums(inside.astype(np.float64), side)
        known = np.maximum(count, 1)
        mean = _sums(image * inside, side) / known
        deviation = np.sqrt(np.maximum(_sums((image * inside).astype(np.float64) ** 2, side) / known - mean**2, 0))
        uniform = (count > 0) & ((deviation <= spread) | (side == SIDES[-1]))
        numbers = (np.cumsum(uniform).reshape(uniform.shape) + blocks.max()) * uniform
        spread_out = numbers.repeat(side, 0).repeat(side, 1).repeat(side, 2) * inside
        np.copyto(blocks, spread_out, where=blocks == 0)
    return blocks


def merged(blocks: Blocks, image: Image, merge: float) -> Blocks:
    """Join neighbouring blocks whose means differ by ``merge`` at most; numbers again, 0 stays outside."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    counts = np.bincount(blocks.ravel())
    means = np.bincount(blocks.ravel(), image.ravel()) / np.maximum(counts, 1)
    pairs = np.concatenate([_neighbours(blocks, axis) for axis in range(blocks.ndim)], axis=1)
    one, other = pairs[:, np.abs(means[pairs[0]] - means[pairs[1]]) <= merge]
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(len(means), len(means)))
    _, number = connected_components(graph, directed=False)  # block 0 has no neighbours: it stays alone
    number = np.where(number == number[0], 0, number + 1)
    return number[blocks]


def _neighbours(blocks: Blocks, axis: int) -> Int[np.ndarray, "2 pairs"]:
    moved = np.moveaxis(blocks, axis, 0)
    one, other = moved[:-1], moved[1:]
    border: Bool[np.ndarray, "x y z"] = (one != other) & (one > 0) & (other > 0)
    return np.unique(np.stack([one[border], other[border]]), axis=1)


def _sums(values: Float[np.ndarray, "x y z"], side: int) -> Float[np.ndarray, "i j k"]:
    """Sums over cubes of this side."""
    x, y, z = (length // side for length in values.shape)
    return values.reshape(x, side, y, side, z, side).sum(axis=(1, 3, 5), dtype=np.float64)
