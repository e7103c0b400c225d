"""The generalised distance transform: the least of a function plus a squared distance, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


def squared_distance_transform(
    values: Float[np.ndarray, "u v"], weights: Sequence[float] | Float[np.ndarray, "2"]
) -> tuple[Float[np.ndarray, "u v"], Int[np.ndarray, "u v"]]:
    """For each pixel p the least of f(q) + weights · (p − q)² over all pixels q, and the flat number of that q.

    One axis after the other; along each, the lower envelope of a parabola at every pixel, of all lines at once.

    Args:
        values: f, finite.
        weights: of squared distances in pixels, above 0, along both axes (so that pixels need not be square).

    Source: Felzenszwalb and Huttenlocher, Theory of Computing 2012.
    """
    first, column = _along_last(np.asarray(values, dtype=np.float64), float(weights[1]))
    second, row = _along_last(np.ascontiguousarray(first.T), float(weights[0]))
    row = row.T
    return second.T, row * values.shape[1] + np.take_along_axis(column, row, axis=0)


def _along_last(lines: Float[np.ndarray, "m n"], weight: float) -> tuple[np.ndarray, np.ndarray]:
    """The transform along the last axis, and where each least value is.

    ``apex[k]`` are the parabolas of the envelope of each line from left to right, ``from_[k]`` is where the k-th begins
    to be the lowest.
    """
    m, n = lines.shape
    shifted = lines / weight + np.arange(n) ** 2.0
    every = np.arange(m)
    apex, begin = np.zeros((m, n), dtype=np.intp), np.full((m, n + 1), np.inf)
    begin[:, 0] = -np.inf
    last = np.zeros(m, dtype=np.intp)
    for q in range(1, n):
        active = every
        crossing = np.empty(m)
        while len(active):
            k = last[active]
            p = apex[active, k]
            crossing[active] = (shifted[active, q] - shifted[active, p]) / (2 * (q - p))
            active = active[crossing[active] <= begin[active, k]]
            last[active] -= 1
        last += 1
        apex[every, last] = q
        begin[every, last] = crossing
    begin[np.arange(n + 1) > last[:, None]] = np.inf
    at = np.zeros(m, dtype=np.intp)
    nearest = np.empty((m, n), dtype=np.intp)
    for q in range(n):
        behind = every[begin[every, at + 1] < q]
        while len(behind):
            at[behind] += 1
            behind = behind[begin[behind, at[behind] + 1] < q]
        nearest[:, q] = apex[every, at]
    least = np.take_along_axis(lines, nearest, axis=1) + weight * (np.arange(n) - nearest) ** 2.0
    return least, nearest
