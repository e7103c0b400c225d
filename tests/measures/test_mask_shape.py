"""Laws of the shapes of masks: where they lie in the world whatever the grid, and ranges of whole ones alone."""

from __future__ import annotations

import numpy as np
import pytest

from ankleseg.measures import ShapeRanges, expected_dice, mask_shape, overlap, shape_ranges
from ankleseg.measures.mask_shape import gap_mm, lies_between
from ankleseg.volumes.geometry import reorient

AFFINE = np.diag([0.5, 1.0, 2.0, 1.0])


def box(*sides: tuple[int, int], shape: tuple[int, int, int] = (40, 30, 20)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


BOX, OTHER = box((4, 14), (5, 15), (6, 10)), box((4, 14), (18, 28), (6, 10))


@pytest.mark.parametrize("codes", ["RAS", "PSR", "LPI", "IRA"])
def test_a_shape_is_the_same_however_it_is_stored(codes: str):
    (one, affine), (other, _) = reorient(BOX, AFFINE, codes), reorient(OTHER, AFFINE, codes)
    shape, second = mask_shape(one, affine), mask_shape(other, affine)
    assert shape is not None and second is not None
    assert shape.volume_ml == pytest.approx(0.4) and not shape.cut
    assert np.allclose(shape.centroid_mm, [4.25, 9.5, 15.0])
    assert gap_mm(shape, second) == pytest.approx(4.0)  # from the middle of a voxel to that of another


def test_what_touches_the_border_is_cut_and_nothing_has_no_shape():
    shape = mask_shape(box((0, 5), (5, 15), (6, 10)), AFFINE)
    assert shape is not None and shape.cut
    assert mask_shape(np.zeros_like(BOX), AFFINE) is None


def test_the_middle_one_lies_between_the_others():
    first, middle, last = (mask_shape(box((4, 14), (y, y + 4), (6, 10)), AFFINE) for y in (2, 10, 20))
    assert first is not None and middle is not None and last is not None
    assert lies_between(middle, first, last)
    assert not lies_between(first, middle, last) and not lies_between(last, first, middle)


def test_ranges_are_those_of_at_least_three_whole_ones_and_travel_as_plain_types():
    sizes = [
        {"a": mask_shape(box((4, 4 + n), (5, 15), (6, 10)), AFFINE), "b": mask_shape(OTHER, AFFINE)} for n in (5, 9)
    ]
    cut = {"a": mask_shape(box((0, 30), (5, 15), (6, 10)), AFFINE), "b": mask_shape(OTHER, AFFINE)}
    assert "a" not in shape_ranges([*sizes, cut]).volume_ml
    ranges = shape_ranges([*sizes, cut, sizes[0]])
    assert ranges.volume_ml["a"] == pytest.approx((0.2, 0.36))
    assert ranges.ratio["a/b"] == pytest.approx((0.5, 0.9))
    assert ShapeRanges(**ranges.to_plain()) == ranges


def test_the_expected_dice_is_the_mean_of_the_dice_of_masks_drawn_by_the_probabilities():
    generator = np.random.default_rng(0)
    probability = np.clip(generator.normal(0, 0.2, BOX.shape) + 0.8 * BOX, 0.0, 1.0)
    mask = probability > 0.5
    drawn = [overlap(mask, generator.random(mask.shape) < probability).dice for _ in range(50)]
    assert expected_dice(probability, mask) == pytest.approx(np.mean(drawn), abs=0.003)
    assert expected_dice(BOX.astype(float), BOX) == 1.0
    assert expected_dice(probability, np.zeros_like(BOX)) is None
