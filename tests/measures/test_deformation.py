"""Laws of displacement fields: volumes, folds and distances worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ankleseg.measures.deformation import folded_share, jacobian_determinant, log_jacobian_sd, target_errors


def linear(matrix: np.ndarray, shape: tuple[int, ...] = (7, 6, 5)) -> np.ndarray:
    """The displacement of x ↦ matrix · x."""
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    return np.tensordot(matrix - np.eye(len(matrix)), places, axes=1)


def test_volumes_change_by_the_determinant_in_planes_and_volumes() -> None:
    matrix = np.random.default_rng(0).normal(np.eye(3), 0.2)
    np.testing.assert_allclose(jacobian_determinant(linear(matrix)), np.linalg.det(matrix))
    np.testing.assert_allclose(jacobian_determinant(linear(matrix[:2, :2], (7, 6))), np.linalg.det(matrix[:2, :2]))


def test_a_field_in_mm_changes_volumes_as_the_same_in_voxels() -> None:
    matrix, affine = np.random.default_rng(1).normal(np.eye(3), 0.2), np.eye(4)
    affine[:3, :3] = np.random.default_rng(2).normal(np.diag([-0.5, 1, 3]), 0.2)
    in_mm = np.tensordot(affine[:3, :3], linear(matrix), axes=1)
    np.testing.assert_allclose(jacobian_determinant(in_mm, affine), np.linalg.det(matrix))


def test_a_mirror_folds_everywhere_and_a_shift_nowhere() -> None:
    mirror, shift = jacobian_determinant(linear(np.diag([-1.0, 1, 1]))), jacobian_determinant(np.ones((3, 5, 5, 5)))
    assert folded_share(mirror) == 1 and folded_share(shift) == 0
    half = np.array([1.0, 1, 1, 0, -1])
    inside = np.array([True, True, True, False, False])
    assert folded_share(half, inside) == 0 and folded_share(half, ~inside) == 1 and folded_share(half) == 0.4
    assert folded_share(half, np.zeros(5, bool)) == 0


def test_the_spread_of_volumes_is_of_the_mask_and_finite_at_folds() -> None:
    found = np.array([np.e, 1 / np.e, 7.0, -1.0])
    assert log_jacobian_sd(found, found < 3) == pytest.approx(np.std([1, -1, np.log(1e-3)], ddof=1))
    assert log_jacobian_sd(found, np.array([True, True, False, False])) == pytest.approx(2**0.5)


def test_distances_are_in_mm_and_of_the_mask() -> None:
    truth, found = np.zeros((3, 4, 4, 4)), np.zeros((3, 4, 4, 4))
    found[0], found[2] = 3, 2
    inside = np.zeros((4, 4, 4), bool)
    np.testing.assert_allclose(target_errors(found, truth, (1, 1, 2)), np.full(64, 5))
    assert not target_errors(found, truth, (1, 1, 2), inside).size
    inside[0] = True
    found[0, 1:] = 100
    np.testing.assert_allclose(target_errors(found, truth, (1, 1, 2), inside), np.full(16, 5))
