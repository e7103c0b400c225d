"""The centreline of a label, where there is a label and no centreline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ankleseg import keys
from ankleseg.errors import GeometryError
from ankleseg.transforms import CentrelineFromLabeld


def sample() -> dict:
    label = torch.zeros(1, 12, 14, 10, dtype=torch.uint8)
    label[0, 4:7, 6:11, 2:9] = 1
    affine = torch.diag(torch.tensor([0.5, 0.5, 2.0, 1.0], dtype=torch.float64))
    return {"image": MetaTensor(torch.rand(1, 12, 14, 10), affine=affine), "label": MetaTensor(label, affine=affine)}


def test_it_is_in_the_middle_of_each_slice_from_below():
    points = CentrelineFromLabeld()(sample())[keys.CENTRELINE]
    assert np.allclose(points, np.column_stack([np.full(7, 2.5), np.full(7, 4.0), np.arange(4.0, 18, 2)]))


def test_one_that_is_there_stays_and_without_a_label_nothing_comes():
    given = np.zeros((2, 3))
    assert CentrelineFromLabeld()(sample() | {keys.CENTRELINE: given})[keys.CENTRELINE] is given
    assert keys.CENTRELINE not in CentrelineFromLabeld(allow_missing_keys=True)({"image": sample()["image"]})


def test_an_empty_label_is_told():
    empty = sample()
    empty["label"][:] = 0
    with pytest.raises(GeometryError, match="the mask of the cord is empty; draw it, or leave the case out"):
        CentrelineFromLabeld()(empty)
