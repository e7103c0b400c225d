"""Tiles cover a grid as MONAI lays them; boxes hold their mask."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ankleseg.errors import GeometryError
from ankleseg.inference.tiles import box_of, tile_corners


def test_tiles_cover_every_axis_and_leave_it_only_where_they_are_longer():
    for length, side, overlap in itertools.product((1, 5, 16, 17, 31), (4, 16), (0.0, 0.25, 0.7, 0.99)):
        first = [corner for (corner,) in tile_corners((length,), (side,), overlap)]
        assert first == sorted(set(first))
        assert set(range(length)) <= {i for corner in first for i in range(corner, corner + side)}
        if side <= length:
            assert first[0] == 0 and first[-1] == length - side
        else:
            assert first == [-((side - length) // 2)]


def test_a_step_of_voxels_is_kept_by_its_overlap():
    for side in (48, 96, 128):
        for step in range(1, side + 1):
            assert tile_corners((4 * side,), (side,), 1 - step / side)[1] == (step,)


def test_boxes_hold_their_mask_and_divide():
    rng = np.random.default_rng(0)
    for shape, margin, divisor in itertools.product(((40, 40), (37, 12), (9, 21)), (0, 1, 30), (1, 8, 16)):
        mask = np.zeros(shape, bool)
        mask[tuple(rng.integers(0, shape, (5, 2)).T)] = True
        corner, sides = box_of(mask, margin, divisor)
        assert all(number % divisor == 0 for number in (*corner, *sides))
        for axis, (first, side, length) in enumerate(zip(corner, sides, shape, strict=True)):
            found = np.flatnonzero(mask.any(1 - axis))
            low, high = max(found[0] - margin, 0), min(found[-1] + margin + 1, length)
            assert low - divisor < first <= low and high <= first + side < high + divisor
    with pytest.raises(GeometryError):
        box_of(np.zeros((3, 3), bool))
