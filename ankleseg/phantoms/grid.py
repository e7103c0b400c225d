"""Grids in the world, and signed distances sampled on a coarse one and read on a fine one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ankleseg.phantoms.noise import cubic_weights, interpolate, interpolation_weights
from ankleseg.phantoms.shapes import Shape
from ankleseg.volumes.geometry import bounding_box

FAR = 30.0  # mm, distance given to points outside a shape's box


@dataclass(frozen=True)
class Grid:
    """Voxels in the world.

    Attributes:
        shape: voxels along the three array axes.
        affine: 4×4, voxel index to RAS+ mm.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Voxel sides in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def extent(self) -> np.ndarray:
        """Sides of the field of view in mm."""
        return self.spacing * np.asarray(self.shape)

    def resized(self, factors: np.ndarray, padding: tuple[int, int, int] = (0, 0, 0)) -> Grid:
        """The same field of view with `factors` times as many voxels a side, `padding` more at both ends."""
        factors = np.asarray(factors, float)
        inner = np.round(np.asarray(self.shape) * factors).astype(int)
        step = np.asarray(self.shape) / inner
        local = np.eye(4)
        local[[0, 1, 2], [0, 1, 2]] = step
        local[:3, 3] = (step - 1) / 2 - np.asarray(padding) * step
        first, second, third = (int(side) for side in inner + 2 * np.asarray(padding))
        return Grid((first, second, third), self.affine @ local)


@dataclass(frozen=True)
class Field:
    """Signed distances (mm) in a box of a coarse grid.

    Attributes:
        values: distances in the box, float32.
        start: index of the box's first voxel in the coarse grid.
    """

    values: np.ndarray
    start: np.ndarray

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The box as slices of the coarse grid."""
        first, second, third = (
            slice(int(low), int(low) + side) for low, side in zip(self.start, self.values.shape, strict=True)
        )
        return first, second, third


def sample(
    shape: Shape,
    world_from_shape: np.ndarray,
    grid: Grid,
    margin: float,
    inside: Sequence[Callable[[np.ndarray], np.ndarray]] = (),
) -> list[Field]:
    """Evaluate a shape on the part of `grid` within `margin` mm of its box.

    Args:
        shape: what to evaluate.
        world_from_shape: 4×4 similarity; lengths are returned in world mm.
        grid: where.
        margin: mm.
        inside: further functions of the points, evaluated at the same places.

    Returns:
        the field of the shape and of each further function; nothing where the shape is outside the grid.
    """
    grid_from_shape = np.linalg.inv(grid.affine) @ world_from_shape
    scale = np.float32(np.cbrt(abs(np.linalg.det(world_from_shape[:3, :3]))))
    corners = np.array(np.meshgrid(*zip(shape.low, shape.high, strict=True))).reshape(3, -1)
    indices = grid_from_shape[:3, :3] @ corners + grid_from_shape[:3, 3:]
    spread = margin / grid.spacing
    low = np.maximum(np.floor(indices.min(1) - spread), 0).astype(int)
    high = np.minimum(np.ceil(indices.max(1) + spread) + 1, grid.shape).astype(int)
    if np.any(high - low < 4):
        return []
    shape_from_grid = np.linalg.inv(grid_from_shape).astype(np.float32)
    first, second, third = (np.arange(start, stop, dtype=np.float32) for start, stop in zip(low, high, strict=True))
    columns = shape_from_grid[:3].reshape(3, 4, 1, 1, 1)
    points = columns[:, 2] * third + columns[:, 3] + columns[:, 1] * second[:, None]
    points = points + columns[:, 0] * first[:, None, None]
    flat = points.reshape(3, -1)
    functions: list[Callable[[np.ndarray], np.ndarray]] = [shape.distance, *inside]
    return [
        Field((function(flat).astype(np.float32, copy=False) * scale).reshape(points.shape[1:]), low)
        for function in functions
    ]


class FieldReader:
    """Reads the inside of a coarse field on a finer grid of the same orientation, some planes (array axis 2) at once.

    Args:
        field: distances on `coarse`, best `trimmed`.
        coarse, fine: grids whose axes are parallel.
    """

    def __init__(self, field: Field, coarse: Grid, fine: Grid) -> None:
        values, start = field.values, field.start
        coarse_from_fine = np.linalg.inv(coarse.affine) @ fine.affine
        self._values = np.ascontiguousarray(np.moveaxis(values, 2, 0))
        self._ranges: list[range] = []
        self._weights = []
        for axis, nodes in enumerate(values.shape):
            step, offset = coarse_from_fine[axis, axis], coarse_from_fine[axis, 3] - start[axis]
            places = np.arange(fine.shape[axis]) * step + offset
            inside = np.flatnonzero((places >= 0) & (places <= nodes - 1))
            self._ranges.append(range(inside[0], inside[-1] + 1) if len(inside) else range(0))
            self._weights.append(interpolation_weights(places[inside], nodes, cubic_weights))

    def block(self, planes: range) -> tuple[tuple[slice, slice, slice], np.ndarray] | None:
        """Distances (rows, planes, columns) where the field has any inside, and the part of the fine grid they cover.

        The part is in the same order: rows (axis 0), planes counted from the first of `planes`, columns (axis 1).
        """
        rows, columns, known = self._ranges
        found = range(max(planes.start, known.start), min(planes.stop, known.stop))
        if not (len(rows) and len(columns) and len(found)):
            return None
        row_weights, column_weights, plane_weights = self._weights
        chosen = plane_weights[found.start - known.start : found.stop - known.start]
        part = (
            slice(rows.start, rows.stop),
            slice(found.start - planes.start, found.stop - planes.start),
            slice(columns.start, columns.stop),
        )
        return part, interpolate(self._values, row_weights, column_weights, chosen)


def trimmed(field: Field) -> Field:
    """The part of a field that holds its inside, two voxels more all around."""
    near = field.values < 0.3
    if not near.any():
        return Field(field.values[:0, :0, :0], field.start)
    box = bounding_box(near, 2)
    return Field(field.values[box], field.start + np.array([part.start for part in box]))
