"""Affines, orientations and grids: arrays (X, Y, Z) in a world of RAS+ millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from ankleseg.errors import GeometryError

Affine = Float[np.ndarray, "4 4"]
Scan = Shaped[np.ndarray, "x y z"]

ANATOMICAL_AXES = ("LR", "PA", "IS")


def size_text(sides: Sequence[float] | np.ndarray) -> str:
    """Return the sides of a voxel as messages show them, such as ``0.5 × 0.5 × 3``."""
    return " × ".join(f"{side:.3g}" for side in sides)


def spacing(affine: Affine) -> Float[np.ndarray, "xyz=3"]:
    """Return the size of a voxel in mm along each array axis."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def axis_codes(affine: Affine) -> str:
    """Return the anatomical direction each array axis points to, e.g. ``PSR`` for posterior, superior, right."""
    return "".join(aff2axcodes(affine))


def slice_axis(affine: Affine) -> int:
    """Return the array axis across the slices: that of the largest spacing.

    Spacings within 1 % of the largest count as equal; the last of these axes is the slice axis then.
    """
    size = spacing(affine)
    return int(np.flatnonzero(size >= 0.99 * size.max())[-1])


def anatomical_axis(affine: Affine, axis: str) -> int:
    """Return the array axis closest to an anatomical axis: ``LR``, ``PA`` or ``IS``.

    Raises:
        GeometryError: the axis has another name.
    """
    if axis not in ANATOMICAL_AXES:
        raise GeometryError(f"invalid anatomical axis {axis!r}: expected one of {', '.join(ANATOMICAL_AXES)}")
    world_axes = io_orientation(affine)[:, 0]
    return int(np.flatnonzero(world_axes == ANATOMICAL_AXES.index(axis))[0])


def is_left_handed(affine: Affine) -> bool:
    """Tell whether the array axes form a left-handed system in the world, as radiological storage does."""
    return bool(np.linalg.det(affine[:3, :3]) < 0)


def reorient(
    data: Shaped[np.ndarray, "x y z *rest"], affine: Affine, codes: str
) -> tuple[Shaped[np.ndarray, "u v w *rest"], Affine]:
    """Permute and flip the first three axes until they point to ``codes``; exact, and a view of the data.

    Every voxel keeps its value and its place in the world, oblique grids stay oblique.

    Raises:
        GeometryError: ``codes`` does not name three different axes.
    """
    if sorted(_world_axis(code) for code in codes) != [0, 1, 2]:
        raise GeometryError(f"invalid orientation {codes!r}: expected three letters such as RAS, LPS or PSR")
    change = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(codes)))
    return apply_orientation(data, change), affine @ inv_ornt_aff(change, data.shape[:3])


def _world_axis(code: str) -> int:
    return next((index for index, pair in enumerate(ANATOMICAL_AXES) if code in pair), -1)


def corners(shape: Sequence[int], affine: Affine) -> Float[np.ndarray, "8 3"]:
    """Return the world position in mm of the centres of the eight corner voxels."""
    return _corners(0.0, -1.0, shape, affine)


def box_corners(shape: Sequence[int], affine: Affine) -> Float[np.ndarray, "8 3"]:
    """Return the world position in mm of the eight corners of the field of view, at the outer edges of the voxels."""
    return _corners(-0.5, -0.5, shape, affine)


def _corners(first: float, beyond_last: float, shape: Sequence[int], affine: Affine) -> np.ndarray:
    indices = np.array(list(product(*((first, size + beyond_last) for size in shape[:3]))))
    return indices @ affine[:3, :3].T + affine[:3, 3]


def bounding_box(mask: Bool[np.ndarray, "*shape"], margin: int | Sequence[int] = 0) -> tuple[slice, ...]:
    """Return the smallest box that holds a mask, so many voxels wider on every side, but within the grid.

    Raises:
        GeometryError: the mask is empty.
    """
    margins = np.broadcast_to(np.asarray(margin, int), mask.ndim)
    box = []
    for axis, (length, beyond) in enumerate(zip(mask.shape, margins, strict=True)):
        found = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(found):
            raise GeometryError("the mask is empty")
        box.append(slice(max(int(found[0] - beyond), 0), min(int(found[-1] + beyond) + 1, length)))
    return tuple(box)


def displacement_mm(affine_a: Affine, affine_b: Affine, shape: Sequence[int]) -> float:
    """Return how far apart, in mm, two affines put the same voxel of a grid at most (found at its corners)."""
    return float(np.linalg.norm(corners(shape, affine_a) - corners(shape, affine_b), axis=1).max())


def voxel_distance(affine_a: Affine, affine_b: Affine, shape: Sequence[int]) -> float:
    """Return the largest displacement between two affines of a grid, in voxels (the smallest spacing of the first)."""
    return displacement_mm(affine_a, affine_b, shape) / float(spacing(affine_a).min())


def same_grid(
    shape_a: Sequence[int], affine_a: Affine, shape_b: Sequence[int], affine_b: Affine, tolerance: float = 0.1
) -> bool:
    """Tell whether two grids have the same voxels: equal shapes, and corners within ``tolerance`` voxels."""
    if tuple(shape_a[:3]) != tuple(shape_b[:3]):
        return False
    return voxel_distance(affine_a, affine_b, shape_a) <= tolerance


def holds_grid(
    shape_a: Sequence[int], affine_a: Affine, shape_b: Sequence[int], affine_b: Affine, tolerance: float = 0.1
) -> bool:
    """Tell whether the voxels of grid b are voxels of grid a, at ``tolerance`` voxels, whatever way its axes run."""
    a_from_b = np.linalg.inv(affine_a) @ affine_b
    whole = np.rint(a_from_b)
    if abs(np.linalg.det(whole[:3, :3])) != 1:
        return False
    found, meant = corners(shape_b, a_from_b), corners(shape_b, whole)
    inside = (meant >= 0).all() and (meant <= np.array(shape_a[:3]) - 1).all()
    return bool(inside and np.linalg.norm(found - meant, axis=1).max() <= tolerance)


def resample(
    data: Scan, affine: Affine, shape: Sequence[int], target_affine: Affine, *, order: int = 1, cval: float | int = 0.0
) -> Shaped[np.ndarray, "u v w"]:
    """Sample a volume at the voxel centres of another grid.

    Args:
        data: (X, Y, Z).
        affine: voxel to world of ``data``.
        shape, target_affine: the grid to fill.
        order: of the spline; 0 takes the nearest voxel, which keeps labels and their type. Higher orders return
            floating point. Nothing is smoothed beforehand.
        cval: value outside the field of view.
    """
    from scipy.ndimage import affine_transform

    source_from_target = np.linalg.inv(affine) @ target_affine
    source = data.view(np.uint8) if data.dtype == bool else data
    if order > 0 and not np.issubdtype(data.dtype, np.floating):
        source = source.astype(np.float32)
    # "constant" would give cval to border voxels that rounding puts 1e-15 outside
    sampled = affine_transform(
        source, source_from_target[:3, :3], source_from_target[:3, 3], tuple(shape[:3]),
        order=order, mode="grid-constant", cval=cval,
    )  # fmt: skip
    return sampled.astype(bool) if order == 0 and data.dtype == bool else sampled


def resampled_grid(
    shape: Sequence[int], affine: Affine, new_spacing: Sequence[float | int] | Float[np.ndarray, "xyz=3"]
) -> tuple[tuple[int, int, int], Affine]:
    """Return shape and affine of a grid of another spacing that keeps the corner of the field of view.

    The outer edge of the first voxel stays in place, so its centre moves by half the change in voxel size.
    """
    old = spacing(affine)
    new = np.asarray(new_spacing, dtype=float)
    new_shape = [max(1, round(size)) for size in (np.asarray(shape[:3]) * old / new).tolist()]
    new_affine = affine.astype(float)
    new_affine[:3, :3] = affine[:3, :3] * (new / old)
    edge = affine[:3, :3] @ np.full(3, -0.5) + affine[:3, 3]
    new_affine[:3, 3] = edge + new_affine[:3, :3] @ np.full(3, 0.5)
    return (new_shape[0], new_shape[1], new_shape[2]), new_affine


def diagonal_mm(shape: Sequence[int], affine: Affine) -> float:
    """Return the diagonal of the field of view in mm."""
    return float(np.linalg.norm(np.asarray(shape[:3]) * spacing(affine)))


def affine_problem(affine: Any) -> str | None:
    """Say what keeps a matrix from being the affine of a scan, or None."""
    if not np.isfinite(affine).all():
        return "holds an affine that is not finite"
    size = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    if not size.min() > 0 or abs(np.linalg.det(affine[:3, :3] / size)) < 1e-3:
        return "holds a singular affine: its axes do not span the space"
    return None
