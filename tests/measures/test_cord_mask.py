"""The published mending of a cord's mask."""

from __future__ import annotations

import numpy as np
from laws import for_all

from ankleseg.measures.cord_mask import (
    mended_cord,
    one_component_a_slice,
    without_gaps,
    without_thin_ends,
    without_what_is_above,
)


def cord(slices: int = 20) -> np.ndarray:
    mask = np.zeros((slices, 20, 20), dtype=bool)
    mask[:, 8:13, 9:13] = True
    return mask


def test_a_whole_cord_stays():
    mask = np.moveaxis(cord(), 0, 1)
    affine = np.array([[0, 0, 1.0, 5], [-1, 0, 0, 3], [0, -1, 0, 7], [0, 0, 0, 1]])
    assert np.array_equal(mended_cord(mask, affine), mask)
    assert not mended_cord(np.zeros_like(mask), affine).any()


def test_the_component_around_the_centre_below_is_kept_even_if_another_is_larger():
    mask = cord()
    mask[0, 0, 0] = True  # smaller, in the first slice
    mask[9, 0:6, 0:20] = True  # larger, in another
    assert np.array_equal(one_component_a_slice(mask), cord())


def test_little_above_is_left_out_and_much_is_not():
    little, much, below = cord(40), cord(40), cord(40)
    little[25:] = much[25:] = False
    little[30:32], much[30:38], below[3:] = cord(2), cord(8), cord(37)
    below[2] = False
    below[0:2, :8] = False
    assert not without_what_is_above(little)[25:].any()
    assert np.array_equal(without_what_is_above(much), much)
    assert np.array_equal(without_what_is_above(below), below), "what is below stays"


@for_all(("mm", "filled"), [(2.0, True), (2.4, True), (2.5, False), (4.0, False)])
def test_short_gaps_are_filled_with_the_union_of_their_ends(mm, filled):
    mask = cord()
    mask[6:9] = False  # the slices beside them are 4 apart
    mask[9, 8, 9] = False
    result = without_gaps(mask, mm)
    assert result[6:9].any() == filled
    if filled:
        assert np.array_equal(result[7], mask[5] | mask[9])


def test_thin_ends_are_left_out():
    mask = cord()
    mask[0] = mask[-1] = False
    mask[0, 8:10, 9:13] = True  # 8 of 20
    mask[-1, 8:12, 9:13] = True  # 16 of 20
    result = without_thin_ends(mask)
    assert not result[0].any() and result[-1].sum() == 16 and np.array_equal(result[1:], mask[1:])
