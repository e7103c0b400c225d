"""Laws of the filters along an axis."""

from __future__ import annotations

import numpy as np
import torch
from laws import for_all
from scipy.ndimage import gaussian_filter1d

from ankleseg.rigid import filters

VALUES = torch.from_numpy(np.random.default_rng(0).normal(size=(11, 13, 12, 2)).astype(np.float32))


@for_all("axis", [0, 1, 2])
def test_a_blur_is_that_of_another_library(axis: int) -> None:
    found = filters.along(VALUES, filters.gaussian(VALUES.shape[axis], 1.2), axis)
    expected = gaussian_filter1d(VALUES.numpy(), 1.2, axis, mode="nearest", radius=4)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@for_all("axis", [0, 1, 2])
def test_slopes_are_those_of_numpy(axis: int) -> None:
    found = filters.along(VALUES, filters.slope(VALUES.shape[axis]), axis)
    np.testing.assert_allclose(found, np.gradient(VALUES.numpy(), axis=axis), atol=1e-6)


def test_blocks_are_averaged_and_what_is_left_over_is_dropped() -> None:
    found = filters.along(VALUES, filters.averaging(11, 3), 0)
    np.testing.assert_allclose(found, VALUES[:9].reshape(3, 3, 13, 12, 2).mean(1), atol=1e-6)


@for_all("matrix", [filters.box(9, 2.5), filters.box(9, 30.0), filters.gaussian(9, 4.0)])
def test_a_constant_stays_what_it_is(matrix: torch.Tensor) -> None:
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)


def test_a_single_voxel_has_no_slope() -> None:
    assert not filters.slope(1).any()
