"""Size and shape of the spinal cord in sections perpendicular to its centreline."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Shaped

from ankleseg.measures.centreline import centreline_of_mask, voxels_of
from ankleseg.volumes.geometry import Affine, anatomical_axis, axis_codes, bounding_box, spacing

REACH = 10.0  # mm below and above a slice, whose points of the centreline give its direction there
SOFT = 0.05  # a weight farther than this from both 0 and 1 makes a mask soft

Curve = Float[np.ndarray, " slices"]
Points = Float[np.ndarray, "points 3"]


@dataclass(frozen=True, eq=False)
class CordShape:
    """The cord slice by slice, from its lower end to its upper one; NaN where a slice between has no cord.

    Attributes:
        slices: index of the slice along the axis of the array nearest to superior–inferior.
        along_mm: distance along the centreline from the lowest slice.
        area_mm2: of the section perpendicular to the centreline; 0 where a slice between has no cord.
        right_left_mm, anterior_posterior_mm: width and thickness of the ellipse with the second moments of the section.
        eccentricity: of that ellipse, 0 for a circle.
        orientation_deg: from right to the long axis of that ellipse, −90 to 90, positive where its right end lies more
            anterior.
        solidity: share of the convex hull that is cord, in voxels.
        tilt_deg: between the centreline and the normal of the slice.
    """

    slices: Curve
    along_mm: Curve
    area_mm2: Curve
    right_left_mm: Curve
    anterior_posterior_mm: Curve
    eccentricity: Curve
    orientation_deg: Curve
    solidity: Curve
    tilt_deg: Curve

    def each_mm(self, step: float = 1.0) -> CordShape:
        """Interpolate linearly at even distances along the centreline, ``step`` mm apart from the lower end on."""
        places = np.arange(0, self.along_mm[-1] + 1e-6, step)
        curves = {field.name: getattr(self, field.name) for field in fields(self)}
        curves["orientation_deg"] = _unwrapped(self.orientation_deg)
        even = {name: _interpolated(places, self.along_mm, curve) for name, curve in curves.items()}
        even["orientation_deg"] = (even["orientation_deg"] + 90) % 180 - 90
        return CordShape(**even)


SHAPE_NAMES = tuple(field.name for field in fields(CordShape) if field.name not in ("slices", "along_mm"))


def cord_shape(mask: Shaped[np.ndarray, "x y z"], affine: Affine, centreline: Points | None = None) -> CordShape:
    """Measure a mask of the cord slice by slice, perpendicular to its centreline.

    The voxels of a slice are projected along the centreline onto the plane perpendicular to it, so that the area is the
    one in the slice times the cosine of the angle between the centreline and the normal of the slice. The direction of
    the centreline is the slope of a parabola through its points 10 mm below and above (Savitzky and Golay 1964). The
    ellipse is the one of the second moments of the projected voxels. Sections of a straight tube are exact at any
    angle; where the cord bends, a section is a mean over the thickness that the slice cuts.

    Args:
        mask: of the cord, or the share of it in each voxel, 0 to 1, which then is the weight of the voxel. Everything
            in a slice counts, pieces beside the cord too.
        affine: voxel to world; any order and directions of the axes.
        centreline: (N, 3) world mm; None takes that of the mask (where the share is at least one half).

    Raises:
        GeometryError: the mask is empty.

    Source: the correction of the area by the angle is that of the Spinal Cord Toolbox (De Leener 2017), which scales
    the two axes of the slice by one cosine each.
    """
    weights = np.nan_to_num(np.clip(np.asarray(mask, dtype=float), 0, 1))
    if centreline is None:
        centreline = centreline_of_mask(weights >= 0.5, affine).points
    axis = anatomical_axis(affine, "IS")
    held = np.flatnonzero((weights >= 0.5).any(axis=tuple(other for other in range(3) if other != axis)))
    if not len(held):
        held = np.flatnonzero(weights.any(axis=tuple(other for other in range(3) if other != axis)))
    rows = np.arange(held[0], held[-1] + 1)
    if axis_codes(affine)[axis] == "I":
        rows = rows[::-1]
    u, v = (affine[:3, other] for other in range(3) if other != axis)
    normal = np.cross(u, v) / np.linalg.norm(np.cross(u, v))
    tangents = tangents_in_slices(centreline, affine, rows)
    cosines = np.abs(tangents @ normal)
    thickness = abs(affine[:3, axis] @ normal)
    steps = thickness * (1 / cosines[1:] + 1 / cosines[:-1]) / 2
    slices = np.moveaxis(weights, axis, 0)[rows]
    areas = slices.sum(axis=(1, 2)) * np.linalg.norm(np.cross(u, v)) * cosines
    return CordShape(
        slices=rows.astype(float),
        along_mm=np.concatenate([[0.0], np.cumsum(steps)]),
        area_mm2=areas,
        **_ellipses(slices, np.array([u, v, affine[:3, axis]]), tangents),
        solidity=np.array([_solidity(plane >= 0.5) for plane in slices]),
        tilt_deg=np.degrees(np.arccos(np.clip(cosines, 0, 1))),
    )


def points_in_slices(
    points: Points, affine: Affine, rows: Shaped[np.ndarray, " slices"]
) -> Float[np.ndarray, "slices 3"]:
    """Where a centreline crosses slices of a grid, world mm; NaN in slices farther than half a slice from its ends.

    Args:
        points: (N, 3) world mm of the centreline.
        affine: of the grid.
        rows: indices of slices along the axis nearest to superior–inferior.
    """
    axis = anatomical_axis(affine, "IS")
    placed = voxels_of(points, affine, axis)
    crossed = np.column_stack([np.interp(rows, placed[:, axis], placed[:, other]) for other in range(3)])
    crossed[:, axis] = rows
    crossed[(rows < placed[0, axis] - 0.5) | (rows > placed[-1, axis] + 0.5)] = np.nan
    return crossed @ affine[:3, :3].T + affine[:3, 3]


def tangents_in_slices(
    points: Points, affine: Affine, rows: Shaped[np.ndarray, " slices"]
) -> Float[np.ndarray, "slices 3"]:
    """Unit vectors along a centreline, upwards, where it crosses slices; beyond its ends those of its ends.

    Args:
        points, affine, rows: as in `points_in_slices`.
    """
    from scipy.signal import savgol_filter

    axis = anatomical_axis(affine, "IS")
    upwards = affine[:3, axis] * (1 if axis_codes(affine)[axis] == "S" else -1)
    placed = voxels_of(points, affine, axis)[:, axis]
    own = np.arange(np.ceil(placed[0] - 0.5), np.floor(placed[-1] + 0.5) + 1)
    if len(own) < 3:
        return np.tile(upwards / np.linalg.norm(upwards), (len(rows), 1))
    window = 2 * max(1, round(REACH / spacing(affine)[axis])) + 1
    window = min(window, len(own) - 1 + len(own) % 2)
    crossed = points_in_slices(points, affine, own)
    slopes = savgol_filter(crossed, window, polyorder=2, deriv=1, axis=0)
    slopes = np.column_stack([np.interp(rows, own, slope) for slope in slopes.T])
    slopes *= np.sign(slopes @ upwards)[:, None]
    return slopes / np.linalg.norm(slopes, axis=1, keepdims=True)


def _ellipses(
    slices: Float[np.ndarray, "slices rows columns"],
    sides: Float[np.ndarray, "3 axes=3"],
    tangents: Float[np.ndarray, "slices 3"],
) -> dict[str, Curve]:
    """Of the second moments of each slice in the plane perpendicular to the centreline.

    Centres of voxels inside an outline have its moments on average. Shares of voxels have those of the outline blurred
    by a voxel, whose variance is a twelfth of its squared sides.

    Args:
        slices: weights.
        sides: of a voxel in the world: along rows, along columns, across slices.
        tangents: of the centreline.
    """
    right = np.array([1.0, 0, 0]) - tangents[:, :1] * tangents
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    forwards = np.cross(tangents, right)
    z, i, j = np.nonzero(slices)
    weight = slices[z, i, j]
    within = np.outer(i, sides[0]) + np.outer(j, sides[1])
    a, b = (np.einsum("nk,nk->n", within, direction[z]) for direction in (right, forwards))

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(z, weight * values, len(slices)) / total

    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.bincount(z, weight, len(slices))
        blur = ((weight > SOFT) & (weight < 1 - SOFT)).any() / 12

        def moment(p: np.ndarray, q: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return mean(p * q) - mean(p) * mean(q) - blur * ((x @ sides.T) * (y @ sides.T)).sum(axis=1)

        aa, bb, ab = moment(a, a, right, right), moment(b, b, forwards, forwards), moment(a, b, right, forwards)
        spread = np.hypot((aa - bb) / 2, ab)
        long, short = (aa + bb) / 2 + spread, np.maximum((aa + bb) / 2 - spread, 0)
        return {
            "right_left_mm": 4 * np.sqrt(np.maximum(aa, 0)),
            "anterior_posterior_mm": 4 * np.sqrt(np.maximum(bb, 0)),
            "eccentricity": np.sqrt(np.maximum(1 - short / long, 0)),
            "orientation_deg": np.degrees(np.arctan2(2 * ab, aa - bb)) / 2,
        }


def _solidity(plane: np.ndarray) -> float:
    """Of the voxel centres, so that a disc has 1; convexity does not change by projection, so the slice will do."""
    from skimage.morphology import convex_hull_image

    if not plane.any():
        return np.nan
    places = np.argwhere(plane)
    if np.linalg.matrix_rank(places - places[0]) < 2:  # a line has no hull
        return 1.0
    inside = plane[bounding_box(plane)]
    return float(inside.sum() / convex_hull_image(inside, offset_coordinates=False).sum())


def _interpolated(places: np.ndarray, along: np.ndarray, curve: np.ndarray) -> np.ndarray:
    known = ~np.isnan(curve)
    return np.interp(places, along[known], curve[known])


def _unwrapped(degrees: np.ndarray) -> np.ndarray:
    """Without jumps by 180°, which are the same axis."""
    result, known = degrees.copy(), ~np.isnan(degrees)
    result[known] = np.unwrap(degrees[known], period=180)
    return result
