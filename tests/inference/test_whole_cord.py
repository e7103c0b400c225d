"""A cord that is cut: above and below are segmented by networks of their own, without a seam."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from laws import for_all
from scipy.spatial.transform import Rotation
from small_models import tiles_of
from test_centrelines import Bright, along, neck

from ankleseg.errors import ConfigError
from ankleseg.inference import predict_case
from ankleseg.inference.whole_cord import BLEND, parts_of_slices, require_cuts
from ankleseg.measures import Centreline, centreline_of_mask, overlap
from ankleseg.volumes import read_header
from ankleseg.volumes.geometry import reorient

STRAIGHT = Centreline(np.column_stack([np.zeros(101), np.zeros(101), np.arange(-100.0, 1)]))


def blind():
    """Sees no cord anywhere."""
    return replace(along(), network=Bright(50.0).eval(), path=Path("blind.ckpt"))


@for_all("codes", ["RAS", "PSR", "LIA"])
def test_weights_of_a_slice_sum_to_one_wherever_it_is_stored(codes):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [6, -8, 10], degrees=True).as_matrix() * [1, 1, 1.5]
    affine[:3, 3] = (-10, -10, -110)
    stored, turned = reorient(np.zeros((20, 20, 80)), affine, codes)
    axis, parts = parts_of_slices(["30%", -60.0], STRAIGHT, stored.shape, turned)
    assert parts.shape == (3, stored.shape[axis]) and codes[axis] in "SI"
    np.testing.assert_allclose(parts.sum(0), 1)
    assert parts.min() >= 0
    uppermost = parts[0] if codes[axis] == "S" else parts[0][::-1]
    assert (np.diff(uppermost) >= 0).all() and uppermost[-1] == 1 and uppermost[0] == 0


def test_a_cut_lies_where_it_is_said():
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = (-5, -5, -100)
    for cut in (-30.0, "30%"):
        _, (above, below) = parts_of_slices([cut], STRAIGHT, (10, 10, 101), affine)
        assert above[70] == pytest.approx(0.5) and above[70 + int(BLEND / 2)] == 1 and below[70 - int(BLEND / 2)] == 1


def test_each_part_is_segmented_by_its_network(tmp_path: Path):
    case, cord = neck(tmp_path)
    affine = read_header(case.images[0]).affine
    line = centreline_of_mask(cord, affine)
    heights = (affine @ np.vstack([np.argwhere(cord).T, np.ones(cord.sum())]))[2]
    level = float(np.median(heights))
    for models, kept in (([along(), blind()], heights > level), ([blind(), along()], heights <= level)):
        found = predict_case(case, models, tiles_of(24, 24), centreline=lambda case: line, cuts=[level])
        expected = np.zeros_like(cord)
        expected[tuple(np.argwhere(cord)[kept].T)] = True
        assert overlap(found.masks[0], expected).dice > 0.88


def test_a_network_beside_itself_gives_what_it_gives_alone(tmp_path: Path):
    case, cord = neck(tmp_path, "LAI", turn=8)
    line = centreline_of_mask(cord, read_header(case.images[0]).affine)
    alone = predict_case(case, [along()], tiles_of(24, 24), centreline=lambda case: line)
    cut = predict_case(case, [along(), along()], tiles_of(24, 24), centreline=lambda case: line, cuts=["50%"])
    np.testing.assert_allclose(cut.probabilities, alone.probabilities, atol=1e-5)


def test_what_does_not_fit_is_told():
    with pytest.raises(ConfigError, match="expected one fewer than the 1 segmentation checkpoints; name a checkpoint"):
        require_cuts(["40%"], [along()], along=True)
    with pytest.raises(ConfigError, match="cuts are given, and no checkpoint segments along a centreline; leave them"):
        require_cuts(["40%"], [along(), along()], along=False)
    for wrong in ("forty", "140%", "40", float("nan")):
        with pytest.raises(ConfigError, match="invalid cut .*: expected z in mm, or a share such as 40%"):
            require_cuts([wrong], [along(), along()], along=True)
    affine = np.eye(4)
    with pytest.raises(ConfigError, match="invalid cut at z = 30 mm: the cord goes from -100 to 0 mm; choose a z betw"):
        parts_of_slices([30.0], STRAIGHT, (9, 9, 9), affine)
    with pytest.raises(ConfigError, match="expected them from above to below; change their order"):
        parts_of_slices([-60.0, "30%"], STRAIGHT, (9, 9, 9), affine)
