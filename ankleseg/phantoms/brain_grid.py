"""Grids over a head, at whose nodes the shapes of the average head are evaluated."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.phantoms.brain import Brain
from ankleseg.phantoms.grid import FAR, Field, FieldReader, Grid
from ankleseg.volumes.poses import translation

PADDING = (5, 2)  # nodes of a first and of a finer grid beyond the field of view
ROUGH = 2  # every so many nodes tell where a small body lies

Function = Callable[[np.ndarray], np.ndarray]  # of points (3, n) of the average head


class HeadGrid:
    """A grid that covers a field of view, with the places of its nodes in the average head.

    Args:
        brain: the subject.
        field: field of view, in the world.
        spacing: mm of a newborn's head.
        coarse: grid whose places are interpolated; None evaluates them.
        around: nodes of the coarse grid; the new grid covers no more than them. None covers all.
    """

    def __init__(
        self,
        brain: Brain,
        field: Grid,
        spacing: float,
        coarse: HeadGrid | None = None,
        around: Bool[np.ndarray, "x y z"] | None = None,
    ) -> None:
        self.spacing = spacing
        self.grid = field.resized(field.spacing / (spacing * brain.scale), (PADDING[coarse is not None],) * 3)
        if coarse is None:
            self.points = brain.template_points(_head_points(brain, self.grid)).reshape(3, *self.grid.shape)
            return
        if around is not None:
            first, second, third = coarse.box_of(around, self.grid)
            shape = (first.stop - first.start, second.stop - second.start, third.stop - third.start)
            start = [first.start, second.start, third.start]
            self.grid = Grid(shape, self.grid.affine @ translation(start))
        self.points = np.stack([coarse.onto(axis, self) for axis in coarse.points])

    def evaluate(self, function: Function) -> Float[np.ndarray, "x y z"]:
        """Values of a function of points of the average head."""
        return function(self.points.reshape(3, -1)).reshape(self.grid.shape)

    def onto(self, values: Float[np.ndarray, "x y z"], other: HeadGrid) -> Float[np.ndarray, "u v w"]:
        """Values on this grid, interpolated cubically on a finer one within it."""
        reader = FieldReader(Field(values, np.zeros(3, int)), self.grid, other.grid)
        found = reader.block(range(other.grid.shape[2]))
        assert found is not None and found[1].size == np.prod(other.grid.shape), "the finer grid goes beyond the coarse"
        return np.ascontiguousarray(np.moveaxis(found[1], 1, 2))

    def box_of(self, around: Bool[np.ndarray, "x y z"], other: Grid) -> tuple[slice, slice, slice]:
        """The box of another grid, along the same axes, that holds some nodes of this one."""
        other_from_self = np.linalg.inv(other.affine) @ self.grid.affine
        found = np.argwhere(around)
        corners = np.array(list(product(*zip(found.min(0) - 1, found.max(0) + 1, strict=True))))
        places = corners @ other_from_self[:3, :3].T + other_from_self[:3, 3]
        low = np.maximum(np.floor(places.min(0)), 0).astype(int)
        high = np.minimum(np.ceil(places.max(0)) + 1, other.shape).astype(int)
        first, second, third = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
        return first, second, third


class ObliqueReader:
    """Reads a field linearly on a grid whose axes are oblique to its own; elsewhere it is far outside.

    Args:
        field: values on a part of `own`.
        own: the grid of the field.
        other: where it is read, some planes at once as by `FieldReader`.
    """

    def __init__(self, field: Field, own: Grid, other: Grid) -> None:
        self._values = field.values
        self._own_from_other = translation(-field.start) @ np.linalg.inv(own.affine) @ other.affine
        self._sides = other.shape[:2]

    def block(self, planes: range) -> tuple[tuple[slice, slice, slice], np.ndarray] | None:
        """Values (rows, planes, columns) and the part of the other grid that they cover, which is all of it."""
        from scipy.ndimage import map_coordinates

        if not self._values.size:
            return None
        rows, columns = (np.arange(side) for side in self._sides)
        places = [
            row[0] * rows[:, None, None] + row[1] * columns + row[2] * np.array(planes)[:, None] + row[3]
            for row in self._own_from_other[:3]
        ]
        everywhere = (slice(None), slice(None), slice(None))
        return everywhere, map_coordinates(self._values, places, order=1, mode="constant", cval=FAR)


def small_part(function: Function, coarse: HeadGrid, fine: HeadGrid, grow: float = 0.0) -> Field:
    """Distance to a small body, evaluated on the part of a fine grid that holds it.

    Args:
        function: signed distance to the body.
        coarse: grid on which the body is looked for.
        fine: grid of the result.
        grow: mm by which the body grows on all sides.
    """
    near = np.zeros(coarse.grid.shape, bool)
    thinned = (slice(None, None, ROUGH),) * 3
    points = coarse.points[(slice(None), *thinned)]
    near[thinned] = (function(points.reshape(3, -1)) < 2.0 * coarse.spacing * ROUGH / 1.5 + grow).reshape(
        points.shape[1:]
    )
    if not near.any():
        return Field(np.ones((0, 0, 0), np.float32), np.zeros(3, int))
    box = coarse.box_of(near, fine.grid)
    points = fine.points[(slice(None), *box)]
    values = function(points.reshape(3, -1)).reshape(points.shape[1:]) - grow
    return Field(values.astype(np.float32, copy=False), np.array([part.start for part in box]))


def _head_points(brain: Brain, grid: Grid) -> Float[np.ndarray, "3 n"]:
    """Nodes of a grid in mm of a newborn's head."""
    first, second, third = (np.arange(side, dtype=np.float32) for side in grid.shape)
    columns = (grid.affine[:3] / brain.scale).astype(np.float32).reshape(3, 4, 1, 1, 1)
    points = columns[:, 2] * third + columns[:, 3] + columns[:, 1] * second[:, None]
    return (points + columns[:, 0] * first[:, None, None]).reshape(3, -1)
