"""Bones of the static scan, as distances and masks that can be read at any point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import GeometryError
from ankleseg.volumes.geometry import Affine, bounding_box, spacing

MAP_MM = 0.8  # cells of the distance maps
ROUNDING_MM = 0.8  # standard deviation of the Gaussian that takes the steps of the cells away


@dataclass(frozen=True, eq=False)
class StaticBones:
    """Bones of the static scan, as distances and masks that can be read anywhere; float32, as voxels lie in files.

    Attributes:
        distances: {bone: (X, Y, Z)} mm to the nearest voxel of the bone, 0 inside, on a grid of about 0.8 mm.
        distance_affine: voxel of these maps to RAS+ mm.
        insides: {bone: (1 in the bone and 0 around it, cut to its box; affine of the box)}.
    """

    distances: Mapping[str, Float[np.ndarray, "x y z"]]
    distance_affine: Affine
    insides: Mapping[str, tuple[Float[np.ndarray, "u v w"], Affine]]


def static_bones(masks: Mapping[str, Bool[np.ndarray, "x y z"]], affine: Affine) -> StaticBones:
    """Prepare the bones of a static scan for blending; once for all frames.

    Raises:
        GeometryError: no mask, or an empty one.
    """
    if not masks:
        raise GeometryError("no bone is given", mend="give at least one mask")
    factors = np.maximum(np.round(MAP_MM / spacing(affine)), 1).astype(int)
    coarse = affine.astype(float)
    coarse[:3, :3] = affine[:3, :3] * factors
    coarse[:3, 3] = affine[:3, :3] @ ((factors - 1) / 2) + affine[:3, 3]
    distances, insides = {}, {}
    for bone, mask in masks.items():
        mask = np.asarray(mask, bool)
        if not mask.any():
            raise GeometryError(f"the mask of the {bone} is empty", mend="leave the bone out")
        box = bounding_box(mask)
        distances[bone] = _distance(_averaged(mask.T, box[::-1], factors[::-1]), spacing(coarse)[::-1]).T
        place = np.eye(4)
        place[:3, 3] = [part.start for part in box]
        insides[bone] = (np.asarray(mask[box], np.float32, order="F"), affine @ place)
    return StaticBones(distances, coarse, insides)


def _averaged(mask: np.ndarray, box: Sequence[slice], factors: np.ndarray) -> np.ndarray:
    """Share of each cell of ``factors`` voxels that is filled, given the box of the mask."""
    filled = np.zeros(-(-np.array(mask.shape) // factors), np.float32)
    first = [part.start // int(factor) for part, factor in zip(box, factors, strict=True)]
    starts = zip(first, factors, box, strict=True)
    counts = mask[tuple(slice(cell * int(factor), part.stop) for cell, factor, part in starts)].astype(np.uint16)
    for axis, factor in enumerate(factors):
        counts = np.add.reduceat(counts, np.arange(0, counts.shape[axis], factor), axis)
    cells = tuple(slice(cell, cell + side) for cell, side in zip(first, counts.shape, strict=True))
    filled[cells] = counts / np.float32(factors.prod())
    return filled


def _distance(filled: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Distance to the surface in mm, 0 inside; smoothed a little, so that the steps of the cells do not show."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    inside = filled >= min(0.5, float(filled.max()))
    half = float(size.min()) / 2
    signed = distance_transform_edt(~inside, sampling=size).astype(np.float32) - half
    box = bounding_box(inside, 1)
    depth = distance_transform_edt(inside[box], sampling=size) - half
    signed[box] = np.where(inside[box], -depth, signed[box])
    return np.maximum(gaussian_filter(signed, ROUNDING_MM / size), 0)
