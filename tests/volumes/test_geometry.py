"""Laws of affines, orientations and grids."""

from __future__ import annotations

import numpy as np
import pytest
from laws import for_all
from volume_grids import GRIDS, ORIENTATIONS, affine_of, counting

from ankleseg.errors import GeometryError
from ankleseg.volumes import (
    anatomical_axis,
    axis_codes,
    diagonal_mm,
    holds_grid,
    is_left_handed,
    reorient,
    resample,
    resampled_grid,
    same_grid,
    slice_axis,
    spacing,
    voxel_distance,
)
from ankleseg.volumes.geometry import affine_problem, bounding_box, box_corners, displacement_mm


def world_of(value: int, data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    index = np.argwhere(data == value)[0]
    return affine[:3, :3] @ index + affine[:3, 3]


def test_there_are_48_orientations_and_the_codes_name_them():
    assert len(set(ORIENTATIONS)) == 48
    assert all(axis_codes(affine_of(codes)) == codes for codes in ORIENTATIONS)
    assert axis_codes(affine_of("PSR", oblique=True)) == "PSR"


@for_all("grid", GRIDS)
def test_reorienting_there_and_back_is_identity_and_moves_no_voxel_in_the_world(grid):
    data, affine = counting(), GRIDS[grid]
    for codes in ("RAS", "PSR", "LIA"):
        turned, turned_affine = reorient(data, affine, codes)
        assert axis_codes(turned_affine) == codes
        for value in (0, 17, data.size - 1):
            np.testing.assert_allclose(
                world_of(value, turned, turned_affine), world_of(value, data, affine), atol=1e-12
            )
        back, back_affine = reorient(turned, turned_affine, axis_codes(affine))
        np.testing.assert_array_equal(back, data)
        np.testing.assert_allclose(back_affine, affine, atol=1e-12)


def test_reorienting_is_a_view_and_keeps_further_axes():
    data = np.zeros((5, 6, 4, 3))
    turned, _ = reorient(data, affine_of("PSR"), "RAS")
    assert turned.shape == (4, 5, 6, 3)
    assert np.shares_memory(turned, data)


@for_all("codes", ["RAL", "RA", "XYZ", "ras", "RASL"])
def test_an_orientation_that_is_none_is_refused(codes):
    with pytest.raises(GeometryError, match=f"invalid orientation '{codes}': expected three letters"):
        reorient(counting(), np.eye(4), codes)


def test_axes_are_found_from_the_affine():
    affine = affine_of("PSR", size=(0.28, 0.28, 0.8))
    assert slice_axis(affine) == 2
    assert [anatomical_axis(affine, axis) for axis in ("LR", "PA", "IS")] == [2, 0, 1]
    assert slice_axis(affine_of("RPS", size=(0.8, 0.28, 0.28))) == 0
    with pytest.raises(GeometryError, match="invalid anatomical axis 'AP': expected one of LR, PA, IS"):
        anatomical_axis(affine, "AP")


def test_the_last_axis_wins_a_tie_of_spacings():
    assert slice_axis(np.eye(4)) == 2
    assert slice_axis(np.diag([2.0, 2.01, 1.0, 1.0])) == 1
    assert slice_axis(np.diag([2.01, 2.0, 1.0, 1.0])) == 1
    assert slice_axis(np.diag([2.1, 2.0, 1.0, 1.0])) == 0


@for_all("codes", ["RAS", "PSR", "LIP"])
def test_a_grid_holds_its_parts_whatever_way_their_axes_run(codes):
    whole = affine_of("RAS", size=(0.5, 0.75, 2.0), oblique=True)
    part_data, part = reorient(np.zeros((6, 5, 4)), whole @ shift(2, 3, 1), codes)
    assert holds_grid((8, 8, 5), whole, part_data.shape, part)
    assert not holds_grid((8, 8, 4), whole, part_data.shape, part), "a slice of the part lies beyond"
    assert not holds_grid(part_data.shape, part, (8, 8, 5), whole)
    for other in (whole @ shift(2.3, 3, 1), whole @ shift(2, 3, 1) @ np.diag([1.1, 1, 1, 1])):
        assert not holds_grid((8, 8, 5), whole, *placed(other, codes))


def shift(*voxels: float) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = voxels
    return affine


def placed(affine: np.ndarray, codes: str) -> tuple[tuple[int, ...], np.ndarray]:
    data, turned = reorient(np.zeros((6, 5, 4)), affine, codes)
    return data.shape, turned


def test_left_handed_means_an_odd_number_of_flips():
    assert not is_left_handed(affine_of("RAS"))
    assert not is_left_handed(affine_of("LPS"))
    assert is_left_handed(affine_of("LAS"))


def test_spacing_and_diagonal_do_not_see_rotation():
    affine = affine_of("PSR", oblique=True)
    np.testing.assert_allclose(spacing(affine), [0.5, 0.75, 2.0])
    assert diagonal_mm((10, 10, 10), affine) == pytest.approx(np.linalg.norm([5, 7.5, 20]))


def test_the_tolerance_of_a_grid_is_relative_to_its_voxel():
    fine, coarse = np.diag([0.2, 0.2, 0.2, 1.0]), np.diag([5.0, 5.0, 5.0, 1.0])
    moved = np.eye(4)
    moved[0, 3] = 0.1
    assert not same_grid((8, 8, 8), fine, (8, 8, 8), moved @ fine)
    assert same_grid((8, 8, 8), coarse, (8, 8, 8), moved @ coarse)
    assert not same_grid((8, 8, 8), coarse, (8, 8, 9), coarse)
    assert voxel_distance(fine, moved @ fine, (8, 8, 8)) == pytest.approx(0.5)
    assert displacement_mm(fine, moved @ fine, (8, 8, 8)) == pytest.approx(0.1)


def test_resampling_on_its_own_grid_is_identity_for_every_order_and_type():
    generator = np.random.default_rng(0)
    affine = affine_of("PSR", oblique=True)
    for dtype in (np.float32, np.int16, bool):
        data = generator.integers(0, 2, (6, 7, 5)).astype(dtype)
        for order in (0, 1, 3):
            same = resample(data, affine, data.shape, affine, order=order)
            np.testing.assert_allclose(same, data, atol=1e-5)
            assert order > 0 or same.dtype == data.dtype


def test_linear_resampling_reads_a_world_coordinate_back():
    affine, shape = affine_of("PSR"), (12, 10, 8)
    indices = np.moveaxis(np.indices(shape), 0, -1)
    data = (indices @ affine[:3, :3].T + affine[:3, 3])[..., 0]
    target_shape, target = resampled_grid(shape, affine, (0.9, 0.9, 0.9))
    result = resample(data, affine, target_shape, target)
    target_indices = np.moveaxis(np.indices(target_shape), 0, -1)
    wanted = (target_indices @ target[:3, :3].T + target[:3, 3])[..., 0]
    np.testing.assert_allclose(result[2:-2, 2:-2, 2:-2], wanted[2:-2, 2:-2, 2:-2], atol=1e-9)


def test_resampling_to_flipped_axes_is_exact_up_to_the_border():
    data, affine = counting().astype(np.float32), affine_of("RAS", oblique=True)
    turned, turned_affine = reorient(data, affine, "PIL")
    np.testing.assert_allclose(resample(data, affine, turned.shape, turned_affine), turned, atol=1e-3)
    np.testing.assert_array_equal(resample(data, affine, turned.shape, turned_affine, order=0), turned)


def test_outside_the_field_of_view_is_the_given_value():
    far = np.eye(4)
    far[0, 3] = 100
    assert (resample(np.ones((3, 3, 3)), np.eye(4), (3, 3, 3), far, cval=-7) == -7).all()


@for_all("grid", ["RAS", "LPI", "oblique PSR"])
@for_all("size", [(1.0, 1.0, 1.0), (0.25, 1.5, 4.0)])
def test_another_spacing_keeps_the_corner_of_the_field_of_view(grid, size):
    shape, affine = (16, 12, 8), GRIDS[grid]
    new_shape, new_affine = resampled_grid(shape, affine, size)
    np.testing.assert_allclose(spacing(new_affine), size)
    np.testing.assert_allclose(box_corners(new_shape, new_affine)[0], box_corners(shape, affine)[0], atol=1e-9)
    back_shape, back_affine = resampled_grid(new_shape, new_affine, spacing(affine))
    assert back_shape == shape
    np.testing.assert_allclose(back_affine, affine, atol=1e-9)


def test_what_cannot_be_an_affine_is_said():
    assert affine_problem(np.eye(4)) is None
    assert affine_problem(np.diag([0.01, 0.01, 5, 1])) is None
    assert "not finite" in affine_problem(np.full((4, 4), np.nan))
    flat = np.eye(4)
    flat[:3, 1] = flat[:3, 0]
    assert "singular" in affine_problem(flat)
    assert "singular" in affine_problem(np.diag([1.0, 0.0, 1.0, 1.0]))


def test_the_bounding_box_holds_the_mask_and_a_margin_within_the_grid() -> None:
    mask = np.zeros((9, 8, 7), bool)
    mask[2, 3:6, 1] = mask[4, 4, 6] = True
    assert bounding_box(mask) == (slice(2, 5), slice(3, 6), slice(1, 7))
    assert bounding_box(mask, 2) == (slice(0, 7), slice(1, 8), slice(0, 7))
    assert bounding_box(mask, [0, 9, 1]) == (slice(2, 5), slice(0, 8), slice(0, 7))
    with pytest.raises(GeometryError, match="empty"):
        bounding_box(np.zeros((3, 3), bool))
