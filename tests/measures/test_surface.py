"""Laws of surface distance: brute force, known geometry, symmetry, and empty masks that cannot flatter."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from laws import for_all

from ankleseg.errors import GeometryError
from ankleseg.measures import SurfaceDistance, surface_distance

ANKLE = (0.28, 0.28, 0.8)


def brute_force(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float]:
    """HD95 and ASSD from all pairs of surface voxels, each found by looking at its six neighbours."""

    def surface(mask: np.ndarray) -> np.ndarray:
        found = []
        for place in product(*map(range, mask.shape)):
            if not mask[place]:
                continue
            neighbours = [tuple(np.add(place, s * np.eye(3, dtype=int)[k])) for k in range(3) for s in (-1, 1)]
            inside = [min(n) >= 0 and all(c < m for c, m in zip(n, mask.shape, strict=True)) for n in neighbours]
            if not all(i and mask[n] for i, n in zip(inside, neighbours, strict=True)):
                found.append(place)
        return np.array(found) * spacing

    one, other = surface(prediction), surface(reference)
    pairs = np.sqrt(((one[:, None] - other[None]) ** 2).sum(-1))
    there, back = pairs.min(axis=1), pairs.min(axis=0)
    return max(np.percentile(there, 95), np.percentile(back, 95)), (there.sum() + back.sum()) / (len(there) + len(back))


def ball(shape: tuple[int, ...], spacing: tuple[float, ...], radius: float) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * spacing
    centre = (np.array(shape) - 1) / 2 * spacing
    return ((grid - centre) ** 2).sum(-1) <= radius**2


@for_all("seed", range(30))
def test_distances_are_those_of_all_pairs_of_surface_voxels(seed: int):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(2, 9, 3))
    spacing = tuple(generator.uniform(0.2, 3, 3))
    prediction, reference = (generator.random(shape) < generator.uniform(0.1, 0.95) for _ in range(2))
    prediction.flat[generator.integers(prediction.size)] = reference.flat[generator.integers(reference.size)] = True
    measured = surface_distance(prediction, reference, spacing)
    assert (measured.hd95_mm, measured.assd_mm) == pytest.approx(brute_force(prediction, reference, spacing), abs=1e-9)


def test_a_mask_has_no_distance_from_itself():
    mask = ball((20, 22, 12), ANKLE, 2)
    assert surface_distance(mask, mask, ANKLE) == SurfaceDistance(0.0, 0.0)


@for_all("axis", range(3))
def test_parallel_sheets_are_as_far_apart_as_they_are(axis: int):
    one, other = np.zeros((2, 9, 9, 9), dtype=bool)
    one[(slice(None),) * axis + (2,)] = True
    other[(slice(None),) * axis + (7,)] = True
    measured = surface_distance(one, other, (0.5, 1.0, 3.0))
    expected = 5 * (0.5, 1.0, 3.0)[axis]
    assert (measured.hd95_mm, measured.assd_mm) == pytest.approx((expected, expected))


def test_single_voxels_are_apart_by_the_diagonal_between_them():
    one, other = np.zeros((2, 6, 6, 6), dtype=bool)
    one[0, 0, 0] = other[3, 4, 0] = True
    assert surface_distance(one, other, (1.0, 1.0, 5.0)).hd95_mm == pytest.approx(5.0)


@for_all("radii", [(8.0, 6.0), (8.0, 3.5)])
def test_concentric_balls_are_apart_by_the_difference_of_their_radii(radii: tuple[float, float]):
    shape, spacing = (61, 61, 31), (0.3, 0.3, 0.6)
    measured = surface_distance(ball(shape, spacing, radii[0]), ball(shape, spacing, radii[1]), spacing)
    assert measured.assd_mm == pytest.approx(radii[0] - radii[1], abs=0.3)
    assert measured.hd95_mm == pytest.approx(radii[0] - radii[1], abs=0.6)


def test_a_shifted_cube_is_no_farther_than_its_shift():
    one, other = np.zeros((2, 30, 30, 30), dtype=bool)
    one[5:15, 5:15, 5:15] = other[8:18, 5:15, 5:15] = True
    measured = surface_distance(one, other, (1.0, 1.0, 1.0))
    assert measured.hd95_mm == 3.0  # a tenth and more of the surface lies on the shifted face
    assert 0 < measured.assd_mm < 3.0


def test_exchanging_the_masks_changes_nothing():
    one, other = ball((20, 20, 20), ANKLE, 2.0), ball((20, 20, 20), ANKLE, 1.2)
    other[0, 0, 0] = True
    assert surface_distance(one, other, ANKLE) == surface_distance(other, one, ANKLE)


def test_exchanging_the_axes_and_scaling_the_voxels_changes_nothing_but_the_scale():
    generator = np.random.default_rng(0)
    one, other = generator.random((2, 7, 8, 9)) < 0.2
    spacing = np.array([0.3, 0.7, 2.0])
    first = surface_distance(one, other, spacing)
    for order in permutations(range(3)):
        turned = surface_distance(one.transpose(order), other.transpose(order), 2 * spacing[list(order)])
        assert turned.hd95_mm == pytest.approx(2 * first.hd95_mm)
        assert turned.assd_mm == pytest.approx(2 * first.assd_mm)


def test_empty_space_around_changes_nothing():
    one, other = ball((16, 16, 10), ANKLE, 1.5), ball((16, 16, 10), ANKLE, 1.0)
    wide = surface_distance(np.pad(one, 20), np.pad(other, 20), ANKLE)
    assert wide == surface_distance(one, other, ANKLE)


def test_both_empty_is_not_applicable():
    empty = np.zeros((3, 4, 5), dtype=bool)
    assert surface_distance(empty, empty, ANKLE) == SurfaceDistance(None, None)


def test_one_empty_is_the_diagonal_of_the_image():
    empty, mask = np.zeros((2, 30, 40, 12), dtype=bool)
    mask[3, 4, 5] = True
    expected = pytest.approx(np.sqrt(30**2 + 40**2 + 120**2))
    for measured in (surface_distance(empty, mask, (1.0, 1.0, 10.0)), surface_distance(mask, empty, (1.0, 1.0, 10.0))):
        assert (measured.hd95_mm, measured.assd_mm) == (expected, expected)


def test_no_miss_is_better_than_any_prediction():
    generator = np.random.default_rng(1)
    reference = ball((12, 12, 6), ANKLE, 1.2)
    missed = surface_distance(np.zeros_like(reference), reference, ANKLE)
    for _ in range(20):
        found = surface_distance(generator.random(reference.shape) < generator.uniform(0.001, 1), reference, ANKLE)
        assert found.hd95_mm <= missed.hd95_mm
        assert found.assd_mm <= missed.assd_mm


def test_shapes_that_differ_are_refused():
    from ankleseg.measures.overlap import require_one_shape

    with pytest.raises(GeometryError, match=r"\(3, 1, 4\) cannot be compared with a reference of shape \(3, 5, 4\)"):
        require_one_shape(np.zeros((3, 1, 4), dtype=bool), np.zeros((3, 5, 4), dtype=bool))


@pytest.mark.slow
def test_where_nothing_is_empty_the_distances_are_those_of_monai():
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    generator = np.random.default_rng(5)
    for _ in range(10):
        one, other = np.zeros((2, 24, 20, 12), dtype=bool)
        for mask in (one, other):
            start = generator.integers(1, 5, 3)
            mask[tuple(slice(s, s + n) for s, n in zip(start, generator.integers(4, 7, 3), strict=True))] = True
        both = [torch.from_numpy(mask[None, None]) for mask in (one, other)]
        hausdorff = compute_hausdorff_distance(*both, include_background=True, percentile=95, spacing=list(ANKLE))
        average = compute_average_surface_distance(*both, include_background=True, symmetric=True, spacing=list(ANKLE))
        measured = surface_distance(one, other, ANKLE)
        assert measured.hd95_mm == pytest.approx(float(hausdorff), rel=1e-5)
        assert measured.assd_mm == pytest.approx(float(average), rel=1e-5)
