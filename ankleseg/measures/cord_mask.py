"""A mask of the cord mended along the cord: one component a slice, nothing above it, no gap, no crumbs at its ends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Bool

from ankleseg.measures.centreline import slices_from_below
from ankleseg.volumes.geometry import Affine, spacing

Slices = Bool[np.ndarray, "slices u v"]

ABOVE = 0.1  # of the voxels of the largest component: fewer above it are not cord
LONGEST_GAP = 10.0  # mm between the slices beside a gap: a longer one stays
THIN = 0.5  # of the median area of the slices beside it: an end that is smaller is left out
BESIDE = 5  # slices


def mended_cord(mask: Bool[np.ndarray, "x y z"], affine: Affine) -> Bool[np.ndarray, "x y z"]:
    """The mask after all published steps, in their order, see the other functions here.

    Args:
        mask: of the cord.
        affine: whose axis nearest to superior–inferior the slices are perpendicular to.

    Source: deepseg_sc (Gros 2019).
    """
    mended = np.array(mask)
    slices, (axis, *_) = slices_from_below(mended, affine)
    slices[:] = one_component_a_slice(slices)
    slices[:] = without_what_is_above(slices)
    slices[:] = without_gaps(slices, float(spacing(affine)[axis]))
    slices[:] = without_thin_ends(slices)
    return mended


def one_component_a_slice(slices: Slices) -> Slices:
    """In each slice, from below, keep the component that holds the centre of the one below, else the largest."""
    from scipy.ndimage import label

    kept = np.zeros_like(slices)
    centre: np.ndarray | None = None
    for plane, result in zip(slices, kept, strict=True):
        components, count = label(plane)
        if not count:
            centre = None
            continue
        chosen = 0 if centre is None else int(components[tuple(np.rint(centre).astype(int))])
        if not chosen:
            chosen = int(np.bincount(components.ravel())[1:].argmax()) + 1
        result[components == chosen] = True
        centre = np.argwhere(result).mean(axis=0)
    return kept


def without_what_is_above(slices: Slices) -> Slices:
    """Leave out components that lie wholly above the largest one and have fewer than a tenth of its voxels."""
    from scipy.ndimage import find_objects, label

    components, count = label(slices)
    if count < 2:
        return slices
    sizes = np.bincount(components.ravel())[1:]
    boxes = find_objects(components)
    largest = int(sizes.argmax())
    top = boxes[largest][0].stop
    out = [
        number + 1 for number, box in enumerate(boxes) if box[0].start >= top and sizes[number] < ABOVE * sizes[largest]
    ]
    return slices & ~np.isin(components, out)


def without_gaps(slices: Slices, mm: float) -> Slices:
    """Fill slices without a mask between others with the union of the two beside the gap.

    Args:
        slices: from below.
        mm: their distance; gaps over which the slices beside them are 10 mm apart or more stay.
    """
    filled = slices.copy()
    held = np.flatnonzero(slices.any(axis=(1, 2)))
    for below, above in pairwise(held.tolist()):
        if above - below > 1 and (above - below) * mm < LONGEST_GAP:
            filled[below + 1 : above] = slices[below] | slices[above]
    return filled


def without_thin_ends(slices: Slices) -> Slices:
    """Leave out the first and the last slice where it has less than half the median area of the five beside it."""
    kept = slices.copy()
    area = slices.sum(axis=(1, 2))
    held = np.flatnonzero(area)
    if len(held) <= 2:
        return kept
    for end, beside in ((held[0], held[1 : BESIDE + 1]), (held[-1], held[-BESIDE - 1 : -1])):
        if area[end] < THIN * np.median(area[beside]):
            kept[end] = False
    return kept
