"""Labels from probabilities, and their mending."""

from __future__ import annotations

import numpy as np

from ankleseg.inference import Postprocessing, label_map


def test_one_structure_is_decided_at_one_half():
    assert label_map(np.float32([[[[0.4, 0.6]]]])).ravel().tolist() == [0, 1]


def test_several_structures_compete_with_background():
    # background 0.5 / 0.2 / 0.35, structures below
    probabilities = np.float32([[[[0.3, 0.1, 0.3]]], [[[0.2, 0.7, 0.35]]]])
    assert label_map(probabilities).ravel().tolist() == [0, 2, 0]


def test_largest_component_is_kept_and_holes_are_filled():
    mask = np.zeros((12, 12, 12), bool)
    mask[1:8, 1:8, 1:8] = True
    mask[4, 4, 4] = False
    mask[10, 10, 10] = True
    mended = Postprocessing()(mask)
    assert mended[4, 4, 4] and not mended[10, 10, 10] and mended.sum() == 7**3
    assert np.array_equal(Postprocessing()(mended), mended)
    assert np.array_equal(Postprocessing(largest_component=False, fill_holes=False)(mask), mask)
    assert not Postprocessing()(np.zeros((3, 3, 3), bool)).any()


def test_structures_stay_disjoint():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), size=(9, 9, 9)).transpose(3, 0, 1, 2)[1:].astype(np.float32)
    labels = label_map(probabilities, Postprocessing())
    assert set(np.unique(labels)) <= {0, 1, 2, 3}


def test_without_structures_all_is_background():
    assert not label_map(np.zeros((0, 2, 3, 4), np.float32)).any()
