"""Voxelwise agreement: the usual measures of masks, generalised overlap of label maps, and what nothing would reach."""

from __future__ import annotations

import numpy as np
import pytest
from laws import for_all

from ankleseg.measures import label_agreement, overlap


@for_all("seed", range(20))
def test_of_masks_it_is_the_usual_overlap(seed: int):
    generator = np.random.default_rng(seed)
    prediction, reference = (generator.random((5, 4, 6)) < share for share in generator.uniform(0.1, 0.9, 2))
    measured, shared = label_agreement(prediction, reference), overlap(prediction, reference)
    assert (measured.status, measured.dice, measured.iou) == (shared.status, shared.dice, shared.iou)
    assert measured.sensitivity == shared.recall
    assert measured.accuracy == np.mean(prediction == reference)
    assert measured.specificity == pytest.approx(np.mean(~prediction[~reference]))
    assert measured.empty_accuracy == label_agreement(np.zeros_like(reference), reference).accuracy


def test_another_label_is_an_error_though_both_are_tumour():
    reference = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    prediction = np.array([0, 0, 0, 1, 1, 2, 2, 0])
    measured = label_agreement(prediction, reference)
    assert (measured.dice, measured.iou) == (2 * 2 / 8, 2 / 6)
    assert (measured.sensitivity, measured.specificity) == (2 / 4, 3 / 4)
    assert (measured.accuracy, measured.empty_accuracy) == (5 / 8, 4 / 8)


def test_an_empty_prediction_is_accurate_and_worth_nothing():
    reference = np.zeros((10, 10, 10), dtype=bool)
    reference[:2, :2, :3] = True
    nothing = label_agreement(np.zeros_like(reference), reference)
    assert (nothing.accuracy, nothing.empty_accuracy, nothing.dice, nothing.status) == (0.988, 0.988, 0.0, "missed")
    both = label_agreement(np.zeros_like(reference), np.zeros_like(reference))
    assert (both.status, both.dice, both.sensitivity, both.accuracy, both.specificity) == (
        "both empty",
        None,
        None,
        1,
        1,
    )
