"""Smooth random fields, the same whatever grid they are looked at on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def bumps(
    rng: np.random.Generator, amplitude: float, wavelengths: tuple[float, float]
) -> Callable[[np.ndarray], np.ndarray]:
    """Random smooth function of points in mm: a sum of plane waves.

    Args:
        amplitude: standard deviation of the values.
        wavelengths: shortest and longest wavelength, mm.

    Returns:
        a function from points (3, n) to values (n,) float32; it never exceeds 5 amplitudes.
    """
    count = 9
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = (directions * (2 * np.pi / rng.uniform(*wavelengths, size=(count, 1)))).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, size=count).astype(np.float32)
    weight = np.float32(amplitude * np.sqrt(2 / count))

    def evaluate(points: np.ndarray) -> np.ndarray:
        total = np.zeros(points.shape[1], np.float32)
        for wave, phase in zip(waves, phases, strict=True):
            angle = wave[0] * points[0]
            angle += wave[1] * points[1]
            angle += wave[2] * points[2]
            angle += phase
            total += np.sin(angle, out=angle)
        return total * weight

    return evaluate


class LatticeNoise:
    """Random values of unit variance on a box-shaped lattice, smoothly interpolated between its nodes.

    The lattice lies in millimetres of the field of view, so that a coarse and a fine image of one subject show the
    same texture.

    Args:
        rng: where the values come from.
        extent: sides of the field of view, mm.
        scale: distance of the nodes, mm: the size of a grain.
    """

    def __init__(self, rng: np.random.Generator, extent: np.ndarray, scale: float) -> None:
        self.scale = scale
        rows, columns, planes = np.ceil(np.asarray(extent) / scale).astype(int) + 5
        self.values = rng.standard_normal((planes, rows, columns), dtype=np.float32)
        # The cubic B-spline lowers the variance of white noise to 0.48 in each direction.
        self.values *= np.float32(0.479365**-1.5)

    def turned(self, order: Sequence[int]) -> LatticeNoise:
        """The same noise seen on a grid whose axes are those of the field of view in another order."""
        other = copy(self)
        other.values = np.ascontiguousarray(self.values.transpose(1, 2, 0).transpose(order).transpose(2, 0, 1))
        return other

    def across(self, rows: np.ndarray, columns: np.ndarray) -> Callable[[float], np.ndarray]:
        """A function from a depth (along axis 2) to the values on that plane at rows × columns (along axes 0 and 1).

        All positions are in mm from the corner of the field of view.
        """
        planes, height, width = self.values.shape
        row_weights = interpolation_weights(rows / self.scale + 2, height, spline_weights)
        column_weights = interpolation_weights(columns / self.scale + 2, width, spline_weights)

        def plane(depth: float) -> np.ndarray:
            plane_weights = interpolation_weights(np.array([depth / self.scale + 2]), planes, spline_weights)
            return interpolate(self.values, row_weights, column_weights, plane_weights)[:, 0]

        return plane


def interpolation_weights(places: np.ndarray, nodes: int, kernel: Callable[[np.ndarray], np.ndarray]) -> csr_array:
    """Sparse matrix (places, nodes) that interpolates node values at `places` (in nodes), four neighbours each."""
    from scipy.sparse import csr_array

    first = np.floor(places).astype(int) - 1
    taps = kernel(places - np.floor(places)).astype(np.float32)
    neighbours = np.clip(first[:, None] + np.arange(4), 0, nodes - 1)
    rows = np.arange(0, 4 * len(places) + 1, 4)
    return csr_array((taps.T.ravel(), neighbours.ravel(), rows), shape=(len(places), nodes))


def interpolate(
    values: np.ndarray, row_weights: csr_array, column_weights: csr_array, plane_weights: csr_array
) -> np.ndarray:
    """Interpolate a lattice (planes, rows, columns) along one axis at a time; the result is (rows, planes, columns).

    Sparse products only: dense ones would go through a threaded library, which on arrays this small is slower and gets
    in its own way when several subjects are made at once.
    """
    _, rows, columns = values.shape
    count = plane_weights.shape[0]
    layers = plane_weights @ values.reshape(len(values), -1)
    across = column_weights @ np.ascontiguousarray(layers.reshape(count * rows, columns).T)
    by_row = np.ascontiguousarray(across.reshape(-1, count, rows).transpose(2, 1, 0))
    return (row_weights @ by_row.reshape(rows, -1)).reshape(-1, count, len(across))


def spline_weights(fraction: np.ndarray) -> np.ndarray:
    """Weights (4, n) of the cubic B-spline: smooths."""
    rest = 1 - fraction
    return (
        np.stack(
            [
                rest**3,
                3 * fraction**3 - 6 * fraction**2 + 4,
                3 * rest**3 - 6 * rest**2 + 4,
                fraction**3,
            ]
        )
        / 6
    )


def cubic_weights(fraction: np.ndarray) -> np.ndarray:
    """Weights (4, n) of the Catmull–Rom cubic: passes through the nodes."""
    f1, f2, f3 = fraction, fraction**2, fraction**3
    return np.stack([-f1 + 2 * f2 - f3, 2 - 5 * f2 + 3 * f3, f1 + 4 * f2 - 3 * f3, -f2 + f3]) / 2
