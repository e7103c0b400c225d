"""Smooth implicit shapes: functions that give the signed distance (mm, negative inside) of points to a surface.

A `Shape` is built once (all randomness is drawn then) and evaluated as often as needed. Distances are exact for
capsules and boxes and first-order for ellipsoids and columns, which is enough for shells a millimetre thick. The
distance formulas and the polynomial smooth minimum are the common ones of implicit modelling (Hart 1996; Quilez,
"Distance functions" and "Smooth minimum").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "3 n"]
Distances = Float[np.ndarray, "n"]
Vector = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Shape:
    """A signed distance with the box that holds the shape.

    Attributes:
        distance: maps points (3, n) in mm to signed distances (n,) in mm.
        low, high: corners of the bounding box, mm.
    """

    distance: Callable[[np.ndarray], np.ndarray]
    low: np.ndarray
    high: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.distance(points)


def _column_vector(vector: Vector) -> np.ndarray:
    return np.asarray(vector, np.float32).reshape(3, 1)


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("in,in->n", vectors, vectors))


def ellipsoid(centre: Vector, radii: Vector) -> Shape:
    """Ellipsoid with its axes along the coordinate axes."""
    middle, radius = _column_vector(centre), _column_vector(radii)

    def distance(points: np.ndarray) -> np.ndarray:
        scaled = (points - middle) / radius
        return _ellipse_distance(scaled, scaled / radius)

    return Shape(distance, (middle - radius).ravel(), (middle + radius).ravel())


def _ellipse_distance(scaled: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    level = _norm(scaled)
    return level * (level - 1.0) / np.maximum(_norm(gradient), 1e-6)


def capsule(start: Vector, end: Vector, start_radius: float, end_radius: float | None = None) -> Shape:
    """Segment with round ends, its radius growing linearly from one end to the other."""
    first, last = _column_vector(start), _column_vector(end)
    # Python floats: a numpy float64 would turn every float32 array it meets into float64.
    start_radius, other_radius = float(start_radius), float(start_radius if end_radius is None else end_radius)
    along = last - first
    squared_length = max(float((along**2).sum()), 1e-6)

    def distance(points: np.ndarray) -> np.ndarray:
        offset = points - first
        fraction = np.clip((along * offset).sum(0) / squared_length, 0.0, 1.0)
        radius = start_radius + (other_radius - start_radius) * fraction
        return _norm(offset - along * fraction) - radius

    low = np.minimum(first.ravel() - start_radius, last.ravel() - other_radius)
    high = np.maximum(first.ravel() + start_radius, last.ravel() + other_radius)
    return Shape(distance, low, high)


def rounded_box(centre: Vector, half_sides: Vector, rounding: float) -> Shape:
    """Box along the coordinate axes, its edges rounded; `half_sides` include the rounding."""
    middle, half = _column_vector(centre), _column_vector(half_sides)
    rounding = float(min(rounding, half.min()))

    def distance(points: np.ndarray) -> np.ndarray:
        beyond = np.abs(points - middle) - (half - rounding)
        return _norm(np.maximum(beyond, 0.0)) + np.minimum(beyond.max(0), 0.0) - rounding

    return Shape(distance, (middle - half).ravel(), (middle + half).ravel())


def half_space(point: Vector, outward: Vector) -> Shape:
    """Everything behind the plane through `point` with the normal `outward`; its box is unbounded."""
    normal = _column_vector(outward)
    normal = normal / np.linalg.norm(normal)
    origin = _column_vector(point)
    everywhere = np.full(3, np.inf)
    return Shape(lambda points: (normal * (points - origin)).sum(0), -everywhere, everywhere)


def column(axis: int, heights: Vector, centres: np.ndarray, radii: np.ndarray, ripple: Vector = (0, 0, 0)) -> Shape:
    """Body with elliptic cross-sections that change smoothly along a coordinate axis: a shaft, a leg, a muscle belly.

    Args:
        axis: coordinate axis it runs along (0, 1 or 2); the two others span the sections, in their order.
        heights: increasing positions of the knots on that axis, mm.
        centres: (knots, 2) centre of the section at each knot, mm.
        radii: (knots, 2) half axes of the section at each knot, mm.
        ripple: (lobes, depth, phase): the radius is scaled by 1 + depth·cos(lobes·angle − phase), which makes a shaft
            triangular.
    """
    from scipy.interpolate import PchipInterpolator

    knots = np.asarray(heights, float)
    profile = np.concatenate([np.asarray(centres, float), np.asarray(radii, float)], axis=1)
    # A table, because evaluating the spline at every point would cost more than all the rest.
    bottom, top = float(knots[0]), float(knots[-1])
    table = PchipInterpolator(knots, profile)(np.linspace(bottom, top, 257)).astype(np.float32)
    across = [other for other in range(3) if other != axis]
    lobes, depth, phase = (float(value) for value in ripple)

    def distance(points: np.ndarray) -> np.ndarray:
        height = points[axis]
        place = np.clip((height - bottom) * (256 / (top - bottom)), 0, 255.99)
        index = place.astype(np.int32)
        fraction = place - index.astype(np.float32)
        centre_u, centre_v, radius_u, radius_v = (
            values[index] + (values[index + 1] - values[index]) * fraction for values in table.T.copy()
        )
        offset = np.stack([points[across[0]] - centre_u, points[across[1]] - centre_v])
        radius = np.stack([radius_u, radius_v])
        if depth:
            radius *= 1.0 + depth * np.cos(lobes * np.arctan2(offset[1], offset[0]) - phase)
        scaled = offset / radius
        beside = _ellipse_distance(scaled, scaled / radius)
        beyond = np.maximum(bottom - height, height - top)
        return smooth_maximum(beside, beyond, 3.0)

    low, high = np.empty(3), np.empty(3)
    low[axis], high[axis] = bottom, top
    reach = np.asarray(radii, float) * (1 + abs(depth))
    low[across] = (np.asarray(centres, float) - reach).min(0)
    high[across] = (np.asarray(centres, float) + reach).max(0)
    return Shape(distance, low, high)


def smooth_minimum(first: np.ndarray, second: np.ndarray, blend: float) -> np.ndarray:
    """Minimum whose crease is rounded over `blend` mm."""
    if blend <= 0:
        return np.minimum(first, second)
    overlap = np.abs(first - second)
    np.subtract(blend, overlap, out=overlap)
    np.maximum(overlap, 0.0, out=overlap)
    overlap *= overlap
    overlap *= 0.25 / blend
    return np.minimum(first, second) - overlap


def smooth_maximum(first: np.ndarray, second: np.ndarray, blend: float) -> np.ndarray:
    """Maximum whose crease is rounded over `blend` mm."""
    return -smooth_minimum(-first, -second, blend)


def union(*shapes: Shape, blend: float = 0.0) -> Shape:
    """Shapes grown together, the seam filled over `blend` mm."""

    def distance(points: np.ndarray) -> np.ndarray:
        result = shapes[0](points)
        for shape in shapes[1:]:
            result = smooth_minimum(result, shape(points), blend)
        return result

    low = np.min([shape.low for shape in shapes], axis=0) - blend / 4
    high = np.max([shape.high for shape in shapes], axis=0) + blend / 4
    return Shape(distance, low, high)


def intersection(first: Shape, second: Shape, blend: float = 0.0) -> Shape:
    """What two shapes share, the edge rounded over `blend` mm."""
    return Shape(
        lambda points: smooth_maximum(first(points), second(points), blend),
        np.maximum(first.low, second.low),
        np.minimum(first.high, second.high),
    )


def carved(shape: Shape, tool: Shape, gap: float, blend: float = 1.0) -> Shape:
    """`shape` without what comes nearer than `gap` mm to `tool`: two bones that fit each other across a joint space.

    Beyond 4 mm from `shape` its distance is left as it is, so that `tool` is evaluated only where it matters.
    """

    def distance(points: np.ndarray) -> np.ndarray:
        values = shape(points)
        near = np.flatnonzero(values < 4.0)
        values[near] = smooth_maximum(values[near], gap - tool(points[:, near]), blend)
        return values

    return Shape(distance, shape.low, shape.high)


def displaced(shape: Shape, bumps: Callable[[np.ndarray], np.ndarray], reach: float) -> Shape:
    """`shape` with its surface moved outwards by ``bumps(points)`` mm, at most `reach`."""
    return Shape(lambda points: shape(points) - bumps(points), shape.low - reach, shape.high + reach)


def moved(shape: Shape, offset: Vector) -> Shape:
    """`shape` shifted by `offset` mm."""
    shift = _column_vector(offset)
    return Shape(lambda points: shape(points - shift), shape.low + shift.ravel(), shape.high + shift.ravel())


def tube(points: np.ndarray, radius: float | np.ndarray) -> list[Shape]:
    """Capsules along a polyline (n, 3), one a segment so that each is evaluated in its own small box."""
    radii = np.broadcast_to(np.asarray(radius, float), len(points))
    return [
        capsule(points[index], points[index + 1], float(radii[index]), float(radii[index + 1]))
        for index in range(len(points) - 1)
    ]
