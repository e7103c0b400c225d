"""Laws of alignment and of its judgement: how a scan is stored does not count, and no step may make things worse."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import torch
from heads import AFFINE, SHAPE, drawn_head

from ankleseg.deformable import Alignment, Mapping, Registration, Settings, as_scan, judge, register
from ankleseg.deformable.scans import turned
from ankleseg.rigid.warping import warp
from ankleseg.volumes import Volume, reorient

ORIENTATIONS = [
    "".join(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for sides in product((0, 1), repeat=3)
]


def test_no_orientation_of_48_changes_what_is_registered():
    """Scans that are equal here are registered equally, and the identity then shows the copy as the scan."""
    image, _ = drawn_head(noise=5)
    expected = turned(as_scan(Volume(image, AFFINE)))
    still = np.zeros((*SHAPE, 3), np.float32)
    assert len(set(ORIENTATIONS)) == 48
    for codes in ORIENTATIONS:
        turned_copy, place = reorient(image, AFFINE, codes)
        copy = np.ascontiguousarray(turned_copy)
        found = turned(as_scan(Volume(copy, place)))
        assert np.array_equal(found.data, expected.data), codes
        np.testing.assert_allclose(found.affine, expected.affine, atol=1e-9, err_msg=codes)
        np.testing.assert_allclose(warp(copy, place, still, AFFINE), image, atol=1e-2, err_msg=codes)


def test_a_copy_that_is_stored_otherwise_does_not_move():
    image, _ = drawn_head(noise=5)
    copy, place = reorient(image, AFFINE, "PIL")
    found = register(Volume(image, AFFINE), Volume(np.ascontiguousarray(copy), place), Settings(method="affine"))
    assert np.array_equal(found.mapping.moving_from_fixed, np.eye(4)) and found.alignment.from_headers


@pytest.mark.parametrize(
    ("before", "aligned", "after", "said"),
    [
        (0.3, 0.5, 0.6, ""),
        (0.3, 0.5, 0.4, "the scans were more alike by the affine map alone (0.50) than with the field (0.40)"),
        (0.53, 0.5, 0.51, "the scans were more alike as their headers say (0.53) than with the field (0.51)"),
        (0.6, 0.5, 0.7, "the affine part made the scans less alike (0.60 to 0.50)"),
    ],
)
def test_a_field_that_makes_scans_less_alike_is_suspect(before: float, aligned: float, after: float, said: str):
    alignment = Alignment(np.eye(4), information=1.0, overlap=1.0, degrees=0.0, from_headers=True)
    mapping = Mapping(np.eye(4), torch.zeros(1, 3, 4, 4, 4), np.eye(4))
    found = Registration(mapping, alignment, before, aligned, after, 0.0, 0.0, 1.0)
    assert judge(found) == (("suspect", said) if said else ("ok", ""))
