"""The spinal cord by an active contour around its centreline, one contour a slice, alike in neighbouring slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from ankleseg.errors import GeometryError
from ankleseg.measures.cord_shape import points_in_slices
from ankleseg.volumes.geometry import Affine, anatomical_axis, spacing

ANGLES = 32
STEP = 0.25  # mm between radii
LEAST = 1.5  # mm, the smallest radius
STEEPEST = 3  # steps of the radius from one angle to the next
STRONG = 95  # percentile of the edges in a slice that counts as a full edge
ROUNDS = 2  # the contours are drawn from the centreline, then from their own centres


@dataclass(frozen=True, kw_only=True)
class Snakes:
    """The outline of strongest edge around the centreline in each slice.

    The image is sampled on rays around the centreline. Edges are its derivative along the rays, relative to the mean
    of the slice, which takes out that coils hear less of what is far; those of the wrong sign do not count. They are
    averaged over neighbouring slices, so that the contours make one tube. In each slice the closed contour of the
    strongest edges and the least bending is found by dynamic programming (Amini, Weymouth and Jain 1990): the best of
    all, from no start but the centreline. The contours are drawn again around their own centres. scikit-image's
    ``morphological_geodesic_active_contour`` leaks or stops short by its threshold and number of steps, and took ten
    times as long.

    Args:
        bright_outside: the fluid around the cord is brighter than the cord, as in T2-weighted scans.
        largest_mm: radius that no contour exceeds.
        stiffness: cost of a change of the radius by 1 mm from one of 32 angles to the next, squared; a full edge is 1.
        continuity_mm: standard deviation along the slices over which edges are averaged.
        blur_mm: standard deviation of the blur in the slices.

    Source: a tube that deforms to edges from a centreline is the idea of PropSeg (De Leener, Kadoury and Cohen-Adad,
    NeuroImage 2014); its mesh and its steps are not.
    """

    bright_outside: bool = True
    largest_mm: float = 10.0
    stiffness: float = 1.0
    continuity_mm: float = 3.0
    blur_mm: float = 0.5

    def __call__(
        self, image: Shaped[np.ndarray, "x y z"], affine: Affine, centreline: Float[np.ndarray, "points 3"]
    ) -> Bool[np.ndarray, "x y z"]:
        """Return a mask of the cord.

        Args:
            image: intensities of one channel.
            affine: voxel to world.
            centreline: world mm; nothing is segmented beyond its ends.

        Raises:
            GeometryError: the centreline crosses no slice of the image inside it.
        """
        from scipy.ndimage import gaussian_filter, gaussian_filter1d
        from skimage.draw import polygon2mask

        axis = anatomical_axis(affine, "IS")
        slices = np.moveaxis(np.nan_to_num(np.asarray(image, dtype=np.float32)), axis, 0)
        mm = np.delete(spacing(affine), axis)
        rows, centres = _inside(centreline, affine, slices.shape)
        slices = gaussian_filter(slices[rows], (0, *(self.blur_mm / mm)))
        for _ in range(ROUNDS):
            edges = self._edges(slices, centres, mm, spacing(affine)[axis])
            radii = LEAST + STEP * best_contours(edges, self.stiffness * STEP**2)
            outlines = centres[:, None] + radii[..., None] * directions() / mm
            centres = gaussian_filter1d(_centroids(outlines), self.continuity_mm / spacing(affine)[axis], axis=0)
        masks = np.zeros(np.moveaxis(image, axis, 0).shape, dtype=bool)
        masks[rows] = [polygon2mask(masks.shape[1:], outline) for outline in outlines]
        return np.ascontiguousarray(np.moveaxis(masks, 0, axis))

    def _edges(
        self, slices: np.ndarray, centres: np.ndarray, mm: np.ndarray, thickness: float
    ) -> Float[np.ndarray, "slices angles radii"]:
        from scipy.ndimage import gaussian_filter, map_coordinates

        radii = np.arange(LEAST, self.largest_mm + STEP / 2, STEP)
        reach = directions()[:, None] * radii[:, None]
        places = centres[:, None, None] + reach / mm
        numbers = np.broadcast_to(np.arange(len(slices))[:, None, None], places.shape[:-1])
        rays = map_coordinates(slices, [numbers, places[..., 0], places[..., 1]], order=1, mode="nearest")
        edges = np.gradient(rays, STEP, axis=2) * (1 if self.bright_outside else -1)
        edges /= np.maximum(np.abs(rays).mean(axis=(1, 2), keepdims=True), 1e-6)
        widths = (self.continuity_mm / thickness, 1.0, 0.0)
        edges = np.maximum(gaussian_filter(edges, widths, mode=("nearest", "wrap", "nearest")), 0)
        full = np.percentile(edges, STRONG, axis=(1, 2), keepdims=True)
        return np.minimum(edges / np.maximum(full, 1e-6), 1.5)


def best_contours(
    edges: Float[np.ndarray, "slices angles radii"], stiffness: float
) -> Integer[np.ndarray, "slices angles"]:
    """Find the closed contour of each slice that maximises Σ edges − ``stiffness`` · Σ (change of radius)².

    The radius changes by three steps at most between neighbouring angles. The rays are gone around twice, and the half
    turns at either end, where the contour need not be closed, are left out (Amini et al. 1990 try each start instead).

    Returns:
        Index of the radius at each angle.
    """
    count, angles, radii = edges.shape
    shifts = np.arange(-STEEPEST, STEEPEST + 1)
    costs, came = np.zeros((count, radii)), []
    for angle in range(2 * angles):
        around = np.pad(costs, ((0, 0), (STEEPEST, STEEPEST)), constant_values=np.inf)
        before = np.stack([around[:, STEEPEST + d : STEEPEST + d + radii] + stiffness * d**2 for d in shifts])
        came.append(before.argmin(axis=0))
        costs = before.min(axis=0) - edges[:, angle % angles]
    everyone = np.arange(count)
    path = np.empty((2 * angles, count), dtype=np.intp)
    path[-1] = costs.argmin(axis=1)
    for angle in range(2 * angles - 1, 0, -1):
        path[angle - 1] = path[angle] + shifts[came[angle][everyone, path[angle]]]
    half = angles // 2
    return np.roll(path[half : half + angles], half, axis=0).T


def directions() -> Float[np.ndarray, "angles 2"]:
    """Unit vectors of the rays."""
    turned = 2 * np.pi * np.arange(ANGLES) / ANGLES
    return np.column_stack([np.cos(turned), np.sin(turned)])


def _inside(centreline: np.ndarray, affine: Affine, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The slices that the centreline crosses inside the image, and where."""
    axis = anatomical_axis(affine, "IS")
    rows = np.arange(shape[0])
    inverse = np.linalg.inv(affine)
    voxels = points_in_slices(centreline, affine, rows) @ inverse[:3, :3].T + inverse[:3, 3]
    centres = np.delete(voxels, axis, axis=1)
    known = np.all((centres >= -0.5) & (centres <= np.array(shape[1:]) - 0.5), axis=1)  # not where it is NaN
    if not known.any():
        raise GeometryError("the centreline does not cross the image", mend="give the one of this scan, in world mm")
    return rows[known], centres[known]


def _centroids(outlines: Float[np.ndarray, "slices angles 2"]) -> Float[np.ndarray, "slices 2"]:
    """Of the areas inside closed outlines."""
    x, y = np.moveaxis(outlines - outlines[:, :1], -1, 0)
    next_x, next_y = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    cross = x * next_y - next_x * y
    whole = 3 * cross.sum(axis=1)
    moments = np.stack([((x + next_x) * cross).sum(axis=1), ((y + next_y) * cross).sum(axis=1)], axis=1)
    return outlines[:, 0] + moments / whole[:, None]
