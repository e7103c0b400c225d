"""The centreline is the best path of all, lies where the cord is, and ends where the cord ends."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from laws import for_all
from scipy.spatial.transform import Rotation

from ankleseg.errors import GeometryError
from ankleseg.measures import centreline_error, centreline_of_mask, find_centreline
from ankleseg.measures.centreline import optimal_path, smoothed
from ankleseg.measures.distance_transform import squared_distance_transform
from ankleseg.volumes.geometry import reorient

ORIENTATIONS = ["".join(codes) for order in permutations(("LR", "PA", "IS")) for codes in product(*order)]


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@for_all(
    ("shape", "weights"), [((7, 9), (1.0, 1.0)), ((12, 1), (0.3, 2.0)), ((1, 8), (0.01, 0.02)), ((10, 6), (3.0, 0.04))]
)
def test_the_distance_transform_is_the_least_of_all_pixels(shape, weights):
    for seed in range(20):
        values = random(seed).normal(size=shape) * 3 ** (seed % 4)
        pixels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 2)
        steps = ((pixels[:, None] - pixels[None]) ** 2 * weights).sum(-1)
        every = values.reshape(1, -1) + steps
        least, where = squared_distance_transform(values, weights)
        np.testing.assert_allclose(least.ravel(), every.min(axis=1), rtol=0, atol=1e-9)
        np.testing.assert_allclose(every[np.arange(len(every)), where.ravel()], every.min(axis=1), rtol=0, atol=1e-9)


def cost(heat: np.ndarray, first: int, path: np.ndarray, mm: np.ndarray, weight: float, evidence: float, end: float):
    steps = ((np.diff(path, axis=0) * mm) ** 2).sum()
    inside = sum(heat[first + n, int(u), int(v)] for n, (u, v) in enumerate(path))
    ends = (first > 0) + (first + len(path) < len(heat))
    return -inside + weight * steps + evidence * len(path) + end * ends


@for_all(("evidence", "end"), [(None, 0.0), (0.5, 0.3), (0.9, 0.1), (0.2, 1.5)])
def test_no_path_is_better_than_the_one_found(evidence, end):
    mm = np.array([0.7, 1.3])
    voxels = list(product(range(3), range(2)))
    for seed in range(6):
        heat = random(seed).random((4, 3, 2))
        spans = [(0, 4)] if evidence is None else [(a, b) for a in range(4) for b in range(a + 1, 5)]
        best = min(
            cost(heat, a, np.array(path, dtype=float), mm, 0.4, evidence or 0.0, end)
            for a, b in spans
            for path in product(voxels, repeat=b - a)
        )
        found = optimal_path(heat, mm, 0.4, evidence=evidence, end=end)
        if found is None:
            assert evidence is not None and best >= 0
        else:
            assert cost(heat, *found, mm, 0.4, evidence or 0.0, end) == pytest.approx(best)


def cord(codes: str = "RAS", turn: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A curved cord of 9×7 mm that ends 20 slices above the floor; its mask, affine, and true axis from below."""
    shape, mm = (60, 70, 80), np.array([0.8, 0.7, 1.0])
    z = np.arange(shape[2])
    x, y = 24 + 3 * np.sin(z / 25), 25 + 8 * (z / 80) ** 2
    grid = np.meshgrid(*(np.arange(n) * side for n, side in zip(shape, mm, strict=True)), indexing="ij")
    mask = (((grid[0] - x) / 4.5) ** 2 + ((grid[1] - y) / 3.5) ** 2 < 1) & (grid[2] >= 20)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [turn, -turn, turn], degrees=True).as_matrix() * mm
    affine[:3, 3] = (-30, 12, -400)
    voxels = np.column_stack([x, y, z])[20:] / mm
    turned, turned_affine = reorient(mask, affine, codes)
    return np.ascontiguousarray(turned), turned_affine, voxels @ affine[:3, :3].T + affine[:3, 3]


@for_all("codes", ORIENTATIONS)
def test_a_perfect_map_gives_the_centreline_and_its_end_whatever_way_it_is_stored(codes):
    mask, affine, truth = cord(codes, turn=12)
    found = find_centreline(mask.astype(np.float32), affine)
    error = centreline_error(found.points, truth, affine)
    assert error.largest_mm is not None and error.largest_mm < 0.5 and error.within == 1
    assert (error.lower_mm, error.upper_mm) == (pytest.approx(0, abs=1.01), pytest.approx(0, abs=1e-6))
    assert found.ends == (True, False)
    assert (np.diff(found.points @ affine[:3, :3][:, np.argmax(abs(affine[2, :3]))]) != 0).all()
    assert found.points[0, 2] < found.points[-1, 2]


def test_noise_gaps_and_a_brighter_false_finding_do_not_lead_it_astray():
    mask, affine, truth = cord()
    map_ = mask.astype(np.float32)
    map_[:, :, 45:49] = 0  # nothing is seen there
    map_[46:54, 52:60, 5:12] = 1  # somewhere else, below the end of the cord
    map_ = np.clip(map_ + random(1).normal(0, 0.1, map_.shape), 0, 1).astype(np.float32)
    found = find_centreline(map_, affine)
    error = centreline_error(found.points, truth, affine)
    assert error.within > 0.95 and abs(error.lower_mm) <= 2 and found.ends == (True, False)


def test_faint_evidence_goes_on_and_none_does_not():
    """Below the conus nothing is followed; where the cord is only faint it is, without a threshold of each slice."""
    mask, affine, truth = cord()
    faint = mask * np.where(np.arange(80) < 40, 0.45, 1.0)
    assert abs(centreline_error(find_centreline(faint.astype(np.float32), affine).points, truth, affine).lower_mm) <= 2
    none = mask * np.where(np.arange(80) < 40, 0.05, 1.0)
    assert find_centreline(none.astype(np.float32), affine).points[0, 2] == pytest.approx(affine[2, 3] + 40, abs=1.01)


@for_all("codes", ["RAS", "PSR", "LIA"])
def test_the_centreline_of_a_mask_is_in_its_middle(codes):
    mask, affine, truth = cord(codes)
    exact = centreline_of_mask(mask, affine, smooth=None)
    error = centreline_error(exact.points, truth, affine)
    assert error.largest_mm is not None and error.largest_mm < 0.3 and (error.lower_mm, error.upper_mm) == (0, 0)
    assert exact.ends == (True, False)


def test_a_slice_without_the_mask_gets_a_point_between():
    mask, affine, truth = cord()
    mask[:, :, 50:55] = False
    found = centreline_of_mask(mask, affine)
    assert len(found.points) == len(truth)
    assert centreline_error(found.points, truth, affine).within == 1


def test_the_spline_leaves_the_residual_that_was_published():
    affine = np.eye(4)
    points = np.column_stack([random(0).normal(0, 1, (100, 2)), np.arange(100.0)])
    left = smoothed(points, affine, 20.0) - points
    assert (left[:, :2] ** 2).sum(axis=0) == pytest.approx([20 / 3, 20 / 3], rel=0.01)
    assert np.abs(left[:, 2]).max() < 1e-9
    assert smoothed(points[:2], affine) is not None


def test_an_error_counts_ends_and_missed_slices():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    truth = np.column_stack([np.zeros((20, 2)), np.arange(0.0, 40, 2)])
    moved = truth[5:] + np.array([3.0, 4.0, 0.0])
    error = centreline_error(moved, truth, affine)
    assert (error.mean_mm, error.largest_mm, error.within) == (5.0, 5.0, 0.0)
    assert (error.lower_mm, error.upper_mm) == (-10.0, 0.0)
    assert centreline_error(truth[5:], truth, affine).within == pytest.approx(15 / 20)
    upside_down = affine @ np.diag([1.0, 1.0, -1.0, 1.0])
    assert centreline_error(moved, truth, upside_down).lower_mm == -10.0


def test_what_is_empty_is_told():
    with pytest.raises(GeometryError, match="^no cord was found; look at the scan, or give centreline=FILE$"):
        find_centreline(np.zeros((9, 9, 9), dtype=np.float32), np.eye(4))
    with pytest.raises(GeometryError, match="^the mask of the cord is empty; draw it, or leave the case out$"):
        centreline_of_mask(np.zeros((9, 9, 9), dtype=bool), np.eye(4))
