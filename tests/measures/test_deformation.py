"""Laws of displacement fields: volumes, folds and distances worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ankleseg.measures.deformation import folded_share, jacobian_determinant, target_error


def linear(matrix: np.ndarray, shape: tuple[int, ...] = (7, 6, 5)) -> np.ndarray:
    """The displacement of x ↦ matrix · x."""
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    return np.tensordot(matrix - np.eye(len(matrix)), places, axes=1)


def test_volumes_change_by_the_determinant_in_planes_and_volumes() -> None:
    matrix = np.random.default_rng(0).normal(np.eye(3), 0.2)
    np.testing.assert_allclose(jacobian_determinant(linear(matrix)), np.linalg.det(matrix))
    np.testing.assert_allclose(jacobian_determinant(linear(matrix[:2, :2], (7, 6))), np.linalg.det(matrix[:2, :2]))


def test_a_mirror_folds_everywhere_and_a_shift_nowhere() -> None:
    assert folded_share(linear(np.diag([-1.0, 1, 1]))) == 1
    assert folded_share(np.ones((3, 5, 5, 5))) == 0
    half = np.concatenate([np.zeros((3, 6, 5, 4)), linear(np.diag([1.0, 1, -1]), (6, 5, 4))], axis=1)
    inside = np.zeros((12, 5, 4), bool)
    inside[:5] = True
    assert folded_share(half, inside) == 0 and folded_share(half, ~inside & (np.arange(12) > 6)[:, None, None]) == 1
    assert folded_share(half, 0 * inside > 0) == 0


def test_distances_are_in_mm_and_of_the_mask() -> None:
    truth, found = np.zeros((3, 4, 4, 4)), np.zeros((3, 4, 4, 4))
    found[0], found[2] = 3, 2
    inside = np.zeros((4, 4, 4), bool)
    assert target_error(found, truth, (1, 1, 2)) == pytest.approx(5)
    assert target_error(found, truth, (1, 1, 2), inside) is None
    inside[0] = True
    found[0, 1:] = 100
    assert target_error(found, truth, (1, 1, 2), inside) == pytest.approx(5)
