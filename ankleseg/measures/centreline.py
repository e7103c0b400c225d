"""The axis of the spinal cord: found in a map of probabilities, taken from a mask, smoothed, compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ankleseg.errors import GeometryError
from ankleseg.measures.distance_transform import squared_distance_transform
from ankleseg.volumes.geometry import Affine, anatomical_axis, axis_codes, spacing

BLUR = 1.5  # mm, standard deviation: what is left of the probability is highest in the middle of the cord
EVIDENCE = 0.3  # blurred probability above which a slice is rather cord than not: the middle of a disc of 2.5 mm
END = 2.5  # mm of full probability that an end inside the image costs: at least as much must speak for it
SLOPE = 0.4  # cost of a slope of 1, in mm of full probability for each mm
NEAR = 8.0  # mm around the path that count for the centre of the cord in a slice
SMOOTH = 20.0  # of the published spline

Points = Float[np.ndarray, "points 3"]


@dataclass(frozen=True)
class Centreline:
    """The axis of the cord: a point for each slice, from its lower end to its upper one.

    Attributes:
        points: (N, 3) world mm.
        ends: whether the lower and the upper end of the cord are in the image, or the image ends first.
    """

    points: Points
    ends: tuple[bool, bool] = (False, False)


def find_centreline(probability: Float[np.ndarray, "x y z"], affine: Affine, smooth: float = SMOOTH) -> Centreline:
    """Find the axis of the cord in a map of its probability, and where the cord begins and ends.

    The probability is blurred in the slices, perpendicular to the axis of the array nearest to superior–inferior. The
    best path through the blurred map and its two ends are found together, see `optimal_path`. In each slice the point
    is moved to the centre of the probability around the path; a spline smooths the points, see `smoothed`.

    Args:
        probability: of the cord, 0 to 1.
        affine: voxel to world.
        smooth: of `smoothed`.

    Raises:
        GeometryError: there is no cord in the map.
    """
    from scipy.ndimage import gaussian_filter1d

    slices, axes = slices_from_below(probability, affine)
    mm = spacing(affine)[list(axes)]
    blurred = np.nan_to_num(np.asarray(slices, dtype=np.float32))
    for axis in (1, 2):
        blurred = gaussian_filter1d(blurred, BLUR / mm[axis], axis=axis, mode="constant", truncate=3.0)
    step = np.maximum(np.floor(1 / mm[1:] + 1e-6).astype(int), 1)  # a pixel of 1 mm is fine enough for what was blurred
    room = _room(blurred, step)
    costs = {"weight": SLOPE / mm[0], "evidence": EVIDENCE * mm[0], "end": END}
    path = optimal_path(blurred[:, *room] * mm[0], mm[1:] * step, **costs)
    if path is None:
        raise GeometryError("no cord was found", mend="look at the scan, or give centreline=FILE")
    first, found = path
    found = found * step + [part.start for part in room]
    rows = np.arange(first, first + len(found))
    centres = np.array([_centre_near(slices[z], centre, mm[1:]) for z, centre in zip(rows, found, strict=True)])
    points = _in_world(np.column_stack([rows, centres]), axes, probability.shape, affine)
    ends = (first > 0, first + len(found) < len(slices))
    return Centreline(smoothed(points, affine, smooth), ends)


def centreline_of_mask(mask: Bool[np.ndarray, "x y z"], affine: Affine, smooth: float | None = SMOOTH) -> Centreline:
    """The axis of a mask of the cord: its centre in each slice, smoothed.

    Slices without the mask between others get a point of the spline, or between their neighbours; slices beyond it
    none.

    Args:
        mask: of the cord, or of points of its axis.
        affine: voxel to world.
        smooth: of `smoothed`; None leaves the centres where they are.

    Raises:
        GeometryError: the mask is empty.
    """
    slices, axes = slices_from_below(mask, affine)
    held = np.flatnonzero(slices.any(axis=(1, 2)))
    if not len(held):
        raise GeometryError("the mask of the cord is empty", mend="draw it, or leave the case out")
    centres = np.array([np.argwhere(slices[z]).mean(axis=0) for z in held])
    rows = np.arange(held[0], held[-1] + 1)
    filled = np.column_stack([rows, *(np.interp(rows, held, centres[:, axis]) for axis in (0, 1))])
    points = _in_world(filled, axes, mask.shape, affine)
    ends = (bool(held[0] > 0), bool(held[-1] < len(slices) - 1))
    return Centreline(points if smooth is None else smoothed(points, affine, smooth), ends)


def optimal_path(
    heat: Float[np.ndarray, "slices u v"],
    mm: Float[np.ndarray, "2"],
    weight: float,
    *,
    evidence: float | None = None,
    end: float = 0.0,
) -> tuple[int, Float[np.ndarray, "found 2"]] | None:
    """The path with a point in each slice that minimises −Σ h(c_z) + weight · Σ ‖c_z − c_{z−1}‖², exactly.

    By dynamic programming from slice to slice; the best predecessors of all voxels of a slice are found by the
    generalised distance transform (Felzenszwalb and Huttenlocher 2012), as in OptiC (Gros 2018).

    With ``evidence`` the path may begin and end in any slice: each slice of it costs ``evidence`` besides, slices
    outside cost nothing, and ``end`` is paid for each end that is not at the border. So the ends are those of the one
    stretch that explains the whole map best; what is missing in a few slices between others does not end it.

    Args:
        heat: a map for each slice.
        mm: spacing along u and v.
        weight: of a squared step, 1/mm².
        evidence: heat at which a slice may as well be outside; None: the path goes through all slices.
        end: cost of an end inside the image.

    Returns:
        The first slice and the points (u, v) in voxels from there on; None where no path costs less than none.
    """
    count, size = len(heat), heat.shape[1:]
    costs = np.zeros(size)
    came: list[tuple[np.ndarray, np.ndarray]] = []
    best: tuple[float, int, int] | None = None  # cost, slice and voxel of the end
    for z in range(count):
        begun = np.full(size, 0.0 if z == 0 else end if evidence is not None else np.inf)
        if z:
            moved, where = squared_distance_transform(costs, weight * np.asarray(mm, dtype=float) ** 2)
            before, begin = np.minimum(moved, begun), begun < moved
        else:
            before, begin, where = begun, np.ones(size, dtype=bool), np.zeros(size, dtype=np.intp)
        costs = before - heat[z] + (evidence or 0.0)
        came.append((begin, where))
        if z == count - 1 or evidence is not None:
            total = float(costs.min()) + (end if z < count - 1 else 0.0)
            if best is None or total < best[0]:
                best = total, z, int(costs.argmin())
    if best is None or (evidence is not None and best[0] >= 0):
        return None
    _, z, voxel = best
    path = [voxel]
    while not came[z][0].flat[voxel]:
        voxel = int(came[z][1].flat[voxel])
        z -= 1
        path.append(voxel)
    return z, np.column_stack(np.unravel_index(path[::-1], size)).astype(float)


def smoothed(points: Points, affine: Affine, smooth: float = SMOOTH) -> Points:
    """Points of consecutive slices on a cubic spline along the slices.

    The sum of squared residuals of each coordinate is ``smooth`` · spacing / 3 at most, in mm², as published (with as
    many points as slices): ``smooth`` of 20 leaves 0.18 mm a point of 216 slices.

    Args:
        points: (N, 3) world mm, at even distances along the slices.
        affine: whose axis nearest to superior–inferior the slices follow.
        smooth: 0 passes through all points.

    Source: Spinal Cord Toolbox (De Leener 2017), by FITPACK (Dierckx) in SciPy.
    """
    from scipy.interpolate import splev, splrep

    if len(points) < 3:
        return points
    axis = anatomical_axis(affine, "IS")
    directions = affine[:3, :3] / spacing(affine)
    places = (points - points[0]) @ np.linalg.inv(directions).T
    order = np.argsort(places[:, axis])
    along = places[order, axis]
    pz = float(np.median(np.diff(along)))
    for across in (other for other in range(3) if other != axis):
        spline = splrep(along, places[order, across], s=smooth * pz / 3, k=min(3, len(points) - 1))
        places[order, across] = splev(along, spline)
    return points[0] + places @ directions.T


@dataclass(frozen=True)
class CentrelineError:
    """How far a centreline lies from a reference.

    Attributes:
        mean_mm, largest_mm: distance in the slices that both have.
        within: share of the slices of the reference in which it is 1.5 mm at most; a slice without a point is missed.
        lower_mm, upper_mm: of the ends along the axis, positive where the centreline goes beyond the reference.
    """

    mean_mm: float | None
    largest_mm: float | None
    within: float
    lower_mm: float
    upper_mm: float


def centreline_error(
    found: Float[np.ndarray, "found 3"],
    reference: Float[np.ndarray, "true 3"],
    affine: Affine,
    tolerance: float = 1.5,
) -> CentrelineError:
    """Compare a centreline with a reference, slice by slice of a grid.

    Args:
        found, reference: (N, 3) world mm.
        affine: of the grid whose slices are counted.
        tolerance: mm.
    """
    axis = anatomical_axis(affine, "IS")
    placed, true = (voxels_of(points, affine, axis) for points in (found, reference))
    mm = spacing(affine)
    rows = np.arange(np.ceil(true[0, axis] - 1e-6), np.floor(true[-1, axis] + 1e-6) + 1)
    others = [other for other in range(3) if other != axis]
    both = (rows >= placed[0, axis] - 0.5) & (rows <= placed[-1, axis] + 0.5)
    squares = [
        (mm[other] * (np.interp(rows, *placed[:, [axis, other]].T) - np.interp(rows, *true[:, [axis, other]].T))) ** 2
        for other in others
    ]
    distances = np.sqrt(np.sum(squares, axis=0))
    before, after = (true[0, axis] - placed[0, axis]) * mm[axis], (placed[-1, axis] - true[-1, axis]) * mm[axis]
    lower, upper = (before, after) if _points_up(affine, axis) else (after, before)
    some = bool(both.any())
    return CentrelineError(
        mean_mm=float(distances[both].mean()) if some else None,
        largest_mm=float(distances[both].max()) if some else None,
        within=float((both & (distances <= tolerance)).sum() / max(len(rows), 1)),
        lower_mm=float(lower),
        upper_mm=float(upper),
    )


def voxels_of(points: Points, affine: Affine, axis: int) -> Points:
    """Points in voxels of a grid, in the order of its slices along an axis."""
    inverse = np.linalg.inv(affine)
    voxels = points @ inverse[:3, :3].T + inverse[:3, 3]
    return voxels[np.argsort(voxels[:, axis], kind="stable")]


def slices_from_below(volume: Shaped[np.ndarray, "x y z"], affine: Affine) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The slices perpendicular to the axis nearest to superior–inferior, the lowest first, and the axes of the array
    that theirs are."""
    axis = anatomical_axis(affine, "IS")
    slices = np.moveaxis(volume, axis, 0)
    others = [other for other in range(3) if other != axis]
    return slices if _points_up(affine, axis) else slices[::-1], (axis, others[0], others[1])


def _points_up(affine: Affine, axis: int) -> bool:
    return axis_codes(affine)[axis] == "S"


def _in_world(
    places: Float[np.ndarray, "n 3"], axes: tuple[int, int, int], shape: tuple[int, ...], affine: Affine
) -> Points:
    """From voxels of slices counted from below to the world."""
    voxels = np.empty_like(places)
    voxels[:, list(axes)] = places
    if not _points_up(affine, axes[0]):
        voxels[:, axes[0]] = shape[axes[0]] - 1 - voxels[:, axes[0]]
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def _room(blurred: np.ndarray, step: np.ndarray) -> tuple[slice, slice]:
    """Where there is any heat, every so many voxels; no best path leaves it, as its nearest one inside costs less."""
    seen = blurred.max(axis=0) > 1e-3
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(rows[0], rows[-1] + 1, step[0]), slice(columns[0], columns[-1] + 1, step[1])


def _centre_near(plane: np.ndarray, centre: np.ndarray, mm: np.ndarray) -> np.ndarray:
    """The centre of a map around a point; the point where the map is empty there."""
    lowest = np.maximum(np.floor(centre - NEAR / mm), 0).astype(int)
    highest = np.ceil(centre + NEAR / mm).astype(int) + 1
    inside = np.asarray(plane[lowest[0] : highest[0], lowest[1] : highest[1]], dtype=np.float64)
    u, v = np.meshgrid(*(np.arange(n) + first for n, first in zip(inside.shape, lowest, strict=True)), indexing="ij")
    inside = inside * (((u - centre[0]) * mm[0]) ** 2 + ((v - centre[1]) * mm[1]) ** 2 <= NEAR**2)
    total = inside.sum()
    return centre if total < 0.5 else np.array([(inside * u).sum(), (inside * v).sum()]) / total
