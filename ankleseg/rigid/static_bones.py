"""Bones of the static scan, as distances and masks that can be read at any point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import GeometryError
from ankleseg.volumes.geometry import Affine, bounding_box, spacing

MAP_MM = 0.8  # cells of the distance maps
ROUNDING_MM = 0.8  # standard deviation of the Gaussian that takes the steps of the cells away


@dataclass(frozen=True, eq=False)
class StaticBones:
    """Bones of the static scan, as distances and masks that can be read anywhere.

    Attributes:
        distances: {bone: (X, Y, Z)} mm to the nearest voxel of the bone, 0 inside, on a grid of about 0.8 mm.
        distance_affine: voxel of these maps to RAS+ mm.
        insides: {bone: (mask cut to its box, affine of the box)}.
    """

    distances: Mapping[str, Float[np.ndarray, "x y z"]]
    distance_affine: Affine
    insides: Mapping[str, tuple[Bool[np.ndarray, "u v w"], Affine]]


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
        distances[bone] = _distance(_averaged(mask, factors), spacing(coarse))
        box = bounding_box(mask)
        place = np.eye(4)
        place[:3, 3] = [part.start for part in box]
        insides[bone] = (mask[box], affine @ place)
    return StaticBones(distances, coarse, insides)


def _averaged(mask: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Share of each cell of ``factors`` voxels that is filled."""
    cells = -(-np.array(mask.shape) // factors)
    padded = np.zeros(cells * factors, np.float32)
    padded[tuple(slice(side) for side in mask.shape)] = mask
    blocks = padded.reshape([size for pair in zip(cells, factors, strict=True) for size in pair])
    return blocks.mean((1, 3, 5))


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
