"""Resampling axis by axis: interpolation along one axis as a matrix, and only where the grid changes.

Beyond the ends of an axis the last value goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

from ankleseg.errors import ConfigError
from ankleseg.volumes.geometry import Affine

BEYOND = 12  # repeated voxels at each end: the influence of a voxel on a quintic spline falls to 1e-4 in ten of them
ORDERS = range(6)


def spline_matrix(length: int, places: Float[np.ndarray, " n"], order: int) -> Float[np.ndarray, "n length"]:
    """Values of the interpolating spline at some places, as weights of the samples; every row adds up to one.

    Args:
        length: samples along the axis, at 0, 1, …, length − 1.
        places: in samples.
        order: of the spline, 0 (nearest) to 5.

    Raises:
        ConfigError: another order.
    """
    from scipy.interpolate import BSpline
    from scipy.ndimage import spline_filter1d

    if order not in ORDERS:
        raise ConfigError(f"a spline of order {order} is unknown", mend="choose 0 to 5: nearest, linear, …")
    places = np.clip(np.asarray(places, np.float64), -1, length)
    if order == 0:
        return np.eye(length, dtype=np.float32)[nearest(length, places)]
    extended = np.eye(length)[np.clip(np.arange(-BEYOND, length + BEYOND), 0, length - 1)]
    if order > 1:
        extended = spline_filter1d(extended, order, axis=0, mode="mirror")
    basis = BSpline.basis_element(np.arange(order + 2) - (order + 1) / 2, extrapolate=False)
    weights = np.nan_to_num(basis(places[:, None] - np.arange(-BEYOND, length + BEYOND)))
    return (weights @ extended).astype(np.float32)


def nearest(length: int, places: Float[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """Number of the sample nearest to each place; of two at the same distance the later one."""
    return np.clip(np.floor(places + 0.5).astype(int), 0, length - 1)


def along(
    array: Float[np.ndarray, "x y z"], matrix: Float[np.ndarray, "new old"], axis: int
) -> Float[np.ndarray, "u v w"]:
    """Apply a matrix to every line of an array along an axis."""
    return np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)


def on_parallel_grid(
    array: Shaped[np.ndarray, "x y z"], affine: Affine, shape: Sequence[int], target: Affine, order: int
) -> Shaped[np.ndarray, "u v w"]:
    """Bring an array to a grid whose axes are parallel to its own.

    Args:
        array, affine: what is resampled; voxels keep their type where ``order`` is 0, else they become floating.
        shape, target: the new grid.
        order: of the spline, 0 (nearest) to 5.
    """
    source_from_target = np.linalg.inv(affine) @ target
    for axis, length in enumerate(shape):
        places = source_from_target[axis, axis] * np.arange(length) + source_from_target[axis, 3]
        size = array.shape[axis]
        if length == size and np.allclose(places, np.arange(size), atol=1e-6):
            continue
        if order == 0:
            array = array.take(nearest(size, places), axis)
        else:
            floating = array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float32)
            array = along(floating, spline_matrix(size, places, order), axis)
    return array


def blurred_to_voxels(image: Float[np.ndarray, "x y z"], ratio: Float[np.ndarray, "3"]) -> Float[np.ndarray, "x y z"]:
    """Blur by as much as voxels grow (full width at half maximum), so that sampling does not pick single voxels."""
    from scipy.ndimage import gaussian_filter

    sigma = np.sqrt(np.maximum(ratio**2 - 1, 0)) / np.sqrt(8 * np.log(2))
    return gaussian_filter(image, sigma, mode="nearest")
