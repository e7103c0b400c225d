"""Laws of overlap: known values, symmetry, and empty masks that cannot flatter."""

from __future__ import annotations

import numpy as np
import pytest
from laws import for_all

from ankleseg.errors import GeometryError
from ankleseg.measures import Overlap, overlap, volume_ml

EMPTY = np.zeros((4, 5, 6), dtype=bool)


def random_masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 7, 3))
    fractions = generator.uniform(0.05, 0.9, 2)
    return generator.random(shape) < fractions[0], generator.random(shape) < fractions[1]


@for_all("seed", range(40))
def test_measures_are_those_of_the_sets_of_voxels(seed: int):
    prediction, reference = random_masks(seed)
    p, r = set(map(tuple, np.argwhere(prediction))), set(map(tuple, np.argwhere(reference)))
    measured = overlap(prediction, reference)
    if not p or not r:
        assert measured.status != "ok"
        return
    assert measured.status == "ok"
    assert measured.dice == pytest.approx(2 * len(p & r) / (len(p) + len(r)))
    assert measured.iou == pytest.approx(len(p & r) / len(p | r))
    assert measured.precision == pytest.approx(len(p & r) / len(p))
    assert measured.recall == pytest.approx(len(p & r) / len(r))
    assert measured.iou == pytest.approx(measured.dice / (2 - measured.dice))


@for_all("seed", range(10))
def test_exchanging_the_masks_exchanges_precision_and_recall(seed: int):
    prediction, reference = random_masks(seed)
    there, back = overlap(prediction, reference), overlap(reference, prediction)
    assert (there.dice, there.iou) == (back.dice, back.iou)
    assert (there.precision, there.recall) == (back.recall, back.precision)


def test_a_mask_with_itself_is_perfect():
    mask = EMPTY.copy()
    mask[1:3, 2:4, 1:5] = True
    assert overlap(mask, mask) == Overlap("ok", 1.0, 1.0, 1.0, 1.0)


def test_disjoint_masks_share_nothing_and_are_not_called_missed():
    one, other = EMPTY.copy(), EMPTY.copy()
    one[0], other[1] = True, True
    assert overlap(one, other) == Overlap("ok", 0.0, 0.0, 0.0, 0.0)


def test_both_empty_is_not_applicable():
    assert overlap(EMPTY, EMPTY) == Overlap("both empty", None, None, None, None)


def test_one_empty_is_zero_in_every_measure():
    assert overlap(EMPTY, ~EMPTY) == Overlap("missed", 0.0, 0.0, 0.0, 0.0)
    assert overlap(~EMPTY, EMPTY) == Overlap("invented", 0.0, 0.0, 0.0, 0.0)


def test_shapes_that_numpy_would_broadcast_are_refused():
    with pytest.raises(GeometryError, match=r"shape \(1, 5, 6\) cannot be compared with a reference of shape"):
        overlap(np.ones((1, 5, 6), dtype=bool), EMPTY)


def test_a_volume_is_counted_in_millilitres():
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[5:15, 5:15, 5:15] = True
    assert volume_ml(mask, (1.0, 1.0, 1.0)) == pytest.approx(1.0)
    assert volume_ml(mask, np.array([0.28, 0.28, 0.8])) == pytest.approx(0.28 * 0.28 * 0.8)
    assert volume_ml(~mask & mask, (1.0, 1.0, 1.0)) == 0
