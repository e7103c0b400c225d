"""Masks are mended one by one."""

from __future__ import annotations

import numpy as np
import pytest

from ankleseg.errors import ConfigError
from ankleseg.inference import Postprocessing


def test_largest_component_is_kept_and_holes_are_filled():
    masks = np.zeros((2, 12, 12, 12), bool)
    masks[0, 1:8, 1:8, 1:8] = True
    masks[0, 4, 4, 4] = False
    masks[0, 10, 10, 10] = masks[0, 8, 8, 8] = True  # the latter shares a corner only
    mended = Postprocessing()(masks)
    assert mended[0, 1:8, 1:8, 1:8].all() and mended.sum() == 7**3, "an empty one stays empty"
    assert np.array_equal(Postprocessing()(mended), mended)
    assert np.array_equal(Postprocessing(largest_component=False, fill_holes=False)(masks), masks)


def test_structures_that_exclude_each_other_stay_disjoint_and_regions_may_lie_inside():
    shell = np.zeros((2, 9, 9, 9), bool)
    shell[0, 2:7, 2:7, 2:7] = True
    shell[1] = ~shell[0] & np.pad(np.ones((7, 7, 7), bool), 1)
    for order in ([0, 1], [1, 0]):
        masks = shell[order]
        found = Postprocessing()(masks)
        assert not (found[0] & found[1]).any() and np.array_equal(found.any(0), masks.any(0))
        assert found[0].sum() == (5**3, 7**3)[order[0]], "voxels of both go to the first"
    nested = Postprocessing()(shell[::-1], regions=True)
    assert [mask.sum() for mask in nested] == [7**3, 5**3]


def test_a_structure_of_too_few_voxels_is_left_out_and_of_regions_stays_in_those_around_it():
    masks = np.zeros((3, 6, 6, 6), bool)
    masks[0, 1:5, 1:5, 1:5] = masks[1, 2:4, 2:4, 2:4] = True
    masks[2, 2, 2, 2:4] = True
    keep = Postprocessing(largest_component=False, fill_holes=False, smallest=[0, 0, 2])
    assert np.array_equal(keep(masks, regions=True), masks), "as many as asked for are enough"
    found = Postprocessing(largest_component=False, fill_holes=False, smallest=[0, 0, 3])(masks, regions=True)
    assert not found[2].any() and np.array_equal(found[:2], masks[:2])
    with pytest.raises(
        ConfigError, match=r"smallest \[5\]: expected a number for each of 3 structures; e.g. \[0, 0, 200"
    ):
        Postprocessing(smallest=[5])(masks)
