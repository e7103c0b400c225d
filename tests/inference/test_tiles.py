"""Tiles cover a grid, and cutting then stitching returns the volume."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ankleseg.inference.tiles import blending_weights, box_of, starts, tile_corners


@pytest.mark.parametrize("length,window,step", itertools.product((1, 5, 16, 17, 31), (4, 16), (1, 3, 4)))
def test_windows_cover_an_axis_and_stay_inside(length: int, window: int, step: int):
    first = starts(length, window, step)
    covered = {i for s in first for i in range(s, s + window)}
    assert set(range(length)) <= covered
    assert len(set(first)) == len(first)
    assert length <= window or max(first) + window == length


def test_half_overlap_covers_the_middle_four_times():
    count = np.zeros((32, 32), int)
    for x, y in tile_corners((32, 32), (8, 8), 0.5):
        count[x : x + 8, y : y + 8] += 1
    assert (count[4:-4, 4:-4] == 4).all() and count[0, 0] == 1


@pytest.mark.parametrize("blend", ["uniform", "smooth"])
def test_weights_are_symmetric_and_positive(blend: str):
    weights = blending_weights((6, 8), blend)
    assert (weights > 0).all()
    assert torch.allclose(weights, weights.flip(0)) and torch.allclose(weights, weights.flip(1))


def test_box_grows_to_the_divisor_within_the_grid():
    mask = np.zeros((40, 40), bool)
    mask[30:37, 2:5] = True
    box = box_of(mask, margin=1, divisor=16)
    assert all((b.stop - b.start) % 16 == 0 for b in box)
    assert mask[box].sum() == mask.sum()
    assert box_of(np.zeros((3, 3), bool)) is None
