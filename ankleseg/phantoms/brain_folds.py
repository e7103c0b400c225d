"""Folds of a cortex: a pattern of gyri and sulci that runs over a surface, and sheets that go down from it.

The pattern grows as stripes do in reaction and diffusion (Turing 1952; as a model of cortical folding: Cartwright
2002, Lefèvre and Mangin 2010): noise is band-passed and saturated over and over, and kept the same along the normals of
the surface, so that the stripes become sheets that stand on it. The valleys are the sulci, a wavelength apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.volumes.geometry import bounding_box

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Array = Float[np.ndarray, "x y z"]

STEPS = 14
ALONG = (-4.5, -2.2, 0.0, 2.2, 4.5)  # mm along the normal over which the pattern is made the same
DEEPEST = 20.0  # mm below the surface to which the pattern grows


def grow_folds(
    noise: Array, depth: Array, wavelength: float, spacing: float, forcing: Array, steps: int = STEPS
) -> Array:
    """Grow a pattern of gyri (positive) and sulci (negative) from noise.

    Args:
        noise: where it starts from.
        depth: distance below the surface, mm, negative above; its gradient is the normal along which the pattern is the
            same.
        wavelength: distance of neighbouring sulci, mm.
        spacing: of the grid, mm.
        forcing: added at each step: negative where a sulcus is wanted.
    """
    folded = (depth > -2 * spacing) & (depth < DEEPEST)
    box = bounding_box(folded, 2)
    folded, forcing = folded[box], forcing[box]
    along = _mean_along(_normals(depth[box], spacing), folded, spacing)
    pattern = _bandpass(noise[box], wavelength, spacing)
    for _ in range(steps):
        pattern = np.tanh(1.6 * pattern / pattern[folded].std() + forcing)
        pattern[folded] = along @ pattern.ravel()
        pattern = _bandpass(pattern, wavelength, spacing)
    result = np.zeros_like(noise)
    result[box] = pattern / pattern[folded].std()
    return result


def _mean_along(normals: Float[np.ndarray, "3 x y z"], where: Bool[np.ndarray, "x y z"], spacing: float) -> csr_array:
    """Matrix from all voxels to the mean along the normal through each of some voxels, by trilinear interpolation."""
    from scipy.sparse import csr_array

    start = np.argwhere(where).astype(np.float32)
    direction = normals[:, where].T / np.float32(spacing)
    side = np.array(where.shape)
    columns, weights = [], []
    for offset in ALONG:
        place = np.clip(start + np.float32(offset) * direction, 0, side - 1.001)
        low = place.astype(np.int32)
        fraction = place - low
        for corner in np.ndindex(2, 2, 2):
            columns.append(np.ravel_multi_index((low + corner).T, where.shape))
            weights.append(np.where(corner, fraction, 1 - fraction).prod(1) / len(ALONG))
    taps = len(columns)
    rows = np.arange(0, taps * len(start) + 1, taps)
    entries = np.stack(weights, 1).astype(np.float32).ravel(), np.stack(columns, 1).ravel(), rows
    return csr_array(entries, shape=(len(start), where.size))


def valley_distance(pattern: Array, depth: Array, wavelength: float, spacing: float) -> Array:
    """Distance in mm to the nearest valley of a pattern of stripes, from their local phase along the surface.

    Args:
        pattern, depth, wavelength, spacing: as in `grow_folds`, on a finer grid.
    """
    slope = np.gradient(pattern, spacing)
    normal = np.gradient(depth, spacing)
    squared = sum(component**2 for component in slope)
    outward = sum(one * other for one, other in zip(slope, normal, strict=True))
    length = np.maximum(sum(component**2 for component in normal), 0.1)
    wave_number = np.float32(2 * np.pi / wavelength)
    steepness = np.sqrt(np.maximum(squared - outward**2 / length, 0)) / wave_number
    return np.arctan2(steepness, -pattern) / wave_number


def ended_sheet(beside: Array, below: Array) -> Array:
    """Distance to a sheet from the distance beside it and that below its lower edge, both positive outside."""
    outside = np.hypot(np.maximum(beside, 0), np.maximum(below, 0))
    return outside + np.minimum(np.maximum(beside, below), 0)


def distance_inside(level: Array, spacing: float) -> Array:
    """Distance in mm from each voxel within a body to its surface, good to half a voxel and mostly a tenth; 0 outside.

    Within a voxel and a half of the surface it is that of the level; deeper, the nearest voxel outside is found, and
    from there the foot of the perpendicular on the surface.

    Args:
        level: implicit function of the body, negative inside, and near its surface about a distance.
    """
    from scipy.ndimage import distance_transform_edt

    inside = level < 0
    nearest = distance_transform_edt(inside, sampling=spacing, return_distances=False, return_indices=True)
    found = tuple(index[inside] for index in nearest)
    slope = np.stack([component[found] for component in np.gradient(level, spacing)])
    height = np.clip(level[found], 0, 2 * spacing) / np.maximum((slope**2).sum(0), 0.25)
    offset = [
        np.float32(spacing) * (here - there).astype(np.float32)
        for here, there in zip(np.nonzero(inside), found, strict=True)
    ]
    squared = sum((apart + height * component) ** 2 for apart, component in zip(offset, slope, strict=True))
    result = np.zeros(level.shape, np.float32)
    result[inside] = np.sqrt(squared)
    shallow = inside & (level > -1.5 * spacing)
    result[shallow] = np.minimum(result[shallow], -level[shallow])
    return result


def _normals(depth: Array, spacing: float) -> Float[np.ndarray, "3 x y z"]:
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(depth, 2.0 / spacing)
    slope = np.stack(np.gradient(smooth, spacing))
    return (slope / np.maximum(np.sqrt((slope**2).sum(0)), 0.35)).astype(np.float32)


def _bandpass(values: Array, wavelength: float, spacing: float) -> Array:
    """Difference of two Gaussians whose response is largest at a wavelength."""
    from scipy.ndimage import gaussian_filter

    narrow = 0.175 * wavelength / spacing
    return gaussian_filter(values, narrow, truncate=3) - gaussian_filter(values, 1.6 * narrow, truncate=3)
