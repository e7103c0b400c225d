"""Signed distances mean what they say."""

from __future__ import annotations

import numpy as np
import pytest

from ankleseg.phantoms.shapes import (
    capsule,
    carved,
    column,
    ellipsoid,
    moved,
    rounded_box,
    smooth_maximum,
    smooth_minimum,
    union,
)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(-20, 20, (3, 5000)).astype(np.float32)


def test_a_capsule_of_no_length_is_a_sphere(points):
    distance = capsule((1, 2, 3), (1, 2, 3), 5.0)(points)
    expected = np.linalg.norm(points - [[1], [2], [3]], axis=0) - 5
    np.testing.assert_allclose(distance, expected, atol=1e-4)


def test_a_box_is_exact_outside_and_zero_on_its_faces():
    box = rounded_box((0, 0, 0), (4, 5, 6), 2.0)
    on_faces_and_outside = np.array([[4, 0, 0], [0, 5, 0], [0, 0, -6], [7, 0, 0]], np.float32).T
    np.testing.assert_allclose(box(on_faces_and_outside), [0, 0, 0, 3], atol=1e-5)


def test_an_ellipsoid_is_zero_on_its_surface_and_rises_by_one_mm_a_mm_there():
    radii = np.array([[12.0], [8.0], [5.0]])
    directions = np.random.default_rng(1).normal(size=(3, 400))
    directions /= np.linalg.norm(directions, axis=0)
    surface = radii * directions
    normals = directions / radii
    normals /= np.linalg.norm(normals, axis=0)
    shape = ellipsoid((0, 0, 0), radii.ravel())
    np.testing.assert_allclose(shape(surface.astype(np.float32)), 0, atol=1e-4)
    np.testing.assert_allclose(shape((surface + 0.3 * normals).astype(np.float32)), 0.3, atol=0.02)


def test_a_column_has_the_radii_of_its_knots():
    shape = column(2, [0, 20, 40], [(0, 0), (3, 0), (0, 0)], [(10, 6), (8, 8), (5, 9)])
    rim = np.array([[10, 0, 0.0], [11, 0, 20], [3, 8, 20], [0, 9, 40]], np.float32).T
    # At both ends the side is rounded into the cap, so only the middle is exact.
    np.testing.assert_allclose(shape(rim)[1:3], 0, atol=0.02)
    assert shape(np.array([[0], [0], [-5]], np.float32))[0] == pytest.approx(5.0, abs=0.1)


def test_a_blend_only_ever_grows_a_union_and_by_at_most_a_quarter(points):
    first, second = points[0], points[1]
    blended = smooth_minimum(first, second, 4.0)
    assert np.all(blended <= np.minimum(first, second))
    assert np.all(blended >= np.minimum(first, second) - 1.0 - 1e-5)
    np.testing.assert_allclose(smooth_maximum(first, second, 4.0), -smooth_minimum(-first, -second, 4.0))


def test_bounding_boxes_hold_everything_inside(points):
    ball, box = capsule((5, 0, 0), (9, 4, 0), 4, 6), rounded_box((-6, 0, 2), (3, 8, 4), 1)
    shape = union(ball, box, blend=3.0)
    inside = points[:, shape(points) < 0]
    assert inside.shape[1] > 100
    assert np.all(inside.min(1) >= shape.low) and np.all(inside.max(1) <= shape.high)


def test_a_carved_bone_keeps_its_distance_from_the_other(points):
    socket = carved(rounded_box((0, 0, 0), (12, 12, 12), 2), capsule((0, 0, 10), (0, 0, 10), 8), gap=3.0, blend=0.5)
    inside = points[:, socket(points) < 0]
    to_ball = np.linalg.norm(inside - [[0], [0], [10]], axis=0) - 8
    assert inside.shape[1] > 100
    assert to_ball.min() >= 3.0 - 1e-4


def test_moving_a_shape_moves_its_distances(points):
    shape = ellipsoid((0, 1, 2), (6, 5, 4))
    offset = np.array([3.0, -2.0, 1.0])
    np.testing.assert_allclose(
        moved(shape, offset)(points + offset.reshape(3, 1).astype(np.float32)), shape(points), atol=1e-4
    )
